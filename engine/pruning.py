"""Block movement pruning of feed-forward neurons: scores, masks and the density schedule.

Movement pruning (Sanh et al. 2020, https://arxiv.org/abs/2005.07683) learns one score per unit by the straight-through
gradient of the loss with respect to its mask, and keeps the top share; Lagunas et al. 2021
(https://arxiv.org/abs/2109.04838, section 3) do so for blocks, here whole FFN neurons. The schedule is the cubic one of
Zhu & Gupta 2017 (https://arxiv.org/abs/1710.01878, equation 1), in densities.

A neuron's mask multiplies its activation after the non-linearity. That equals masking its column of the second matrix, and
its forward pass equals masking row and column both; it costs next to nothing, where masking 3072 x 768 matrices does not.
"""

from dataclasses import dataclass

import torch
from nn_pruning.modules.binarizer import TopKBinarizer
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from engine.config import PruningConfig
from engine.shapes import kept_neurons


@dataclass(frozen=True)
class DensitySchedule:
    """Density over the steps of a run: 1 in the warm-up, a cubic fall, then the final density."""

    final_density: float
    warmup_steps: int
    cooldown_start: int
    """First step at the final density."""

    @classmethod
    def of(cls, config: PruningConfig, total_steps: int) -> "DensitySchedule":
        """Build the schedule of a run; the last step is at the final density however short the run is."""
        warmup = min(int(config.warmup_share * total_steps), total_steps - 1)
        cooldown_start = max(warmup, min(total_steps - 1, total_steps - round(config.cooldown_share * total_steps)))
        return cls(config.final_density, warmup, cooldown_start)

    def at(self, step: int) -> float:
        """Return the density during optimizer step ``step``, counted from 0."""
        if step >= self.cooldown_start:
            return self.final_density
        if step <= self.warmup_steps:
            return 1.0
        progress = (step - self.warmup_steps) / (self.cooldown_start - self.warmup_steps)
        return self.final_density + (1.0 - self.final_density) * (1.0 - progress) ** 3


class NeuronMask(nn.Module):
    """Scores and mask of one layer's FFN neurons; a forward hook that multiplies the activations.

    The scores start at 0 and have the shape (intermediate_size,).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mask_scores = nn.Parameter(torch.zeros(width))
        self.kept = width

    def mask(self) -> Tensor:
        """Return the 0/1 mask, shape (intermediate_size,), through which the scores get straight-through gradients."""
        width = self.mask_scores.numel()
        # nn_pruning keeps int(threshold * n): half a neuron on top makes that exactly `kept` whatever floats do
        threshold = (self.kept + 0.5) / width
        mask: Tensor = TopKBinarizer.apply(self.mask_scores, threshold)
        return mask

    def forward(self, activations: Tensor) -> Tensor:
        """Mask activations of shape (batch, tokens, intermediate_size)."""
        return activations * self.mask().to(activations.dtype)


class NeuronPruner:
    """Puts a `NeuronMask` behind the FFN non-linearity of every layer of a BERT, and takes them off again."""

    def __init__(self, model: BertForSequenceClassification) -> None:
        self._model = model
        self.masks: list[NeuronMask] = []
        self._hooks = []
        for layer in model.bert.encoder.layer:
            dense = layer.intermediate.dense
            mask = NeuronMask(dense.out_features).to(dense.weight.device)
            layer.intermediate.neuron_mask = mask  # a submodule, so that it is saved and moved with the model
            hook = layer.intermediate.register_forward_hook(lambda _module, _inputs, output, mask=mask: mask(output))
            self.masks.append(mask)
            self._hooks.append(hook)

    @property
    def scores(self) -> list[nn.Parameter]:
        """The learned scores, one tensor a layer."""
        return [mask.mask_scores for mask in self.masks]

    def set_density(self, density: float) -> None:
        """Keep this share of the neurons in every layer from now on."""
        for mask in self.masks:
            mask.kept = kept_neurons(mask.mask_scores.numel(), density)

    @property
    def density(self) -> float:
        """Share of neurons that the masks really keep."""
        return sum(mask.kept for mask in self.masks) / sum(mask.mask_scores.numel() for mask in self.masks)

    def kept_neurons(self) -> list[Tensor]:
        """Return the indices of the neurons that stay, ascending, one tensor of shape (kept,) a layer."""
        with torch.no_grad():
            return [mask.mask().nonzero().flatten() for mask in self.masks]

    def detach(self) -> None:
        """Remove masks and hooks; the weights stay dense."""
        for hook in self._hooks:
            hook.remove()
        for layer in self._model.bert.encoder.layer:
            del layer.intermediate.neuron_mask
        self._hooks.clear()
        self.masks.clear()
