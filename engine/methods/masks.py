"""Masks on the FFN neurons of a BERT that learn who matters, and cost less than none.

A neuron's mask m_j, 0 or 1, multiplies its activation a_j after the non-linearity. That equals masking its column of the second
matrix W2, and its forward pass equals masking row and column both. The gradient passes straight through the mask to the score
(Bengio et al. 2013, https://arxiv.org/abs/1308.3432): with y the layer's output,

    dL/dm_j = sum over tokens of a_j (dL/dy . W2_j) = W2_j . (dL/dW2)_j, the latter as if nothing were masked,

which costs one pass over a matrix instead of three over all activations. Masked neurons add nothing to the output and nothing
to the gradients of their own weights, only their scores still need a gradient. So, once enough neurons are masked, both matrices
are multiplied for the kept ones alone, and the others pay two of the six products of a training step. It is the same mathematics.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

GATHER_BELOW = 0.93
"""Density below which gathering the kept rows and columns costs less than multiplying them all (measured on BERT-base layers)."""

ROWS_IN_CACHE = 96
"""Rows of a matrix of 3,072 columns that a second-level cache of 2 MiB holds with room to spare."""


class UnitMask(nn.Module):
    """Scores of some units, shape (units,), starting at 0, and which of them stay now."""

    selection: Tensor
    """0/1, shape (units,)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.mask_scores = nn.Parameter(torch.zeros(units))
        self.register_buffer("selection", torch.ones(units), persistent=False)
        self.kept = units

    def keep(self, selection: Tensor, kept: int) -> None:
        """Let these units through from now on.

        Args:
            selection: 0/1, shape (units,).
            kept: how many ones it has; passing it on spares waiting for the device.
        """
        self.selection.copy_(selection.detach())
        self.kept = kept

    def indices(self, *, kept: bool = True) -> Tensor:
        """Return the numbers of the units that stay (or go), ascending, without waiting for the device."""
        count = self.kept if kept else self.selection.numel() - self.kept
        return self.selection.topk(count, largest=kept).indices.sort().values

    def gate(self) -> Tensor:
        """Return the mask, shape (units,); its gradient reaches the scores straight through."""
        return self.selection + (self.mask_scores - self.mask_scores.detach())


class _MaskedLinear(torch.autograd.Function):
    """The second matrix of an FFN with masked columns, multiplied whole."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, scores: Tensor, absent: Tensor) -> Tensor:
        """Shapes: hidden (tokens, neurons), weight (outputs, neurons), bias (outputs,), scores (neurons,), absent (masked,)."""
        masked = weight.to(hidden.dtype)
        if absent.numel():
            masked = masked.index_fill(1, absent, 0.0)
        ctx.save_for_backward(hidden, weight, masked, absent)
        return functional.linear(hidden, masked, bias.to(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        hidden, weight, masked, absent = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):  # dtypes are chosen here, wherever backward is called
            of_weight = (gradient.t() @ hidden).to(weight.dtype)
            of_scores = _column_sums(weight, of_weight)
            if absent.numel():
                of_weight.index_fill_(1, absent, 0.0)
            return gradient @ masked, of_weight, gradient.sum(0, dtype=weight.dtype), of_scores, None


class _GatheredLinear(torch.autograd.Function):
    """The second matrix of an FFN, multiplied for the kept neurons only."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        scores: Tensor,
        present: Tensor,
        absent: Tensor,
        of_absent: Tensor,
    ) -> Tensor:
        """Shapes: as above, but hidden (tokens, kept); present (kept,) and of_absent (tokens, masked) beside."""
        columns = weight.index_select(1, present).to(hidden.dtype)
        ctx.save_for_backward(hidden, weight, columns, present, absent, of_absent)
        return functional.linear(hidden, columns, bias.to(hidden.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        hidden, weight, columns, present, absent, of_absent = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):  # as above
            of_columns = (gradient.t() @ hidden).to(weight.dtype)
            of_scores = weight.new_zeros(weight.shape[1])
            of_scores[present] = _column_sums(columns.to(weight.dtype), of_columns)
            through = gradient @ weight.index_select(1, absent).to(gradient.dtype)  # (tokens, masked)
            of_scores[absent] = through.mul_(of_absent).sum(0, dtype=weight.dtype)
            of_weight = torch.zeros_like(weight).index_add_(1, present, of_columns)  # faster than copying
            return gradient @ columns, of_weight, gradient.sum(0, dtype=weight.dtype), of_scores, None, None, None


def _column_sums(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the sum over each column of weight * gradient, both (outputs, units).

    On a CPU a product of that size is mostly the price of new memory: 2 % of a training step of BERT-base layers, which adding
    it up in slices that stay in the cache spares.
    """
    rows = ROWS_IN_CACHE if weight.device.type == "cpu" else len(weight)
    slices = zip(torch.split(weight, rows), torch.split(gradient, rows), strict=True)
    total = torch.mul(*next(slices))
    for some_weight, some_gradient in slices:
        total[: len(some_weight)].addcmul_(some_weight, some_gradient)
    return total.sum(0)


class MaskedFeedForward:
    """The FFN half of one BERT layer under a `UnitMask`; takes the place of the layer's ``feed_forward_chunk``."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        up = layer.intermediate.dense
        self.mask = UnitMask(up.out_features).to(up.weight.device)
        layer.intermediate.pruning_mask = self.mask  # a submodule, so that it is saved and moved with the model
        layer.feed_forward_chunk = self  # an attribute of the object hides the class's method

    def __call__(self, attended: Tensor) -> Tensor:
        """Return the layer's output, shape (batch, tokens, hidden), from the attention's output of the same shape."""
        layer, flat = self._layer, attended.flatten(0, 1)  # (tokens of all texts, hidden)
        gathering = self.mask.kept < GATHER_BELOW * self.mask.selection.numel()
        result = self._gathered(flat) if gathering else self._whole(flat)
        shaped = layer.output.dropout(result.view(*attended.shape[:-1], -1))
        normed: Tensor = layer.output.LayerNorm(shaped + attended)
        return normed

    def _whole(self, flat: Tensor) -> Tensor:
        """Multiply both matrices whole; shapes (tokens, hidden)."""
        down, absent = self._layer.output.dense, self.mask.indices(kept=False)
        hidden = self._layer.intermediate(flat)
        result: Tensor = _MaskedLinear.apply(  # type: ignore[no-untyped-call]
            hidden, down.weight, down.bias, self.mask.mask_scores, absent
        )
        return result

    def _gathered(self, flat: Tensor) -> Tensor:
        """Multiply the rows and columns of the kept neurons; shapes (tokens, hidden)."""
        up, down, act = (
            self._layer.intermediate.dense,
            self._layer.output.dense,
            self._layer.intermediate.intermediate_act_fn,
        )
        present, absent = self.mask.indices(), self.mask.indices(kept=False)
        hidden = act(functional.linear(flat, up.weight.index_select(0, present), up.bias.index_select(0, present)))
        if not torch.is_grad_enabled():
            return functional.linear(hidden, down.weight.index_select(1, present), down.bias)
        with torch.no_grad():
            of_absent = act(functional.linear(flat, up.weight.index_select(0, absent), up.bias.index_select(0, absent)))
        result: Tensor = _GatheredLinear.apply(  # type: ignore[no-untyped-call]
            hidden, down.weight, down.bias, self.mask.mask_scores, present, absent, of_absent
        )
        return result

    def detach(self) -> None:
        """Give the layer its own method back; the weights stay dense."""
        del self._layer.feed_forward_chunk
        del self._layer.intermediate.pruning_mask


class ZeroWeights:
    """Keeps the weights at zero that are zero now, whatever the optimizer makes of them.

    Their gradients are made zero too, so that what is not there does not count in the norm that gradients are clipped to:
    training goes on as if the weights were still masked.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.weights = [(parameter, parameter.detach() != 0) for parameter in parameters]
        """Each parameter and which of its weights are alive (0/1, its shape, one byte a weight)."""
        self._hooks = [
            parameter.register_hook(partial(torch.mul, alive))  # type: ignore[no-untyped-call]
            for parameter, alive in self.weights
            if parameter.requires_grad
        ]

    @torch.no_grad()
    def apply(self) -> None:
        """Make them zero again, as momentum moves them without a gradient; call after every optimizer step."""
        for parameter, alive in self.weights:
            parameter.mul_(alive)

    def remove(self) -> None:
        """Let the weights go where the optimizer takes them."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.weights.clear()
