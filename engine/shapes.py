"""The arithmetic of BERT shapes: parameters, bytes, FLOPs and speed-up ceilings, without torch.

Source of the layout: Devlin et al. 2018, section 3; checked against the real tensors in the tests. MuRIL-BERT-base
(Khanuja et al. 2021) has 197,285 tokens, which makes 237,565,452 parameters with 12 labels.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.errors import CheckpointError


@dataclass(frozen=True)
class Shape:
    """One BERT classifier; all layers are alike."""

    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    vocabulary: int
    labels: int
    positions: int = 512
    token_types: int = 2

    def pruned(self, density: float) -> "Shape":
        """Return the shape with ``density`` of the FFN neurons of every layer."""
        return replace(self, intermediate_size=kept_neurons(self.intermediate_size, density))

    @property
    def parameters(self) -> int:
        """Number of weights, biases and layer-norm values."""
        hidden, inner = self.hidden_size, self.intermediate_size
        embeddings = (self.vocabulary + self.positions + self.token_types) * hidden + 2 * hidden
        attention = 4 * (hidden * hidden + hidden) + 2 * hidden
        feed_forward = 2 * hidden * inner + inner + hidden + 2 * hidden
        head = hidden * hidden + hidden + hidden * self.labels + self.labels
        return embeddings + self.layers * (attention + feed_forward) + head

    def size_bytes(self, bytes_per_parameter: int = 4) -> int:
        """Return the bytes of all tensors."""
        return self.parameters * bytes_per_parameter

    def flops(self, sequence_length: int) -> int:
        """Return the floating-point operations of one forward pass of one text (a multiply-add counts 2)."""
        hidden, inner, tokens = self.hidden_size, self.intermediate_size, sequence_length
        projections = 2 * 4 * hidden * hidden * tokens
        scores_and_values = 2 * 2 * tokens * tokens * hidden
        feed_forward = 2 * 2 * hidden * inner * tokens
        head = 2 * (hidden * hidden + hidden * self.labels)
        return self.layers * (projections + scores_and_values + feed_forward) + head

    def speedup_ceiling(self, smaller: "Shape", sequence_length: int) -> float:
        """Return how many times faster ``smaller`` can be by its FLOPs alone."""
        return self.flops(sequence_length) / smaller.flops(sequence_length)


def kept_neurons(width: int, density: float) -> int:
    """Return how many of ``width`` neurons stay at ``density``: the nearest whole number, at least one."""
    return max(1, min(width, round(width * density)))


MURIL = Shape(layers=12, hidden_size=768, heads=12, intermediate_size=3072, vocabulary=197_285, labels=12)
COMPACT = Shape(layers=4, hidden_size=256, heads=4, intermediate_size=1024, vocabulary=4000, labels=12, positions=512)


def read_shape(folder: Path) -> Shape:
    """Read the shape of a local checkpoint from its ``config.json``.

    Raises:
        CheckpointError: if the file is missing, torn or not of a BERT.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}). Give a folder with config.json, tokenizer and weights."
        ) from None
    if not isinstance(values, dict) or values.get("model_type") != "bert":
        kind = values.get("model_type") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(
            f"{path} describes a model of type {kind!r}; only 'bert' is supported. Choose a BERT model."
        )
    try:
        shape = Shape(
            layers=int(values["num_hidden_layers"]),
            hidden_size=int(values["hidden_size"]),
            heads=int(values["num_attention_heads"]),
            intermediate_size=int(values["intermediate_size"]),
            vocabulary=int(values["vocab_size"]),
            labels=len(values.get("id2label") or {0: "", 1: ""}),
            positions=int(values.get("max_position_embeddings", 512)),
            token_types=int(values.get("type_vocab_size", 2)),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} lacks or garbles {error}. Save the model again with save_pretrained.") from None
    wrong = {name: value for name, value in asdict(shape).items() if value < 1}
    if wrong or shape.hidden_size % shape.heads:
        raise CheckpointError(
            f"{path} describes a model that cannot be ({wrong or f'{shape.heads} heads in {shape.hidden_size} values'}). "
            "Save the model again with save_pretrained."
        )
    return shape
