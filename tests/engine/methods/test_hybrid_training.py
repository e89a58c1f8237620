"""Training under hybrid masks, and on at the smaller size: steps, schedule, resumes, a model pruned before."""

import copy

import pytest
import torch
from torch.nn import functional
from transformers import BertForSequenceClassification

from engine.compaction import compact, layer_sizes, max_logit_difference
from engine.config import PruningConfig, RunConfig
from engine.evaluation import count_parameters
from engine.loop.optimization import make_optimizer
from engine.methods.hybrid import HybridPruner, MaskedHeads, attention_matrices
from engine.model import random_model
from engine.pruning import DensitySchedule, make_pruner
from engine.shapes import Shape
from tests.engine.hybrid_models import LABELS, STEPS, UNITS, made, shrink, silence, smaller, texts, without_dropout
from tests.engine.pruned_runs import PrunedRun, random_bert, same_weights


def optimizer_of(model: BertForSequenceClassification) -> torch.optim.Optimizer:
    config = RunConfig.parse({"pruning": {"final_density": 0.5, "method": "hybrid"}, "training": {"weight_decay": 0.1}})
    return make_optimizer(model, config, 1e-2, fused=True)


def learn(model: BertForSequenceClassification, pruner: HybridPruner, optimizer: torch.optim.Optimizer) -> None:
    """Take one step on a fixed batch, clipping gradients as a run does."""
    logits = model(**texts()[1]).logits
    functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    pruner.after_step()
    optimizer.zero_grad()


@pytest.mark.parametrize("unit", UNITS)
def test_training_goes_on_at_the_small_size_as_it_would_under_masks(unit: str) -> None:
    model, pruner = made(unit, 0.5, layers=2)
    pruner.set_density(1.0)
    without_dropout(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.endswith("mask_scores"))  # one selection throughout
    optimizer = optimizer_of(model)
    for _ in range(3):
        learn(model, pruner, optimizer)
    pruner.set_density(0.5)  # what is masked now has momentum
    if unit == "block":
        silence(pruner, 0, 2, "output.dense")
    masked, others = copy.deepcopy((model, optimizer)), texts()
    masked_pruner = HybridPruner.__new__(HybridPruner)  # its masks travelled with the model
    masked_pruner.zeros = None
    kept = shrink(model, pruner, optimizer)
    assert sum(len(layer.heads) for layer in kept) < 8
    zeros = [
        linear.weight.detach() == 0
        for layer in model.bert.encoder.layer
        for linear in attention_matrices(layer.attention).values()
    ]
    assert any(bool(zero.any()) for zero in zeros) == (unit == "block")
    for _ in range(4):
        learn(model, pruner, optimizer)
        learn(masked[0], masked_pruner, masked[1])
        difference, largest = max_logit_difference(model, masked[0], others)
        assert difference <= 1e-3 * max(1.0, largest)
    linears = [linear for layer in model.bert.encoder.layer for linear in attention_matrices(layer.attention).values()]
    for zero, linear in zip(zeros, linears, strict=True):
        assert torch.equal(linear.weight == 0, zero), "what is gone stays gone, and all else is trained"
    assert {id(parameter) for group in optimizer.param_groups for parameter in group["params"]} == {
        id(parameter) for parameter in model.parameters()
    }


@pytest.mark.parametrize("unit", UNITS)
def test_masks_work_in_mixed_precision(unit: str) -> None:
    model, pruner = made(unit, 0.5)
    without_dropout(model)
    plain = model(**texts()[1]).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(**texts()[1]).logits
    logits.float().square().sum().backward()
    torch.testing.assert_close(logits.float(), plain, rtol=0.05, atol=0.05)
    for attention in pruner.attentions:
        for mask in attention.masks:
            assert mask.mask_scores.grad is not None
            assert mask.mask_scores.grad.dtype == torch.float32
            assert bool(mask.mask_scores.grad.any())


@pytest.mark.parametrize("unit", UNITS)
def test_a_run_says_how_many_heads_went_and_can_be_resumed_anywhere(unit: str) -> None:
    config = PruningConfig(method="hybrid", attention_unit=unit, final_density=0.4, width_multiple=1)
    base = random_bert(heads=4)
    whole_run = PrunedRun(base, config, STEPS).train()
    (event,) = whole_run.compactions
    assert event.heads_removed == 8 - sum(len(heads) for heads in event.kept_heads)
    assert [len(heads) for heads in event.kept_heads] == [heads for heads, _ in layer_sizes(whole_run.model)]
    assert event.stock == (event.heads_removed == 0)
    if unit == "head":
        assert event.heads_removed == 4
    for step in (1, 5, 6, 7, 9):
        again = PrunedRun(base, config, STEPS).train(until=step).resumed().train()
        assert same_weights(again, whole_run), step
    share = [
        float((linear.weight != 0).float().mean())
        for layer in whole_run.model.bert.encoder.layer
        for linear in attention_matrices(layer.attention).values()
    ]
    if unit == "block":
        assert max(share) < 0.7, "blocks are zero after the last step"
    else:
        assert set(share) == {1.0}


def test_the_schedule_ends_in_a_smaller_model() -> None:
    shape = Shape(2, 32, 4, 128, vocabulary=60, labels=3, positions=32)
    config = PruningConfig(method="hybrid", final_density=0.5, warmup_share=0.2, cooldown_share=0.4)
    model = random_model(shape, LABELS, 0)
    pruner = make_pruner(model, config, DensitySchedule.of(config, STEPS))
    assert isinstance(pruner, HybridPruner)
    assert all(isinstance(attention, MaskedHeads) for attention in pruner.attentions)
    densities = []
    for step in range(STEPS):
        kept = pruner.before_step(step)
        densities.append(pruner.density)
        if kept is not None:
            break
    assert step == 6
    assert densities == sorted(densities, reverse=True)
    assert densities[0] == 1.0
    assert [(len(layer.heads), len(layer.neurons)) for layer in kept] == [(2, 64), (2, 64)]
    assert pruner.density == 0.5


@pytest.mark.parametrize("unit", UNITS)
def test_a_pruned_model_can_be_pruned_again(unit: str) -> None:
    model, pruner = made("head", 0.5, heads=4)
    kept = pruner.kept()
    ragged = compact(model, (kept[0]._replace(heads=(), neurons=()), kept[1]))
    assert layer_sizes(ragged) == [(0, 0), (2, 12)]
    config = PruningConfig(method="hybrid", attention_unit=unit, final_density=0.5, width_multiple=1)
    second = HybridPruner(copy.deepcopy(ragged), config, DensitySchedule.of(config, STEPS))
    second.set_density(0.5, final=True)
    without_dropout(second.model)
    optimizer = optimizer_of(second.model)
    learn(second.model, second, optimizer)
    small = smaller(second.model, second)
    assert layer_sizes(small)[0] == (0, 0)
    assert layer_sizes(small)[1] in ([(1, 6)] if unit == "head" else [(1, 6), (2, 6)])
    difference, largest = max_logit_difference(second.model, small, texts())
    assert difference <= 1e-5 * max(1.0, largest)
    shrink(second.model, second, optimizer)
    learn(second.model, second, optimizer)
    assert count_parameters(second.model) == count_parameters(small)
