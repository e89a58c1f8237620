"""What events carry: reports, measurements and results, each a frozen JSON object.

Units stand in the suffixes, as in `engine.events`. Nothing here imports torch.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Basis = Literal["measured", "estimated"]
Doubt = Literal["", "no letters", "other language", "repetition", "unfamiliar", "low probability"]
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
    strange_within: float = 1.0
    """What share of its letter sequences may be unknown from the training texts; 1 in reports of an older version."""
    sure: float = 0.0
    """Share of the test texts that get an answer and not "not sure"."""
    sure_accuracy: float | None = None
    """Accuracy on those; None where there are none."""


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
