"""Make-believe training for the tests of the queue, and one sample of every event.

What it does stands in the run's name: ``steps=20 pause_s=0.05`` takes twenty steps of 50 ms. ``stubborn`` never asks
whether to stop, ``diverge`` fails at the third step. As a program it is a worker like `engine.worker`, with this
training.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from engine import standby, worker
from engine.errors import Diverged
from engine.events import (
    BaselineMeasured,
    CheckpointSaved,
    Compacted,
    DataPrepared,
    EmissionsSampled,
    Evaluated,
    Event,
    MaskMoved,
    ModelLoaded,
    Notice,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    StepLogged,
    SvmMeasured,
    TeacherReady,
    VocabularyTrimmed,
)
from engine.home import run_folder
from engine.records import (
    DataReport,
    EnergySplit,
    Latency,
    LayerMask,
    Measurement,
    RunResult,
    ScoreCounts,
    SplitReport,
    SvmReport,
    VocabularyReport,
)

LATENCY = Latency(p50=4.5, p95=6.25, min=4.0, batch_size=1, sequence_length=128)
MEASURED = Measurement(
    parameters=1000, size_bytes=4000, flops=10**12, latency_ms=LATENCY, accuracy=0.5, macro_f1=None, test_accuracy=1.0
)
SVM = SvmReport(
    accuracy=0.6,
    macro_f1=0.5,
    test_accuracy=0.625,
    test_macro_f1=0.5,
    features=900,
    size_bytes=20_000,
    training_s=0.25,
    energy_kwh=1e-7,
    energy_basis="estimated",
    latency_ms=0.5,
    characters=1000,
    texts_cut=2,
)
VOCABULARY = VocabularyReport(
    tokens_before=4000,
    tokens_after=2500,
    rows_before=4000,
    parameters_saved=1500 * 256,
    bytes_saved=4 * 1500 * 256,
    unknown_before=0.001,
    unknown_after=0.004,
    texts_changed=0.12,
    label_agreement=0.98,
)
REPORT = DataReport(
    source="starter",
    text_column="text",
    label_column="label",
    labels=("क्रीडा", "राजकारण"),
    splits={"all": SplitReport(rows_read=10, duplicates=1, kept=9)},
    sizes={"train": 7, "validation": 1, "test": 1},
    label_counts={"क्रीडा": 5, "राजकारण": 4},
    notes=("Columns found by their names.",),
)


def run_started(resumed_at_step: int | None = None) -> RunStarted:
    return RunStarted(
        device="cpu",
        device_name="A processor",
        precision="fp32",
        precision_reason="There is no GPU.",
        threads=1,
        resumed_at_step=resumed_at_step,
        versions={"torch": "0"},
    )


def model_loaded(total_steps: int) -> ModelLoaded:
    return ModelLoaded(
        base="starter",
        head="by name",
        layers=2,
        hidden_size=8,
        heads=2,
        intermediate_size=16,
        vocabulary=100,
        total_steps=total_steps,
        steps_per_epoch=total_steps,
        learning_rate=1e-4,
        distilling=False,
    )


def step_logged(step: int) -> StepLogged:
    return StepLogged(
        step=step,
        epoch=step / 10,
        loss=1 / step,
        cross_entropy=0.25,
        distillation_loss=None,
        learning_rate=1e-4,
        density=0.5,
        density_target=0.5,
        grad_norm=1.5,
        texts_per_s=10.0,
        tokens_per_s=1280.0,
        elapsed_s=1.0,
        eta_s=2.0,
    )


def run_finished(run_id: str) -> RunFinished:
    energy = EnergySplit(cpu=1e-6, gpu=0.0, ram=1e-7)
    return RunFinished(
        result=RunResult(
            run_id=run_id,
            name="",
            recipe="25 %",
            base="starter",
            level=0.25,
            distilled=False,
            dense=MEASURED,
            student=MEASURED,
            speedup=1.5,
            speedup_ceiling=2.0,
            energy_kwh=2.2e-6,
            energy_training_kwh=energy,
            energy_evaluation_kwh=energy,
            energy_basis={"cpu": "estimated"},
            emissions_kg=1e-6,
            country="IND",
            grid_g_per_kwh=713.0,
            duration_s=3.0,
            device="cpu",
            device_name="A processor",
            precision="fp32",
            data=REPORT,
            model_path="runs/x/model",
        )
    )


def every_event(run_id: str = "a") -> list[Event]:
    """Return one event of each kind."""
    return [
        run_started(),
        DataPrepared(report=REPORT),
        model_loaded(40),
        Notice(message='छाटणी "quoted" \\ \n\x00 done'),
        BaselineMeasured(measurement=MEASURED),
        SvmMeasured(report=SVM),
        TeacherReady(texts=7, duration_s=0.5),
        step_logged(7),
        Evaluated(step=7, measurement=MEASURED, dense_latency_ms=LATENCY),
        EmissionsSampled(
            duration_s=1.0,
            energy_kwh=1e-9,
            cpu_energy_kwh=1e-9,
            gpu_energy_kwh=0.0,
            ram_energy_kwh=0.0,
            emissions_kg=1e-12,
            power_w=12.5,
            phase="training",
            country="IND",
            grid_g_per_kwh=713.0,
            cpu_basis="estimated",
            gpu_basis=None,
            ram_basis="estimated",
        ),
        CheckpointSaved(step=7, size_bytes=10**10),
        VocabularyTrimmed(report=VOCABULARY),
        MaskMoved(
            step=7,
            density=0.5,
            layers=(
                LayerMask(
                    layer=0,
                    neurons=9,
                    heads=2,
                    kept_neurons="0501",
                    kept_heads="01",
                    scores=ScoreCounts(low=-0.5, high=1.5, kept=(0, 3), gone=(6, 0), cut_off=0.75),
                    head_scores=(0.25, -1e-9),
                ),
                LayerMask(layer=1, neurons=9, heads=2, kept_neurons="ff01", kept_heads="03", kept_weights=0.5),
            ),
        ),
        Compacted(
            step=7,
            kept_layers=(0, 1),
            intermediate_sizes=(8, 4),
            kept_neurons=((0, 2), (1,)),
            kept_heads=((0,), ()),
            heads_removed=3,
            stock=False,
            max_logit_difference=0.0,
        ),
        run_finished(run_id),
        RunStopped(step=9),
        RunFailed(error="Diverged", message="It diverged.", next_step="Lower it."),
    ]


def train(config: object, *, run_id: str, home: Path, should_stop: Callable[[], bool], resume: bool) -> Iterator[Event]:
    """Pretend to train as the run's name says."""
    wish = dict(part.partition("=")[::2] for part in getattr(config, "name").split())  # noqa: B009
    steps, pause_s = int(wish.get("steps", 4)), float(wish.get("pause_s", 0.01))
    saved = run_folder(home, run_id) / "resume" / "step"
    done = int(saved.read_text()) if resume else 0
    yield run_started(done if resume else None)
    yield model_loaded(steps)
    for step in range(done + 1, steps + 1):
        if "stubborn" not in wish and should_stop():
            saved.parent.mkdir(exist_ok=True)
            saved.write_text(str(step - 1))
            yield CheckpointSaved(step=step - 1, size_bytes=1)
            yield RunStopped(step=step - 1)
            return
        time.sleep(pause_s)
        if "diverge" in wish and step == 3:
            raise Diverged("The loss became nan at step 3. Lower the learning rate.")
        yield step_logged(step)
    yield run_finished(run_id)


if __name__ == "__main__":
    standby.IMPORTED = ()  # this training needs no torch
    sys.exit(worker.main(train=train))
