"""Pruning methods behind one interface: each config gets its rule, and block movement keeps what its scores say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.config import METHODS, PruningConfig
from engine.methods.hybrid import HybridPruner
from engine.methods.magnitude import MagnitudePruner, WeightPruner
from engine.methods.movement import MovementPruner, top_share
from engine.methods.soft_cutoff import SoftCutoffPruner
from engine.methods.wanda import ActivationPruner
from engine.model import random_model
from engine.pruning import DensitySchedule, Pruner, make_pruner
from engine.shapes import Shape, kept_neurons

SHAPE = Shape(layers=2, hidden_size=32, heads=2, intermediate_size=64, vocabulary=50, labels=3, positions=32)
RULES = {
    "block-movement": MovementPruner,
    "hybrid": HybridPruner,
    "soft-cutoff": SoftCutoffPruner,
    "magnitude": MagnitudePruner,
    "wanda": ActivationPruner,
    "layer-dropping": None,
}


def pruner_of(config: PruningConfig, seed: int = 1) -> Pruner | None:
    return make_pruner(random_model(SHAPE, ["a", "b", "c"], seed), config, DensitySchedule.of(config, 10))


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_its_rule(method: str) -> None:
    config = PruningConfig(final_density=0.5, method=method)  # type: ignore[arg-type]
    rule = RULES[method]
    assert type(pruner_of(config)) is (type(None) if rule is None else rule)


def test_single_weights_have_a_rule_of_their_own_and_nothing_to_prune_has_none() -> None:
    assert type(pruner_of(PruningConfig(final_density=0.5, method="magnitude", unit="weight"))) is WeightPruner
    assert pruner_of(PruningConfig(drop_layers=1)) is None
    assert pruner_of(PruningConfig()) is None


@given(width=st.integers(1, 300), density=st.floats(0.001, 1.0), seed=st.integers(0, 1000))
def test_top_share_keeps_exactly_the_highest_scores(width: int, density: float, seed: int) -> None:
    scores = torch.randperm(width, generator=torch.Generator().manual_seed(seed)).float()
    kept = kept_neurons(width, density)
    found = top_share(scores, kept).nonzero().flatten()
    assert torch.equal(found, scores.topk(kept).indices.sort().values)


def test_float_rounding_does_not_cost_a_neuron() -> None:
    # int(0.29 * 100) is 28 in floating point
    assert int(top_share(torch.arange(100.0), kept_neurons(100, 0.29)).sum()) == 29


def test_masking_activations_equals_masking_both_weight_matrices() -> None:
    model = random_model(SHAPE, ["a", "b", "c"], seed=1)
    reference = random_model(SHAPE, ["a", "b", "c"], seed=1)
    config = PruningConfig(final_density=0.5)
    pruner = MovementPruner(model, config, DensitySchedule.of(config, 10))
    with torch.no_grad():
        for mask in pruner.masks:
            mask.mask_scores.normal_()
    pruner.set_density(0.5)
    with torch.no_grad():
        for layer, mask in zip(reference.bert.encoder.layer, pruner.masks, strict=True):
            layer.intermediate.dense.weight.mul_(mask.selection[:, None])
            layer.intermediate.dense.bias.mul_(mask.selection)
            layer.output.dense.weight.mul_(mask.selection[None, :])
    ids = torch.randint(0, 50, (3, 9))
    torch.testing.assert_close(model(input_ids=ids).logits, reference(input_ids=ids).logits, atol=1e-6, rtol=1e-5)


def test_detaching_brings_the_dense_model_back() -> None:
    config = PruningConfig(final_density=0.25)
    model = random_model(SHAPE, ["a", "b", "c"], seed=1)
    ids = torch.randint(0, 50, (3, 9))
    before = model(input_ids=ids).logits
    pruner = MovementPruner(model, config, DensitySchedule.of(config, 10))
    pruner.set_density(0.25)
    assert not torch.equal(model(input_ids=ids).logits, before)
    assert pruner.density == 0.25
    pruner.detach()
    assert torch.equal(model(input_ids=ids).logits, before)
    assert not [name for name in model.state_dict() if "mask" in name]


def test_a_final_width_is_rounded_and_an_intermediate_one_is_not() -> None:
    shape = Shape(layers=1, hidden_size=32, heads=2, intermediate_size=200, vocabulary=50, labels=3, positions=32)
    config = PruningConfig(final_density=0.5)  # 100 of 200, to 128 as the nearest multiple of 64
    pruner = MovementPruner(random_model(shape, ["a"], 0), config, DensitySchedule.of(config, 10))
    pruner.before_step(6)
    assert pruner.masks[0].kept not in (64, 128, 192)
    kept = pruner.before_step(7)
    assert kept is not None
    assert len(kept[0].neurons) == 128
