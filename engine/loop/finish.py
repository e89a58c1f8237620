"""After the last step: test once, save, sum up."""

import shutil
from collections.abc import Iterator

from engine.checkpoints import save_model
from engine.compaction import is_stock
from engine.events import Event, RunFinished
from engine.loop.preparation import device_name
from engine.loop.spending import forget_spent
from engine.loop.steps import Loop
from engine.records import Latency, Measurement, RunResult


def finish(loop: Loop, run_id: str) -> Iterator[Event]:
    """Test the smaller student once beside the dense base, and save it.

    Raises:
        CheckpointError: if the model cannot be saved.
    """
    prepared, config = loop.prepared, loop.config
    loop.meter.phase("evaluation")
    student = loop.student.smaller()
    dense_latency, latency = loop.yardstick.latencies(student, budget_s=2.0)
    assert loop.baseline is not None
    # the last step was measured on the validation split already, unless this part of the run began behind it
    last = loop.measured or loop.yardstick.student(student, loop.student)[0]
    dense = _with_test(loop.baseline, dense_latency, loop.yardstick.test_scores(prepared.dense, prepared))
    test, calibration = loop.yardstick.finished(student, loop.student)
    measured = _with_test(last, latency, test)
    path = loop.folder / "model"
    save_model(path, student, loop.student.tokenizer, calibration)
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
            vocabulary=loop.student.vocabulary_report,
            svm=loop.svm,
            calibration=calibration.report if calibration else None,
            model_path=str(path),
            stock=is_stock(student),
        )
    )
    # the model is whole on the disk: what was kept for resuming has done its work
    shutil.rmtree(loop.folder / "resume", ignore_errors=True)
    (loop.folder / "teacher.safetensors").unlink(missing_ok=True)
    forget_spent(loop.folder)
    shutil.rmtree(loop.folder / "tokenizer", ignore_errors=True)


def _with_test(measured: Measurement, latency: Latency, test: tuple[float, float] | None) -> Measurement:
    """Add the final latency and the test split's accuracy and macro-F1 to what was measured on the validation split."""
    accuracy, macro_f1 = test or (None, None)
    changes = {"latency_ms": latency, "test_accuracy": accuracy, "test_macro_f1": macro_f1}
    return measured.model_copy(update=changes)
