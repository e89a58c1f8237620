"""Block movement pruning of feed-forward neurons.

Movement pruning (Sanh et al. 2020, https://arxiv.org/abs/2005.07683) learns one score per unit by the straight-through
gradient of the loss with respect to its mask, and keeps the top share; Lagunas et al. 2021
(https://arxiv.org/abs/2109.04838, section 3) do so for blocks, here whole FFN neurons.
"""

import torch
from nn_pruning.modules.binarizer import TopKBinarizer
from torch import Tensor
from transformers import BertForSequenceClassification

from engine.compaction import Kept, whole
from engine.config import PruningConfig
from engine.methods.masks import MaskedFeedForward, UnitMask
from engine.pruning import DensitySchedule, Evidence, Pruner, rounding_note
from engine.shapes import kept_neurons


def top_share(scores: Tensor, kept: int) -> Tensor:
    """Return the 0/1 mask of the ``kept`` highest scores, shape as given (nn_pruning's selection, made exact).

    nn_pruning keeps int(threshold * n): half a unit on top makes that exactly ``kept`` whatever floats do.
    """
    if not scores.numel():  # a layer that an earlier run left without neurons
        return scores.clone()
    selection: Tensor = TopKBinarizer.apply(scores, (kept + 0.5) / scores.numel())
    return selection


class MovementPruner(Pruner):
    """Keeps in every layer the same number of FFN neurons: those whose scores are highest."""

    def __init__(self, model: BertForSequenceClassification, config: PruningConfig, schedule: DensitySchedule) -> None:
        super().__init__(model, config, schedule)
        self.feed_forwards = [MaskedFeedForward(layer) for layer in model.bert.encoder.layer]
        self.note = rounding_note([mask.selection.numel() for mask in self.masks], config)

    @property
    def masks(self) -> list[UnitMask]:
        """The masks of the FFN neurons, one a layer."""
        return [feed_forward.mask for feed_forward in self.feed_forwards]

    def before_step(self, step: int) -> Kept | None:
        self.set_density(self.schedule.at(step), final=step >= self.schedule.cooldown_start)
        return self.kept() if step >= self.schedule.cooldown_start else None

    def set_density(self, density: float, *, final: bool = False) -> None:
        """Select this share of the neurons of every layer by the scores of now; a final width is rounded."""
        multiple = self.config.width_multiple if final else 1
        with torch.no_grad():
            for mask in self.masks:
                kept = kept_neurons(mask.selection.numel(), density, multiple)
                mask.keep(top_share(mask.mask_scores, kept), kept)
        neurons = sum(mask.selection.numel() for mask in self.masks)
        self.density = sum(mask.kept for mask in self.masks) / max(1, neurons)

    def kept(self) -> Kept:
        neurons = [tuple(mask.indices().tolist()) for mask in self.masks]
        return tuple(layer._replace(neurons=index) for layer, index in zip(whole(self.model), neurons, strict=True))

    def evidence(self) -> Evidence:
        return Evidence([mask.mask_scores.detach() for mask in self.masks])

    def detach(self) -> None:
        for feed_forward in self.feed_forwards:
            feed_forward.detach()
        self.feed_forwards.clear()
