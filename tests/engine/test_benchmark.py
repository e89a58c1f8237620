"""Latency of pruned shapes: what is reported, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import benchmark
from engine.benchmark import BenchSettings, commit, run_bench
from engine.errors import CheckpointError, ConfigError
from engine.shapes import Shape, read_shape
from tests.engine.tiny_bert import tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "model"
    tiny_checkpoint(path)
    return path


def bench(folder: Path | str, home: Path, **changes: Any) -> dict[str, Any]:
    values = {"model": str(folder), "batch_size": 2, "sequence_length": 16, "rounds": 3, "device": "cpu"}
    return run_bench(BenchSettings(**{**values, **changes}), home)


def wrong(folder: Path | str, home: Path, **changes: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        bench(folder, home, **changes)
    return caught.value.fields


def test_levels_are_measured_beside_the_dense_shape(folder: Path, tmp_path: Path) -> None:
    result = bench(folder, tmp_path)
    shape = read_shape(folder)
    rows = result["rows"]
    assert [row["level"] for row in rows] == [0.0, 0.25, 0.5, 0.75]
    assert [row["intermediate_size"] for row in rows] == [64, 48, 32, 16]
    for row in rows:
        smaller = shape.pruned(1 - row["level"])
        assert row["parameters"] == smaller.parameters
        assert row["size_bytes"] == smaller.size_bytes()
        assert row["flops"] == smaller.flops(16)
        assert row["speedup_ceiling"] == pytest.approx(shape.speedup_ceiling(smaller, 16))
        latency = row["latency_ms"]
        assert (latency["batch_size"], latency["sequence_length"]) == (2, 16)
        assert 0 < latency["min"] <= latency["p50"] <= latency["p95"]
        assert row["speedup"] == pytest.approx(rows[0]["latency_ms"]["p50"] / latency["p50"])
    assert rows[0]["speedup"] == 1.0
    assert rows[0]["speedup_ceiling"] == 1.0


def test_a_result_says_how_it_came_about(folder: Path, tmp_path: Path) -> None:
    result = bench(folder, tmp_path, levels=(0.5,), precision="bf16")
    assert json.loads(json.dumps(result))["settings"] == {
        "model": str(folder),
        "levels": [0.5],
        "batch_size": 2,
        "sequence_length": 16,
        "precision": "bf16",
        "device": "cpu",
        "threads": 1,
        "rounds": 3,
    }
    assert (result["device"], result["precision"]) == ("cpu", "bf16")
    assert result["device_name"].endswith("1 threads")
    assert result["versions"]["torch"] == torch.__version__.partition("+")[0] or "+" in result["versions"]["torch"]
    shape = read_shape(folder).pruned(0.5)
    (row,) = result["rows"]
    assert row["size_bytes"] == shape.size_bytes(2), "two bytes a parameter"
    assert row["speedup_ceiling"] > 1, "against a dense shape that is measured though not listed"


def test_every_round_is_counted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[list[float]] = []
    real = benchmark.measure_latency

    def counted(models: Any, length: int, **options: Any) -> Any:
        monkeypatch.setattr("engine.evaluation._time_once", lambda model, ids, device: float(len(rounds)))
        monkeypatch.setattr(
            "engine.evaluation._latency", lambda values, *rest: rounds.append(values) or real_latency([1.0], *rest)
        )
        return real(models, length, **options)

    from engine.evaluation import _latency as real_latency

    monkeypatch.setattr(benchmark, "measure_latency", counted)
    bench(folder, tmp_path, rounds=250, levels=(0.0, 0.5))
    assert [len(values) for values in rounds] == [250, 250]


def test_threads_are_set_for_the_measurement_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    real = benchmark.measure_latency

    def noted(*args: Any, **options: Any) -> Any:
        seen.append(torch.get_num_threads())
        return real(*args, **options)

    monkeypatch.setattr(benchmark, "measure_latency", noted)
    bench(folder, tmp_path, threads=2, levels=(0.0,))
    assert seen == [2]
    assert torch.get_num_threads() == before

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("stop")

    monkeypatch.setattr(benchmark, "measure_latency", fail)
    with pytest.raises(RuntimeError, match="stop"):
        bench(folder, tmp_path, threads=2)
    assert torch.get_num_threads() == before


def test_random_shapes_need_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Shape(1, 16, 2, 32, vocabulary=50, labels=3, positions=32)
    monkeypatch.setattr("engine.bases.MURIL", small)
    (row,) = bench("muril-shape", tmp_path, levels=(0.25,))["rows"]
    assert row["parameters"] == small.pruned(0.75).parameters


def test_wrong_settings_come_at_once(folder: Path, tmp_path: Path) -> None:
    found = wrong(
        folder,
        tmp_path,
        levels=(0.5, 1.0, -0.1, float("nan")),
        batch_size=0,
        sequence_length=-1,
        threads=0,
        rounds=0,
        precision="fp8",
        device="gpu",
    )
    assert found == {
        "levels": "Pruning level is 1, -0.1, nan; it must be at least 0 and below 1. Try 0.25.",
        "batch_size": "Batch size is 0; it must be at least 1.",
        "sequence_length": "Sequence length is -1; it must be at least 1.",
        "threads": "Threads is 0; it must be at least 1.",
        "rounds": "Rounds is 0; it must be at least 1.",
        "precision": "Precision is 'fp8'; it must be one of auto, fp16, bf16, fp32. Try fp32.",
        "device": "Device is 'gpu'; it must be auto, cpu, cuda or cuda:N. Try auto.",
    }


def test_settings_that_do_not_fit_model_or_machine(folder: Path, tmp_path: Path) -> None:
    assert list(wrong(folder, tmp_path, levels=())) == ["levels"]
    assert wrong(folder, tmp_path, sequence_length=33) == {
        "sequence_length": "Sequence length is 33; the model reads at most 32."
    }
    assert list(wrong(folder, tmp_path, precision="fp16")) == ["training.precision"]
    assert list(wrong(folder, tmp_path, device="cuda:9")) == ["training.device"]


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no base model 'nothing'"):
        bench("nothing", tmp_path)


def test_the_commit_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "REPOSITORY", tmp_path)
    assert commit() is None, "no checkout at all"
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit() is None, "a branch without a commit"
    (git / "packed-refs").write_text(
        f"# pack-refs with: peeled\n{'b' * 40} refs/heads/xmain\n{'a' * 40} refs/heads/main\n"
    )
    assert commit() == "a" * 40
    (git / "refs" / "heads" / "main").write_text(f"{'c' * 40}\n")
    assert commit() == "c" * 40
    (git / "HEAD").write_text(f"{'d' * 40}\n")
    assert commit() == "d" * 40
