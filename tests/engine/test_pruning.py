"""Masks, scores and the density schedule."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nn_pruning.modules.binarizer import TopKBinarizer

from engine.config import PruningConfig
from engine.model import random_model
from engine.pruning import DensitySchedule, NeuronMask, NeuronPruner
from engine.shapes import Shape, kept_neurons

SHAPE = Shape(layers=2, hidden_size=32, heads=2, intermediate_size=64, vocabulary=50, labels=3, positions=32)


def test_schedule_follows_the_cubic_formula_between_warm_up_and_cool_down() -> None:
    schedule = DensitySchedule.of(PruningConfig(final_density=0.25, warmup_share=0.1, cooldown_share=0.3), 100)
    assert [schedule.at(step) for step in (0, 5, 10)] == [1.0, 1.0, 1.0]
    assert schedule.at(40) == pytest.approx(0.25 + 0.75 * (1 - 30 / 60) ** 3)
    assert [schedule.at(step) for step in (70, 85, 99)] == [0.25, 0.25, 0.25]


@given(
    density=st.floats(0.01, 1.0),
    warmup=st.floats(0, 0.9),
    cooldown=st.floats(0, 0.9),
    total=st.integers(1, 500),
)
def test_schedule_never_rises_and_ends_at_the_final_density(
    density: float, warmup: float, cooldown: float, total: int
) -> None:
    config = PruningConfig(final_density=density, warmup_share=warmup, cooldown_share=min(cooldown, 1 - warmup))
    densities = [DensitySchedule.of(config, total).at(step) for step in range(total)]
    assert densities == sorted(densities, reverse=True)
    assert densities[-1] == density
    assert max(densities) <= 1.0


@given(width=st.integers(1, 300), density=st.floats(0.001, 1.0), seed=st.integers(0, 1000))
def test_mask_keeps_exactly_the_highest_scores(width: int, density: float, seed: int) -> None:
    mask = NeuronMask(width)
    with torch.no_grad():
        mask.mask_scores.copy_(torch.randperm(width, generator=torch.Generator().manual_seed(seed)).float())
    mask.kept = kept_neurons(width, density)
    kept = mask.mask().nonzero().flatten()
    assert kept.numel() == mask.kept
    assert torch.equal(kept, mask.mask_scores.topk(mask.kept).indices.sort().values)


@pytest.mark.parametrize("density", [0.25, 0.5, 0.75])
def test_mask_and_score_gradient_equal_nn_pruning_on_the_same_scores(density: float) -> None:
    torch.manual_seed(0)
    mask = NeuronMask(64)
    with torch.no_grad():
        mask.mask_scores.normal_()
    mask.kept = kept_neurons(64, density)
    theirs = mask.mask_scores.detach().clone().requires_grad_()
    their_mask = TopKBinarizer.apply(theirs, density)
    activations = torch.randn(4, 7, 64)
    weights = torch.randn(4, 7, 64)
    (mask(activations) * weights).sum().backward()
    (activations * their_mask * weights).sum().backward()
    assert torch.equal(mask.mask(), their_mask)
    assert torch.equal(mask.mask_scores.grad, theirs.grad)
    assert mask.mask_scores.grad is not None
    assert bool((mask.mask_scores.grad[their_mask == 0] != 0).all()), "masked neurons must be able to come back"


def test_float_rounding_does_not_cost_a_neuron() -> None:
    # int(0.29 * 100) is 28 in floating point
    mask = NeuronMask(100)
    mask.kept = kept_neurons(100, 0.29)
    assert int(mask.mask().sum()) == 29


def test_masking_activations_equals_masking_both_weight_matrices() -> None:
    model = random_model(SHAPE, ["a", "b", "c"], seed=1)
    reference = random_model(SHAPE, ["a", "b", "c"], seed=1)
    pruner = NeuronPruner(model)
    with torch.no_grad():
        for score in pruner.scores:
            score.normal_()
    pruner.set_density(0.5)
    with torch.no_grad():
        for layer, mask in zip(reference.bert.encoder.layer, pruner.masks, strict=True):
            keep = mask.mask()
            layer.intermediate.dense.weight.mul_(keep[:, None])
            layer.intermediate.dense.bias.mul_(keep)
            layer.output.dense.weight.mul_(keep[None, :])
    ids = torch.randint(0, 50, (3, 9))
    torch.testing.assert_close(model(input_ids=ids).logits, reference(input_ids=ids).logits, atol=1e-6, rtol=1e-5)


def test_detaching_brings_the_dense_model_back() -> None:
    model = random_model(SHAPE, ["a", "b", "c"], seed=1)
    ids = torch.randint(0, 50, (3, 9))
    before = model(input_ids=ids).logits
    pruner = NeuronPruner(model)
    pruner.set_density(0.25)
    assert not torch.equal(model(input_ids=ids).logits, before)
    assert pruner.density == 0.25
    pruner.detach()
    assert torch.equal(model(input_ids=ids).logits, before)
    assert not [name for name in model.state_dict() if "mask" in name]
