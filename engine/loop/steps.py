"""The loop of a run: the state between two optimizer steps, and what happens in one."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional
from transformers import get_linear_schedule_with_warmup

from engine.checkpoints import digest_text, save_resume_state
from engine.config import RunConfig
from engine.data import batches
from engine.distillation import Teacher, distillation_loss, load_teacher, parts_of, save_teacher
from engine.emissions import EmissionsMeter
from engine.errors import Diverged
from engine.evaluation import collate
from engine.events import (
    BaselineMeasured,
    CheckpointSaved,
    Evaluated,
    Event,
    ModelLoaded,
    StepLogged,
    SvmMeasured,
    TeacherReady,
)
from engine.loop.optimization import Window, default_learning_rate, make_optimizer
from engine.loop.preparation import Prepared
from engine.loop.resuming import capture, digest_material, digest_weights
from engine.loop.student import Student
from engine.measuring.svm import measure_svm
from engine.measuring.yardstick import Yardstick
from engine.records import Measurement, SvmReport

LOG_EVERY_S = 0.5
ASKED_TOGETHER = 8
"""Batches whose texts the teacher reads at once: enough to sort by length, few enough that the first step comes soon."""


class Loop:
    """The state between two steps, and what happens in one."""

    def __init__(
        self,
        config: RunConfig,
        prepared: Prepared,
        meter: EmissionsMeter,
        folder: Path,
        precision: str,
        began: float,
        before_saving: Callable[[], object] = lambda: None,
    ) -> None:
        self._before_saving = before_saving
        self.config, self.prepared, self.meter, self.folder, self.precision = config, prepared, meter, folder, precision
        training = config.training
        self.lengths = [len(ids) for ids in prepared.train_ids]
        self.steps_per_epoch = len(batches(self.lengths, training.batch_size, seed=training.seed))
        self.total_steps = training.max_steps or training.epochs * self.steps_per_epoch
        self.evaluation_steps = _spread(self.total_steps, training.evaluations)
        self.learning_rate = training.learning_rate or default_learning_rate(
            prepared.dense.config.hidden_size, trained=prepared.trained
        )
        self.student = Student(prepared, config.pruning, self.total_steps)
        self.accelerator = Accelerator(
            cpu=prepared.device.type == "cpu", mixed_precision="no" if precision == "fp32" else precision
        )
        optimizer = make_optimizer(self.student.model, config, self.learning_rate, fused=prepared.device.type == "cpu")
        scheduler = get_linear_schedule_with_warmup(
            optimizer, round(training.warmup_share * self.total_steps), self.total_steps
        )
        self.model, self.optimizer, self.scheduler = self.accelerator.prepare(self.student.model, optimizer, scheduler)
        self.yardstick = Yardstick(prepared, precision)
        self.material = digest_material(prepared, self.student.vocabulary.kept if self.student.vocabulary else ())
        self.teacher: Teacher | None = None
        self._teacher_told = False
        self.baseline: Measurement | None = None
        self.svm: SvmReport | None = None
        self.measured: Measurement | None = None  # the student at the last evaluation of this part of the run
        self.step, self.skipped_steps, self.stopped = 0, 0, False
        self.elapsed_before_s, self._began = 0.0, began  # perf_counter seconds
        torch.manual_seed(training.seed)

    @property
    def elapsed_s(self) -> float:
        """Seconds of all parts of the run so far."""
        return self.elapsed_before_s + time.perf_counter() - self._began

    def describe(self) -> ModelLoaded:
        """Say what is about to be trained."""
        shape = self.prepared.dense.config
        return ModelLoaded(
            base=self.config.model.base,
            head=self.prepared.head,
            layers=shape.num_hidden_layers,
            hidden_size=shape.hidden_size,
            heads=shape.num_attention_heads,
            intermediate_size=shape.intermediate_size,
            vocabulary=shape.vocab_size,
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            learning_rate=self.learning_rate,
            distilling=self.prepared.distilling,
        )

    def begin(self) -> Iterator[Event]:
        """Measure the dense base on the run's own splits and device, and say what goes before the first step."""
        self.meter.phase("evaluation")
        self.baseline = self.yardstick.baseline()
        yield BaselineMeasured(measurement=self.baseline)
        yield from self.meter.drain()
        yield from self.student.at_start()
        self.meter.phase("training")

    def invite_teacher(self) -> None:
        """Make the dense base the teacher, with what it told an earlier part of this run."""
        training, prepared = self.config.training, self.prepared
        parts = parts_of(batches(self.lengths, training.batch_size, seed=training.seed), ASKED_TOGETHER)
        about = [self.material, digest_weights(prepared.dense.classifier), parts]
        self._teacher_kept = self.folder / "teacher.safetensors", digest_text(json.dumps(about))
        told = load_teacher(*self._teacher_kept)
        self.teacher = Teacher(prepared.dense, prepared.train_ids, prepared.pad_id, parts, told)
        self._teacher_told = self.teacher.complete

    def run(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Take the steps that are left; ends early, with ``stopped`` set, when asked to."""
        window, saved_at, began_step, began = Window(), time.perf_counter(), self.step, time.perf_counter()
        self.model.train()
        while self.step < self.total_steps:
            for indices in self._rest_of_epoch():
                if should_stop():
                    self.stopped = True
                    if window.steps:  # also makes sure that what is saved is finite
                        yield self._log(window, (time.perf_counter() - began) / (self.step - began_step))
                        yield from self._news_of_teacher()
                    return
                yield from self.student.before_step(self.step, self.optimizer.optimizer)
                asking_s = self.teacher.ask(indices) if self.teacher else 0.0
                window.began, began = (
                    window.began + asking_s,
                    began + asking_s,
                )  # its reading is none of the steps' pace
                parts, tokens = self._take_step(indices)
                window.add(parts, len(indices), tokens)
                evaluating = self.step in self.evaluation_steps
                if evaluating or self.step == 1 or time.perf_counter() - window.began >= LOG_EVERY_S:
                    pace = (time.perf_counter() - began) / (self.step - began_step)
                    yield self._log(window, pace)
                    window = Window()
                    yield from self._news_of_teacher()
                    yield from self.meter.drain()
                if evaluating:
                    yield self._evaluate()
                    yield from self._measure_svm()
                    window.began = time.perf_counter()
                if time.perf_counter() - saved_at >= self.config.training.checkpoint_every_s and window.steps == 0:
                    yield self.save()
                    saved_at = window.began = time.perf_counter()
                if self.step == self.total_steps:
                    return

    def _news_of_teacher(self) -> Iterator[TeacherReady]:
        """Say once that the teacher has read every training text."""
        if self.teacher is not None and self.teacher.complete and not self._teacher_told:
            self._teacher_told = True
            yield TeacherReady(texts=len(self.lengths), duration_s=self.teacher.spent_s)

    def _measure_svm(self) -> Iterator[Event]:
        """Train and measure the yardstick that costs a second, once a run; nobody waits for it before the first step."""
        if self.svm is not None or not self.prepared.shows_accuracy:
            return
        self.meter.phase("evaluation")
        self.svm = measure_svm(self.prepared.data, self.meter)
        self.meter.phase("training")
        yield SvmMeasured(report=self.svm)

    def _rest_of_epoch(self) -> Iterator[list[int]]:
        """Yield this epoch's batches of text indices that are still to come; order and place follow from seed and step."""
        training = self.config.training
        epoch, place = divmod(self.step, self.steps_per_epoch)
        yield from batches(self.lengths, training.batch_size, seed=training.seed, epoch=epoch)[place:]

    def _take_step(self, indices: list[int]) -> tuple[dict[str, Tensor], int]:
        """Do one optimizer step on these texts; return the parts of the loss and the number of tokens."""
        prepared, distillation = self.prepared, self.config.distillation
        inputs = collate([self.student.train_ids[index] for index in indices], self.student.pad_id, prepared.device)
        labels = torch.tensor([prepared.data.train.labels[index] for index in indices]).to(prepared.device)
        logits = self.model(**inputs).logits.float()  # (batch, labels)
        cross_entropy = functional.cross_entropy(logits, labels)
        parts = {"cross_entropy": cross_entropy}
        loss = cross_entropy
        if self.teacher is not None:
            parts["distillation_loss"] = distillation_loss(
                logits, self.teacher.logits(indices), distillation.temperature
            )
            weight = distillation.distillation_weight
            loss = (1.0 - weight) * cross_entropy + weight * parts["distillation_loss"]
        penalty = self.student.penalty()
        if penalty is not None:
            loss = loss + penalty
        parts["loss"] = loss
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.training.max_grad_norm)
        if norm is not None:
            parts["grad_norm"] = norm
        self.optimizer.step()
        self.student.after_step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.skipped_steps += int(self.accelerator.optimizer_step_was_skipped)
        self.step += 1
        return parts, inputs["input_ids"].numel()

    def save(self) -> CheckpointSaved:
        """Write everything that the next step depends on."""
        self._before_saving()
        if self.teacher is not None:
            save_teacher(self.teacher.told, *self._teacher_kept)
        return CheckpointSaved(step=self.step, size_bytes=save_resume_state(self.folder / "resume", capture(self)))

    def _log(self, window: Window, pace_s: float) -> StepLogged:
        """Report the window's averages.

        Raises:
            Diverged: if the loss, or outside fp16 (whose scaler skips such steps) the gradient, is not finite.
        """
        loss, norm = window.mean("loss"), window.mean("grad_norm")
        finite = torch.isfinite(torch.tensor(loss))
        if self.precision != "fp16" and norm is not None:
            finite &= torch.isfinite(torch.tensor(norm))
        if not finite:
            raise Diverged(
                f"The loss is no longer a finite number (loss {loss}, gradient norm {norm}, step {self.step}). "
                f"The learning rate is {self.learning_rate:g}; try {self.learning_rate / 10:g}, or precision fp32."
            )
        seconds = time.perf_counter() - window.began
        scaler = self.accelerator.scaler
        return StepLogged(
            step=self.step,
            epoch=self.step / self.steps_per_epoch,
            loss=loss or 0.0,
            cross_entropy=window.mean("cross_entropy") or 0.0,
            distillation_loss=window.mean("distillation_loss"),
            learning_rate=float(self.scheduler.get_last_lr()[0]),
            density=self.student.density,
            density_target=self.student.density_target(self.step - 1),
            grad_norm=norm if norm is not None and torch.isfinite(torch.tensor(norm)) else None,
            loss_scale=float(scaler.get_scale()) if scaler is not None else None,
            skipped_steps=self.skipped_steps,
            texts_per_s=window.texts / seconds,
            tokens_per_s=window.tokens / seconds,
            elapsed_s=self.elapsed_s,
            eta_s=pace_s * (self.total_steps - self.step) + (self.teacher.left_s if self.teacher else 0.0),
        )

    def _evaluate(self) -> Evaluated:
        self.meter.phase("evaluation")
        self.measured, dense_latency = self.yardstick.student(self.student.smaller(), self.student)
        self.meter.phase("training")
        return Evaluated(step=self.step, measurement=self.measured, dense_latency_ms=dense_latency)


def _spread(total: int, count: int) -> set[int]:
    """Return ``count`` steps spread evenly up to and including the last."""
    return {max(1, round(total * (number + 1) / count)) for number in range(count)}
