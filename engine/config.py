"""What a run is told to do: `RunConfig`, its parts, and the named recipes.

Every field carries its unit in its name or description and its range in its type; unknown keys are refused. `RunConfig.parse`
is the one door for outside input: it raises `ConfigError` with all complaints at once. Nothing here imports torch.
"""

from pathlib import Path
from typing import Annotated, Any, Literal
from unicodedata import category

import pycountry
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from engine.errors import ConfigError

MAHANEWS = ("mahanews-shc", "mahanews-lpc", "mahanews-ldc")
PAPER_MODEL = "l3cube-pune/marathi-topic-all-doc-v2"

Precision = Literal["auto", "fp16", "bf16", "fp32"]
Method = Literal["block-movement", "hybrid", "soft-cutoff", "magnitude", "wanda", "layer-dropping"]
METHODS: dict[Method, str] = {
    "block-movement": "Block movement",
    "hybrid": "Hybrid",
    "soft-cutoff": "Soft cut-off",
    "magnitude": "Magnitude",
    "wanda": "Wanda",
    "layer-dropping": "Layer dropping",
}
"""What each pruning method is called on screen."""
ScheduleName = Literal["cubic", "linear", "exponential", "constant"]
DEVICE_PATTERN = r"^(auto|cpu|cuda(:[0-9]{1,2})?)$"


class Part(BaseModel):
    """A frozen piece of configuration that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)


class DataConfig(Part):
    """Which texts to learn from and to be measured on."""

    source: Annotated[str, Field(min_length=1, max_length=4096, title="Dataset")] = "starter"
    """``starter``, one of `MAHANEWS`, or the path of a CSV, TSV, JSONL or Parquet file."""
    test_path: Annotated[str | None, Field(max_length=4096, title="Test file")] = None
    """A file of its own for the test split; without it the test split is cut from ``source``."""
    text_column: Annotated[str | None, Field(max_length=200, title="Text column")] = None
    label_column: Annotated[str | None, Field(max_length=200, title="Label column")] = None
    max_length: Annotated[int, Field(ge=8, le=512, title="Maximum length in tokens")] = 128
    """Tokens a text is cut to, special tokens included."""


class ModelConfig(Part):
    """Which model to start from."""

    base: Annotated[str, Field(min_length=1, max_length=4096, title="Base model")] = "starter"
    """``starter``, ``compact``, ``muril-shape``, a hub id, a local folder or the id of a finished run."""


class PruningConfig(Part):
    """What is removed, by which rule, and when."""

    final_density: Annotated[float, Field(gt=0, le=1, title="Final density")] = 1.0
    """Share of what the method prunes that stays: FFN neurons of every layer (and heads, layers or weights, as ``method`` says).
    A pruning level of 25 % is a density of 0.75."""
    method: Annotated[Method, Field(title="Method")] = "block-movement"
    schedule: Annotated[ScheduleName, Field(title="Schedule")] = "cubic"
    """How the density falls from the warm-up's end to the cool-down's beginning; ``constant`` falls at once (one-shot)."""
    initial_density: Annotated[float, Field(gt=0, le=1, title="Initial density")] = 1.0
    """Density where the schedule begins; one minus this is the initial sparsity of Zhu & Gupta."""
    warmup_share: Annotated[float, Field(ge=0, le=0.9, title="Pruning warm-up")] = 0.1
    """Share of all steps at density 1 before the schedule starts."""
    cooldown_share: Annotated[float, Field(ge=0, le=0.9, title="Pruning cool-down")] = 0.3
    """Share of all steps at the final density after the schedule has ended; they run on the model made smaller."""
    mask_learning_rate: Annotated[float, Field(gt=0, le=1, title="Mask learning rate")] = 1e-2
    """AdamW's rate for learned scores: block movement, hybrid and soft cut-off."""
    attention_unit: Annotated[Literal["head", "block"], Field(title="Attention unit")] = "head"
    """Hybrid only: whole heads by their movement, or 32 x 32 blocks wherever they stand, as in Lagunas et al."""
    regularization_lambda: Annotated[float, Field(ge=0, le=1e4, title="Regularisation lambda")] = 1.0
    """Soft cut-off only: weight of the mean of the sigmoids of the scores in the loss."""
    cut_off: Annotated[float | None, Field(gt=0, lt=1, title="Cut-off")] = None
    """Soft cut-off only: keep neurons whose sigmoid score is above this at the end; None finds the one that leaves the density."""
    unit: Annotated[Literal["neuron", "weight"], Field(title="Magnitude unit")] = "neuron"
    """Magnitude only: whole neurons, or single weights (which makes nothing faster on dense hardware)."""
    iterations: Annotated[int, Field(ge=1, le=1000, title="Pruning iterations")] = 10
    """Magnitude and activation-aware: prune in this many steps with fine-tuning between; 1 is one-shot."""
    drop_layers: Annotated[int, Field(ge=0, le=1000, title="Layers to drop")] = 0
    """Layers taken out before training, middle ones first, beside whatever the method does."""
    vocabulary: Annotated[Literal["full", "training"], Field(title="Vocabulary")] = "full"
    """``training`` keeps only the tokens that the training texts use, single characters and special tokens."""
    width_multiple: Annotated[int, Field(ge=1, le=1024, title="Width multiple")] = 64
    """FFN widths are rounded to a multiple of this; 1 does not round."""

    @property
    def level(self) -> float:
        """Share removed, as the paper and the screen count it (0 to 1)."""
        return round(1.0 - self.final_density, 6)

    @property
    def enabled(self) -> bool:
        """Whether anything of the layers is removed; a smaller vocabulary alone is not counted."""
        return self.final_density < 1.0 or self.drop_layers > 0

    @property
    def words(self) -> str:
        """What is removed in words such as ``25 %`` (block movement) or ``Wanda 50 %, 2 layers dropped``."""
        parts = []
        if self.final_density < 1.0:
            name = METHODS[self.method]
            unit = " of weights" if self.method == "magnitude" and self.unit == "weight" else ""
            blocks = " blocks" if self.method == "hybrid" and self.attention_unit == "block" else ""
            level = f"{self.level * 100:g} %"
            parts.append(level if self.method == "block-movement" else f"{name}{blocks} {level}{unit}")
        if self.drop_layers:
            parts.append(f"{self.drop_layers} layer{'s' if self.drop_layers > 1 else ''} dropped")
        if self.vocabulary == "training":
            parts.append("small vocabulary")
        return ", ".join(parts) or "Baseline"


class DistillationConfig(Part):
    """Learning from the unpruned base model (Hinton et al. 2015)."""

    enabled: bool = False
    temperature: Annotated[float, Field(gt=0, le=100, title="Temperature")] = 2.0
    distillation_weight: Annotated[float, Field(ge=0, le=1, title="Distillation weight")] = 0.9
    """Weight of the teacher's term; the labels' cross-entropy weighs one minus this."""


class TrainingConfig(Part):
    """The loop: how long, how fast, on what."""

    epochs: Annotated[int, Field(ge=1, le=1000, title="Epochs")] = 3
    """As in fine-tuning BERT: Devlin et al. 2018, appendix A.3, recommends 2 to 4."""
    max_steps: Annotated[int | None, Field(ge=1, le=10_000_000, title="Maximum steps")] = None
    """Ends training after this many optimizer steps, whatever ``epochs`` says."""
    batch_size: Annotated[int, Field(ge=1, le=4096, title="Batch size")] = 32
    learning_rate: Annotated[float | None, Field(gt=0, le=1, title="Learning rate")] = None
    """Peak rate of AdamW; None takes the default for the base model's width (`loop.optimization.default_learning_rate`)."""
    weight_decay: Annotated[float, Field(ge=0, le=1, title="Weight decay")] = 0.01
    warmup_share: Annotated[float, Field(ge=0, le=1, title="Learning-rate warm-up")] = 0.1
    """Share of all steps over which the learning rate rises from 0; afterwards it falls linearly to 0."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6, title="Gradient clipping norm")] = 1.0
    precision: Precision = "auto"
    device: Annotated[str, Field(pattern=DEVICE_PATTERN, title="Device")] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, title="Seed")] = 0
    evaluations: Annotated[int, Field(ge=1, le=1000, title="Evaluations")] = 10
    """How many times the student is measured on the validation split, evenly spread; the last one is at the last step."""
    checkpoint_every_s: Annotated[float, Field(ge=0, le=86_400, title="Checkpoint interval in seconds")] = 60.0


class EmissionsConfig(Part):
    """Whose electricity the machine is said to use."""

    country: Annotated[str, Field(title="Country")] = "IND"
    """ISO 3166 alpha-3 code of the grid."""
    sample_every_s: Annotated[float, Field(ge=0.5, le=60, title="Sampling interval in seconds")] = 1.0

    @field_validator("country")
    @classmethod
    def _known_country(cls, value: str) -> str:
        code = value.upper()
        if len(code) != 3 or pycountry.countries.get(alpha_3=code) is None:
            raise ValueError("it must be a three-letter ISO 3166 code")
        return code


class RunConfig(Part):
    """Everything one run is told; what is not told has a visible default."""

    name: Annotated[str, Field(max_length=120, title="Name")] = ""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    pruning: PruningConfig = PruningConfig()
    distillation: DistillationConfig = DistillationConfig()
    training: TrainingConfig = TrainingConfig()
    emissions: EmissionsConfig = EmissionsConfig()

    @field_validator("name")
    @classmethod
    def _one_line(cls, value: str) -> str:
        return " ".join("".join(" " if category(sign) == "Cc" else sign for sign in value).split())

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "RunConfig":
        """Build a config from plain values.

        Raises:
            ConfigError: with every wrong field at once.
        """
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_complaints(cls, error)) from None
        config._check_together()
        return config

    def _check_together(self) -> None:
        """Refuse values that are fine alone and impossible together."""
        pruning = self.pruning
        wrong: dict[str, str] = {}
        if pruning.enabled and pruning.warmup_share + pruning.cooldown_share > 1:
            wrong["pruning.cooldown_share"] = (
                f"Pruning warm-up ({pruning.warmup_share:g}) and cool-down ({pruning.cooldown_share:g}) add up to more than "
                "the whole run. Try 0.1 and 0.3."
            )
        if pruning.initial_density < pruning.final_density:
            wrong["pruning.initial_density"] = (
                f"Initial density is {pruning.initial_density:g} and final density {pruning.final_density:g}; pruning only "
                "takes away. Try 1."
            )
        if wrong:
            raise ConfigError(wrong)

    @property
    def recipe(self) -> str:
        """The name a person knows this setting by, such as ``25 % + KD``."""
        name = self.pruning.words
        return f"{name} + KD" if self.distillation.enabled else name

    @property
    def title(self) -> str:
        """The given name, or the recipe and the base where no name was given."""
        base = self.model.base
        short = Path(base).name if "/" in base or "\\" in base else base
        return self.name or f"{self.recipe}, {short}"


_BOUNDS = {
    "greater_than": ("gt", "above {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "below {}"),
    "less_than_equal": ("le", "at most {}"),
}

_NO_NUMBER = {
    "finite_number": "a finite number, ",
    "float_type": "a number, ",
    "float_parsing": "a number, ",
    "int_type": "a whole number, ",
    "int_parsing": "a whole number, ",
    "int_from_float": "a whole number, ",
    "int_parsing_size": "a whole number, ",
}


def _complaints(model: type[BaseModel], error: ValidationError) -> dict[str, str]:
    """Turn pydantic's list into one sentence a field: what it is, what it must be, what to try."""
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        path = [str(part) for part in item["loc"]] or ["Settings"]
        dotted = ".".join(path)
        title, default, rule = _describe(model, path)
        value = _shown(item["input"])
        if item["type"] == "extra_forbidden":
            found[dotted] = f"There is no setting {dotted!r} (its value was {value}). Remove it."
            continue
        must = _must(item["type"], item["msg"], item.get("ctx", {}))
        if rule and (item["type"] in _BOUNDS or item["type"] in _NO_NUMBER):
            must = f"it must be {_NO_NUMBER.get(item['type'], '')}{rule}"
        hint = "" if default is None or default == "" or isinstance(default, BaseModel) else f" Try {_shown(default)}."
        found[dotted] = f"{title} is {value}; {must}.{hint}"
    return found


def _describe(model: type[BaseModel], path: list[str]) -> tuple[str, Any, str]:
    """Follow a dotted path into the model: title, default and the sentence of its numeric range."""
    field = None
    owner: Any = model
    for name in path:
        fields = getattr(owner, "model_fields", {})
        if name not in fields:
            break
        field = fields[name]
        owner = field.annotation
    if field is None:
        return path[-1], None, ""
    limits = []
    for constraint in field.metadata:
        for attribute, words in _BOUNDS.values():
            limit = getattr(constraint, attribute, None)
            if limit is not None:
                limits.append(words.format(_shown(limit)))
    title = field.title or path[-1].replace("_", " ").capitalize()
    return title, field.get_default(), " and ".join(limits)


def _must(kind: str, message: str, context: dict[str, Any]) -> str:
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "literal_error":
        return f"it must be one of {context.get('expected', '')}"
    if kind == "string_pattern_mismatch":
        pattern = context.get("pattern", "")
        return "it must be auto, cpu, cuda or cuda:N" if pattern == DEVICE_PATTERN else f"it must match {pattern}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "it must be a group of settings by name"
    for theirs, ours in (("Input should be", "it must be"), ("String should have", "it must have")):
        message = message.replace(theirs, ours, 1)
    return message[0].lower() + message[1:].rstrip(".")


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")  # half a surrogate pair could not be printed
    if not text.strip():
        return "empty"
    return text if len(text) <= 80 else text[:77] + "..."
