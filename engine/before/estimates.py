"""What a run may cost on this machine, judged by runs that have finished here; nothing is estimated without one.

Time and energy are scaled by the number of texts the loop passes through. That is rough by design: evaluations and start-up are
scaled along with it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.config import RunConfig
from engine.records import RunResult


class FinishedRun(Protocol):
    """What an estimate needs of a run; `engine.runs.run.Run` has it."""

    @property
    def run_id(self) -> str: ...
    @property
    def config(self) -> RunConfig: ...
    @property
    def result(self) -> RunResult | None: ...


@dataclass(frozen=True)
class Estimate:
    """A guess and the run it comes from."""

    duration_s: float
    energy_kwh: float
    basis_run: str
    basis_recipe: str


def texts_passed(config: RunConfig, training_texts: int) -> int:
    """Return how many texts the optimizer sees over the whole run, repeats counted."""
    size = config.training.batch_size
    steps = config.training.max_steps or math.ceil(training_texts / size) * config.training.epochs
    return steps * size


def estimate(config: RunConfig, runs: Sequence[FinishedRun]) -> Estimate | None:
    """Judge a config by the finished run that is most like it; None if no run used its base, dataset and length.

    ``runs`` come newest first; among equals the newest counts.
    """
    alike = [run for run in runs if run.result is not None and _same_work(run.config, config)]
    if not alike:
        return None
    best = min(alike, key=lambda run: _distance(run.config, config))
    result = best.result
    if result is None:
        return None
    done = texts_passed(best.config, result.data.sizes.get("train", 0))
    todo = texts_passed(config, result.data.sizes.get("train", 0))
    if done == 0:
        return None
    scale = todo / done
    return Estimate(result.duration_s * scale, result.energy_kwh * scale, best.run_id, result.recipe)


def _same_work(one: RunConfig, other: RunConfig) -> bool:
    """Tell whether a text costs about the same in both."""
    return (
        one.model.base == other.model.base
        and one.data.source == other.data.source
        and one.data.max_length == other.data.max_length
        and one.training.device == other.training.device
        and one.training.precision == other.training.precision
    )


def _distance(one: RunConfig, other: RunConfig) -> float:
    """Grow with what makes two runs cost differently: distillation, layers and method, then how far the levels lie apart."""
    apart = 10.0 * (one.distillation.enabled != other.distillation.enabled)
    apart += 2.0 * abs(one.pruning.drop_layers - other.pruning.drop_layers)
    if one.pruning.level and other.pruning.level:
        apart += one.pruning.method != other.pruning.method
        apart += one.pruning.unit != other.pruning.unit
    return apart + abs(one.pruning.level - other.pruning.level)


@dataclass(frozen=True)
class BreakEven:
    """After how many classified texts a pruned model has saved the energy its own run took."""

    texts: int | None
    """None where it cannot be said; then ``reason`` says why."""
    reason: str


def mean_power_w(result: RunResult) -> float | None:
    """Return what a run drew on average, in watts; None where it has no energy reading."""
    if result.duration_s <= 0 or result.energy_kwh <= 0:
        return None
    return result.energy_kwh * 3.6e6 / result.duration_s


def text_energy_kwh(result: RunResult, latency_ms: float, device: str) -> float | None:
    """Estimate the energy of one text: the run's mean power x latency; None where the run's power says nothing of it.

    It leans on what `break_even` leans on: that serving draws the power training drew.

    Args:
        result: of the run that made the model.
        latency_ms: measured of that text.
        device: where the text was classified, ``cpu`` or ``cuda``; the power of another device would be no guess at all.
    """
    watts = mean_power_w(result)
    if watts is None or result.device.partition(":")[0] != device:
        return None
    return watts * latency_ms / 1000 / 3.6e6


def break_even(result: RunResult) -> BreakEven:
    """Compute the break-even point from measured latency and the run's mean power.

    Energy of one text = mean power of the run x p50 latency / batch size, for the dense and the pruned model alike. The whole
    energy of the run counts as the price, evaluations included. Both lean on one assumption, which the page states: that serving
    draws the power training drew. Where no FLOPs went, a measured gain is noise and nothing is computed from it.
    """
    if result.student.flops >= result.dense.flops:
        if result.level == 0:
            return BreakEven(None, "Nothing was taken out of the layers, so there is nothing to repay.")
        return BreakEven(
            None, "What was pruned became zeros in matrices of the same size: no FLOPs are saved, so it never repays."
        )
    watts = mean_power_w(result)
    if watts is None:
        return BreakEven(None, "The run has no energy reading.")
    saved_ms = _per_text_ms(result, dense=True) - _per_text_ms(result, dense=False)
    if saved_ms <= 0:
        return BreakEven(
            None, "The pruned model was not measured faster than the dense one, so it never repays its run."
        )
    joules = watts * saved_ms / 1000
    texts = math.ceil(result.energy_kwh * 3.6e6 / joules)
    return BreakEven(texts, f"{watts:.1f} W on average, {saved_ms:.3f} ms saved a text{_how(result.energy_basis)}")


def _per_text_ms(result: RunResult, *, dense: bool) -> float:
    """Return p50 milliseconds a text; the dense one follows from the interleaved speed-up, measured in the same minute."""
    timing = result.student.latency_ms
    per_text = timing.p50 / timing.batch_size
    return per_text * result.speedup if dense else per_text


def _how(basis: Mapping[str, str]) -> str:
    if not basis:
        return ""
    if all(kind == "measured" for kind in basis.values()):
        return "; power measured"
    named = ", ".join(sorted(part.upper() for part, kind in basis.items() if kind != "measured"))
    return f"; power of {named} estimated"
