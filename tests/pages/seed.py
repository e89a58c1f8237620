"""Runs and events for tests of pages, written into a real store; nothing is trained."""

import math
import os
from collections.abc import Iterator

from engine.before.prediction import predict_shape
from engine.config import PruningConfig, RunConfig
from engine.events import (
    BaselineMeasured,
    Compacted,
    DataPrepared,
    EmissionsSampled,
    Evaluated,
    Event,
    ModelLoaded,
    Notice,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    StepLogged,
    SvmMeasured,
    VocabularyTrimmed,
)
from engine.records import DataReport, EnergySplit, Latency, Measurement, RunResult, SplitReport, SvmReport
from engine.runs.processes import process_created
from engine.runs.run import ENDED, Run, RunState
from engine.shapes import COMPACT
from engine.store import RunStore
from tests.engine.fake_training import VOCABULARY

LABELS = ("Auto", "Bhakti", "Crime", "Education", "Fashion", "Health")
REPORT = DataReport(
    source="starter",
    text_column="text",
    label_column="label",
    labels=LABELS,
    conflicting_labels=1,
    splits={"train": SplitReport(rows_read=2100, repeated_headers=2, duplicates=20, leaked=3, kept=2075)},
    sizes={"train": 2075, "validation": 258, "test": 258},
    label_counts=dict.fromkeys(LABELS, 400),
    notes=("The text column was found by its name.",),
)

GONE = 2**22 - 3
"""Id of a process that is not there."""
SVM_ACCURACY = 0.75
"""Below what runs seeded with the usual accuracy reach."""


def config(
    level: float = 0.5, distil: bool = False, *, pruning: dict[str, object] | None = None, **parts: object
) -> RunConfig:
    """Make a config of a pruning level (0 to 1), ``pruning`` being what else its pruning part is told."""
    values: dict[str, object] = {
        "pruning": {"final_density": round(1 - level, 4)} | (pruning or {}),
        "distillation": {"enabled": distil},
    }
    return RunConfig.parse(values | parts)


def latency(p50: float) -> Latency:
    """Make a latency around a median (ms)."""
    return Latency(p50=p50, p95=1.3 * p50, min=0.9 * p50, batch_size=1, sequence_length=128)


def measurement(pruning: PruningConfig, accuracy: float | None, tested: bool = False) -> Measurement:
    """Make a measurement of the compact shape, pruned."""
    shape = predict_shape(COMPACT, pruning).shape
    test = accuracy if tested else None
    smaller = shape.flops(128) < COMPACT.flops(128)
    return Measurement(
        parameters=shape.parameters,
        size_bytes=shape.size_bytes(),
        flops=shape.flops(128),
        latency_ms=latency(4.0 + 4.0 * (pruning.final_density if smaller else 1.0)),
        accuracy=accuracy,
        macro_f1=accuracy,
        test_accuracy=test,
        test_macro_f1=test,
    )


def compacted(made: RunConfig, step: int, density: float) -> Compacted:
    """Make the event of a compaction of the compact shape to a density."""
    found = predict_shape(COMPACT, made.pruning.model_copy(update={"final_density": density}))
    sizes = [found.shape.intermediate_size] * found.shape.layers
    if made.pruning.method == "soft-cutoff":
        sizes = [size + 64 * (place % 2) for place, size in enumerate(sizes)]
    return Compacted(
        step=step,
        kept_layers=found.kept_layers,
        intermediate_sizes=tuple(sizes),
        kept_neurons=tuple(tuple(range(size)) for size in sizes),
        kept_heads=tuple(tuple(range(found.shape.heads)) for _ in sizes),
        heads_removed=(COMPACT.heads - found.shape.heads) * len(sizes),
        stock=stock(made),
        max_logit_difference=2e-6,
    )


def stock(made: RunConfig) -> bool:
    """Tell whether the outcome would be a stock BERT."""
    pruning = made.pruning
    return pruning.level == 0 or pruning.method not in ("hybrid", "soft-cutoff")


def svm(accuracy: float) -> SvmReport:
    """Make what an SVM on the same texts is found to reach."""
    return SvmReport(
        accuracy=accuracy,
        macro_f1=accuracy - 0.01,
        test_accuracy=accuracy,
        test_macro_f1=accuracy - 0.01,
        features=84_747,
        size_bytes=9_876_543,
        training_s=0.91,
        energy_kwh=1.2e-5,
        energy_basis="estimated",
        latency_ms=0.35,
        characters=1000,
    )


def opening(made: RunConfig, total: int, accuracy: float | None = 0.86) -> Iterator[Event]:
    """Yield what a run says before its first step."""
    yield RunStarted(device="cpu", device_name="A test CPU", precision="fp32", precision_reason="as asked", threads=2)
    yield DataPrepared(report=REPORT)
    yield ModelLoaded(
        base=made.model.base,
        head="by name",
        layers=4,
        hidden_size=256,
        heads=4,
        intermediate_size=1024,
        vocabulary=4000,
        total_steps=total,
        steps_per_epoch=max(1, total // 5),
        learning_rate=5e-4,
        distilling=made.distillation.enabled,
    )
    yield Notice(message="The starter is small: <b>its</b> accuracy is that of a demonstration.")
    if accuracy is not None:
        yield SvmMeasured(report=svm(SVM_ACCURACY))
    yield BaselineMeasured(measurement=measurement(PruningConfig(), accuracy))
    if made.pruning.vocabulary == "training":
        yield VocabularyTrimmed(report=VOCABULARY)
    if made.pruning.drop_layers or made.pruning.method == "layer-dropping":
        yield compacted(made, 0, made.pruning.final_density if made.pruning.method == "layer-dropping" else 1.0)


def steps(made: RunConfig, total: int, upto: int, accuracy: float | None = 0.86) -> Iterator[Event]:
    """Yield the events of steps 1 to ``upto``."""
    goal = made.pruning.final_density
    yield from _compactions(made, total, upto)
    for step in range(1, upto + 1):
        share = step / total
        t = min(1.0, max(0.0, (share - 0.1) / 0.6))
        density = goal + (1 - goal) * (1 - t) ** 3
        loss = 0.3 + 1.9 * math.exp(-4 * share) + 0.05 * math.sin(step)
        yield StepLogged(
            step=step,
            epoch=5 * share,
            loss=loss,
            cross_entropy=1.1 * loss,
            distillation_loss=0.6 * loss if made.distillation.enabled else None,
            learning_rate=5e-4 * (1 - share),
            density=density,
            density_target=density,
            grad_norm=1.2,
            texts_per_s=210.0,
            tokens_per_s=5300.0,
            elapsed_s=0.5 * step,
            eta_s=0.5 * (total - step),
        )
        yield EmissionsSampled(
            duration_s=0.5 * step,
            energy_kwh=6e-6 * step,
            cpu_energy_kwh=5e-6 * step,
            gpu_energy_kwh=0.0,
            ram_energy_kwh=1e-6 * step,
            emissions_kg=4.3e-6 * step,
            power_w=42 + 6 * math.sin(step / 3),
            phase="training",
            country="IND",
            grid_g_per_kwh=713.0,
            cpu_basis="estimated",
            gpu_basis=None,
            ram_basis="estimated",
            cpu_percent=80 + 10 * math.sin(step / 5),
            ram_used_bytes=3_200_000_000,
        )
        if step % max(1, total // 10) == 0:
            reached = None if accuracy is None else accuracy - 0.3 * (1 - share) ** 2 - 0.04 * (1 - goal)
            dense = latency(8.0 + 0.1 * math.sin(step))
            now = made.pruning.model_copy(update={"final_density": density})
            yield Evaluated(step=step, measurement=measurement(now, reached), dense_latency_ms=dense)


def _compactions(made: RunConfig, total: int, upto: int) -> Iterator[Compacted]:
    """Yield what is taken out for good up to a step: at the end of the schedule, or at each iteration."""
    pruning = made.pruning
    if not pruning.level or pruning.method == "layer-dropping" or pruning.unit == "weight":
        return
    count = pruning.iterations if pruning.method in ("magnitude", "wanda") else 1
    for number in range(1, count + 1):
        step = int((0.1 + 0.6 * number / count) * total)
        if step <= upto:
            yield compacted(made, step, 1 - pruning.level * number / count)


def result(run_id: str, made: RunConfig, accuracy: float | None = 0.86) -> RunResult:
    """Make the result of a finished run."""
    density = made.pruning.final_density
    own = None if accuracy is None else accuracy - 0.04 * (1 - density) + (0.01 if made.distillation.enabled else 0)
    dense = measurement(PruningConfig(), accuracy, tested=True)
    student = measurement(made.pruning, own, tested=True)
    return RunResult(
        run_id=run_id,
        name=made.name,
        recipe=made.recipe,
        base=made.model.base,
        level=made.pruning.level,
        distilled=made.distillation.enabled,
        dense=dense,
        student=student,
        speedup=dense.latency_ms.p50 / student.latency_ms.p50,
        speedup_ceiling=dense.flops / student.flops,
        energy_kwh=0.0011,
        energy_training_kwh=EnergySplit(cpu=0.0008, gpu=0.0, ram=0.0001),
        energy_evaluation_kwh=EnergySplit(cpu=0.0002, gpu=0.0, ram=0.0),
        energy_basis={"cpu": "estimated", "ram": "estimated"},
        emissions_kg=0.0011 * 0.713,
        country="IND",
        grid_g_per_kwh=713.0,
        duration_s=95.0,
        device="cpu",
        device_name="A test CPU",
        precision="fp32",
        data=REPORT,
        model_path=f"/home/runs/{run_id}/model",
        svm=None if accuracy is None else svm(SVM_ACCURACY),
        stock=stock(made),
    )


def seed_run(
    store: RunStore, made: RunConfig, state: RunState, *, total: int = 100, accuracy: float | None = 0.86, log: str = ""
) -> Run:
    """Put one run of a state, with the events it would have, into the store; active ones live in this process, others nowhere."""
    run = store.create(made, "cpu")
    store.set_process(run, os.getpid(), process_created(os.getpid()))
    folder = store.home / "runs" / run.run_id
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text(log, encoding="utf-8")
    if state == "queued":
        return store.get(run.run_id)
    store.set_state(run.run_id, "starting")
    if state == "starting":
        return store.get(run.run_id)
    store.set_state(run.run_id, "training")
    if state in ENDED:
        store.set_process(run, GONE, 1.0)
    upto = total if state == "done" else int(0.6 * total)
    store.append(run.run_id, [*opening(made, total, accuracy), *steps(made, total, upto, accuracy)])
    if state == "stopping":
        store.request_stop(run.run_id)
    elif state in ("failed", "interrupted"):
        failure = RunFailed(
            error="Diverged",
            message="The loss is nan at step 60 <script>alert(1)</script>.",
            next_step="Start a copy of the run with a lower learning rate.",
        )
        store.end(run.run_id, failure, state)
    elif state == "stopped":
        store.end(run.run_id, RunStopped(step=upto), "stopped")
    elif state == "done":
        store.end(run.run_id, RunFinished(result=result(run.run_id, made, accuracy)), "done")
    return store.get(run.run_id)
