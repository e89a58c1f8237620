"""Hybrid block movement pruning: FFN neurons and attention together, by heads or by blocks of 32 x 32.

Lagunas et al. 2021 (https://arxiv.org/abs/2109.04838, section 3) score 32 x 32 blocks of the attention matrices and whole FFN
neurons by movement. Zero blocks alone make no dense matrix smaller: a head can be left out only where all its blocks of the output
matrix, or of the value matrix, are gone. Their recipe usually removes none, so heads are scored whole here unless blocks are
asked for.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForSequenceClassification

from engine.compaction import Kept
from engine.config import PruningConfig
from engine.methods.masks import UnitMask, ZeroWeights
from engine.methods.movement import MovementPruner, top_share
from engine.pruning import DensitySchedule, Evidence
from engine.shapes import kept_neurons

BLOCK = 32
"""Rows and columns of a block of an attention matrix, where these divide by it."""


class MaskedAttention:
    """One layer's attention under masks; what is scored and how it masks is for the subclasses to say."""

    masks: list[UnitMask]
    unit_weights: int
    """Weights of one unit, biases not counted."""

    def set_density(self, density: float) -> None:
        """Select this share of the units of every mask by the scores of now."""
        with torch.no_grad():
            for mask in self.masks:
                kept = kept_neurons(mask.selection.numel(), density)
                mask.keep(top_share(mask.mask_scores, kept), kept)

    def heads(self) -> tuple[int, ...]:
        """Return the heads that still compute something, ascending."""
        raise NotImplementedError

    def bake(self, attention: nn.Module) -> None:
        """Write into a plain attention's weights what leaving out heads does not do by itself."""

    def detach(self) -> None:
        """Take masks and hooks off; the weights stay as they are."""
        raise NotImplementedError


class MaskedHeads(MaskedAttention):
    """One score a head: a gate on what the head hands to the output matrix.

    The gate's straight-through gradient is dL/dg_h = sum over tokens of c_h . (W_h^T dL/dy), with c_h the head's context, W_h its
    columns of the output matrix and y the output. That is the sum of W * dL/dW over these columns: the gradients that block
    movement gives the scores of all blocks in them, added up. So a head is judged by the movement of its whole block column.
    """

    def __init__(self, attention: nn.Module, head_size: int) -> None:
        anyway: Any = attention
        dense, heads = anyway.output.dense, anyway.self.num_attention_heads
        self._attention, self._head_size = anyway, head_size
        self.unit_weights = 4 * dense.out_features * head_size  # rows of query, key and value, and the output's columns
        self.mask = UnitMask(heads).to(dense.weight.device)
        self.masks = [self.mask]
        anyway.pruning_mask = self.mask  # a submodule, so that it is saved and moved with the model
        self._hook = dense.register_forward_pre_hook(self._gate)

    def _gate(self, _: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        """Multiply each head's context by its mask, shape (batch, tokens, heads * head_size)."""
        (context,) = inputs
        by_head = context.view(*context.shape[:-1], self.mask.selection.numel(), self._head_size)
        return (by_head * self.mask.gate().to(context.dtype)[:, None]).view_as(context)

    def heads(self) -> tuple[int, ...]:
        return tuple(self.mask.indices().tolist())

    def detach(self) -> None:
        self._hook.remove()
        del self._attention.pruning_mask


class MaskedMatrix:
    """A linear layer whose weight is masked in square blocks; takes the place of its ``forward``."""

    def __init__(self, linear: nn.Linear, size: int) -> None:
        anyway: Any = linear
        rows, columns = linear.weight.shape
        self._linear, self._blocks, self._size = anyway, (rows // size, columns // size), size
        self.mask = UnitMask(math.prod(self._blocks)).to(linear.weight.device)  # row of blocks by row of blocks
        anyway.pruning_mask = self.mask
        anyway.forward = self  # an attribute of the object hides the class's method

    def weight(self) -> Tensor:
        """Return the masked weight, shape (outputs, inputs); gradients reach the scores straight through the mask.

        A block's score gets the sum of W * dL/dW over the block, and masked weights get none, as in nn_pruning.
        """
        (rows, columns), size = self._blocks, self._size
        weight = self._linear.weight.view(rows, size, columns, size)
        masked: Tensor = weight * self.mask.gate().view(rows, 1, columns, 1)
        return masked.view_as(self._linear.weight)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the outputs, shape (..., outputs)."""
        return functional.linear(inputs, self.weight(), self._linear.bias)

    def detach(self) -> None:
        """Give the layer its own method back."""
        del self._linear.forward
        del self._linear.pruning_mask


class MaskedBlocks(MaskedAttention):
    """One score a block of 32 x 32 in query, key, value and output matrix; smaller blocks where a head is narrower.

    Biases stay, as nn_pruning leaves them unless it is told ``bias_mask``: a bias whose whole row is masked is still learnt and
    used, and taking it away would gain no speed. A value's bias moves into the output's when its head computes nothing else.
    """

    def __init__(self, attention: nn.Module, head_size: int) -> None:
        anyway: Any = attention
        size = math.gcd(BLOCK, head_size)
        self._heads, self.unit_weights = int(anyway.self.num_attention_heads), size * size
        self._matrices = {place: MaskedMatrix(linear, size) for place, linear in attention_matrices(attention).items()}
        self.masks = [matrix.mask for matrix in self._matrices.values()]

    @torch.no_grad()
    def heads(self) -> tuple[int, ...]:
        """Return the heads that still compute something of the text, ascending.

        A place of a head without its column in the output matrix adds nothing. One without its row in the value matrix adds
        the same to every token, its value bias through that column, for attention weights sum to one: `bake` keeps that.
        """
        if not self._heads:
            return ()
        columns = (self._matrices["output.dense"].weight() != 0).any(dim=0)  # (heads * head_size,)
        rows = (self._matrices["self.value"].weight() != 0).any(dim=1)
        alive = (columns & rows).view(self._heads, -1).any(dim=1)
        return tuple(alive.nonzero().flatten().tolist())

    @torch.no_grad()
    def bake(self, attention: nn.Module) -> None:
        """Write the zeros into the weights, and what heads that compute nothing else add to every token into the bias.

        In training, dropout scaled that constant token by token; it no longer does.
        """
        matrices, heads = attention_matrices(attention), self.heads()
        for place, matrix in self._matrices.items():
            matrices[place].weight.copy_(matrix.weight())
        if len(heads) == self._heads:
            return
        value, output = matrices["self.value"], matrices["output.dense"]
        idle = torch.ones(self._heads, dtype=torch.bool, device=value.weight.device)
        idle[list(heads)] = False
        idle = idle.repeat_interleave(value.out_features // self._heads)
        output.bias.add_(output.weight @ (value.bias * idle))
        output.weight.mul_(~idle)  # said once: baking again changes nothing

    def detach(self) -> None:
        for matrix in self._matrices.values():
            matrix.detach()
        self._matrices.clear()


def attention_matrices(attention: nn.Module) -> dict[str, nn.Linear]:
    """Return an attention's matrices by their names; there are none where it has no heads."""
    anyway: Any = attention
    if not anyway.self.num_attention_heads:
        return {}
    return {name: anyway.get_submodule(name) for name in ("self.query", "self.key", "self.value", "output.dense")}


def _share_kept(masks: Sequence[UnitMask]) -> float:
    """Return the share of the units of several masks that stay; 0 where there are none."""
    return sum(mask.kept for mask in masks) / max(1, sum(mask.selection.numel() for mask in masks))


class HybridPruner(MovementPruner):
    """Keeps in every layer the same share of FFN neurons and of attention, each by its own scores.

    ``density`` is the share of the prunable weights that stay: those of the FFN and attention matrices, a neuron counting
    2 * hidden_size of them, a head 4 * hidden_size * head_size, a block its own. It comes out at the schedule's density up
    to the rounding of counts, whichever the unit.
    """

    def __init__(self, model: BertForSequenceClassification, config: PruningConfig, schedule: DensitySchedule) -> None:
        super().__init__(model, config, schedule)
        head_size = model.config.hidden_size // model.config.num_attention_heads
        masked = MaskedHeads if config.attention_unit == "head" else MaskedBlocks
        self.attentions: list[MaskedAttention] = [
            masked(layer.attention, head_size) for layer in model.bert.encoder.layer
        ]
        self.zeros: ZeroWeights | None = None
        """The blocks that must stay zero, once the masks are gone."""

    def set_density(self, density: float, *, final: bool = False) -> None:
        super().set_density(density, final=final)
        for attention in self.attentions:
            attention.set_density(density)
        neuron = 2 * self.model.config.hidden_size
        units = [(mask, neuron) for mask in self.masks]
        units += [(mask, attention.unit_weights) for attention in self.attentions for mask in attention.masks]
        prunable = sum(weights * mask.selection.numel() for mask, weights in units)
        self.density = sum(weights * mask.kept for mask, weights in units) / max(1, prunable)

    def kept(self) -> Kept:
        return tuple(
            layer._replace(heads=attention.heads())
            for layer, attention in zip(super().kept(), self.attentions, strict=True)
        )

    def evidence(self) -> Evidence:
        found = super().evidence()
        if self.config.attention_unit == "head":
            return found._replace(head_scores=[each.masks[0].mask_scores.detach() for each in self.attentions])
        return found._replace(kept_weights=[_share_kept(attention.masks) for attention in self.attentions])

    def bake(self, copy: BertForSequenceClassification) -> None:
        for layer, attention in zip(copy.bert.encoder.layer, self.attentions, strict=True):
            attention.bake(layer.attention)

    def detach(self) -> None:
        super().detach()
        for attention in self.attentions:
            attention.detach()
        self.attentions.clear()

    def settle(self) -> None:
        """Go on without masks; blocks that are zero stay so."""
        super().settle()
        if self.config.attention_unit == "block":
            layers = self.model.bert.encoder.layer
            linears = [linear for layer in layers for linear in attention_matrices(layer.attention).values()]
            self.zeros = ZeroWeights(linear.weight for linear in linears)

    def after_step(self) -> None:
        if self.zeros is not None:
            self.zeros.apply()
