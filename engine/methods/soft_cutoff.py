"""Soft cut-off: one cut-off on the sigmoids of all scores, so that every layer finds its own width.

Sanh et al. 2020 (https://arxiv.org/abs/2005.07683, section 3, "soft movement pruning") keep the units whose sigmoid score is
above a cut-off, the same for the whole model, and add an L1 term, lambda times the mean of the sigmoids, that pushes scores
down; nn_pruning calls it "sigmoied_threshold". The L1 term grows with the cut-off from 0 to lambda, as nn_pruning's does; theirs
has a factor of one half in it that ours has not.

How many units a fixed cut-off leaves is known only afterwards and depends on lambda. So by default the cut-off of each step is
the one that leaves the density of the schedule over all layers together: the level is reached whatever lambda is. What lambda
decides then is which neurons go: its term pushes every score down by lambda s (1 - s) / neurons, the loss by what a neuron
does. At 1, with a few thousand neurons, that is as much as the median neuron does, so the idle half sinks and the rest does not;
far above, all sink alike.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from engine.config import PruningConfig
from engine.methods.movement import MovementPruner, top_share
from engine.pruning import DensitySchedule
from engine.shapes import kept_neurons


class SoftCutoffPruner(MovementPruner):
    """Keeps the FFN neurons whose sigmoid score is above one cut-off for all layers.

    A step waits for the device once, for the widths of all layers together, and not at all while the density is 1.
    """

    def __init__(self, model: BertForSequenceClassification, config: PruningConfig, schedule: DensitySchedule) -> None:
        super().__init__(model, config, schedule)
        self.note = None  # each layer finds its own width, and rounding leaves their sum
        self._widths = [mask.selection.numel() for mask in self.masks]
        device = model.classifier.weight.device
        self._order = torch.tensor(_order_of_ties(self._widths), device=device)
        shares = [1.0 / (width * len(self._widths)) for width in self._widths for _ in range(width)]
        self._shares = torch.tensor(shares, device=device)
        """Weight of each score in the mean over layers of the means over neurons, shape (neurons of all layers,)."""
        self._progress = 0.0

    def set_density(self, density: float, *, final: bool = False) -> None:
        """Move the cut-off to where the schedule is at this density; at the end, round the width of each layer.

        With a cut-off of one's own the density is what comes out, though not less than the final density before rounding.
        """
        dense = density >= 1.0
        self._progress = 0.0 if dense else (1.0 - density) / (1.0 - self.config.final_density)
        with torch.no_grad():
            selection = torch.ones_like(self._shares) if dense else self._select(density)
            parts = list(torch.split(selection, self._widths))
            # the one wait for the device: the widths of all layers together
            counts = self._widths if dense else [int(n) for n in torch.stack([part.sum() for part in parts]).tolist()]
            if final:
                counts = rounded_widths(counts, self._widths, self.config.width_multiple)
                scores = [mask.mask_scores for mask in self.masks]
                parts = [top_share(score, count) for score, count in zip(scores, counts, strict=True)]
            for mask, part, count in zip(self.masks, parts, counts, strict=True):
                mask.keep(part, count)
        self.density = sum(counts) / max(1, sum(self._widths))

    def penalty(self) -> Tensor | None:
        """Return the L1 term: lambda, in proportion to the cut-off, times the mean over layers of the mean sigmoid score."""
        weight = self.config.regularization_lambda * self._progress
        if not self.feed_forwards or weight == 0.0:
            return None
        sigmoids = torch.cat([mask.mask_scores for mask in self.masks]).sigmoid()
        return weight * torch.dot(sigmoids, self._shares)

    def _select(self, density: float) -> Tensor:
        """Return the 0/1 mask over the neurons of all layers, one layer after the other."""
        scores = torch.cat([mask.mask_scores for mask in self.masks])
        cut_off = self.config.cut_off
        share = density if cut_off is None else self.config.final_density
        selection = torch.empty_like(scores)
        selection[self._order] = top_share(scores[self._order], kept_neurons(scores.numel(), share))
        if cut_off is None:
            return selection
        return torch.maximum(selection, (scores.sigmoid() > self._progress * cut_off).to(selection.dtype))


def rounded_widths(counts: Sequence[int], widths: Sequence[int], multiple: int) -> list[int]:
    """Round the neurons that stay in each layer to multiples, so that the sum stays as near as it can.

    Each count goes to one of the two multiples next to it: up where most is missing, until the sum is right. Layers that are
    not wider than a multiple keep their count (as in `shapes.kept_neurons`); a layer may end with none, the model never.

    Args:
        counts: neurons that stay in each layer.
        widths: neurons there are in each layer; no width is rounded beyond.
        multiple: what the widths are to be multiples of.
    """
    wide = [layer for layer, width in enumerate(widths) if width > multiple]
    rounded = [count - count % multiple if layer in wide else count for layer, count in enumerate(counts)]
    total, below = sum(counts[layer] for layer in wide), sum(rounded[layer] for layer in wide)
    missing = (round(total / multiple) or min(total, 1)) - below // multiple
    up = sorted(wide, key=lambda layer: -(counts[layer] % multiple))[:missing]
    for layer in up:
        rounded[layer] = min(widths[layer], rounded[layer] + multiple)
    return rounded


def _order_of_ties(widths: Sequence[int]) -> list[int]:
    """Return the neurons of all layers in an order that takes from every layer alike, for scores that do not differ yet.

    Selection prefers what comes first among equals: in layer order, pruning before the scores have moved would empty the upper
    layers.
    """
    starts = [sum(widths[:layer]) for layer in range(len(widths))]
    ranked = [
        ((neuron + 0.5) / width, layer, start + neuron)
        for layer, (start, width) in enumerate(zip(starts, widths, strict=True))
        for neuron in range(width)
    ]
    return [place for _, _, place in sorted(ranked)]
