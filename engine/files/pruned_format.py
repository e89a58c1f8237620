"""Checkpoints of models that a stock BERT cannot hold: layers of differing width, or with fewer heads than the others.

Such a folder has the files of a stock checkpoint under other names, so that no program loads it as something it is not:

- ``config.json``: stock BERT's, with ``model_type`` chhatni-bert and ``pruned_layers``, one {heads, intermediate_size} a layer;
- ``chhatni.safetensors``: the tensors by their stock names, in their real shapes;
- the tokenizer's files as ever, and a README.md that says how to load it.

There is no code in it and none is run to load it.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from engine.compaction import layer_sizes, skeleton
from engine.errors import CheckpointError
from engine.shapes import OWN_TYPE, OWN_WEIGHTS, read_shape

_FORMAT = 1
_AGAIN = "Copy the folder again or repeat the run."


def write_weights(folder: Path, model: BertForSequenceClassification) -> None:
    """Write everything but the tokenizer into an empty folder."""
    values = json.loads(model.config.to_json_string())
    values |= {"model_type": OWN_TYPE, "chhatni_format": _FORMAT}
    values.pop("architectures", None)  # of a class that could not load it
    (folder / "config.json").write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / OWN_WEIGHTS, metadata={"format": "pt"})
    (folder / "README.md").write_text(_readme(model), encoding="utf-8")


def read_weights(folder: Path) -> BertForSequenceClassification:
    """Load the model of a folder in fp32 on the CPU; whatever a torn file makes the libraries raise is let through.

    Raises:
        CheckpointError: if config and weights do not belong together, or a later version has written them.
    """
    read_shape(folder)
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    number = values.pop("chhatni_format", None)
    if number != _FORMAT:
        raise CheckpointError(
            f"{folder / 'config.json'} is of format {number!r}; this version reads {_FORMAT}. "
            "Use the version of Chhatni that wrote it, or repeat the run."
        )
    config = BertConfig.from_dict({**values, "model_type": "bert"}, attn_implementation="sdpa")
    model = skeleton(config)
    tensors = {name: value.to(torch.float32) for name, value in load_file(folder / OWN_WEIGHTS).items()}
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    _check_names(folder, shapes, {name: tuple(value.shape) for name, value in tensors.items()})
    model.load_state_dict(tensors, strict=True, assign=True)
    embeddings = model.bert.embeddings  # its two buffers are not saved
    positions = torch.arange(config.max_position_embeddings).expand((1, -1))
    embeddings.register_buffer("position_ids", positions, persistent=False)
    embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)
    return model.eval()


def _check_names(folder: Path, expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> None:
    path = folder / OWN_WEIGHTS
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = [name for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]]
    if missing:
        raise CheckpointError(f"{path} lacks {len(missing)} tensors, such as {missing[0]}. {_AGAIN}")
    if unknown:
        raise CheckpointError(
            f"{path} does not fit config.json, which has no {unknown[0]}. Take both from the same place."
        )
    if other:
        name = other[0]
        raise CheckpointError(
            f"{path} does not fit config.json: {name} has the shape {found[name]} and should have {expected[name]}. "
            "Take both from the same place."
        )


def _readme(model: BertForSequenceClassification) -> str:
    """Say what the folder is to somebody who finds it."""
    rows = "\n".join(f"| {number} | {heads} | {width} |" for number, (heads, width) in enumerate(layer_sizes(model), 1))
    labels = ", ".join(str(label) for label in model.config.id2label.values())
    return f"""# A pruned BERT classifier

Its layers have lost different numbers of neurons, or attention heads, so stock transformers cannot hold it and refuses to load it
(`{OWN_TYPE}`). With the code of Chhatni on the Python path it is an ordinary PyTorch model:

```python
from pathlib import Path

from engine.model import load_folder

loaded = load_folder(Path("path/of/this/folder"))
inputs = loaded.tokenizer("a text", return_tensors="pt")
print(loaded.model(**inputs).logits)
```

Labels: {labels}.

| layer | attention heads | FFN neurons |
|---|---|---|
{rows}
"""
