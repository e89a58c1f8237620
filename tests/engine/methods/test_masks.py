"""Masked FFNs: the same outputs and gradients as a plain multiplication by the mask, whichever way they are computed."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.methods import masks
from engine.methods.masks import MaskedFeedForward, UnitMask, ZeroWeights
from engine.methods.movement import top_share
from engine.model import random_model
from engine.shapes import Shape, kept_neurons

SHAPE = Shape(layers=1, hidden_size=32, heads=2, intermediate_size=64, vocabulary=50, labels=3, positions=32)


def layer_pair(seed: int = 0):  # type: ignore[no-untyped-def]
    """Return two equal BERT layers in training mode without dropout, the first masked by us."""
    layer = random_model(SHAPE, ["a", "b", "c"], seed).bert.encoder.layer[0].train()
    for module in layer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return MaskedFeedForward(layer), layer, copy.deepcopy(random_twin(layer))


def random_twin(layer: torch.nn.Module) -> torch.nn.Module:
    """Return a plain layer with the same weights."""
    twin = random_model(SHAPE, ["a", "b", "c"], 1).bert.encoder.layer[0].train()
    for module in twin.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    twin.load_state_dict({name: value for name, value in layer.state_dict().items() if "pruning_mask" not in name})
    return twin


def reference(twin: torch.nn.Module, attended: Tensor, mask: Tensor) -> Tensor:
    """Multiply the activations by the mask, as the definition says."""
    hidden = twin.intermediate(attended) * mask  # type: ignore[operator]
    output: Tensor = twin.output(hidden, attended)  # type: ignore[operator]
    return output


@pytest.mark.parametrize("gather_below", [0.0, 2.0], ids=["whole", "gathered"])
@pytest.mark.parametrize("density", [1.0, 0.9, 0.5, 0.02])
def test_outputs_and_all_gradients_equal_the_definition(
    gather_below: float, density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "GATHER_BELOW", gather_below)
    ours, layer, twin = layer_pair()
    generator = torch.Generator().manual_seed(1)
    kept = kept_neurons(64, density)
    selection = top_share(torch.rand(64, generator=generator), kept)
    ours.mask.keep(selection, kept)
    attended = torch.randn(3, 7, 32, generator=generator, requires_grad=True)
    theirs_in = attended.detach().clone().requires_grad_()
    their_mask = selection.clone().requires_grad_()
    weights = torch.randn(3, 7, 32, generator=generator)
    mine, theirs = ours(attended), reference(twin, theirs_in, their_mask)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    (mine * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(attended.grad, theirs_in.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.mask.mask_scores.grad, their_mask.grad, atol=1e-4, rtol=1e-4)
    wanted = dict(twin.named_parameters())
    for name, parameter in layer.named_parameters():
        if "pruning_mask" not in name and parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, wanted[name].grad, atol=1e-4, rtol=1e-4)
    absent_scores = ours.mask.mask_scores.grad[selection == 0]
    assert bool((absent_scores != 0).all()), "masked neurons must be able to come back"
    assert sum(parameter.grad is not None for parameter in layer.parameters()) == 7, "both matrices, layer norm, scores"


@pytest.mark.parametrize("gather_below", [0.0, 2.0], ids=["whole", "gathered"])
def test_bfloat16_training_gives_finite_gradients_near_those_of_fp32(
    gather_below: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "GATHER_BELOW", gather_below)
    ours, layer, twin = layer_pair()
    selection = top_share(torch.rand(64, generator=torch.Generator().manual_seed(1)), 20)
    ours.mask.keep(selection, 20)
    attended = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(2))
    their_mask = selection.clone().requires_grad_()
    reference(twin, attended, their_mask).square().sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours(attended).float().square().sum().backward()
    for got, wanted in (
        (ours.mask.mask_scores.grad, their_mask.grad),
        (layer.output.dense.weight.grad, twin.output.dense.weight.grad),
        (layer.intermediate.dense.weight.grad, twin.intermediate.dense.weight.grad),
    ):
        assert got.dtype == torch.float32
        assert float((got - wanted).norm() / wanted.norm()) < 0.1


def test_without_gradients_the_gathered_output_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _, twin = layer_pair()
    selection = top_share(torch.arange(64.0), 16)
    ours.mask.keep(selection, 16)
    attended = torch.randn(2, 5, 32)
    with torch.no_grad():
        wanted = reference(twin, attended, selection)
        for below in (0.0, 2.0):
            monkeypatch.setattr(masks, "GATHER_BELOW", below)
            torch.testing.assert_close(ours(attended), wanted, atol=1e-5, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(units=st.integers(1, 300), share=st.floats(0.001, 1.0), seed=st.integers(0, 1000))
def test_indices_name_each_unit_once(units: int, share: float, seed: int) -> None:
    mask = UnitMask(units)
    kept = kept_neurons(units, share)
    scores = torch.randperm(units, generator=torch.Generator().manual_seed(seed)).float()
    mask.keep(top_share(scores, kept), kept)
    stay, go = mask.indices().tolist(), mask.indices(kept=False).tolist()
    assert stay == sorted(scores.topk(kept).indices.tolist())
    assert sorted(stay + go) == list(range(units))


def test_a_gate_is_the_mask_forwards_and_passes_gradients_straight_through() -> None:
    mask = UnitMask(4)
    with torch.no_grad():
        mask.mask_scores.copy_(torch.tensor([0.3, -0.1, 0.2, 0.0]))
    mask.keep(torch.tensor([1.0, 0.0, 1.0, 0.0]), 2)
    gate = mask.gate()
    assert gate.tolist() == [1.0, 0.0, 1.0, 0.0]
    (gate * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert mask.mask_scores.grad.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_detaching_brings_the_layer_back() -> None:
    ours, layer, twin = layer_pair()
    ours.mask.keep(top_share(torch.arange(64.0), 16), 16)
    attended = torch.randn(2, 5, 32)
    assert not torch.allclose(layer.feed_forward_chunk(attended), twin.feed_forward_chunk(attended), atol=1e-4)
    ours.detach()
    assert torch.equal(layer.feed_forward_chunk(attended), twin.feed_forward_chunk(attended))
    assert not [name for name in layer.state_dict() if "mask" in name]


@pytest.mark.parametrize("rows", [1, 95, 96, 97, 250])
def test_sums_over_columns_are_those_of_all_rows_slice_by_slice(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight, gradient = torch.randn(2, rows, 7, generator=generator)
    wanted = (weight.double() * gradient.double()).sum(0)
    torch.testing.assert_close(masks._column_sums(weight, gradient).double(), wanted, atol=1e-4, rtol=1e-5)


def test_zero_weights_keep_out_of_the_gradient_norm_and_can_be_let_go() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(6, 4)
    with torch.no_grad():
        linear.weight[:, 2:4] = 0
    zeros = ZeroWeights([linear.weight])
    optimizer = torch.optim.AdamW(linear.parameters(), lr=0.1)
    optimizer.zero_grad()
    linear(torch.randn(5, 6)).square().sum().backward()
    assert bool((linear.weight.grad[:, 2:4] == 0).all())
    assert bool((linear.weight.grad[:, :2] != 0).all())
    with torch.no_grad():
        linear.weight.add_(1.0)
    zeros.apply()
    assert bool((linear.weight[:, 2:4] == 0).all())
    assert bool((linear.weight[:, :2] != 0).all())
    zeros.remove()
    optimizer.zero_grad()
    linear(torch.randn(5, 6)).square().sum().backward()
    assert bool((linear.weight.grad != 0).all())
    optimizer.step()
    zeros.apply()
    assert bool((linear.weight != 0).all())
