"""Our own checkpoint format: what stock BERT cannot hold is saved, refused by others, and loaded whole by us."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

from engine.before.preflight import check_weights
from engine.checkpoints import save_model
from engine.compaction import KeptLayer, compact, is_stock, layer_sizes, max_logit_difference, plain_copy
from engine.config import RunConfig
from engine.errors import CheckpointError
from engine.evaluation import count_bytes, count_flops, count_parameters
from engine.events import Compacted, ModelLoaded, RunFinished
from engine.files.bases import base_shape, download, find_base, look_up
from engine.inference import load_classifier
from engine.model import load_folder, random_model
from engine.shapes import COMPACT, Shape, read_shape
from engine.training import train
from tests.engine.hub import Hub
from tests.engine.tiny_bert import LABELS, TEXTS, tiny_model, tiny_tokenizer

FILES = ["README.md", "chhatni.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
SIZES = [(1, 40), (2, 7)]


def ragged(sizes: list[tuple[int, int]], seed: int = 0) -> BertForSequenceClassification:
    """Return a model with random weights and these heads and widths."""
    shape = Shape(len(sizes), 32, 2, 64, vocabulary=len(tiny_tokenizer()), labels=3, positions=32)
    model = random_model(shape.with_sizes(sizes), LABELS, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", ragged(SIZES), tiny_tokenizer())
    return tmp_path / "model"


def inputs() -> list[dict[str, torch.Tensor]]:
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return [{"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}]


def change(path: Path, **values: object) -> None:
    former = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**former, **values}), encoding="utf-8")


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(CheckpointError) as caught:
        action()
    return str(caught.value)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 64)), min_size=1, max_size=4), seed=st.integers(0, 1000)
)
def test_any_model_comes_back_as_it_was(
    sizes: list[tuple[int, int]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = ragged(sizes, seed)
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(folder, model, tiny_tokenizer())
    stock = set(sizes) == {(2, sizes[0][1])} and sizes[0][1] > 0
    assert is_stock(model) == stock
    assert (folder / "model.safetensors").is_file() == stock
    loaded = load_folder(folder)
    assert loaded.has_head
    assert loaded.trained
    assert not loaded.model.training
    assert loaded.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()
    assert loaded.tokenizer(TEXTS[0])["input_ids"] == tiny_tokenizer()(TEXTS[0])["input_ids"]
    assert layer_sizes(loaded.model) == sizes
    assert tuple(loaded.model.config.id2label.values()) == LABELS
    for other in (loaded.model, copy.deepcopy(loaded.model), plain_copy(loaded.model)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
        assert max_logit_difference(model, other, inputs())[0] < 1e-6
    assert not [name for name, value in loaded.model.named_buffers() if value.is_meta]
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())
    shape = read_shape(folder)
    assert list(shape.sizes) == sizes
    assert count_parameters(loaded.model) == shape.parameters
    assert count_bytes(loaded.model) == shape.size_bytes()
    for tokens in (1, 17):
        assert count_flops(loaded.model, tokens) == shape.flops(tokens)


def test_a_saved_model_has_other_names_and_says_what_it_is(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "chhatni-bert"
    assert config["pruned_layers"] == [{"heads": heads, "intermediate_size": width} for heads, width in SIZES]
    words = (folder / "README.md").read_text(encoding="utf-8")
    assert "from engine.model import load_folder" in words
    assert "| 1 | 1 | 40 |\n| 2 | 2 | 7 |" in words
    assert ", ".join(LABELS) in words


def test_a_model_saved_over_one_of_the_other_format_leaves_nothing_of_it(folder: Path) -> None:
    save_model(folder, tiny_model(), tiny_tokenizer())
    assert not (folder / "chhatni.safetensors").exists()
    assert read_shape(folder).layer_sizes is None
    save_model(folder, ragged(SIZES), tiny_tokenizer())
    assert not (folder / "model.safetensors").exists()


STOCK = """
import sys
from transformers import AutoModel, AutoModelForSequenceClassification, BertForSequenceClassification, pipeline
assert "engine" not in sys.modules
for load in (AutoModel.from_pretrained, AutoModelForSequenceClassification.from_pretrained,
             BertForSequenceClassification.from_pretrained, lambda folder: pipeline("text-classification", model=folder)):
    try:
        load(sys.argv[1])
    except (ValueError, OSError) as error:
        print(str(error).splitlines()[0])
    else:
        print("loaded")
"""


def test_stock_transformers_says_why_it_cannot_load_it(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(folder)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    auto, classifier, bert, pipe = done.stdout.splitlines()
    for message in (auto, classifier, pipe):
        assert "model type `chhatni-bert`" in message
    assert "no file named model.safetensors" in bert


def test_a_plain_program_loads_it_as_its_readme_says(folder: Path) -> None:
    words = (folder / "README.md").read_text(encoding="utf-8")
    program = words.partition("```python\n")[2].partition("```")[0].replace("path/of/this/folder", str(folder))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "tensor([[" in done.stdout


@pytest.mark.parametrize("keep", [0, 7, 100, -1000, -1])
def test_torn_weights_are_refused(folder: Path, tmp_path: Path, keep: int) -> None:
    path = folder / "chhatni.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "Copy the folder again or repeat the run." in refusal(lambda: load_folder(folder))
    assert "chhatni.safetensors is torn" in refusal(lambda: check_weights(folder))


def test_missing_weights_are_told_before_a_run_is_made(folder: Path, tmp_path: Path) -> None:
    (folder / "chhatni.safetensors").rename(folder / "model.safetensors")
    assert "holds no chhatni.safetensors" in refusal(lambda: find_base(str(folder), tmp_path))
    assert "chhatni.safetensors" in refusal(lambda: load_folder(folder))
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "chhatni.safetensors" in refusal(lambda: load_folder(folder)), "nothing else is opened in its place"


def test_weights_of_another_model_are_named(folder: Path) -> None:
    path = folder / "chhatni.safetensors"
    tensors = load_file(path)
    save_file({name: value for name, value in tensors.items() if ".layer.1." not in name}, path)
    assert "lacks 16 tensors, such as bert.encoder.layer.1." in refusal(lambda: load_folder(folder))
    save_file({**tensors, "bert.extra": torch.ones(1)}, path)
    assert "config.json, which has no bert.extra" in refusal(lambda: load_folder(folder))
    save_file({**tensors, "classifier.bias": torch.ones(5)}, path)
    assert "classifier.bias has the shape (5,) and should have (3,)" in refusal(lambda: load_folder(folder))
    save_file(tensors, path)
    change(folder / "config.json", pruned_layers=[{"heads": 1, "intermediate_size": 40}] * 2)
    assert "bert.encoder.layer.1." in refusal(lambda: load_folder(folder))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pruned_layers": None}, "lacks or garbles"),
        ({"pruned_layers": 3}, "lacks or garbles"),
        ({"pruned_layers": [{"heads": 1}] * 2}, "lacks or garbles 'intermediate_size'"),
        ({"pruned_layers": []}, "the sizes of 0 of 2 layers"),
        ({"pruned_layers": [{"heads": 3, "intermediate_size": 1}] * 2}, "heads and width (3, 1)"),
        ({"pruned_layers": [{"heads": -1, "intermediate_size": 1}] * 2}, "heads and width (-1, 1)"),
        ({"pruned_layers": [{"heads": 1, "intermediate_size": -1}] * 2}, "heads and width (1, -1)"),
        ({"num_hidden_layers": 3}, "the sizes of 2 of 3 layers"),
        ({"hidden_size": 33}, "2 heads in 33 values"),
        ({"model_type": "roberta"}, "'roberta'"),
    ],
)
def test_a_garbled_config_is_refused(folder: Path, tmp_path: Path, values: dict[str, object], words: str) -> None:
    change(folder / "config.json", **values)
    for action in (
        lambda: load_folder(folder),
        lambda: read_shape(folder),
        lambda: find_base(str(folder), tmp_path),
    ):
        message = refusal(action)
        assert words in message
        assert "config.json" in message
        assert "save_pretrained" not in message


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_act": "nonsense"},
        {"layer_norm_eps": "small"},
        {"pruned_layers": [{"heads": 1, "intermediate_size": 10**30}] * 2},
    ],
)
def test_a_config_that_cannot_be_built_is_refused(folder: Path, values: dict[str, object]) -> None:
    change(folder / "config.json", **values)
    assert "Copy the folder again or repeat the run." in refusal(lambda: load_folder(folder))


def test_another_version_of_the_format_is_refused(folder: Path) -> None:
    change(folder / "config.json", chhatni_format=2)
    assert "is of format 2; this version reads 1." in refusal(lambda: load_folder(folder))


def test_code_in_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    change(folder / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"})
    assert "never run" in refusal(lambda: find_base(str(folder), tmp_path))


def test_running_out_of_memory_is_no_fault_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("engine.model.read_weights", exhausted)
    with pytest.raises(MemoryError):
        load_folder(folder)


def test_half_precision_is_loaded_as_fp32(folder: Path) -> None:
    path = folder / "chhatni.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path)
    assert {parameter.dtype for parameter in load_folder(folder).model.parameters()} == {torch.float32}


def test_a_shape_with_unlike_layers_does_its_own_arithmetic() -> None:
    shape = COMPACT.with_sizes([(4, 1024), (2, 512), (0, 100), (4, 0)])
    assert (shape.layers, shape.heads, shape.intermediate_size) == (4, 4, 1024)
    assert shape.parameters < COMPACT.parameters
    assert shape.pruned(0.5).sizes == ((4, 512), (2, 256), (0, 50), (4, 0))
    assert COMPACT.speedup_ceiling(shape, 128) > 1.5
    assert COMPACT.with_sizes(COMPACT.sizes) == COMPACT
    assert COMPACT.pruned(0.5) == COMPACT.with_sizes([(4, 512)] * 4)
    assert COMPACT.pruned(0.5).layer_sizes is None
    halved = COMPACT.with_sizes([(2, 1024)] * 4)
    assert (halved.attention_size, halved.layer_sizes) == (128, None)
    assert COMPACT.with_sizes([(0, 8)] * 4).attention_size == 0


def test_it_comes_from_the_hub_too(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.models["someone/ragged"] = folder
    assert list(look_up("someone/ragged", tmp_path / "home").sizes) == SIZES
    loaded = load_folder(download("someone/ragged", tmp_path / "home"))
    assert max_logit_difference(loaded.model, ragged(SIZES), inputs())[0] < 1e-6


def run(home: Path, name: str, source: Path, base: str, **pruning: object) -> list[object]:
    config = RunConfig.parse(
        {
            "data": {"source": str(source), "max_length": 16},
            "model": {"base": base},
            "pruning": {"width_multiple": 1, **pruning},
            "training": {"max_steps": 6, "batch_size": 8, "evaluations": 1, "precision": "fp32", "device": "cpu"},
        }
    )
    AcceleratorState._reset_state()
    PartialState._reset_state()
    return list(train(config, run_id=name, home=home))


def test_a_finished_run_is_classified_with_and_pruned_again(tmp_path: Path) -> None:
    source = tmp_path / "texts.csv"
    rows = [f"{text} {number},{label}" for number in range(12) for text, label in zip(TEXTS, LABELS, strict=False)]
    source.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    save_model(tmp_path / "base", tiny_model(), tiny_tokenizer())
    home = tmp_path / "home"
    first = run(home, "first", source, str(tmp_path / "base"), method="hybrid", final_density=0.5)
    (event,) = [event for event in first if isinstance(event, Compacted)]
    assert (event.heads_removed, event.stock) == (2, False)
    assert isinstance(first[-1], RunFinished)
    result = first[-1].result
    assert Path(result.model_path, "chhatni.safetensors").is_file()
    saved = json.loads(Path(result.model_path, "config.json").read_text(encoding="utf-8"))
    assert "architectures" not in saved, "stock BERT could not hold it"
    shape = base_shape(find_base("first", home))
    assert shape is not None
    assert shape.sizes == ((1, 32), (1, 32))
    assert (result.student.parameters, result.student.flops) == (shape.parameters, shape.flops(16))
    answers = load_classifier("first", home).classify(list(TEXTS))
    assert {answer.label for answer in answers} <= set(LABELS)

    model = load_folder(Path(result.model_path)).model
    uneven = compact(model, (KeptLayer(0, (), ()), KeptLayer(1, (0,), tuple(range(20)))))
    save_model(home / "runs" / "uneven" / "model", uneven, tiny_tokenizer())
    for name, pruning in (
        ("neurons", {"method": "block-movement"}),
        ("heads", {"method": "hybrid"}),
        ("blocks", {"method": "hybrid", "attention_unit": "block"}),
    ):
        events = run(home, name, source, "uneven", final_density=0.5, **pruning)
        (loaded,) = [event for event in events if isinstance(event, ModelLoaded)]
        assert loaded.head == "by name"
        sizes = layer_sizes(load_folder(home / "runs" / name / "model").model)
        assert sizes[0] == (0, 0)
        assert sizes[1][1] == 10
