"""Train one run: a plain generator of events, on Hugging Face Accelerate.

The recipe is that of Mirashi et al. ("On Importance of Pruning and Distillation for Efficient Low Resource NLP"): block
movement pruning of the student while it is fine-tuned, optionally distilled from the unpruned base, in mixed precision, with
energy measured throughout. A run measures its own dense baseline first and its compacted student at the end.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional
from transformers import BertForSequenceClassification, get_linear_schedule_with_warmup

from engine.checkpoints import ResumeState, fingerprint, load_resume_state, save_resume_state
from engine.compaction import compact, compact_whole
from engine.config import RunConfig, TrainingConfig
from engine.data import batches
from engine.distillation import distillation_loss, load_teacher, save_teacher
from engine.emissions import EmissionsMeter, EmissionsTotals
from engine.errors import Diverged, OutOfMemory
from engine.evaluation import collate, measure, measure_latency, predict_logits, scores
from engine.events import (
    BaselineMeasured,
    CheckpointSaved,
    Evaluated,
    Event,
    Latency,
    Measurement,
    ModelLoaded,
    Notice,
    RunStarted,
    RunStopped,
    StepLogged,
    TeacherReady,
)
from engine.finish import finish
from engine.home import run_folder
from engine.precision import choose_precision
from engine.preparation import Prepared, choose_device, device_name, prepare
from engine.pruning import DensitySchedule, NeuronPruner

LOG_EVERY_S = 0.5
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def train(
    config: RunConfig,
    *,
    run_id: str,
    home: Path,
    should_stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
) -> Iterator[Event]:
    """Train a run to its end, or until it is asked to stop.

    Args:
        config: what to do.
        run_id: names the run's folder below the home.
        home: where runs and caches live.
        should_stop: asked before every step; True saves the state and ends.
        resume: go on from the newest whole state of this run, if there is one.

    Yields:
        Events; the last one is `RunFinished` or `RunStopped`.

    Raises:
        ConfigError, DataError, CheckpointError: before or between steps, with what to do.
        Diverged: if the loss is no longer finite.
        OutOfMemory: if the device has no memory left.
    """
    try:
        yield from _train(config, run_id, home, should_stop, resume)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(_memory_message("The GPU", config.training)) from error
    except MemoryError as error:
        raise OutOfMemory(_memory_message("The machine", config.training)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error) or "can't allocate memory" in str(error):
            raise OutOfMemory(_memory_message("The machine", config.training)) from error
        raise


def _train(
    config: RunConfig, run_id: str, home: Path, should_stop: Callable[[], bool], resume: bool
) -> Iterator[Event]:
    folder = run_folder(home, run_id)
    device = choose_device(config.training.device)
    former, passed_over = load_resume_state(folder / "resume", _config_hash(config)) if resume else (None, [])
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
        loop = Loop(config, prepared, meter, folder, precision)
        yield loop.describe()
        if former:
            loop.restore(former)
        else:
            yield loop.measure_baseline()
        if prepared.distilling:
            yield loop.ask_teacher()
        yield from loop.run(should_stop)
        if loop.stopped:
            yield loop.save()
            yield RunStopped(step=loop.step)
            return
        yield from finish(loop, run_id)


@dataclass
class Window:
    """Sums since the last log, kept on the device so that no step waits for it."""

    steps: int = 0
    texts: int = 0
    tokens: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def add(self, parts: dict[str, Tensor], texts: int, tokens: int) -> None:
        self.steps, self.texts, self.tokens = self.steps + 1, self.texts + texts, self.tokens + tokens
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()

    def mean(self, name: str) -> float | None:
        return float(self.sums[name]) / self.steps if name in self.sums else None


class Loop:
    """The state between two steps, and what happens in one."""

    def __init__(
        self, config: RunConfig, prepared: Prepared, meter: EmissionsMeter, folder: Path, precision: str
    ) -> None:
        self.config, self.prepared, self.meter, self.folder, self.precision = config, prepared, meter, folder, precision
        training = config.training
        self.lengths = [len(ids) for ids in prepared.train_ids]
        self.steps_per_epoch = len(batches(self.lengths, training.batch_size, seed=training.seed))
        self.total_steps = training.max_steps or training.epochs * self.steps_per_epoch
        self.schedule = DensitySchedule.of(config.pruning, self.total_steps)
        self.evaluation_steps = _spread(self.total_steps, training.evaluations)
        self.learning_rate = training.learning_rate or default_learning_rate(
            prepared.dense.config.hidden_size, trained=prepared.trained
        )
        self.student = prepared.new_student()
        self.pruner = NeuronPruner(self.student) if config.pruning.enabled else None
        self.accelerator = Accelerator(
            cpu=prepared.device.type == "cpu", mixed_precision="no" if precision == "fp32" else precision
        )
        optimizer = self._optimizer()
        scheduler = get_linear_schedule_with_warmup(
            optimizer, round(training.warmup_share * self.total_steps), self.total_steps
        )
        self.model, self.optimizer, self.scheduler = self.accelerator.prepare(self.student, optimizer, scheduler)
        self._dense_timed = self._timed(prepared.dense)
        self.teacher: Tensor | None = None
        self.baseline: Measurement | None = None
        self.step, self.skipped_steps, self.stopped = 0, 0, False
        self.elapsed_before_s, self._began = 0.0, time.perf_counter()
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

    def measure_baseline(self) -> BaselineMeasured:
        """Measure the dense base on the run's own validation split and device, before the first step."""
        self.meter.phase("evaluation")
        latency = measure_latency([self._dense_timed], self.prepared.max_length)[0]
        validation = self.validation_scores(self.prepared.dense)
        self.baseline = measure(self.prepared.dense, latency, validation=validation)
        self.meter.phase("training")
        return BaselineMeasured(measurement=self.baseline)

    def ask_teacher(self) -> TeacherReady:
        """Compute the teacher's logits over the training split, or take those of an earlier part of this run."""
        began, ids = time.perf_counter(), self.prepared.train_ids
        path = self.folder / "teacher.safetensors"
        logits = load_teacher(path, len(ids), len(self.prepared.data.labels))
        if logits is None:
            logits = predict_logits(self.prepared.dense, ids, self.prepared.pad_id)
            save_teacher(logits, path)
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
                    return
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
        inputs = collate([prepared.train_ids[index] for index in indices], prepared.pad_id, prepared.device)
        labels = torch.tensor([prepared.data.train.labels[index] for index in indices]).to(prepared.device)
        if self.pruner:
            self.pruner.set_density(self.schedule.at(self.step))
        logits = self.model(**inputs).logits.float()  # (batch, labels)
        cross_entropy = functional.cross_entropy(logits, labels)
        parts = {"cross_entropy": cross_entropy}
        loss = cross_entropy
        if self.teacher is not None:
            parts["distillation_loss"] = distillation_loss(logits, self.teacher[indices], distillation.temperature)
            weight = distillation.distillation_weight
            loss = (1.0 - weight) * cross_entropy + weight * parts["distillation_loss"]
        parts["loss"] = loss
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.training.max_grad_norm)
        if norm is not None:
            parts["grad_norm"] = norm
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.skipped_steps += int(self.accelerator.optimizer_step_was_skipped)
        self.step += 1
        return parts, inputs["input_ids"].numel()

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
            density=self.pruner.density if self.pruner else 1.0,
            density_target=self.schedule.at(self.step - 1),
            grad_norm=norm if norm is not None and torch.isfinite(torch.tensor(norm)) else None,
            loss_scale=float(scaler.get_scale()) if scaler is not None else None,
            skipped_steps=self.skipped_steps,
            texts_per_s=window.texts / seconds,
            tokens_per_s=window.tokens / seconds,
            elapsed_s=self.elapsed_s,
            eta_s=pace_s * (self.total_steps - self.step),
        )

    def compacted(self) -> BertForSequenceClassification:
        """Return the student as it would be if compacted now."""
        return compact(self.student, self.pruner.kept_neurons()) if self.pruner else compact_whole(self.student)

    def _evaluate(self) -> Evaluated:
        self.meter.phase("evaluation")
        small = self.compacted()
        dense_latency, latency = self.rival_latencies(small)
        measurement = measure(small, latency, validation=self.validation_scores(small))
        self.meter.phase("training")
        return Evaluated(step=self.step, measurement=measurement, dense_latency_ms=dense_latency)

    def validation_scores(self, model: BertForSequenceClassification) -> tuple[float, float] | None:
        """Return accuracy and macro-F1 on the validation split, or None for a shape without meaning."""
        if not self.prepared.shows_accuracy:
            return None
        logits = predict_logits(model, self.prepared.validation_ids, self.prepared.pad_id)
        return scores(logits, self.prepared.data.validation.labels)

    def test_scores(self, model: BertForSequenceClassification) -> tuple[float, float] | None:
        """Return accuracy and macro-F1 on the test split; called once, at the end."""
        if not self.prepared.shows_accuracy:
            return None
        logits = predict_logits(model, self.prepared.test_ids, self.prepared.pad_id)
        return scores(logits, self.prepared.data.test.labels)

    def rival_latencies(self, small: BertForSequenceClassification, budget_s: float = 1.0) -> tuple[Latency, Latency]:
        """Time dense base and student in turns, in the run's precision."""
        pair = measure_latency([self._dense_timed, self._timed(small)], self.prepared.max_length, budget_s=budget_s)
        return pair[0], pair[1]

    def _timed(self, model: BertForSequenceClassification) -> BertForSequenceClassification:
        """Return the model in the run's precision: a copy, unless that is fp32."""
        return model if self.precision == "fp32" else copy.deepcopy(model).to(_DTYPES[self.precision])

    def save(self) -> CheckpointSaved:
        """Write everything that the next step depends on."""
        random_states = {"cpu": torch.get_rng_state()}
        if self.prepared.device.type == "cuda":
            random_states["cuda"] = torch.cuda.get_rng_state(self.prepared.device)
        scaler = self.accelerator.scaler
        facts: dict[str, Any] = {
            "precision": self.precision,
            "device": self.prepared.device.type,
            "elapsed_s": self.elapsed_s,
            "skipped_steps": self.skipped_steps,
            "emissions": self.meter.totals().model_dump(mode="json"),
            "baseline": self.baseline.model_dump(mode="json") if self.baseline else None,
        }
        state = {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "random": random_states,
        }
        resume = ResumeState(self.step, _config_hash(self.config), self.student.state_dict(), state, facts)
        return CheckpointSaved(step=self.step, size_bytes=save_resume_state(self.folder / "resume", resume))

    def restore(self, former: ResumeState) -> None:
        """Go back to a saved state."""
        self.student.load_state_dict(former.model)
        self.optimizer.load_state_dict(former.state["optimizer"])
        self.scheduler.load_state_dict(former.state["scheduler"])
        if self.accelerator.scaler is not None and former.state["scaler"]:
            self.accelerator.scaler.load_state_dict(former.state["scaler"])
        self.step = former.step
        self.elapsed_before_s = float(former.facts["elapsed_s"])
        self.skipped_steps = int(former.facts["skipped_steps"])
        self.baseline = Measurement.model_validate(former.facts["baseline"])
        torch.set_rng_state(former.state["random"]["cpu"])
        if self.prepared.device.type == "cuda" and "cuda" in former.state["random"]:
            torch.cuda.set_rng_state(former.state["random"]["cuda"], self.prepared.device)

    def _optimizer(self) -> torch.optim.Optimizer:
        """AdamW: no decay for biases, layer norms and mask scores; a rate of their own for the scores."""
        training = self.config.training
        decayed: list[torch.nn.Parameter] = []
        plain: list[torch.nn.Parameter] = []
        score: list[torch.nn.Parameter] = []
        for name, parameter in self.student.named_parameters():
            group = score if name.endswith("mask_scores") else decayed if parameter.ndim >= 2 else plain
            group.append(parameter)
        groups = [
            {"params": decayed, "weight_decay": training.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        if score:
            groups.append({"params": score, "weight_decay": 0.0, "lr": self.config.pruning.mask_learning_rate})
        # on a GPU the fused kernel would hide from Accelerate which steps the loss scaler skipped
        return torch.optim.AdamW(groups, lr=self.learning_rate, fused=self.prepared.device.type == "cpu" or None)


def default_learning_rate(hidden_size: int, *, trained: bool) -> float:
    """Return the peak learning rate for a base: wide pre-trained models want small steps, small random ones large."""
    if hidden_size >= 512:
        return 5e-5
    return 3e-4 if trained else 1e-3


def _spread(total: int, count: int) -> set[int]:
    """Return ``count`` steps spread evenly up to and including the last."""
    return {max(1, round(total * (number + 1) / count)) for number in range(count)}


def _config_hash(config: RunConfig) -> str:
    """Fingerprint what a saved state depends on; a new name changes nothing."""
    return fingerprint(config.model_dump_json(exclude={"name"}))


def _memory_message(owner: str, training: TrainingConfig) -> str:
    smaller = max(1, training.batch_size // 2)
    return (
        f"{owner} has no memory left at batch size {training.batch_size}. "
        f"Try --batch-size {smaller}, or a shorter maximum length."
    )
