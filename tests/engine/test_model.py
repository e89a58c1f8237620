"""Bases in memory: whole ones load, torn ones and ones with code are refused, and heads are fitted to labels."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertForSequenceClassification, BertModel

from engine.errors import CheckpointError
from engine.evaluation import count_parameters
from engine.files.bases import find_base
from engine.model import (
    Loaded,
    head_by_confusion,
    head_by_name,
    load_base,
    load_folder,
    new_head,
    random_model,
    reorder_head,
)
from engine.shapes import COMPACT
from tests.engine.tiny_bert import LABELS, TEXTS, tiny_model, tiny_tokenizer

IDS = torch.tensor([[2, 20, 30, 40, 3]])


def logits(model: BertForSequenceClassification) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits[0]
    return found


def assert_same_logits(first: BertForSequenceClassification, second: BertForSequenceClassification) -> None:
    # not to the last bit: where weights lie in memory decides which instructions multiply them
    torch.testing.assert_close(logits(first), logits(second), atol=1e-6, rtol=1e-5)


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_folder(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def pickle_weights(folder: Path, content: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")


def check_whole(loaded: Loaded) -> None:
    assert loaded.trained
    assert loaded.has_head
    assert not loaded.model.training
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert_same_logits(loaded.model, tiny_model())
    assert tuple(loaded.model.config.id2label.values()) == LABELS
    assert loaded.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()


def test_safetensors_load(checkpoint: Path) -> None:
    check_whole(load_folder(checkpoint))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bin_of_tensors_loads(copied: Path, zipped: bool) -> None:
    pickle_weights(copied, {})
    state = tiny_model().state_dict()
    torch.save(state, copied / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    check_whole(load_folder(copied))


def test_half_precision_weights_are_computed_in_full(copied: Path) -> None:
    path = copied / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    model = load_folder(copied).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(logits(model), logits(tiny_model()), atol=1e-2, rtol=0)


class Evil:
    """Unpickling it would write a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        return (write_text, (str(self.marker), "run"))


def write_text(path: str, text: str) -> int:
    return Path(path).write_text(text)


def test_unpickling_the_evil_file_would_write_the_marker(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "marker")))
    assert (tmp_path / "marker").read_text() == "run"


@pytest.mark.parametrize("kind", ["whole", "hidden among tensors", "old format", "plain pickle"])
def test_a_bin_that_runs_code_is_refused(copied: Path, tmp_path: Path, kind: str) -> None:
    evil = Evil(tmp_path / "marker")
    pickle_weights(copied, evil if kind == "whole" else {**tiny_model().state_dict(), "extra": evil})
    if kind == "old format":
        torch.save({"extra": evil}, copied / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    if kind == "plain pickle":
        (copied / "pytorch_model.bin").write_bytes(pickle.dumps(evil, protocol=2))
    message = refusal(copied)
    assert "pytorch_model.bin holds pickled objects that only running code could load" in message
    assert "safetensors" in message
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("keep", [0, 4, 100, -1000, -1])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_torn_weights_are_refused(copied: Path, name: str, keep: int) -> None:
    if name == "pytorch_model.bin":
        pickle_weights(copied, tiny_model().state_dict())
    path = copied / name
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(copied)
    assert "\n" not in message
    assert "Save it again with save_pretrained." in message


@pytest.mark.parametrize("content", [[1, 2], 3, "text", {"bert.pooler.dense.weight": 3}])
def test_a_bin_of_something_else_is_refused(copied: Path, content: object) -> None:
    pickle_weights(copied, content)
    refusal(copied)


def test_missing_tensors_are_named(copied: Path) -> None:
    path = copied / "model.safetensors"
    tensors = {name: value for name, value in load_file(path).items() if ".layer.1." not in name}
    save_file(tensors, path, metadata={"format": "pt"})
    message = refusal(copied)
    assert "lack 16 tensors, such as bert.encoder.layer.1." in message


def test_tensors_of_another_shape_are_named(copied: Path) -> None:
    change(copied / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    message = refusal(copied)
    assert "model.safetensors does not fit config.json: classifier.bias has the shape (3,)" in message


def test_a_tokenizer_larger_than_the_embedding_is_refused(copied: Path) -> None:
    from engine.texts.tokenization import learn_tokenizer

    learn_tokenizer([*TEXTS, "zebra"], 300, 32).save_pretrained(copied)
    message = refusal(copied)
    assert f"the model only {len(tiny_tokenizer())}" in message
    assert "take both from the same place" in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", ""),
        ("tokenizer.json", '{"version": "1.0", "added_tokens": ['),
        ("tokenizer.json", "[1]"),
        ("tokenizer.json", '{"version": "1.0"}'),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[" * 100_000),
    ],
)
def test_a_torn_tokenizer_is_refused(copied: Path, name: str, text: str) -> None:
    (copied / name).write_text(text)
    assert "The tokenizer in" in refusal(copied)


def test_a_missing_tokenizer_is_not_made_up(copied: Path) -> None:
    (copied / "tokenizer.json").unlink()
    assert "holds no tokenizer" in refusal(copied)


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_act": "nonsense"},
        {"num_attention_heads": 5},
        {"max_position_embeddings": "many"},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
    ],
)
def test_a_config_that_cannot_be_built_is_refused(copied: Path, values: dict[str, object]) -> None:
    change(copied / "config.json", **values)
    refusal(copied)


def test_running_out_of_memory_is_no_fault_of_the_file(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(BertForSequenceClassification, "from_pretrained", exhausted)
    with pytest.raises(MemoryError):
        load_folder(copied)


def test_a_checkpoint_without_a_head_says_so(copied: Path) -> None:
    model = tiny_model()
    for headless in (BertModel(model.config), BertForMaskedLM(model.config)):
        headless.save_pretrained(copied)
        loaded = load_folder(copied)
        assert not loaded.has_head
        assert loaded.trained
        ours = loaded.model.bert.encoder.layer[1].output.dense.weight
        theirs = dict(headless.named_parameters())
        name = next(name for name in theirs if name.endswith("encoder.layer.1.output.dense.weight"))
        assert torch.equal(ours, theirs[name])


def test_random_bases_take_labels_and_vocabulary_from_the_data(tmp_path: Path) -> None:
    first = load_base(find_base("compact", tmp_path), LABELS, TEXTS, 7, tmp_path)
    assert not first.trained
    assert not first.has_head
    assert first.model.config.vocab_size == len(first.tokenizer)
    assert first.model.config.hidden_size == COMPACT.hidden_size
    assert tuple(first.model.config.id2label.values()) == LABELS
    again = load_base(find_base("compact", tmp_path), LABELS, TEXTS, 7, tmp_path)
    other = load_base(find_base("compact", tmp_path), LABELS, TEXTS, 8, tmp_path)
    weights = [loaded.model.bert.encoder.layer[3].output.dense.weight for loaded in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_random_weights_leave_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny_model(seed=1)
    assert torch.equal(torch.rand(3), expected)


def named(*labels: str) -> BertForSequenceClassification:
    return tiny_model(labels)


def test_heads_match_by_name() -> None:
    model = named("Sports", "Politics", "खेळ")
    assert head_by_name(model, ["Sports", "Politics", "खेळ"]) == [0, 1, 2]
    assert head_by_name(model, ["खेळ", " politics ", "SPORTS"]) == [2, 1, 0]
    assert head_by_name(model, ["खेळ", "Sports"]) == [2, 0], "a subset"


def test_heads_that_do_not_match_by_name() -> None:
    assert head_by_name(named("a", "b", "c"), ["a", "b", "d"]) is None
    assert head_by_name(named("LABEL_0", "LABEL_1"), ["a", "b"]) is None
    assert head_by_name(named("A", "a", "b"), ["a", "b"]) is None, "two rows of one name"
    assert head_by_name(named("a", "b"), ["a", "A"]) is None, "two labels of one name"


def labelled(*counts: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Turn (row, label, texts) into predicted rows and true labels."""
    predicted = [row for row, _, texts in counts for _ in range(texts)]
    true = [label for _, label, texts in counts for _ in range(texts)]
    return np.array(predicted, dtype=np.int64), np.array(true, dtype=np.int64)


def test_a_clear_confusion_gives_the_rows_of_the_labels() -> None:
    predicted, true = labelled((0, 2, 8), (0, 1, 1), (1, 0, 6), (2, 1, 5), (2, 0, 2))
    assert head_by_confusion(predicted, true, 3) == [1, 2, 0]


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ([(0, 0, 9), (1, 0, 9), (2, 2, 9), (0, 1, 1)], "two rows mean one label"),
        ([(0, 0, 9), (0, 1, 8), (2, 2, 9)], "one row would be two labels"),
        ([(0, 0, 4), (0, 1, 3), (0, 2, 3), (1, 1, 9), (2, 2, 9)], "a row is right less than half of the time"),
        ([(0, 0, 9), (1, 1, 9)], "a row and a label were never seen"),
        ([], "no validation data"),
    ],
)
def test_an_unclear_confusion_gives_nothing(counts: list[tuple[int, int, int]], why: str) -> None:
    predicted, true = labelled(*counts)
    assert head_by_confusion(predicted, true, 3) is None, why


@settings(max_examples=40)
@given(order=st.permutations(range(5)), seed=st.integers(0, 1000))
def test_a_permuted_head_is_found_in_spite_of_noise(order: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    true = np.repeat(np.arange(5), 20)
    predicted = np.array(order)[true]
    wrong = np.concatenate([np.arange(label * 20, label * 20 + 3) for label in range(5)])
    predicted[wrong] = generator.integers(0, 5, len(wrong))
    assert head_by_confusion(predicted, true, 5) == order


def test_reordering_permutes_the_logits() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([0.5, -1.0, 2.0]))
    before = logits(model)
    reorder_head(model, [2, 0], ["Tech", "खेळ"])
    torch.testing.assert_close(logits(model), before[[2, 0]])
    assert model.config.id2label == {0: "Tech", 1: "खेळ"}
    assert model.config.label2id == {"Tech": 0, "खेळ": 1}
    assert model.config.num_labels == model.num_labels == 2
    assert model(input_ids=IDS, labels=torch.tensor([1])).loss.isfinite()


def test_a_reordered_head_survives_saving(tmp_path: Path) -> None:
    from engine.checkpoints import save_model

    model = tiny_model()
    reorder_head(model, [2, 0, 1], [LABELS[2], LABELS[0], LABELS[1]])
    save_model(tmp_path / "model", model, tiny_tokenizer())
    loaded = load_folder(tmp_path / "model")
    assert_same_logits(loaded.model, model)
    assert head_by_name(loaded.model, LABELS) == [1, 2, 0]


def test_a_new_head_is_the_same_for_the_same_seed() -> None:
    first, again, other = tiny_model(), tiny_model(), tiny_model()
    labels = ["a", "b", "c", "d"]
    new_head(first, labels, 3)
    torch.rand(5)  # whatever else draws random numbers
    new_head(again, labels, 3)
    new_head(other, labels, 4)
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.classifier.weight.shape == (4, 32)
    assert bool((first.classifier.bias == 0).all())
    assert float(first.classifier.weight.detach().std()) == pytest.approx(0.02, rel=0.3)
    assert first.config.id2label == dict(enumerate(labels))
    assert count_parameters(first) == count_parameters(random_model_with(4))


def random_model_with(labels: int) -> BertForSequenceClassification:
    from engine.shapes import Shape

    shape = Shape(2, 32, 2, 64, vocabulary=len(tiny_tokenizer()), labels=labels, positions=32)
    return random_model(shape, [str(number) for number in range(labels)], 0)
