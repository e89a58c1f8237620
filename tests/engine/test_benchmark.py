"""The benchmark: what is reported and how it is reckoned; never how long anything takes."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import bench_latency, bench_run, bench_steps, bench_throughput, benchmark, evaluation
from engine.bench_models import (
    STEP_VOCABULARY,
    TrainingStep,
    Variant,
    dense_model,
    make_variant,
    random_texts,
    variants,
)
from engine.bench_settings import BenchSettings
from engine.bench_steps import MaskedStep, measure_steps, step_shape
from engine.bench_tables import print_bench
from engine.benchmark import commit, is_dirty, run_bench
from engine.compaction import layer_sizes
from engine.config import DistillationConfig, PruningConfig, RunConfig
from engine.errors import CheckpointError, ConfigError
from engine.pruning import DensitySchedule
from engine.shapes import MURIL, Shape, read_shape
from tests.engine.tiny_bert import tiny_checkpoint

CPU = torch.device("cpu")
SHAPE = Shape(2, 32, 4, 64, vocabulary=50, labels=3, positions=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "model"
    tiny_checkpoint(path)
    return path


def settings_of(folder: Path | str, **changes: Any) -> BenchSettings:
    values = {"batch_sizes": (2,), "sequence_lengths": (16,), "rounds": 2, "step_rounds": 1, "run_steps": 10}
    return BenchSettings(**{"model": str(folder), "device": "cpu", **values, **changes})


def bench(folder: Path | str, home: Path, **changes: Any) -> dict[str, Any]:
    return run_bench(settings_of(folder, **changes), home)


@pytest.fixture(scope="module")
def everything(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Measure all that needs no large vocabulary, once."""
    return bench(
        folder,
        tmp_path_factory.mktemp("home"),
        sections=("latency", "step", "run", "throughput"),
        shapes=((1, 16),),
        precisions=("fp32", "bf16"),
    )


class FakeClock:
    """Calls each work once and says that the n-th took n + 1 ms in every round."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(
        self, works: Sequence[Callable[[], object]], device: torch.device, **options: Any
    ) -> list[list[float]]:
        for work in works:
            work()
        self.seen.append(len(works))
        return [[number + 1.0] * options["min_rounds"] for number in range(len(works))]


# What is said about every result


def test_a_result_says_how_it_came_about(everything: dict[str, Any], folder: Path) -> None:
    result = json.loads(json.dumps(everything))
    assert result["settings"]["model"] == str(folder)
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
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def noted(*_: Any) -> None:
        seen.append(torch.get_num_threads())
        raise RuntimeError("stop")

    monkeypatch.setattr(benchmark, "measure_latencies", noted)
    with pytest.raises(RuntimeError, match="stop"):
        bench(folder, tmp_path, threads=before + 1)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_only_what_is_asked_for_is_measured_and_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    asked: list[Any] = []

    def report(tokenizer: str | None, texts: Sequence[str], home: Path) -> dict[str, Any]:
        asked.extend((tokenizer, len(texts), home))
        return {"tokens_kept": 7}

    monkeypatch.setattr(benchmark, "vocabulary_report", report)
    result = run_bench(settings_of(folder, sections=("vocabulary",), tokenizer="some/where"), tmp_path, heard.append)
    assert result["sections"] == {"vocabulary": {"data": "starter", "tokens_kept": 7}}
    assert asked == ["some/where", 10204, tmp_path], "the training split alone"
    assert [words.partition(":")[0] for words in heard] == ["vocabulary"]


def test_settings_that_do_not_fit_model_or_machine(folder: Path, tmp_path: Path) -> None:
    def wrong(**changes: Any) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            bench(folder, tmp_path, **changes)
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


# The shapes


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


def test_steps_are_measured_on_the_same_layers_with_a_small_vocabulary(tmp_path: Path) -> None:
    shape = step_shape(BenchSettings(model="muril-shape", layers=3), tmp_path)
    assert (shape.layers, shape.hidden_size, shape.intermediate_size) == (3, MURIL.hidden_size, MURIL.intermediate_size)
    assert shape.vocabulary == STEP_VOCABULARY


# Latency


def test_parameters_bytes_and_ceilings_are_those_of_the_shapes(everything: dict[str, Any], folder: Path) -> None:
    shape = read_shape(folder)
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
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(evaluation, "time_in_turns", clock)
    monkeypatch.setattr(bench_latency, "time_in_turns", FakeClock())
    changes = {"levels": (0.5,), "precisions": ("fp32", "bf16"), "batch_sizes": (1, 2), "sequence_lengths": (8, 16)}
    section = bench(folder, tmp_path, **changes)["sections"]["latency"]
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
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[dict[str, Tensor]]] = []
    real = bench_latency._forward
    monkeypatch.setattr(bench_latency, "_forward", lambda model, inputs: batches.append(inputs) or real(model, inputs))
    monkeypatch.setattr(bench_latency, "time_in_turns", FakeClock())
    section = bench(folder, tmp_path, levels=(), batch_sizes=(8,), sequence_lengths=(32,))["sections"]["latency"]
    (row,) = section["padding"]
    plain, filled = batches
    assert sum(len(batch["input_ids"]) for batch in plain) == row["texts"] == bench_latency.CORPUS_TEXTS
    assert [batch["input_ids"].shape[1] for batch in filled] == [32] * 4
    assert all(batch["attention_mask"].shape == batch["input_ids"].shape for batch in filled)
    tokens = sum(int(batch["attention_mask"].sum()) for batch in filled)
    assert row["mean_tokens"] == tokens / 32
    assert row["gain"] == 2.0, "the second took twice as long"
    assert row["real_ms_per_text"]["p50"] == 1 / 32
    shape = read_shape(folder)
    needed = sum(len(batch["input_ids"]) * shape.flops(batch["input_ids"].shape[1]) for batch in plain)
    assert row["gain_ceiling"] == pytest.approx(32 * shape.flops(32) / needed)
    assert section["tokenization"]["ms_per_text"]["p50"] == 1 / 32


def test_random_shapes_need_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Shape(1, 16, 2, 32, vocabulary=50, labels=3, positions=32)
    monkeypatch.setattr("engine.bases.MURIL", small)
    _, row = bench("muril-shape", tmp_path, levels=(0.25,))["sections"]["latency"]["rows"]
    assert row["parameters"] == small.pruned(0.75).parameters


# A training step


def test_a_step_learns_clips_and_leaves_no_gradient() -> None:
    model = dense_model(SHAPE, CPU)
    before = {name: value.clone() for name, value in model.named_parameters()}
    step = TrainingStep(model, RunConfig(), "fp32")
    step(*random_texts(SHAPE, 4, 8, CPU))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    moved = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) == len(before)


def test_a_step_learns_from_teacher_and_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, labels = random_texts(SHAPE, 4, 8, CPU)
    losses: list[float] = []
    real = torch.autograd.backward
    monkeypatch.setattr(torch.autograd, "backward", lambda loss: losses.append(float(loss.detach())) or real(loss))

    def loss_with(**more: Any) -> float:
        config = RunConfig(distillation=DistillationConfig(distillation_weight=0.5))
        model = dense_model(SHAPE, CPU)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        TrainingStep(model, config, "fp32")(ids, labels, **more)
        return losses[-1]

    plain = loss_with()
    assert loss_with(penalty=torch.tensor(2.0)) == pytest.approx(plain + 2.0)
    own = dense_model(SHAPE, CPU)(input_ids=ids).logits.detach()
    assert loss_with(teacher=own) == pytest.approx(plain / 2, rel=1e-4), "nothing to learn from itself"


@pytest.mark.parametrize("method", ["block-movement", "hybrid", "soft-cutoff"])
def test_masks_are_at_the_density_that_is_timed_and_scores_learn(method: str) -> None:
    model = dense_model(SHAPE, CPU)
    step = MaskedStep(model, method, 0.25, "fp32")
    texts = random_texts(SHAPE, 4, 8, CPU)
    for density in (1.0, 0.5, 0.25, 1.0):
        step(density, *texts)
        assert step.pruner.density == pytest.approx(density)
        kept = sum(len(layer.neurons) for layer in step.pruner.kept())
        assert kept == density * 128
    scores = [parameter for name, parameter in model.named_parameters() if name.endswith("mask_scores")]
    assert scores
    assert all(bool((score != 0).any()) for score in scores)


def test_all_kinds_of_step_alternate_in_one_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(bench_steps, "time_in_turns", clock)
    changes = {"densities": (1.0, 0.5), "step_rounds": 4}
    section = measure_steps(settings_of(folder, **changes), tmp_path, CPU, "fp32")
    found = [(row["name"], row["density"], row["ratio"]) for row in section["rows"]]
    assert found == [
        ("dense", 1.0, 1.0),
        ("Block movement, ours", 1.0, 2.0),
        ("Block movement, ours", 0.5, 3.0),
        ("Hybrid, ours", 1.0, 4.0),
        ("Hybrid, ours", 0.5, 5.0),
        ("nn_pruning, FFN", 0.5, 6.0),
        ("nn_pruning, FFN and attention", 0.5, 7.0),
    ]
    assert [row["name"] for row in section["inference"]] == [
        "dense",
        "FFN, ours made smaller",
        "nn_pruning, FFN",
        "nn_pruning, FFN and attention",
    ]
    assert clock.seen == [7, 4]
    only = measure_steps(settings_of(folder, methods=("block-movement",), densities=(0.5,)), tmp_path, CPU, "fp32")
    assert [row["name"] for row in only["rows"]] == ["dense", "Block movement, ours", "nn_pruning, FFN"]


# A whole run


def test_a_run_shrinks_when_the_schedule_ends(everything: dict[str, Any]) -> None:
    section = everything["sections"]["run"]
    schedule = DensitySchedule.of(PruningConfig(final_density=0.25), 10)
    assert section["shrunk_at_step"] == schedule.cooldown_start == 7
    assert (section["level"], section["method"], section["steps"]) == (0.75, "block-movement", 10)
    assert [len(times) for times in section["step_ms"].values()] == [10] * 4


def test_runs_take_every_step_in_turns_and_times_add_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    widths: list[int] = []
    taught: list[bool] = []
    real = bench_run.Contestant.__call__

    def noted(self: Any, number: int, ids: Tensor, labels: Tensor, teacher: Tensor | None = None) -> None:
        real(self, number, ids, labels, teacher)
        widths.append(self.student.model.config.intermediate_size)
        taught.append(teacher is not None)

    monkeypatch.setattr(bench_run.Contestant, "__call__", noted)
    monkeypatch.setattr(bench_run, "time_once", lambda work, device: work() or float(next(clock)))
    section = bench_run.measure_run(settings_of(folder, run_steps=6), tmp_path, CPU, "fp32")
    times = section["step_ms"]
    assert times["teacher"] == [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]
    assert times["dense"][:3] == [1.0, 7.0, 9.0], "first, last, first"
    assert times["pruned"][:3] == [2.0, 6.0, 10.0]
    assert times["distilled"][:3] == [3.0, 5.0, 11.0]
    assert section["duration_s"]["dense"] == sum(times["dense"]) / 1000
    assert section["ratio"] == sum(times["pruned"]) / sum(times["dense"])
    assert section["ratio_teacher"] == sum(times["teacher"]) / sum(times["dense"])
    assert taught == [False, False, True, True, False, False] * 3
    assert sorted(widths[-3:]) == [16, 16, 64], "the dense one alone stays as wide"
    assert widths[:3] == [64, 64, 64]


# Throughput


def test_throughput_and_its_share_of_the_peak(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_throughput, "time_in_turns", FakeClock())
    monkeypatch.setattr(bench_throughput, "device_name", lambda device: "Tesla T4")
    counter = iter(range(0, 1000, 36))  # joules
    monkeypatch.setattr(bench_throughput, "energy_counter", lambda device: lambda: float(next(counter)))
    monkeypatch.setattr(bench_throughput, "METERED_S", 0.0)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    looks = iter([0.0, -1.0, 1.0] * 100)  # one pass, then time is up
    monkeypatch.setattr("engine.bench_throughput.time.perf_counter", lambda: next(looks))
    settings = settings_of(folder, levels=(0.5,), batch_sizes=(4,))
    section = bench_throughput.measure_throughput(settings, tmp_path, CPU, ["fp32", "bf16"])
    shape = read_shape(folder)
    assert section["peak_source"].endswith("/tesla-t4/")
    assert [(row["name"], row["precision"]) for row in section["rows"]] == [
        ("dense", "fp32"),
        ("dense", "bf16"),
        ("50 %", "fp32"),
        ("50 %", "bf16"),
    ]
    first, second, small = section["rows"][:3]
    assert first["tokens_per_s"] == 4 * 16 * 1000, "four texts of 16 tokens in a millisecond"
    assert second["tokens_per_s"] == 4 * 16 * 500
    assert first["flops_per_s"] == 3 * shape.flops(16) * 4 * 1000
    assert small["flops_per_s"] == 3 * shape.pruned(0.5).flops(16) * 4 * 1000
    assert first["share_of_peak"] == first["flops_per_s"] / 8.1e12
    assert (second["peak_flops_per_s"], second["share_of_peak"]) == (None, None), "that card knows no bf16"
    assert first["energy_kwh_per_1000_texts"] == pytest.approx(36 / 4 * 1000 / 3.6e6)


def test_a_size_without_memory_has_no_figures_and_ends_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = FakeClock()

    def full(works: Any, device: torch.device, **options: Any) -> Any:
        times = clock(works, device, **options)
        if len(clock.seen) == 1:
            raise torch.OutOfMemoryError("full")
        return times

    monkeypatch.setattr(bench_throughput, "time_in_turns", full)
    result = bench(folder, tmp_path, sections=("throughput",), levels=(), batch_sizes=(4, 2))
    large, small = result["sections"]["throughput"]["rows"]
    assert (large["batch_size"], large["step_ms"], large["tokens_per_s"], large["flops_per_s"]) == (4, None, None, None)
    assert small["tokens_per_s"] == 2 * 16 * 1000
    assert small["energy_kwh_per_1000_texts"] is None, "no counter on a processor"
    assert (small["peak_flops_per_s"], small["share_of_peak"]) == (None, None)
    print_bench(result)
    assert "no memory" in capsys.readouterr().out


def test_the_counter_of_the_card_in_use_is_read_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        uuid = "abc"

    class Refusal(Exception):
        pass

    class Nvml:
        NVMLError = Refusal
        counts = True

        def nvmlInit(self) -> None: ...

        def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
            return uuid

        def nvmlDeviceGetTotalEnergyConsumption(self, card: str) -> int:
            if not self.counts:
                raise Refusal
            return {"GPU-abc": 5000}[card]

    nvml = Nvml()
    monkeypatch.setattr(bench_throughput, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card())
    counter = bench_throughput.energy_counter(torch.device("cuda", 1))
    assert counter is not None
    assert counter() == 5.0
    nvml.counts = False
    assert bench_throughput.energy_counter(torch.device("cuda", 1)) is None
    assert bench_throughput.energy_counter(CPU) is None
