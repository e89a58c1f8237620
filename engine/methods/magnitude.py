"""Magnitude pruning: what is smallest goes first, a share at each iteration, with fine-tuning between.

Zhu & Gupta 2017 (https://arxiv.org/abs/1710.01878, section 3) set the smallest weights of each matrix to zero, a few more every
so many steps, until the final sparsity is reached; Gholami & Omar 2023 (https://arxiv.org/abs/2310.04573) do so to a transformer
and fine-tune between. One iteration, or a constant schedule, is one-shot pruning. What has gone never comes back.

By weight this makes nothing smaller or faster on dense hardware. By neuron it does, and needs no mask: the neurons that go are
taken out at once, and all later steps run on the smaller model.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from engine.compaction import Kept, layer_sizes, whole
from engine.config import PruningConfig
from engine.methods.masks import ZeroWeights
from engine.pruning import DensitySchedule, Evidence, Pruner, rounding_note
from engine.shapes import kept_neurons


def magnitudes(layer: Any) -> Tensor:
    """Return the L2 norm of each FFN neuron of a layer, shape (neurons,).

    A neuron is its row of the first matrix, its bias and its column of the second: they go together, so they are judged
    together (groups of coupled weights, as in Fang et al. 2023, https://arxiv.org/abs/2301.12900, section 3.3).
    """
    up, down = layer.intermediate.dense, layer.output.dense
    squares: Tensor = up.weight.square().sum(1) + up.bias.square() + down.weight.square().sum(0)
    return squares.sqrt()


class MagnitudePruner(Pruner):
    """Takes the same share of FFN neurons from every layer for good: those of least importance, here magnitude.

    Numbers of neurons are shares of the width that each layer had in the beginning. Only the last is rounded to
    ``config.width_multiple``, and no earlier one is below it.
    """

    def __init__(self, model: BertForSequenceClassification, config: PruningConfig, schedule: DensitySchedule) -> None:
        super().__init__(model, config, schedule)
        self.iterations = schedule.iterations(config.iterations)
        self._widths = [width for _, width in layer_sizes(model)]  # the model itself may be smaller after a resume
        self._importances: list[Tensor] = []  # of the neurons there were before the last iteration
        self.note = rounding_note(self._widths, config)

    def before_step(self, step: int) -> Kept | None:
        density = self.iterations.get(step)
        if density is None:
            return None
        kept = self._choose(density)
        self.density = sum(len(layer.neurons) for layer in kept) / max(1, sum(self._widths))
        if kept == whole(self.model) and step < self.schedule.cooldown_start:
            return None
        self._silence(kept)
        return kept

    def turns(self) -> Collection[int]:
        return self.iterations

    def evidence(self) -> Evidence:
        return Evidence(self._importances)

    def importance(self, layer: Any) -> Tensor:
        """Return what the neurons of a layer are ranked by, shape (neurons,)."""
        return magnitudes(layer)

    @torch.no_grad()
    def _choose(self, density: float) -> Kept:
        """Name the most important neurons of every layer at this density."""
        chosen = []
        self._importances = [self.importance(layer) for layer in self.model.bert.encoder.layer]
        for unit, importance, width in zip(whole(self.model), self._importances, self._widths, strict=True):
            count = kept_neurons(width, self.schedule.final_density, self.config.width_multiple)
            if density > self.schedule.final_density:
                count = max(count, kept_neurons(width, density))
            best = importance.topk(min(count, len(unit.neurons))).indices
            chosen.append(unit._replace(neurons=tuple(best.sort().values.tolist())))
        return tuple(chosen)

    @torch.no_grad()
    def _silence(self, kept: Kept) -> None:
        """Zero what the other neurons add to the output, so that the outcome can be held against the model that still has them."""
        for unit, layer in zip(kept, self.model.bert.encoder.layer, strict=True):
            weight = layer.output.dense.weight
            gone = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
            gone[list(unit.neurons)] = False
            weight.masked_fill_(gone, 0.0)


class WeightPruner(Pruner):
    """Sets the smallest weights of every matrix of the encoder to zero and holds them there; the shapes stay.

    Biases, layer norms, embeddings and the head are left alone. Each matrix keeps the same share of its weights, as in Zhu &
    Gupta. After a resume the zeros in the saved weights tell what was pruned.
    """

    def __init__(self, model: BertForSequenceClassification, config: PruningConfig, schedule: DensitySchedule) -> None:
        super().__init__(model, config, schedule)
        self.iterations = schedule.iterations(config.iterations)
        self.zero_share = 0.0
        """Share of the encoder's matrices that is held at zero."""
        self._by_layer = [
            [module.weight for module in layer.modules() if isinstance(module, nn.Linear) and module.weight.numel()]
            for layer in model.bert.encoder.layer
        ]
        self._matrices = [weight for weights in self._by_layer for weight in weights]
        self._zeros: ZeroWeights | None = None

    def before_step(self, step: int) -> None:
        density = self.iterations.get(step)
        if density is not None:
            self._zero_smallest(density)
            self._hold()
        elif self._zeros is None and step > min(self.iterations):
            self._hold()

    def turns(self) -> Collection[int]:
        return self.iterations

    def evidence(self) -> Evidence:
        counts = [[int(weight.count_nonzero()) for weight in weights] for weights in self._by_layer]
        sizes = [sum(weight.numel() for weight in weights) for weights in self._by_layer]
        shares = [sum(count) / max(1, size) for count, size in zip(counts, sizes, strict=True)]
        return Evidence(kept_weights=shares)

    def after_step(self) -> None:
        if self._zeros is not None:
            self._zeros.apply()

    def detach(self) -> None:
        if self._zeros is not None:
            self._zeros.remove()
            self._zeros = None

    def settle(self) -> None:
        if self._zeros is None:
            self._hold()
        self.settled = True
        self.note = (
            f"{self.zero_share * 100:.3g} % of the weights of the encoder's matrices are zero and stay so. Dense hardware "
            "multiplies by a zero as by any other number, so they make the model neither smaller nor faster."
        )

    @torch.no_grad()
    def _zero_smallest(self, density: float) -> None:
        """Zero as many weights of each matrix as the density asks; those that are zero already are the smallest."""
        for weight in self._matrices:
            count = weight.numel() - kept_neurons(weight.numel(), density)
            smallest = weight.abs().flatten().topk(count, largest=False, sorted=False).indices
            weight.view(-1)[smallest] = 0.0

    @torch.no_grad()
    def _hold(self) -> None:
        """Hold what is zero now at zero from here on."""
        self.detach()
        self._zeros = ZeroWeights(self._matrices)
        nonzero = torch.stack([weight.count_nonzero() for weight in self._matrices]).sum()
        self.density = float(nonzero) / sum(weight.numel() for weight in self._matrices)
        self.zero_share = 1.0 - self.density
