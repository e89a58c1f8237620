"""What a run says about itself: frozen events, each one JSON object with its ``kind``.

Training yields them, the worker stores them, pages draw them. Units stand in the suffixes: ``_s`` seconds, ``_ms``
milliseconds, ``_kwh`` kilowatt-hours, ``_kg`` kilograms of CO2 equivalent, ``_w`` watts, ``_bytes`` bytes.
Nothing here imports torch.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from engine.records import (
    Basis,
    DataReport,
    Latency,
    LayerMask,
    Measurement,
    Record,
    RunResult,
    SvmReport,
    VocabularyReport,
)


class RunStarted(Record):
    """The worker has a device and begins, or begins again after a stop."""

    kind: Literal["run_started"] = "run_started"
    device: str
    device_name: str
    precision: str
    precision_reason: str
    threads: int
    resumed_at_step: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)


class DataPrepared(Record):
    """The texts are read, cleaned and split."""

    kind: Literal["data_prepared"] = "data_prepared"
    report: DataReport


class ModelLoaded(Record):
    """Teacher and student are in memory."""

    kind: Literal["model_loaded"] = "model_loaded"
    base: str
    head: Literal["by name", "subset by name", "aligned", "new"]
    """How the base's labels became the dataset's."""
    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    vocabulary: int
    total_steps: int
    steps_per_epoch: int
    learning_rate: float
    distilling: bool


class Notice(Record):
    """Something the person should know and need not act on."""

    kind: Literal["notice"] = "notice"
    message: str


class BaselineMeasured(Record):
    """The dense base, before the first step, on the run's own validation split and device."""

    kind: Literal["baseline_measured"] = "baseline_measured"
    measurement: Measurement


class SvmMeasured(Record):
    """The yardstick that costs a second is trained and measured, after the first evaluation."""

    kind: Literal["svm_measured"] = "svm_measured"
    report: SvmReport


class TeacherReady(Record):
    """The teacher's logits over the training split are computed."""

    kind: Literal["teacher_ready"] = "teacher_ready"
    texts: int
    duration_s: float


class StepLogged(Record):
    """Averages over the optimizer steps since the last such event."""

    kind: Literal["step_logged"] = "step_logged"
    step: int
    """Optimizer steps done so far, from 1."""
    epoch: float
    loss: float
    cross_entropy: float
    distillation_loss: float | None
    learning_rate: float
    density: float
    """Share of the units the method prunes (FFN neurons, heads, weights, layers) that really stay."""
    density_target: float
    """What the schedule asks for."""
    grad_norm: float | None
    loss_scale: float | None = None
    skipped_steps: int = 0
    """Steps that fp16 loss scaling has skipped so far."""
    texts_per_s: float
    tokens_per_s: float
    elapsed_s: float
    eta_s: float


class Evaluated(Record):
    """The student as it would be if compacted now, and the dense base timed beside it."""

    kind: Literal["evaluated"] = "evaluated"
    step: int
    measurement: Measurement
    dense_latency_ms: Latency


class EmissionsSampled(Record):
    """Energy and emissions so far; all totals are cumulative over every part of the run."""

    kind: Literal["emissions_sampled"] = "emissions_sampled"
    duration_s: float
    energy_kwh: float
    cpu_energy_kwh: float
    gpu_energy_kwh: float
    ram_energy_kwh: float
    emissions_kg: float
    power_w: float
    """Average over the last sampling interval."""
    phase: Literal["training", "evaluation"]
    country: str
    grid_g_per_kwh: float
    cpu_basis: Basis
    gpu_basis: Basis | None
    ram_basis: Basis
    cpu_percent: float | None = None
    gpu_percent: float | None = None
    ram_used_bytes: int | None = None


class CheckpointSaved(Record):
    """Everything needed to resume at this step is on disk."""

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    step: int
    size_bytes: int


class VocabularyTrimmed(Record):
    """The student goes on with the tokens that the training texts use."""

    kind: Literal["vocabulary_trimmed"] = "vocabulary_trimmed"
    report: VocabularyReport


class Compacted(Record):
    """The student has become a smaller dense model, and is trained on at that size where steps are left."""

    kind: Literal["compacted"] = "compacted"
    step: int | None = None
    """Optimizer steps done when it happened."""
    kept_layers: tuple[int, ...] = ()
    """Layers that stayed, in the base's numbering."""
    intermediate_sizes: tuple[int, ...]
    """FFN width of each of these layers."""
    kept_neurons: tuple[tuple[int, ...], ...] = ()
    """Indices of the neurons that stayed, by layer, in the base's numbering."""
    kept_heads: tuple[tuple[int, ...], ...] = ()
    """Indices of the attention heads that stayed, by layer, in the base's numbering."""
    heads_removed: int = 0
    """Attention heads gone from the layers that stayed."""
    stock: bool = True
    """Whether stock transformers can load the outcome."""
    max_logit_difference: float
    """Largest absolute difference between masked and compacted logits on validation texts."""


class MaskMoved(Record):
    """The mask as it is chosen for the next step; told some forty times a run.

    How many units moved follows from two of them: it is not stored, so that it cannot be wrong after a resume.
    """

    kind: Literal["mask_moved"] = "mask_moved"
    step: int
    """Optimizer steps done when it was chosen."""
    density: float
    """As in `StepLogged`."""
    layers: tuple[LayerMask, ...]


class RunFinished(Record):
    """The run is done; the result is whole and the model is saved."""

    kind: Literal["run_finished"] = "run_finished"
    result: RunResult


class RunStopped(Record):
    """The run was asked to stop and has saved itself."""

    kind: Literal["run_stopped"] = "run_stopped"
    step: int


class RunFailed(Record):
    """The run ended in an error."""

    kind: Literal["run_failed"] = "run_failed"
    error: str
    """Class name of the error."""
    message: str
    next_step: str


Event = (
    RunStarted
    | DataPrepared
    | ModelLoaded
    | Notice
    | BaselineMeasured
    | SvmMeasured
    | TeacherReady
    | StepLogged
    | Evaluated
    | EmissionsSampled
    | CheckpointSaved
    | VocabularyTrimmed
    | MaskMoved
    | Compacted
    | RunFinished
    | RunStopped
    | RunFailed
)

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def to_json(event: Event) -> str:
    """Write an event as one line of JSON."""
    return event.model_dump_json()


def from_json(text: str) -> Event:
    """Read an event back; the inverse of `to_json`."""
    return _ADAPTER.validate_json(text)
