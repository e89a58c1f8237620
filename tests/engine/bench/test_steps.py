"""The benchmark of training steps and whole runs: who takes which step, beside whom, and what times add up to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.bench import run as bench_run
from engine.bench import steps as bench_steps
from engine.bench.models import (
    STEP_VOCABULARY,
    TrainingStep,
    dense_model,
    random_texts,
)
from engine.bench.settings import BenchSettings
from engine.bench.steps import MaskedStep, measure_steps, step_shape
from engine.config import DistillationConfig, PruningConfig, RunConfig
from engine.pruning import DensitySchedule
from engine.shapes import MURIL
from tests.engine.small_bench import CPU, SHAPE, FakeClock, bench, settings_of


def test_steps_are_measured_on_the_same_layers_with_a_small_vocabulary(tmp_path: Path) -> None:
    shape = step_shape(BenchSettings(model="muril-shape", layers=3), tmp_path)
    assert (shape.layers, shape.hidden_size, shape.intermediate_size) == (3, MURIL.hidden_size, MURIL.intermediate_size)
    assert shape.vocabulary == STEP_VOCABULARY


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


def test_all_kinds_of_step_alternate_in_one_run(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(bench_steps, "time_in_turns", clock)
    changes = {"densities": (1.0, 0.5), "step_rounds": 4}
    section = measure_steps(settings_of(checkpoint, **changes), tmp_path, CPU, "fp32")
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
    only = measure_steps(settings_of(checkpoint, methods=("block-movement",), densities=(0.5,)), tmp_path, CPU, "fp32")
    assert [row["name"] for row in only["rows"]] == ["dense", "Block movement, ours", "nn_pruning, FFN"]


def test_a_run_shrinks_when_the_schedule_ends(checkpoint: Path, tmp_path: Path) -> None:
    section = bench(checkpoint, tmp_path, sections=("run",))["sections"]["run"]
    schedule = DensitySchedule.of(PruningConfig(final_density=0.25), 10)
    assert section["shrunk_at_step"] == schedule.cooldown_start == 7
    assert (section["level"], section["method"], section["steps"]) == (0.75, "block-movement", 10)
    assert [len(times) for times in section["step_ms"].values()] == [10] * 4


def test_runs_take_every_step_in_turns_and_times_add_up(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    section = bench_run.measure_run(settings_of(checkpoint, run_steps=6), tmp_path, CPU, "fp32")
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
