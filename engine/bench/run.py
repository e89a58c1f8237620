"""A whole pruning run beside dense fine-tuning with the same data: step by step in turns, times added up, no evaluations."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.bench.models import TrainingStep, dense_model, random_texts
from engine.bench.settings import BenchSettings
from engine.bench.steps import step_shape
from engine.config import DataConfig, DistillationConfig, PruningConfig, RunConfig
from engine.data import load_data
from engine.evaluation import predict_logits
from engine.loop.preparation import Prepared
from engine.loop.student import Student
from engine.measuring.timing import time_once
from engine.shapes import Shape
from engine.texts.tokenization import learn_tokenizer

Batch = tuple[Tensor, Tensor]
"""Token ids, shape (batch, tokens), and labels, shape (batch,)."""


class Contestant:
    """One run: a student, its optimizer and what pruning does between the steps."""

    def __init__(self, prepared: Prepared, config: RunConfig, precision: str, steps: int) -> None:
        self.student = Student(prepared, config.pruning, steps)
        self._step = TrainingStep(self.student.model, config, precision)
        self.shrunk_at: int | None = None

    def __call__(self, number: int, ids: Tensor, labels: Tensor, teacher: Tensor | None = None) -> None:
        """Take step ``number``, counted from 0."""
        before = self.student.kept
        for _ in self.student.before_step(number, self._step.optimizer):
            pass
        if self.student.kept is not before:
            self.shrunk_at = number
        self._step(ids, labels, penalty=self.student.penalty(), teacher=teacher)
        self.student.after_step()


def measure_run(settings: BenchSettings, home: Path, device: torch.device, precision: str) -> dict[str, Any]:
    """Time all steps of a dense run, of a pruning run to the highest level, and of one that is distilled too.

    The schedule is that of a real run. When it ends, model and optimizer are made smaller, and the logits before and after are
    compared on one text; that step's time holds both. The teacher's pass over the data stands apart: a run of several epochs
    needs it once.
    """
    level, steps = max(settings.levels), settings.run_steps
    pruning = PruningConfig.model_validate({"method": settings.methods[0], "final_density": round(1.0 - level, 9)})
    pruned = RunConfig(pruning=pruning)
    distilled = RunConfig(pruning=pruning, distillation=DistillationConfig(enabled=True))
    shape = step_shape(settings, home)
    prepared = _prepare(shape, settings.sequence_lengths[0], home, device)
    runs = {
        "dense": Contestant(prepared, RunConfig(), precision, steps),
        "pruned": Contestant(prepared, pruned, precision, steps),
        "distilled": Contestant(prepared, distilled, precision, steps),
    }
    times: dict[str, list[float]] = {name: [] for name in (*runs, "teacher")}
    for number in range(steps):
        batch = random_texts(shape, settings.batch_sizes[0], settings.sequence_lengths[0], device, seed=number)
        _take_turns(runs, times, prepared, number, batch)
    total = {name: sum(values) / 1000.0 for name, values in times.items()}
    return {
        "method": pruning.method,
        "level": level,
        "steps": steps,
        "schedule": {"name": pruning.schedule, "warmup": pruning.warmup_share, "cooldown": pruning.cooldown_share},
        "shrunk_at_step": runs["pruned"].shrunk_at,
        "precision": precision,
        "batch_size": settings.batch_sizes[0],
        "sequence_length": settings.sequence_lengths[0],
        "duration_s": total,
        "ratio": total["pruned"] / total["dense"],
        "ratio_distilled": total["distilled"] / total["dense"],
        "ratio_teacher": total["teacher"] / total["dense"],
        "step_ms": times,
    }


def _take_turns(
    runs: dict[str, Contestant], times: dict[str, list[float]], prepared: Prepared, number: int, batch: Batch
) -> None:
    """Let the teacher and all runs work on the same batch, the runs every second time backwards."""
    ids, labels = batch
    rows, answers = ids.tolist(), list[Tensor]()

    def ask() -> None:
        answers.append(predict_logits(prepared.dense, rows, prepared.pad_id, len(rows)).to(ids.device))

    times["teacher"].append(time_once(ask, ids.device))
    for name in list(runs) if number % 2 == 0 else list(runs)[::-1]:
        teacher = answers[0] if name == "distilled" else None
        times[name].append(time_once(partial(runs[name], number, ids, labels, teacher), ids.device))


def _prepare(shape: Shape, length: int, home: Path, device: torch.device) -> Prepared:
    """Return the material of a run on random token ids; only its model and its one text for comparing logits are used."""
    data = load_data(DataConfig(), 0, home)
    text, _ = random_texts(shape, 1, length, torch.device("cpu"))
    return Prepared(
        device=device,
        data=data,
        tokenizer=learn_tokenizer(data.train.texts[:10], 1),
        dense=dense_model(shape, device),
        trained=False,
        head="new",
        shows_accuracy=False,
        distilling=True,
        max_length=length,
        validation_ids=text.tolist(),
    )
