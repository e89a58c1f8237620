"""The arithmetic of shapes, against the figures of the paper's model and against real tensors."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import CheckpointError
from engine.evaluation import count_bytes, count_flops, count_parameters
from engine.model import random_model
from engine.shapes import COMPACT, MURIL, Shape, kept_neurons, read_shape

CONFIG = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 90,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "max_position_embeddings": 40,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("density", "parameters"),
    [(1.0, 237_565_452), (0.75, 223_400_460), (0.5, 209_235_468), (0.25, 195_070_476)],
)
def test_parameters_of_the_papers_model(density: float, parameters: int) -> None:
    assert MURIL.pruned(density).parameters == parameters
    assert MURIL.pruned(density).size_bytes() == 4 * parameters
    assert MURIL.pruned(density).size_bytes(2) == 2 * parameters


@pytest.mark.parametrize(("tokens", "ceilings"), [(128, [1.19, 1.48, 1.95]), (512, [1.18, 1.43, 1.82])])
def test_ceilings_of_the_papers_model(tokens: int, ceilings: list[float]) -> None:
    found = [MURIL.speedup_ceiling(MURIL.pruned(density), tokens) for density in (0.75, 0.5, 0.25)]
    assert [round(ceiling, 2) for ceiling in found] == ceilings
    assert MURIL.speedup_ceiling(MURIL, tokens) == 1.0


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    heads = draw(st.integers(1, 4))
    return Shape(
        layers=draw(st.integers(1, 3)),
        hidden_size=heads * draw(st.integers(1, 8)),
        heads=heads,
        intermediate_size=draw(st.integers(1, 40)),
        vocabulary=draw(st.integers(8, 60)),
        labels=draw(st.integers(2, 9)),
        positions=draw(st.integers(8, 40)),
        token_types=draw(st.integers(1, 3)),
    )


@settings(max_examples=30, deadline=None)
@given(shape=shapes(), tokens=st.integers(1, 40), density=st.floats(0.01, 1))
def test_arithmetic_equals_real_tensors(shape: Shape, tokens: int, density: float) -> None:
    for each in (shape, shape.pruned(density)):
        model = random_model(each, [str(number) for number in range(each.labels)], seed=0)
        assert count_parameters(model) == each.parameters
        assert count_bytes(model) == each.size_bytes()
        assert count_flops(model, tokens) == each.flops(tokens)


@settings(max_examples=8, deadline=None)
@given(shape=shapes(), tokens=st.integers(1, 40))
def test_flops_equal_those_that_torch_counts(shape: Shape, tokens: int) -> None:
    tokens = min(tokens, shape.positions)
    model = random_model(shape, [str(number) for number in range(shape.labels)], seed=0)
    model.set_attn_implementation("eager")
    ids = torch.zeros(1, tokens, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids)
    assert counter.get_total_flops() == count_flops(model, tokens)


def test_flops_of_the_papers_layer_equal_those_that_torch_counts() -> None:
    shape = Shape(1, 768, 12, 3072, vocabulary=10, labels=12)
    model = random_model(shape, [str(number) for number in range(12)], seed=0)
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        model(input_ids=torch.zeros(1, 128, dtype=torch.long))
    assert counter.get_total_flops() == shape.flops(128)


@given(width=st.integers(1, 10_000), density=st.floats(0, 1, exclude_min=True))
def test_kept_neurons_are_the_nearest_whole_number_and_at_least_one(width: int, density: float) -> None:
    kept = kept_neurons(width, density)
    assert 1 <= kept <= width
    assert abs(kept - width * density) <= 0.5 or kept == 1


def test_compact_is_what_its_name_says() -> None:
    assert COMPACT.parameters < MURIL.parameters / 40


def write(folder: Path, **changes: object) -> Path:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}), encoding="utf-8")
    return folder


def test_a_shape_is_read_from_a_config(tmp_path: Path) -> None:
    assert read_shape(write(tmp_path)) == Shape(2, 32, 2, 64, vocabulary=90, labels=3, positions=40)
    assert read_shape(write(tmp_path, id2label=None)).labels == 2, "transformers' own default"


def test_the_config_of_a_real_model_gives_its_shape(tmp_path: Path) -> None:
    shape = Shape(2, 24, 3, 50, vocabulary=33, labels=5, positions=20, token_types=1)
    random_model(shape, list("abcde"), 0).save_pretrained(tmp_path)
    assert read_shape(tmp_path) == shape


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "roberta"}, "'roberta'"),
        ({"model_type": None}, "only 'bert' is supported"),
        ({"hidden_size": "wide"}, "garbles"),
        ({"hidden_size": None}, "garbles"),
        ({"hidden_size": 0}, "cannot be"),
        ({"hidden_size": 33}, "2 heads in 33"),
        ({"num_hidden_layers": -1}, "'layers': -1"),
        ({"vocab_size": float("inf")}, "garbles"),
        ({"id2label": 3}, "garbles"),
    ],
)
def test_a_config_of_something_else_is_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json") as caught:
        read_shape(write(tmp_path, **changes))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"model_type": "bert"}', "\x00", "[" * 100_000])
def test_a_torn_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_shape(tmp_path)


def test_a_missing_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Give a folder with config\.json"):
        read_shape(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_shape(tmp_path)
