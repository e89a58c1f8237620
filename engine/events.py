"""What a run says about itself: frozen events, each one JSON object with its ``kind``.

Training yields them, the worker stores them, pages draw them. Units stand in the suffixes: ``_s`` seconds, ``_ms``
milliseconds, ``_kwh`` kilowatt-hours, ``_kg`` kilograms of CO2 equivalent, ``_w`` watts, ``_bytes`` bytes.
Nothing here imports torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Basis = Literal["measured", "estimated"]
Doubt = Literal["", "no letters", "other language", "low probability"]
"""Why an answer of a classifier is unsure; empty where it is not."""


class Record(BaseModel):
    """A frozen, closed JSON object."""

    # infinite and undefined numbers become strings: as null they could not be read back
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class SplitReport(Record):
    """What cleaning did to one split; every count is a number of rows or texts."""

    rows_read: int
    repeated_headers: int = 0
    empty_texts: int = 0
    empty_labels: int = 0
    duplicates: int = 0
    leaked: int = 0
    """Texts dropped here because they also stand in a split that comes before it (train, validation, test)."""
    kept: int = 0
    repaired: int = 0
    """Of those kept, texts whose Devanagari had been read in a wrong encoding and was restored."""


class DataReport(Record):
    """What was understood of a dataset and what was done to it."""

    source: str
    text_column: str
    label_column: str
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    conflicting_labels: int = 0
    """Texts that carry more than one label; the first label was kept."""
    splits: dict[str, SplitReport]
    """By split name (train, validation, test), or ``all`` where one file was cut into three after cleaning."""
    sizes: dict[str, int]
    """Texts in train, validation and test, after cleaning and splitting."""
    label_counts: dict[str, int]
    """Texts of each label over all splits."""
    notes: tuple[str, ...] = ()
    """Sentences for the person, such as how the columns were found."""


class Latency(Record):
    """Time of one forward pass (interleaved with its rival, after warm-up), in milliseconds."""

    p50: float
    p95: float
    min: float
    batch_size: int
    sequence_length: int
    """Tokens in each text of the batch."""


class Measurement(Record):
    """One model, measured on one split and one device."""

    parameters: int
    size_bytes: int
    """Bytes of all tensors at the stored precision."""
    flops: int
    """Floating-point operations of one forward pass of one text at `Latency.sequence_length` (a multiply-add counts 2)."""
    latency_ms: Latency
    accuracy: float | None = None
    """Validation accuracy, 0 to 1; None where the weights are random by design (muril-shape)."""
    macro_f1: float | None = None
    test_accuracy: float | None = None
    test_macro_f1: float | None = None


class RunStarted(Record):
    """The worker has a device and begins, or begins again after a stop."""

    kind: Literal["run_started"] = "run_started"
    device: str
    device_name: str
    precision: str
    precision_reason: str
    threads: int
    resumed_at_step: int | None = None
    versions: dict[str, str] = {}


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


class SvmReport(Record):
    """A linear SVM over character n-grams, trained and measured on a run's own splits on the processor; shares are 0 to 1."""

    accuracy: float
    """On the validation split."""
    macro_f1: float
    test_accuracy: float
    test_macro_f1: float
    features: int
    """Character n-grams that it knows."""
    size_bytes: int
    """Bytes of its weights and its n-grams."""
    training_s: float
    energy_kwh: float
    """Of its training, by the run's own meter; 0 where that took too few milliseconds to be metered."""
    energy_basis: Basis
    """Estimated where any part of it is."""
    latency_ms: float
    """Median time of one validation text by itself, the counting of its n-grams included."""
    characters: int
    """How many characters of a text it reads."""
    texts_cut: int = 0
    """Training texts that are longer than that."""


class SvmMeasured(Record):
    """The yardstick that costs a second is trained and measured, before the first step."""

    kind: Literal["svm_measured"] = "svm_measured"
    report: SvmReport


class CalibrationReport(Record):
    """How far a model's probabilities can be believed; measured on the test split, fitted on the validation split."""

    temperature: float = Field(gt=0, allow_inf_nan=False)
    """What logits are divided by before the softmax; above 1 the model was too sure of itself."""
    ece_before: float
    """Expected calibration error at temperature 1, 0 to 1."""
    ece: float
    """The same at the fitted temperature."""
    fitted_on: int
    """Texts of the validation split."""
    measured_on: int
    """Texts of the test split."""
    languages: tuple[str, ...]
    """Languages of the training texts, ISO 639 codes."""
    language_margin: float
    """By how many nats a text may look likelier to be in another language."""
    sure: float = 0.0
    """Share of the test texts that get an answer and not "not sure"."""
    sure_accuracy: float | None = None
    """Accuracy on those; None where there are none."""


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


class VocabularyReport(Record):
    """What leaving out tokens saves, and what it does to validation texts before any training; shares are 0 to 1."""

    tokens_before: int
    tokens_after: int
    rows_before: int
    """Rows of the base's token embedding, which may be more than its tokenizer has tokens; afterwards there is one a token."""
    parameters_saved: int
    bytes_saved: int
    unknown_before: float
    """Share of unknown tokens in the validation texts."""
    unknown_after: float
    texts_changed: float
    """Share of validation texts that are split into other tokens than before."""
    label_agreement: float | None
    """Share of validation texts that the base labels alike with all tokens and with fewer; None where its head is untrained."""


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


class ScoreCounts(Record):
    """How the scores that a mask was chosen by lie: units in bins of equal width, those that stay apart from those that go."""

    low: float
    """Lower edge of the first bin."""
    high: float
    """Upper edge of the last bin; such a score lies in it."""
    kept: tuple[int, ...]
    gone: tuple[int, ...]
    cut_off: float | None = None
    """Lowest score of a unit that stays; None while none goes or none stays."""


class LayerMask(Record):
    """What stays of one layer, in the base's numbering.

    A set of units is the hex text of its bytes: unit j stays where bit j % 8 (1, 2, 4, ... 128) of byte j // 8 is set.
    """

    layer: int
    neurons: int
    """FFN neurons that the layer has in the base."""
    heads: int
    """Attention heads that the layer has in the base."""
    kept_neurons: str
    kept_heads: str
    scores: ScoreCounts | None = None
    """Of the FFN neurons that were still there to be chosen from; None where they are not chosen by scores."""
    head_scores: tuple[float, ...] = ()
    """Of each head, where heads are chosen by scores."""
    kept_weights: float | None = None
    """Share of the weights that stay, 0 to 1, where they go one by one (of all matrices) or in blocks (of the attention's)."""


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


class EnergySplit(Record):
    """Energy of one phase in kWh."""

    cpu: float
    gpu: float
    ram: float


class RunResult(Record):
    """What a finished run amounts to; `python -m engine train --json` prints it."""

    run_id: str
    state: Literal["done"] = "done"
    name: str
    recipe: str
    base: str
    level: float
    distilled: bool
    dense: Measurement
    student: Measurement
    speedup: float
    """Dense p50 latency over student p50 latency, interleaved in one measurement."""
    speedup_ceiling: float
    """Dense FLOPs over student FLOPs: the most that structure alone can gain."""
    energy_kwh: float
    energy_training_kwh: EnergySplit
    energy_evaluation_kwh: EnergySplit
    energy_basis: dict[str, Basis]
    emissions_kg: float
    country: str
    grid_g_per_kwh: float
    duration_s: float
    device: str
    device_name: str
    precision: str
    data: DataReport
    vocabulary: VocabularyReport | None = None
    """What a smaller vocabulary did; None where all tokens stayed."""
    svm: SvmReport | None = None
    """The SVM on the same texts; None for a shape without meaning, and in results older than this field."""
    calibration: CalibrationReport | None = None
    """None for a shape without meaning, and in results older than this field."""
    model_path: str
    stock: bool = True
    """Whether stock transformers can load the model; otherwise it is in Chhatni's own format."""


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
