"""MuRIL's shape with the vocabulary of one dataset: the counting, the stand-in, and tokenizers from folders and the hub."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from engine.bench import vocabulary_demo
from engine.bench.vocabulary_demo import learn_stand_in, read_translations, vocabulary_report
from engine.config import PAPER_MODEL
from engine.errors import CheckpointError
from engine.methods.vocabulary import trim_embedding
from engine.model import random_model
from engine.shapes import MURIL
from tests.engine.hub import Hub
from tests.engine.tiny_bert import TEXTS, tiny_checkpoint, tiny_tokenizer


def test_a_tokenizer_folder_is_counted(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    report = vocabulary_report(str(tmp_path / "tokenizer"), TEXTS[:2], tmp_path)
    used = {piece for text in TEXTS[:2] for piece in tokenizer.tokenize(text)}
    single = {piece for piece in tokenizer.get_vocab() if len(piece.removeprefix("##")) == 1}
    assert report["tokens"] == len(tokenizer)
    assert report["tokens_kept"] == len(used | single) + 5
    assert report["of_these_single_characters"] == len(single)
    assert report["parameters"] == 237_565_452
    assert report["parameters_pruned"] == 195_070_476
    kept = report["tokens_kept"]
    assert report["parameters_pruned_and_trimmed"] == 195_070_476 - (197_285 - kept) * 768
    assert (report["stand_in"], report["within_limit"], report["texts"]) == (False, True, 2)


def test_the_count_is_that_of_a_real_model() -> None:
    """Two layers of MuRIL's width, made and trimmed for real."""
    shape = replace(MURIL, layers=2, vocabulary=500).pruned(0.25)
    model = random_model(shape, [f"label {number}" for number in range(12)], seed=0)
    trim_embedding(model, range(0, 500, 5))
    assert sum(weight.numel() for weight in model.parameters()) == replace(shape, vocabulary=100).parameters


def test_too_many_tokens_are_not_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_tokenizer().save_pretrained(tmp_path)
    smallest = vocabulary_report(str(tmp_path), TEXTS, tmp_path)["parameters_pruned_and_trimmed"]
    monkeypatch.setattr(vocabulary_demo, "LIMIT", smallest)
    assert vocabulary_report(str(tmp_path), TEXTS, tmp_path)["within_limit"]
    monkeypatch.setattr(vocabulary_demo, "LIMIT", smallest - 1)
    assert not vocabulary_report(str(tmp_path), TEXTS, tmp_path)["within_limit"]


def test_the_papers_model_comes_from_the_hub_without_its_weights(hub: Hub, tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "served")
    hub.models[PAPER_MODEL] = tmp_path / "served"
    report = vocabulary_report(PAPER_MODEL, TEXTS, tmp_path / "home")
    assert report["tokenizer"] == PAPER_MODEL
    assert report["tokens"] == len(tiny_tokenizer())
    assert "tokenizer.json" in hub.fetched()
    assert not any(name.endswith((".safetensors", ".bin")) for name in hub.fetched())


def test_code_from_the_hub_is_refused(hub: Hub, tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "served")
    (tmp_path / "served" / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "x.Y"}}')
    hub.models[PAPER_MODEL] = tmp_path / "served"
    with pytest.raises(CheckpointError, match="auto_map"):
        vocabulary_report(PAPER_MODEL, TEXTS, tmp_path / "home")


@pytest.mark.parametrize(
    ("source", "message"), [("compact", "no tokenizer of its own"), ("nowhere", "no base model 'nowhere'")]
)
def test_what_has_no_tokenizer_is_refused(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        vocabulary_report(source, TEXTS, tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        vocabulary_report(str(tmp_path), TEXTS, tmp_path)


def test_the_stand_in_knows_many_scripts_and_the_texts() -> None:
    tokenizer = learn_stand_in(TEXTS, tokens=300)
    characters = set("".join(tokenizer.get_vocab()))
    for letter in "मதবωжعא中":
        assert letter in characters, letter
    assert all(tokenizer.unk_token not in tokenizer.tokenize(text) for text in TEXTS)


@pytest.mark.parametrize("order", ["<", ">"])
def test_translations_are_read_in_either_byte_order(order: str) -> None:
    pairs = [(b"", b"Content-Type: text/plain; charset=UTF-8\n"), (b"India", "भारत".encode()), (b"a\0b", b"c\0d")]
    table, strings = 28, 28 + 16 * len(pairs)
    blob, entries = b"", {0: b"", 1: b""}
    for side in (0, 1):
        for pair in pairs:
            entries[side] += struct.pack(f"{order}2I", len(pair[side]), strings + len(blob))
            blob += pair[side] + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(pairs), table, table + 8 * len(pairs), 0, strings)
    assert list(read_translations(head + entries[0] + entries[1] + blob)) == ["भारत", "c", "d"]
