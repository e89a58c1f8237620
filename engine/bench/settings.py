"""What a benchmark is told, from the command line's words to checked numbers; without torch."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from engine.config import DEVICE_PATTERN, Method, Precision
from engine.errors import ConfigError
from engine.shapes import Shape

SECTIONS = {
    "vocabulary": "parameters of MuRIL's shape with a smaller vocabulary",
    "latency": "forward passes of pruned shapes beside the dense one, precision, padding and tokenization",
    "step": "a training step dense, with masks, and with nn_pruning's",
    "run": "a whole pruning run beside dense fine-tuning",
    "throughput": "training tokens per second, share of the card's peak, energy",
}
"""The parts of a benchmark, in the order in which they are measured: what can fail for want of a file comes first."""
SCORED: tuple[Method, ...] = ("block-movement", "hybrid", "soft-cutoff")
"""Methods that learn scores, so that their masks take part in every training step."""


@dataclass(frozen=True)
class BenchSettings:
    """What to measure; the defaults are the paper's shapes at batch 8 and 128 tokens."""

    sections: tuple[str, ...] = ("latency",)
    model: str = "muril-shape"
    layers: int | None = None
    """Layers of the model that is measured; None takes the model's own number."""
    levels: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
    """Pruning levels: share of the FFN neurons that every layer lacks. The dense shape is always measured."""
    shapes: tuple[tuple[int, int], ...] = ()
    """Further shapes, as heads and FFN neurons of every layer."""
    batch_sizes: tuple[int, ...] = (8,)
    """``step`` and ``run`` take the first, as of the lengths and precisions."""
    sequence_lengths: tuple[int, ...] = (128,)
    precisions: tuple[str, ...] = ("fp32",)
    device: str = "auto"
    threads: int = 1
    rounds: int = 20
    """Forward passes of each shape; in ``throughput`` training steps."""
    methods: tuple[str, ...] = ("block-movement", "hybrid")
    """Of `SCORED`; ``run`` takes the first."""
    densities: tuple[float, ...] = (1.0, 0.9, 0.75, 0.5, 0.25)
    """Densities at which a step with masks is timed."""
    step_rounds: int = 5
    run_steps: int = 20
    data: str = "starter"
    """Whose texts give real lengths and the vocabulary; a dataset as in `DataConfig.source`."""
    tokenizer: str | None = None
    """Whose vocabulary is made smaller: a folder, a run or a hub id; None learns a stand-in of MuRIL's size."""

    def complaints(self) -> dict[str, str]:
        """Return what is wrong with each field, as far as can be told without the model."""
        wrong: dict[str, str] = {}
        for name, words, fits, rule, hint in _RULES:
            values = getattr(self, name)
            if name in _OPTIONAL and values in (None, ()):
                continue
            values = values if isinstance(values, tuple) else (values,)
            bad = [value for value in values if not fits(value)]
            if bad or not values:
                shown = ", ".join(_shown(value) for value in bad) or "empty"
                wrong[name] = f"{words} is {shown}; it must be {rule}. Try {hint}."
        if "run" in self.sections and "levels" not in wrong and not any(self.levels):
            wrong["levels"] = "Section run prunes to the highest pruning level, and none above 0 is given. Try 0.75."
        return wrong

    def complaints_about(self, shape: Shape) -> dict[str, str]:
        """Return what does not fit the model."""
        wrong: dict[str, str] = {}
        longest = max(self.sequence_lengths, default=0)
        if longest > shape.positions:
            wrong["sequence_lengths"] = (
                f"Sequence length is {longest}; the model reads at most {shape.positions}. Try {shape.positions}."
            )
        large = [pair for pair in self.shapes if pair[0] > shape.heads or pair[1] > shape.intermediate_size]
        if large:
            shown = ", ".join(_shown(pair) for pair in large)
            wrong["shapes"] = (
                f"Shape is {shown}; the model has only {shape.heads} heads and {shape.intermediate_size} FFN neurons a layer. "
                f"Try {max(1, shape.heads // 2)}x{max(1, shape.intermediate_size // 4)}."
            )
        return wrong

    @classmethod
    def parse(cls, words: Mapping[str, Any]) -> "BenchSettings":
        """Build settings from options; lists come as words between commas.

        Raises:
            ConfigError: with every wrong field at once.
        """
        wrong: dict[str, str] = {}
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in words:
                continue
            value = words[field.name]
            if field.name in _READERS and isinstance(value, str):
                read, hint = _READERS[field.name]
                parts = [part.strip() for part in value.split(",") if part.strip()]
                try:
                    value = tuple(dict.fromkeys(read(part) for part in parts))
                except ValueError:
                    name = field.name.replace("_", " ").capitalize()
                    wrong[field.name] = f"{name} are {value!r}; give words between commas such as {hint}."
                    continue
            values[field.name] = value
        settings = cls(**values)
        wrong = {**settings.complaints(), **wrong}
        if wrong:
            raise ConfigError(wrong)
        return settings


def _pair(text: str) -> tuple[int, int]:
    heads, _, neurons = text.partition("x")
    return int(heads), int(neurons)


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "sections": (str, "latency,step"),
    "levels": (float, "0,0.25,0.5,0.75"),
    "shapes": (_pair, "6x768 (heads x FFN neurons)"),
    "batch_sizes": (int, "1,8,32"),
    "sequence_lengths": (int, "32,128"),
    "precisions": (str, "fp32,bf16"),
    "methods": (str, "block-movement,hybrid"),
    "densities": (float, "1,0.5,0.25"),
}
"""How the words of a list are read, and an example."""


def _at_least_1(value: int) -> bool:
    return value >= 1


def _names_device(text: str) -> bool:
    return re.fullmatch(DEVICE_PATTERN, text) is not None


_COUNT = "at least 1"
_RULES: tuple[tuple[str, str, Callable[[Any], bool], str, str], ...] = (
    ("sections", "Section", SECTIONS.__contains__, f"of {', '.join(SECTIONS)}", "latency"),
    ("layers", "Number of layers", _at_least_1, _COUNT, "12"),
    ("levels", "Pruning level", lambda level: 0 <= level < 1, "at least 0 and below 1", "0.25"),
    ("shapes", "Shape", lambda pair: min(pair) >= 1, "at least one head and one FFN neuron", "6x768"),
    ("batch_sizes", "Batch size", _at_least_1, _COUNT, "8"),
    ("sequence_lengths", "Sequence length", _at_least_1, _COUNT, "128"),
    ("precisions", "Precision", get_args(Precision).__contains__, f"of {', '.join(get_args(Precision))}", "fp32"),
    ("device", "Device", _names_device, "auto, cpu, cuda or cuda:N", "auto"),
    ("threads", "Number of threads", _at_least_1, _COUNT, "1"),
    ("rounds", "Number of rounds", _at_least_1, _COUNT, "20"),
    ("methods", "Method", SCORED.__contains__, f"of {', '.join(SCORED)}, whose masks learn", "block-movement"),
    ("densities", "Density", lambda density: 0 < density <= 1, "above 0 and at most 1", "0.5"),
    ("step_rounds", "Number of rounds of steps", _at_least_1, _COUNT, "5"),
    ("run_steps", "Number of steps of a run", lambda steps: steps >= 5, "at least 5", "20"),
)
"""Field, its name in a sentence, what fits, the rule in words, and what to try."""
_OPTIONAL = ("layers", "levels", "shapes")
"""Fields that may be empty."""


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(str(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)
