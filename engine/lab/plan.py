"""The speed lab's arithmetic: two shapes, how they are to be timed, what that needs and what came of it; without torch.

`process` has the two timed in a process of their own, by the benchmark's clock; `charts` draws what came of it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from engine.errors import ConfigError
from engine.files.bases import STARTER
from engine.precision import choose_precision, native_bf16
from engine.records import Latency
from engine.runs.devices import lock_name
from engine.runs.run import Run
from engine.shapes import COMPACT, MURIL, Shape, read_shape

SMALL_VOCABULARY = 4000
"""Tokens of the BERT-base preset: a large embedding needs memory and takes no part in the latency."""
PRESETS = ("bert-base", "starter", "custom")
"""What the dense side can be."""
LIMITS = {
    "layers": (1, 48),
    "heads": (1, 64),
    "intermediate_size": (1, 16_384),
    "hidden_size": (8, 2048),
    "vocabulary": (100, 250_000),
    "batch_size": (1, 256),
    "sequence_length": (8, 512),
}
"""The smallest and the largest value of each number a person can set."""

BUDGET_S = 6.0
"""Seconds that the measured rounds may take where a round is short."""
MIN_ROUNDS, MAX_ROUNDS = 5, 200
PILOT_ROUNDS = 3
"""Two to warm up and one that tells how long a round takes; from it the number of rounds follows."""
WARM_UP_ROUNDS = 2
LIMIT_S = 300.0
"""No measurement takes longer: one that would is refused, one that does is ended."""
START_S = 6.0
"""A process that imports torch, on a small machine."""
BUILD_S = 1.5e-8
"""Seconds to fill one parameter with a random number."""
UNSTEADY = 1.5
"""How many times the median the 95th percentile of a quiet machine does not exceed."""

_CPU_RATE = {"fp32": 50e9, "bf16": 100e9}
_GPU_RATE = {"fp32": 15e12, "bf16": 80e12, "fp16": 80e12}
_EMULATED = 0.2
"""What bf16 reaches of fp32 on a CPU without bf16 instructions."""


class Sizes(NamedTuple):
    """What a person sets of a shape."""

    layers: int
    heads: int
    intermediate_size: int
    hidden_size: int
    vocabulary: int


def sizes_of(shape: Shape) -> Sizes:
    """Return the numbers of a shape that a person can set."""
    return Sizes(shape.layers, shape.heads, shape.intermediate_size, shape.hidden_size, shape.vocabulary)


def dense_preset(name: str) -> Shape:
    """Return the dense shape of a preset; that of ``custom`` is where a person starts from.

    Raises:
        CheckpointError: if the starter is not there.
    """
    if name == "starter":
        return read_shape(STARTER)
    return replace(MURIL, vocabulary=SMALL_VOCABULARY) if name == "bert-base" else COMPACT


def make_dense(sizes: Sizes) -> Shape:
    """Return a dense shape, whose heads share its hidden size.

    Raises:
        ConfigError: if they cannot share it evenly.
    """
    if sizes.hidden_size % sizes.heads:
        near = max(1, round(sizes.hidden_size / sizes.heads)) * sizes.heads
        raise ConfigError(
            {
                "dense_hidden": f"Hidden size is {sizes.hidden_size}, which {sizes.heads} heads cannot share evenly. Try {near}."
            }
        )
    return Shape(
        sizes.layers, sizes.hidden_size, sizes.heads, sizes.intermediate_size, sizes.vocabulary, labels=COMPACT.labels
    )


def make_other(dense: Shape, sizes: Sizes) -> Shape:
    """Return the shape that is compared with a dense one; its heads have the size of the dense one's.

    Raises:
        ConfigError: for a hidden size that heads of this size do not fill, or more heads than fit into it.
    """
    each = dense.values_per_head
    most = sizes.hidden_size // each
    if sizes.hidden_size % each:
        hint = max(1, round(sizes.hidden_size / each)) * each
        raise ConfigError(
            {
                "hidden": f"Hidden size is {sizes.hidden_size}; a head has {each} values as in the dense shape, so it must be a "
                f"multiple of {each}. Try {hint}."
            }
        )
    if sizes.heads > most:
        raise ConfigError(
            {
                "heads": f"Number of heads is {sizes.heads}; a hidden size of {sizes.hidden_size} holds at most {most} of "
                f"{each} values. Try {most}."
            }
        )
    return replace(
        dense,
        layers=sizes.layers,
        hidden_size=sizes.hidden_size,
        heads=sizes.heads,
        intermediate_size=sizes.intermediate_size,
        vocabulary=sizes.vocabulary,
        head_size=None if sizes.heads == most else each,
    )


def shortcuts(dense: Shape) -> dict[str, Sizes]:
    """Return shapes worth comparing with a dense one: by name, what a person would have to set."""
    whole = sizes_of(dense)
    half = {field: max(1, (getattr(whole, field) + 1) // 2) for field in ("layers", "heads", "intermediate_size")}
    quarter = max(1, dense.intermediate_size // 4)
    return {
        "half_ffn": whole._replace(intermediate_size=half["intermediate_size"]),
        "half_layers": whole._replace(layers=half["layers"]),
        "half_heads": whole._replace(heads=half["heads"]),
        "quarter_ffn_half_heads": whole._replace(intermediate_size=quarter, heads=half["heads"]),
        "as_dense": whole,
    }


def difference(dense: Shape, other: Shape) -> str:
    """Name a shape by what sets it apart from the dense one: "6 layers, FFN 1,536"."""
    mine, theirs = sizes_of(other), sizes_of(dense)
    words = {
        "layers": f"{mine.layers} {'layer' if mine.layers == 1 else 'layers'}",
        "heads": f"{mine.heads} {'head' if mine.heads == 1 else 'heads'}",
        "intermediate_size": f"FFN {mine.intermediate_size:,}",
        "hidden_size": f"hidden {mine.hidden_size:,}",
        "vocabulary": f"{mine.vocabulary:,} tokens",
    }
    parts = [said for field, said in words.items() if getattr(mine, field) != getattr(theirs, field)]
    return ", ".join(parts) or "as dense"


@dataclass(frozen=True)
class LabSettings:
    """What is timed against what, and how; both sides alike."""

    dense: Shape
    other: Shape
    batch_size: int = 1
    sequence_length: int = 128
    precision: str = "fp32"
    device: str = "cpu"
    threads: int = 1
    """Of the CPU, for both sides."""
    with_fp32: bool = False
    """Whether both shapes are timed in fp32 too, in the same rounds, which shows what the precision gains."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that are timed, the chosen one first."""
        return (self.precision, "fp32") if self.with_fp32 and self.precision != "fp32" else (self.precision,)

    @property
    def ceiling(self) -> float:
        """How many times faster the other shape can be by its FLOPs alone."""
        return self.dense.speedup_ceiling(self.other, self.sequence_length)

    def flops(self) -> int:
        """Return the FLOPs of one pass of both shapes over the batch."""
        return self.batch_size * (self.dense.flops(self.sequence_length) + self.other.flops(self.sequence_length))

    def to_json(self) -> str:
        """Write the settings for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "LabSettings":
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "dense": Shape(**values["dense"]), "other": Shape(**values["other"])})


@dataclass(frozen=True)
class LabResult:
    """Both shapes timed in one precision."""

    settings: LabSettings
    precision: str
    device_name: str
    rounds: int
    dense: Latency
    other: Latency
    precision_gain: float | None = None
    """How many times faster the other shape was than itself in fp32, where that was timed beside it."""
    disturbed: bool = False
    """Whether a run was training on the same device."""

    @property
    def speedup(self) -> float:
        """How many times faster the other shape was, median by median."""
        return self.dense.p50 / self.other.p50

    @property
    def share(self) -> float:
        """The speed-up as a share of the FLOPs ceiling."""
        return self.speedup / self.settings.ceiling

    @property
    def unsteady(self) -> bool:
        """Whether passes of one side varied so much that something else must have kept the machine busy."""
        return any(latency.p95 > UNSTEADY * latency.p50 for latency in (self.dense, self.other))


def plan_rounds(round_s: float) -> int:
    """Return how many rounds fit into the budget, within reason, where one takes ``round_s`` seconds."""
    return min(MAX_ROUNDS, max(MIN_ROUNDS, int(BUDGET_S / max(round_s, 1e-9)) - WARM_UP_ROUNDS))


def flop_rate(settings: LabSettings, precision: str, results: Sequence[LabResult]) -> float:
    """Return FLOP/s to reckon with: a cautious guess, or what was measured last on this device with these threads.

    A small shape spends its time on other things than FLOPs: its rate counts for larger ones only where it beats the guess.
    """
    guess = _guessed_rate(settings, precision)
    for result in reversed(results):
        then = result.settings
        if (then.device, then.threads, result.precision) == (settings.device, settings.threads, precision):
            rate = then.flops() / ((result.dense.p50 + result.other.p50) / 1000)
            return rate if 4 * then.flops() >= settings.flops() else max(rate, guess)
    return guess


def _guessed_rate(settings: LabSettings, precision: str) -> float:
    if settings.device != "cpu":
        return _GPU_RATE[precision]
    if precision == "bf16" and native_bf16() is None:
        return _CPU_RATE["fp32"] * _EMULATED * settings.threads
    return _CPU_RATE[precision] * settings.threads


def expected_s(settings: LabSettings, results: Sequence[LabResult] = ()) -> float:
    """Estimate how long a measurement takes, from the press to the result, in seconds."""
    round_s = sum(settings.flops() / flop_rate(settings, precision, results) for precision in settings.precisions)
    building = BUILD_S * (settings.dense.parameters + settings.other.parameters)
    return START_S + building + round_s * (PILOT_ROUNDS + WARM_UP_ROUNDS + plan_rounds(round_s))


def check_precision(settings: LabSettings) -> None:
    """Make sure that the device can compute in the precision.

    Raises:
        ConfigError: under the field ``precision``.
    """
    try:
        choose_precision(settings.precision, settings.device)  # type: ignore[arg-type]
    except ConfigError:
        raise ConfigError({"precision": "Precision is fp16, which needs a GPU. Try bf16 or fp32."}) from None


def check_time(settings: LabSettings, results: Sequence[LabResult] = ()) -> None:
    """Make sure that a measurement would end in time.

    Raises:
        ConfigError: under the field ``batch``.
    """
    seconds = expected_s(settings, results)
    if seconds > LIMIT_S:
        raise ConfigError(
            {
                "batch": f"This would take about {seconds / 60:.0f} minutes here (estimated); the lab ends a measurement after "
                f"{LIMIT_S / 60:.0f}. Try a smaller batch or shorter texts."
            }
        )


def busy_runs(runs: Sequence[Run], device: str) -> list[Run]:
    """Return the runs that compute on a device now, and so disturb what is timed there."""
    return [run for run in runs if run.active and run.state != "queued" and run.device == lock_name(device)]
