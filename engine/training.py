"""Train one run: a plain generator of events, on Hugging Face Accelerate.

The recipe is that of Mirashi et al. ("On Importance of Pruning and Distillation for Efficient Low Resource NLP"): block
movement pruning of the student while it is fine-tuned, optionally distilled from the unpruned base, in mixed precision, with
energy measured throughout. A run measures its own dense baseline first and its compacted student at the end.
"""

import json
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional
from transformers import get_linear_schedule_with_warmup

from engine.checkpoints import digest_text, load_resume_state, save_resume_state
from engine.config import RunConfig, TrainingConfig
from engine.data import batches
from engine.distillation import distillation_loss, load_teacher, save_teacher
from engine.emissions import EmissionsMeter, EmissionsTotals
from engine.errors import Diverged, OutOfMemory
from engine.evaluation import collate, predict_logits
from engine.events import (
    BaselineMeasured,
    CheckpointSaved,
    Evaluated,
    Event,
    Measurement,
    ModelLoaded,
    Notice,
    RunStarted,
    RunStopped,
    StepLogged,
    SvmMeasured,
    SvmReport,
    TeacherReady,
)
from engine.finish import finish
from engine.home import run_folder
from engine.optimization import Window, default_learning_rate, make_optimizer
from engine.precision import choose_precision
from engine.preparation import Prepared, choose_device, device_name, prepare
from engine.resuming import capture, digest_material, fingerprint, restore
from engine.storage import tidy
from engine.student import Student
from engine.svm import measure_svm
from engine.yardstick import Yardstick

LOG_EVERY_S = 0.5


def train(
    config: RunConfig,
    *,
    run_id: str,
    home: Path,
    should_stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    before_saving: Callable[[], object] = lambda: None,
) -> Iterator[Event]:
    """Train a run to its end, or until it is asked to stop.

    Args:
        config: what to do.
        run_id: names the run's folder below the home.
        home: where runs and caches live.
        should_stop: asked before every step; True saves the state and ends.
        resume: go on from the newest whole state of this run, if there is one.
        before_saving: called before a state is saved. Who keeps the events returns when the disk has them: a run that is killed
            goes on behind the saved step, and what was told before it is never told again.

    Yields:
        Events; the last one is `RunFinished` or `RunStopped`.

    Raises:
        ConfigError, DataError, CheckpointError: before or between steps, with what to do.
        Diverged: if the loss is no longer finite.
        OutOfMemory: if the device has no memory left.
    """
    try:
        yield from _train(config, run_id, home, should_stop, resume, before_saving)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(_memory_message("The GPU", config.training)) from error
    except MemoryError as error:
        raise OutOfMemory(_memory_message("The machine", config.training)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error) or "can't allocate memory" in str(error):
            raise OutOfMemory(_memory_message("The machine", config.training)) from error
        raise


def _train(
    config: RunConfig,
    run_id: str,
    home: Path,
    should_stop: Callable[[], bool],
    resume: bool,
    before_saving: Callable[[], object],
) -> Iterator[Event]:
    began = time.perf_counter()
    folder = run_folder(home, run_id)
    tidy(folder)
    tidy(folder / "resume")
    device = choose_device(config.training.device)
    former, passed_over = load_resume_state(folder / "resume", fingerprint(config)) if resume else (None, [])
    precision, reason = choose_precision(config.training.precision, device.type)
    if former and former.facts["device"] == device.type:
        precision, reason = former.facts["precision"], "as before the stop"
    yield RunStarted(
        device=str(device),
        device_name=device_name(device),
        precision=precision,
        precision_reason=reason,
        threads=torch.get_num_threads(),
        resumed_at_step=former.step if former else None,
        versions={name: version(name) for name in ("torch", "transformers", "accelerate", "codecarbon", "nn_pruning")},
    )
    yield from (Notice(message=message) for message in passed_over)
    previous = EmissionsTotals.model_validate(former.facts["emissions"]) if former else None
    with EmissionsMeter(config.emissions, str(device), previous) as meter:
        if meter.notice:
            yield Notice(message=meter.notice)
        prepared = None
        for item in prepare(config, device, folder, home):
            if isinstance(item, Prepared):
                prepared = item
            else:
                yield item
        assert prepared is not None
        loop = Loop(config, prepared, meter, folder, precision, began, before_saving)
        yield loop.describe()
        yield from meter.drain()  # so that emissions move while somebody waits for the first step
        if former:
            restore(loop, former)
        else:
            yield from loop.begin()
        if prepared.distilling:
            yield loop.ask_teacher()
            yield from meter.drain()
        yield from loop.run(should_stop)
        if loop.stopped:
            yield loop.save()
            yield RunStopped(step=loop.step)
            return
        yield from finish(loop, run_id)


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
        self.teacher: Tensor | None = None
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
        """Measure SVM and dense base on the run's own splits and device, and say what goes before the first step."""
        self.meter.phase("evaluation")
        if self.prepared.shows_accuracy:
            self.svm = measure_svm(self.prepared.data, self.meter)
            yield SvmMeasured(report=self.svm)
            yield from self.meter.drain()
        self.baseline = self.yardstick.baseline()
        yield BaselineMeasured(measurement=self.baseline)
        yield from self.meter.drain()
        yield from self.student.at_start()
        self.meter.phase("training")

    def ask_teacher(self) -> TeacherReady:
        """Compute the teacher's logits over the training split, or take those of an earlier part of this run."""
        began, ids = time.perf_counter(), self.prepared.train_ids
        path = self.folder / "teacher.safetensors"
        material = digest_text(json.dumps(self.material))
        logits = load_teacher(path, material)
        if logits is None:
            logits = predict_logits(self.prepared.dense, ids, self.prepared.pad_id)
            save_teacher(logits, path, material)
        self.teacher = logits.to(self.prepared.device)
        return TeacherReady(texts=len(ids), duration_s=time.perf_counter() - began)

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
                    return
                yield from self.student.before_step(self.step, self.optimizer.optimizer)
                parts, tokens = self._take_step(indices)
                window.add(parts, len(indices), tokens)
                evaluating = self.step in self.evaluation_steps
                if evaluating or self.step == 1 or time.perf_counter() - window.began >= LOG_EVERY_S:
                    pace = (time.perf_counter() - began) / (self.step - began_step)
                    yield self._log(window, pace)
                    window = Window()
                    yield from self.meter.drain()
                if evaluating:
                    yield self._evaluate()
                    window.began = time.perf_counter()
                if time.perf_counter() - saved_at >= self.config.training.checkpoint_every_s and window.steps == 0:
                    yield self.save()
                    saved_at = window.began = time.perf_counter()
                if self.step == self.total_steps:
                    return

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
            parts["distillation_loss"] = distillation_loss(logits, self.teacher[indices], distillation.temperature)
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
            eta_s=pace_s * (self.total_steps - self.step),
        )

    def _evaluate(self) -> Evaluated:
        self.meter.phase("evaluation")
        self.measured, dense_latency = self.yardstick.student(self.student.smaller(), self.student)
        self.meter.phase("training")
        return Evaluated(step=self.step, measurement=self.measured, dense_latency_ms=dense_latency)


def _spread(total: int, count: int) -> set[int]:
    """Return ``count`` steps spread evenly up to and including the last."""
    return {max(1, round(total * (number + 1) / count)) for number in range(count)}


def _memory_message(owner: str, training: TrainingConfig) -> str:
    smaller = max(1, training.batch_size // 2)
    return (
        f"{owner} has no memory left at batch size {training.batch_size}. "
        f"Try --batch-size {smaller}, or a shorter maximum length."
    )
