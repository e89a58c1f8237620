"""After the last step: compact, check, test once, save, sum up."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from engine.checkpoints import save_model
from engine.compaction import max_logit_difference
from engine.errors import TrainingError
from engine.evaluation import collate
from engine.events import Compacted, Event, Latency, Measurement, RunFinished, RunResult
from engine.preparation import device_name

if TYPE_CHECKING:
    from engine.training import Loop

TOLERANCE = 1e-4
"""Largest difference between masked and compacted logits, relative to the largest logit where that is above 1."""


def finish(loop: "Loop", run_id: str) -> Iterator[Event]:
    """Turn the trained student into a smaller stock model, test it once beside the dense base, and save it.

    Raises:
        TrainingError: if the compacted model does not compute what the masked one did.
        CheckpointError: if the model cannot be saved.
    """
    prepared, config = loop.prepared, loop.config
    loop.meter.phase("evaluation")
    masked = loop.accelerator.unwrap_model(loop.model, keep_fp32_wrapper=False)
    student = loop.compacted()
    if loop.pruner:
        yield _compacted_event(loop, masked, student)
    dense_latency, latency = loop.yardstick.latencies(student, budget_s=2.0)
    assert loop.baseline is not None
    # the last step was measured on the validation split already, unless this part of the run began behind it
    last = loop.measured or loop.yardstick.student(student)[0]
    dense = _with_test(loop.baseline, dense_latency, loop.yardstick.test_scores(prepared.dense))
    measured = _with_test(last, latency, loop.yardstick.test_scores(student))
    path = loop.folder / "model"
    save_model(path, student, prepared.tokenizer)
    loop.meter.stop()
    yield from loop.meter.drain()
    totals = loop.meter.totals()
    yield RunFinished(
        result=RunResult(
            run_id=run_id,
            name=config.name,
            recipe=config.recipe,
            base=config.model.base,
            level=config.pruning.level,
            distilled=prepared.distilling,
            dense=dense,
            student=measured,
            speedup=dense_latency.p50 / latency.p50,
            speedup_ceiling=dense.flops / measured.flops,
            energy_kwh=totals.energy_kwh,
            energy_training_kwh=totals.training,
            energy_evaluation_kwh=totals.evaluation,
            energy_basis=loop.meter.basis,
            emissions_kg=totals.emissions_kg,
            country=config.emissions.country,
            grid_g_per_kwh=loop.meter.grid_g_per_kwh,
            duration_s=loop.elapsed_s,
            device=str(prepared.device),
            device_name=device_name(prepared.device),
            precision=loop.precision,
            data=prepared.data.report,
            model_path=str(path),
        )
    )
    # the model is whole on the disk: what was kept for resuming has done its work
    shutil.rmtree(loop.folder / "resume", ignore_errors=True)
    (loop.folder / "teacher.safetensors").unlink(missing_ok=True)
    shutil.rmtree(loop.folder / "tokenizer", ignore_errors=True)


def _with_test(measured: Measurement, latency: Latency, test: tuple[float, float] | None) -> Measurement:
    """Add the final latency and the test split's accuracy and macro-F1 to what was measured on the validation split."""
    accuracy, macro_f1 = test or (None, None)
    changes = {"latency_ms": latency, "test_accuracy": accuracy, "test_macro_f1": macro_f1}
    return measured.model_copy(update=changes)


def _compacted_event(loop: "Loop", masked: "torch.nn.Module", student: "torch.nn.Module") -> Compacted:
    prepared = loop.prepared
    assert loop.pruner is not None
    ids = prepared.validation_ids[:64]
    inputs = [collate(ids[start : start + 16], prepared.pad_id, prepared.device) for start in range(0, len(ids), 16)]
    difference, largest = max_logit_difference(masked, student, inputs)
    if not difference <= TOLERANCE * max(1.0, largest):
        raise TrainingError(
            f"The compacted model's logits differ from the masked model's by {difference:g} (at most {TOLERANCE:g} is right). "
            "This is a fault of the program, not of your settings; the trained state is kept. Please report it."
        )
    kept = [index.tolist() for index in loop.pruner.kept_neurons()]
    return Compacted(
        intermediate_sizes=tuple(len(index) for index in kept),
        kept_neurons=tuple(tuple(index) for index in kept),
        max_logit_difference=difference,
    )
