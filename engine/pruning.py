"""What a pruning method is: one small interface, and the schedule that all methods follow.

A `Pruner` is asked before every optimizer step. It sets its masks for that step, or names the units that are to stay from now
on, in which case the loop makes model and optimizer smaller at once (compaction.py) and goes on at that size.

The methods, one file each in methods/: movement (block movement), hybrid, soft_cutoff, magnitude (neurons, weights), wanda
(activation-aware), dropping (layers), vocabulary (tokens).
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from transformers import BertForSequenceClassification

from engine.compaction import Kept, whole
from engine.config import PruningConfig, ScheduleName
from engine.shapes import kept_neurons


@dataclass(frozen=True)
class DensitySchedule:
    """Density over the steps of a run: 1 in the warm-up, then a fall to the final density, then that.

    The fall is cubic (Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878, equation 1, in densities), linear, exponential (a
    constant factor a step) or constant (at once, when the warm-up ends).
    """

    final_density: float
    warmup_steps: int
    cooldown_start: int
    """First step at the final density."""
    name: ScheduleName = "cubic"
    initial_density: float = 1.0

    @classmethod
    def of(cls, config: PruningConfig, total_steps: int) -> "DensitySchedule":
        """Build the schedule of a run; the last step is at the final density however short the run is."""
        warmup = min(int(config.warmup_share * total_steps), total_steps - 1)
        cooldown_start = max(warmup, min(total_steps - 1, total_steps - round(config.cooldown_share * total_steps)))
        if config.schedule == "constant":
            cooldown_start = warmup
        return cls(config.final_density, warmup, cooldown_start, config.schedule, config.initial_density)

    def at(self, step: int) -> float:
        """Return the density during optimizer step ``step``, counted from 0."""
        if step >= self.cooldown_start:
            return self.final_density
        if step < self.warmup_steps:
            return 1.0
        return self.after((step - self.warmup_steps) / (self.cooldown_start - self.warmup_steps))

    def after(self, progress: float) -> float:
        """Return the density after this share (0 to 1) of the fall."""
        first, last = self.initial_density, self.final_density
        if self.name == "constant" or progress >= 1:
            return last
        if self.name == "exponential":
            return first * math.exp(progress * math.log(last / first))
        power = 3 if self.name == "cubic" else 1
        return last + (first - last) * (1.0 - progress) ** power

    def iterations(self, count: int) -> dict[int, float]:
        """Return the steps before which iterative methods prune, with the density to reach; the last is the final density.

        Args:
            count: how many such steps are wanted; there are fewer where the fall is shorter, and one more, when the warm-up
                ends, where the initial density is below 1.
        """
        length, first = self.cooldown_start - self.warmup_steps, 0 if self.initial_density < 1 else 1
        return {
            self.warmup_steps + round(length * number / count): self.after(number / count)
            for number in range(first, count + 1)
        }


class Evidence(NamedTuple):
    """What the mask of now was chosen by: one entry a layer of the model of now, or none at all."""

    neuron_scores: Sequence[Tensor] = ()
    """Each of shape (neurons,)."""
    head_scores: Sequence[Tensor] = ()
    """Each of shape (heads,)."""
    kept_weights: Sequence[float] = ()
    """Share of the weights that stay, where they go one by one (of all matrices) or in blocks (of the attention's)."""


class Pruner:
    """One rule for what stays; this one keeps everything."""

    def __init__(self, model: BertForSequenceClassification, config: PruningConfig, schedule: DensitySchedule) -> None:
        self.model, self.config, self.schedule = model, config, schedule
        self.density = 1.0
        """Share of the units this method prunes that stay now, as far as known without waiting for the device."""
        self.settled = False
        self.note: str | None = None
        """A sentence for the person about the outcome, said once when the schedule has ended."""

    def before_step(self, step: int) -> Kept | None:
        """Prepare optimizer step ``step``, counted from 0.

        Returns:
            The units to make the model smaller to before this step, in its numbering of now, or None. The caller takes masks
            off before it does so (`detach`) where the schedule has ended, and then calls `settle`.
        """
        return None

    def penalty(self) -> Tensor | None:
        """Return a term to add to the loss, or None."""
        return None

    def after_step(self) -> None:
        """Do what must follow the optimizer's step."""

    def kept(self) -> Kept:
        """Return the units that the masks of now let through, in the model's numbering of now."""
        return whole(self.model)

    def turns(self) -> Collection[int]:
        """Return the steps before which the mask is chosen anew, ascending."""
        return range(self.schedule.warmup_steps, self.schedule.cooldown_start + 1)

    def evidence(self) -> Evidence:
        """Return what the mask was chosen by; right after `before_step`, ahead of making the model smaller."""
        return Evidence()

    def bake(self, copy: BertForSequenceClassification) -> None:
        """Write into the weights of a plain copy of the model what masks do that leaving out units does not."""

    def detach(self) -> None:
        """Take masks and hooks off the model."""

    def settle(self) -> None:
        """Go on without masks: the model has been made smaller to the units that stay for good."""
        self.detach()
        self.settled = True


def rounding_note(widths: Sequence[int], config: PruningConfig) -> str | None:
    """Say where rounding makes FFN widths others than the density asks for; None where it does not.

    Args:
        widths: neurons of each layer before pruning.
    """
    density, multiple = config.final_density, config.width_multiple
    pairs = {width: (kept_neurons(width, density), kept_neurons(width, density, multiple)) for width in widths}
    changes = [
        f"{got:,} and not {asked:,} of {width:,}" for width, (asked, got) in sorted(pairs.items()) if got != asked
    ]
    if not changes:
        return None
    return (
        f"FFN widths are rounded to a multiple of {multiple}: {', '.join(changes)} neurons stay in a layer. "
        "A width multiple of 1 does not round."
    )


def make_pruner(
    model: BertForSequenceClassification, config: PruningConfig, schedule: DensitySchedule
) -> Pruner | None:
    """Return the pruner that a config asks for, attached to the model; None where nothing is to be masked."""
    if config.final_density >= 1.0 or config.method == "layer-dropping":
        return None
    return _rule(config)(model, config, schedule)


def _rule(config: PruningConfig) -> type[Pruner]:
    """Import what a method needs only when it is asked for; the modules of the methods import this one."""
    if config.method == "block-movement":
        from engine.methods.movement import MovementPruner

        return MovementPruner
    if config.method == "hybrid":
        from engine.methods.hybrid import HybridPruner

        return HybridPruner
    if config.method == "soft-cutoff":
        from engine.methods.soft_cutoff import SoftCutoffPruner

        return SoftCutoffPruner
    if config.method == "wanda":
        from engine.methods.wanda import ActivationPruner

        return ActivationPruner
    from engine.methods.magnitude import MagnitudePruner, WeightPruner

    return WeightPruner if config.unit == "weight" else MagnitudePruner
