"""The benchmark: what is reported and how it is reckoned; never how long anything takes."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import evaluation
from engine.bench import benchmark
from engine.bench import latency as bench_latency
from engine.bench.benchmark import commit, is_dirty, run_bench
from engine.bench.models import (
    Variant,
    dense_model,
    make_variant,
    variants,
)
from engine.bench.settings import BenchSettings
from engine.bench.tables import print_bench
from engine.compaction import layer_sizes
from engine.errors import CheckpointError, ConfigError
from engine.shapes import Shape, read_shape
from tests.engine.small_bench import CPU, SHAPE, FakeClock, bench, settings_of


@pytest.fixture(scope="module")
def everything(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Measure all that needs no large vocabulary, once."""
    return bench(
        checkpoint,
        tmp_path_factory.mktemp("home"),
        sections=("latency", "step", "run", "throughput"),
        shapes=((1, 16),),
        precisions=("fp32", "bf16"),
    )


def test_a_result_says_how_it_came_about(everything: dict[str, Any], checkpoint: Path) -> None:
    result = json.loads(json.dumps(everything))
    assert result["settings"]["model"] == str(checkpoint)
    assert result["settings"]["shapes"] == [[1, 16]]
    assert (result["device"], result["precisions"], result["threads"]) == ("cpu", ["fp32", "bf16"], 1)
    assert result["device_name"].endswith("1 thread")
    assert result["versions"]["torch"] == torch.__version__.partition("+")[0] or "+" in result["versions"]["torch"]
    assert {"commit", "dirty"} <= set(result)
    assert list(result["sections"]) == ["latency", "step", "run", "throughput"]


def test_every_section_has_its_tables(everything: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    print_bench(everything)
    shown = capsys.readouterr().out
    for words in (
        "1 heads, 16",
        "FLOPs ceiling",
        "Tokenization",
        "nn_pruning, FFN",
        "made smaller",
        "dense fine-tuning",
    ):
        assert words in shown
    assert "smaller from step 7" in shown


def test_threads_are_set_for_the_measurement_only(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def noted(*_: Any) -> None:
        seen.append(torch.get_num_threads())
        raise RuntimeError("stop")

    monkeypatch.setattr(benchmark, "measure_latencies", noted)
    with pytest.raises(RuntimeError, match="stop"):
        bench(checkpoint, tmp_path, threads=before + 1)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_only_what_is_asked_for_is_measured_and_told(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    asked: list[Any] = []

    def report(tokenizer: str | None, texts: Sequence[str], home: Path) -> dict[str, Any]:
        asked.extend((tokenizer, len(texts), home))
        return {"tokens_kept": 7}

    monkeypatch.setattr(benchmark, "vocabulary_report", report)
    result = run_bench(
        settings_of(checkpoint, sections=("vocabulary",), tokenizer="some/where"), tmp_path, heard.append
    )
    assert result["sections"] == {"vocabulary": {"data": "starter", "tokens_kept": 7}}
    assert asked == ["some/where", 10204, tmp_path], "the training split alone"
    assert [words.partition(":")[0] for words in heard] == ["vocabulary"]


def test_settings_that_do_not_fit_model_or_machine(checkpoint: Path, tmp_path: Path) -> None:
    def wrong(**changes: Any) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            bench(checkpoint, tmp_path, **changes)
        return caught.value.fields

    assert list(wrong(rounds=0, levels=(2.0,))) == ["levels", "rounds"]
    assert list(wrong(sequence_lengths=(33,), shapes=((3, 5),))) == ["sequence_lengths", "shapes"]
    assert list(wrong(precisions=("fp16",))) == ["training.precision"]
    assert list(wrong(device="cuda:9")) == ["training.device"]
    with pytest.raises(CheckpointError, match="There is no base model 'nothing'"):
        bench("nothing", tmp_path)


def test_the_commit_of_a_checkout_and_whether_it_is_what_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "REPOSITORY", tmp_path)
    assert commit() is None, "no checkout at all"
    assert is_dirty() is None

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init")
    assert commit() is None, "no commit yet"
    (tmp_path / "code.py").write_text("1\n")
    assert is_dirty() is True
    git("add", "code.py")
    git("commit", "-m", "one")
    assert commit() == git("rev-parse", "HEAD")
    assert is_dirty() is False
    (tmp_path / "code.py").write_text("2\n")
    assert is_dirty() is True
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() is None, "no git"
    assert is_dirty() is None


def test_levels_and_shapes_become_models_of_these_sizes() -> None:
    found = variants(BenchSettings(levels=(0.0, 0.25, 0.75), shapes=((2, 16),)), SHAPE)
    assert found == [
        Variant("dense", 0.0, 4, 64),
        Variant("25 %", 0.25, 4, 48),
        Variant("75 %", 0.75, 4, 16),
        Variant("2 heads, 16 neurons", None, 2, 16),
    ]
    dense = dense_model(SHAPE, CPU)
    assert make_variant(dense, found[0]) is dense
    for variant in found[1:]:
        assert layer_sizes(make_variant(dense, variant)) == [(variant.heads, variant.neurons)] * 2
    assert layer_sizes(dense) == [(4, 64)] * 2


def test_parameters_bytes_and_ceilings_are_those_of_the_shapes(everything: dict[str, Any], checkpoint: Path) -> None:
    shape = read_shape(checkpoint)
    rows = everything["sections"]["latency"]["rows"]
    names = ["dense", "25 %", "50 %", "75 %", "1 heads, 16 neurons"]
    assert [(row["precision"], row["name"]) for row in rows] == [(p, name) for p in ("fp32", "bf16") for name in names]
    for row in rows:
        assert (row["batch_size"], row["sequence_length"]) == (2, 16)
        if row["level"] is None:
            continue
        smaller = shape.pruned(1 - row["level"])
        assert row["intermediate_size"] == smaller.intermediate_size
        assert row["parameters"] == smaller.parameters
        assert row["size_bytes"] == smaller.size_bytes(4 if row["precision"] == "fp32" else 2)
        assert row["flops"] == smaller.flops(16)
        assert row["speedup_ceiling"] == pytest.approx(shape.speedup_ceiling(smaller, 16))
    head, narrow = rows[4], rows[3]
    without_a_head = 2 * (4 * 32 * 16 + 3 * 16)  # two layers, four matrices, and the biases of query, key and value
    assert head["parameters"] == narrow["parameters"] - without_a_head
    assert head["speedup_ceiling"] > narrow["speedup_ceiling"] > 1


def test_half_the_heads_and_a_quarter_of_the_neurons_of_bert_base_have_the_known_ceiling() -> None:
    layers = Shape(1, 768, 12, 3072, vocabulary=10, labels=12, positions=128)
    dense = dense_model(layers, CPU)
    small = make_variant(dense, Variant("small", None, 6, 768))
    ceiling = evaluation.count_flops(dense, 128) / evaluation.count_flops(small, 128)
    assert ceiling == pytest.approx(2.96, abs=0.01)


def test_speed_ups_are_within_a_precision_and_gains_of_precision_within_a_model(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(evaluation, "time_in_turns", clock)
    monkeypatch.setattr(bench_latency, "time_in_turns", FakeClock())
    changes = {"levels": (0.5,), "precisions": ("fp32", "bf16"), "batch_sizes": (1, 2), "sequence_lengths": (8, 16)}
    section = bench(checkpoint, tmp_path, **changes)["sections"]["latency"]
    assert clock.seen == [4, 4, 4, 4], "both shapes in both precisions in turns, at each of four sizes"
    rows = section["rows"]
    assert [(row["batch_size"], row["sequence_length"]) for row in rows[::4]] == [(1, 8), (1, 16), (2, 8), (2, 16)]
    assert [row["latency_ms"]["p50"] for row in rows[:4]] == [1.0, 2.0, 3.0, 4.0]
    assert [row["speedup"] for row in rows[:4]] == [1.0, 1 / 2, 1.0, 3 / 4]
    assert rows[1]["share_of_ceiling"] == pytest.approx(0.5 / rows[1]["speedup_ceiling"])
    assert rows[0]["latency_ms"]["batch_size"] == 1
    gains = section["precision_gains"]
    assert [(gain["name"], gain["precision"], gain["gain"]) for gain in gains[:2]] == [
        ("dense", "bf16", 1 / 3),
        ("50 %", "bf16", 2 / 4),
    ]
    assert len(gains) == 8


def test_padding_compares_the_same_texts_at_their_lengths_and_filled_up(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[dict[str, Tensor]]] = []
    real = bench_latency._forward
    monkeypatch.setattr(bench_latency, "_forward", lambda model, inputs: batches.append(inputs) or real(model, inputs))
    monkeypatch.setattr(bench_latency, "time_in_turns", FakeClock())
    section = bench(checkpoint, tmp_path, levels=(), batch_sizes=(8,), sequence_lengths=(32,))["sections"]["latency"]
    (row,) = section["padding"]
    plain, filled = batches
    assert sum(len(batch["input_ids"]) for batch in plain) == row["texts"] == bench_latency.CORPUS_TEXTS
    assert [batch["input_ids"].shape[1] for batch in filled] == [32] * 4
    assert all(batch["attention_mask"].shape == batch["input_ids"].shape for batch in filled)
    tokens = sum(int(batch["attention_mask"].sum()) for batch in filled)
    assert row["mean_tokens"] == tokens / 32
    assert row["gain"] == 2.0, "the second took twice as long"
    assert row["real_ms_per_text"]["p50"] == 1 / 32
    shape = read_shape(checkpoint)
    needed = sum(len(batch["input_ids"]) * shape.flops(batch["input_ids"].shape[1]) for batch in plain)
    assert row["gain_ceiling"] == pytest.approx(32 * shape.flops(32) / needed)
    assert section["tokenization"]["ms_per_text"]["p50"] == 1 / 32


def test_random_shapes_need_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Shape(1, 16, 2, 32, vocabulary=50, labels=3, positions=32)
    monkeypatch.setattr("engine.files.bases.MURIL", small)
    _, row = bench("muril-shape", tmp_path, levels=(0.25,))["sections"]["latency"]["rows"]
    assert row["parameters"] == small.pruned(0.75).parameters
