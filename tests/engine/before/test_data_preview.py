"""What is said of a dataset before a run: the same splits, and how long its texts are."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.before import data_preview
from engine.before.data_preview import describe_lengths, measure_lengths, preview_data, token_counter
from engine.config import DataConfig
from engine.data import load_data
from engine.errors import CheckpointError
from engine.home import REPOSITORY
from engine.texts.tokenization import encode
from tests.engine.tiny_bert import TEXTS, tiny_checkpoint, tiny_tokenizer


def test_the_preview_is_what_a_run_will_see(tmp_path: Path) -> None:
    config = DataConfig(max_length=16)
    found = preview_data(config, 3, "starter", tmp_path)
    data = load_data(config, 3, tmp_path)
    assert found.report == data.report
    assert found.why_words == ""
    lengths = found.lengths
    assert (lengths.unit, lengths.texts, lengths.max_length) == ("tokens", len(data.train.texts), 16)
    assert 0 < lengths.p50 <= lengths.p95 <= lengths.longest


def test_tokens_are_counted_as_training_counts_them(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "model")
    texts = [*TEXTS, " ".join(TEXTS * 30), "🙂 abc", ""]
    ids = encode(tiny_tokenizer(), texts, 10_000)
    assert token_counter(str(tmp_path / "model"), tmp_path)(texts) == [len(tokens) for tokens in ids]


def test_chunks_change_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_checkpoint(tmp_path / "model")
    count = token_counter(str(tmp_path / "model"), tmp_path)
    whole = count(TEXTS)
    monkeypatch.setattr(data_preview, "_CHUNK", 2)
    assert count(TEXTS) == whole


@pytest.mark.parametrize(
    ("base", "why"),
    [("compact", "learns its tokenizer"), ("owner/model", "comes with its download"), ("nothing", "no base model")],
)
def test_without_a_tokenizer_lengths_are_in_words_and_it_is_said(tmp_path: Path, base: str, why: str) -> None:
    found = preview_data(DataConfig(max_length=8), 0, base, tmp_path)
    texts = load_data(DataConfig(), 0, tmp_path).train.texts
    assert why in found.why_words
    assert found.lengths.unit == "words"
    assert found.lengths.over == sum(len(text.split()) > 6 for text in texts), "two places go to [CLS] and [SEP]"
    assert "at least" in found.lengths_said.lower()


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    tiny_checkpoint(tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read"):
        token_counter(str(tmp_path / "model"), tmp_path)
    path.unlink()
    (tmp_path / "model" / "vocab.txt").write_text("[PAD]\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        token_counter(str(tmp_path / "model"), tmp_path)


def test_quantiles_and_too_long_texts_are_counted() -> None:
    found = measure_lengths(["x" * number for number in range(1, 101)], 90, lambda texts: [len(text) for text in texts])
    assert (found.p50, found.p95, found.longest, found.characters_p50, found.over) == (50, 95, 100, 50, 10)
    said = describe_lengths(found)
    assert "10 of 100 (10.0 %) are longer than the maximum length of 90 tokens" in said
    assert "Measured on" not in said
    one = measure_lengths(["अ"], 2, lambda texts: [2])
    assert (one.p50, one.p95, one.longest, one.over) == (2, 2, 2, 0)
    assert "None is longer" in describe_lengths(one)


def test_of_very_many_texts_a_sample_is_looked_at_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_preview, "SAMPLE", 100)
    asked: list[int] = []

    def count(texts: object) -> list[int]:
        assert isinstance(texts, list)
        asked.append(len(texts))
        return [len(text) for text in texts]

    texts = ["x" * 20 if number >= 500 else "x" for number in range(1000)]
    found = measure_lengths(texts, 10, count)
    assert asked == [100]
    assert (found.texts, found.looked_at, found.over, found.sampled) == (1000, 100, 500, True), (
        "from all over the texts"
    )
    said = describe_lengths(found)
    assert "About 500 of 1,000" in said
    assert "Measured on 100 of 1,000 texts" in said


def test_a_preview_needs_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from engine.config import DataConfig;"
        "from engine.before.data_preview import preview_data;"
        f"preview_data(DataConfig(), 0, 'starter', Path({str(tmp_path)!r}));"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
