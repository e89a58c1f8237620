"""Hybrid pruning: heads judged by their blocks' movement, blocks as in nn_pruning, and a smaller model that computes the same."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_pruning.modules.binarizer import TopKBinarizer
from torch import Tensor
from torch.nn import functional
from transformers import BertForSequenceClassification

from engine.compaction import Kept, compact, compact_in_place, is_stock, layer_sizes, max_logit_difference
from engine.config import PruningConfig, RunConfig
from engine.evaluation import count_parameters
from engine.hybrid import HybridPruner, MaskedBlocks, MaskedHeads, attention_matrices
from engine.masks import ZeroWeights
from engine.model import random_model
from engine.optimization import make_optimizer
from engine.pruning import DensitySchedule, make_pruner
from engine.shapes import Shape, kept_neurons
from tests.engine.pruned_runs import PrunedRun, random_bert, same_weights

LABELS = ["a", "b", "c"]
STEPS = 10
UNITS = ("head", "block")


def made(
    unit: str,
    density: float = 0.5,
    *,
    layers: int = 2,
    heads: int = 4,
    head_size: int = 8,
    width: int = 24,
    seed: int = 0,
    score: bool = True,
) -> tuple[BertForSequenceClassification, HybridPruner]:
    """Return a small model with large random weights under a hybrid pruner with random scores, at its final density."""
    shape = Shape(layers, heads * head_size, heads, width, vocabulary=60, labels=3, positions=32)
    model = random_model(shape, LABELS, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # random biases too, so that a forgotten one shows
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    config = PruningConfig(method="hybrid", attention_unit=unit, final_density=density, width_multiple=1)
    pruner = HybridPruner(model, config, DensitySchedule.of(config, STEPS))
    if score:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("mask_scores"):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
    pruner.set_density(density, final=True)
    return model, pruner


def texts(seed: int = 0) -> list[dict[str, Tensor]]:
    ids = torch.randint(0, 60, (3, 11), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return [{"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}]


def without_dropout(model: BertForSequenceClassification) -> BertForSequenceClassification:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train()


def smaller(model: BertForSequenceClassification, pruner: HybridPruner) -> BertForSequenceClassification:
    """Make a smaller copy as the student of a run does."""
    from engine.compaction import plain_copy

    twin = plain_copy(model)
    pruner.bake(twin)
    compact_in_place(twin, pruner.kept())
    return twin


def shrink(
    model: BertForSequenceClassification, pruner: HybridPruner, optimizer: torch.optim.Optimizer | None = None
) -> Kept:
    """Go from masks to a smaller model in place, as the student of a run does."""
    kept = pruner.kept()
    with torch.no_grad():
        pruner.bake(model)
    pruner.detach()
    compact_in_place(model, kept, optimizer)
    pruner.settle()
    return kept


def blocks_of(pruner: HybridPruner, layer: int, place: str) -> Tensor:
    """Return the 0/1 selection of one matrix's blocks, shape (rows of blocks, columns of blocks)."""
    attention = pruner.attentions[layer]
    assert isinstance(attention, MaskedBlocks)
    matrix = attention._matrices[place]
    return matrix.mask.selection.view(matrix._blocks)


def silence(pruner: HybridPruner, layer: int, head: int, place: str) -> None:
    """Mask all blocks of one head in its value rows or its output columns, whatever the scores say."""
    attention = pruner.attentions[layer]
    assert isinstance(attention, MaskedBlocks)
    matrix = attention._matrices[place]
    selection = matrix.mask.selection.view(matrix._blocks).clone()
    size = pruner.model.config.hidden_size // pruner.model.config.num_attention_heads // matrix._size  # blocks a head
    own = slice(head * size, (head + 1) * size)
    if place == "output.dense":
        selection[:, own] = 0
    else:
        selection[own, :] = 0
    matrix.mask.keep(selection.flatten(), int(selection.sum()))


@settings(max_examples=30, deadline=None)
@given(
    unit=st.sampled_from(UNITS),
    layers=st.integers(1, 12),
    heads=st.integers(1, 5),
    head_size=st.sampled_from([3, 8, 64]),
    width=st.integers(1, 70),
    level=st.floats(0, 0.95),
    vanishing=st.lists(
        st.tuples(st.integers(0, 11), st.integers(0, 4), st.sampled_from(["self.value", "output.dense"]))
    ),
    seed=st.integers(0, 10_000),
)
def test_masked_and_compacted_models_give_equal_logits(
    unit: str,
    layers: int,
    heads: int,
    head_size: int,
    width: int,
    level: float,
    vanishing: list[tuple[int, int, str]],
    seed: int,
) -> None:
    model, pruner = made(unit, 1 - level, layers=layers, heads=heads, head_size=head_size, width=width, seed=seed)
    gone = {(layer % layers, head % heads, place) for layer, head, place in vanishing} if unit == "block" else set()
    for layer, head, place in gone:
        silence(pruner, layer, head, place)
    small = smaller(model, pruner)
    difference, largest = max_logit_difference(model, small, texts(seed))
    assert largest > 0
    assert difference <= 1e-5 * max(1.0, largest)
    sizes = layer_sizes(small)
    for layer, head, _ in gone:
        assert head not in pruner.kept()[layer].heads
    if unit == "head":
        kept = kept_neurons(heads, 1 - level)
        assert sizes == [(kept, kept_neurons(width, 1 - level))] * layers
        assert is_stock(small) == (kept == heads)
    # and in place, where the masks end
    shrink(model, pruner)
    assert layer_sizes(model) == sizes
    assert max_logit_difference(model, small, texts(seed))[0] <= 1e-5 * max(1.0, largest)
    assert not [name for name, _ in model.named_modules() if "pruning_mask" in name]


def test_the_gate_of_a_head_gets_the_gradients_of_its_blocks() -> None:
    heads, head_size, size = 3, 64, 32
    model, pruner = made("head", 0.6, layers=1, heads=heads, head_size=head_size)
    without_dropout(model)
    gate = pruner.attentions[0].masks[0]
    dense = model.bert.encoder.layer[0].attention.output.dense
    seen: list[Tensor] = []
    of_output: list[Tensor] = []
    hook = dense.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]), prepend=True)
    other = dense.register_full_backward_hook(lambda _, __, outputs: of_output.append(outputs[0]))
    model(**texts()[1]).logits.square().sum().backward()
    hook.remove()
    other.remove()
    # dL/dW as if nothing were masked: what block movement multiplies with W and adds up over each block
    of_weight = torch.einsum("bto,bti->oi", of_output[0], seen[0])
    movement = (dense.weight * of_weight).detach()
    of_blocks = movement.view(heads * head_size // size, size, -1, size).sum(dim=(1, 3))  # (rows, columns) of blocks
    expected = of_blocks.view(of_blocks.shape[0], heads, head_size // size).sum(dim=(0, 2))
    assert int(gate.selection.sum()) == 2, "one head is masked, and its score must still learn"
    assert gate.mask_scores.grad is not None
    torch.testing.assert_close(gate.mask_scores.grad, expected, rtol=1e-4, atol=1e-6)
    assert bool((gate.mask_scores.grad != 0).all())


def test_masking_a_head_equals_masking_all_its_blocks() -> None:
    by_head, heads = made("head", 0.5, layers=1, score=False)
    by_block, blocks = made("block", 1.0, layers=1, score=False)
    heads.set_density(1.0)
    heads.attentions[0].masks[0].keep(torch.tensor([1.0, 0.0, 1.0, 1.0]), 3)
    silence(blocks, 0, 1, "output.dense")
    for model in (by_head, by_block):
        without_dropout(model)(**texts()[1]).logits.square().sum().backward()
    torch.testing.assert_close(by_head(**texts()[1]).logits, by_block(**texts()[1]).logits)
    of_head = heads.attentions[0].masks[0].mask_scores.grad
    matrix = blocks.attentions[0]._matrices["output.dense"]  # type: ignore[attr-defined]
    torch.testing.assert_close(of_head, matrix.mask.mask_scores.grad.view(4, 4).sum(dim=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("density", [0.25, 0.5, 0.75])
def test_blocks_and_their_gradients_equal_nn_prunings(density: float) -> None:
    model, pruner = made("block", density, layers=1, heads=2, head_size=64)
    masked = pruner.attentions[0]
    assert isinstance(masked, MaskedBlocks)
    linear = model.bert.encoder.layer[0].attention.self.query
    matrix = masked._matrices["self.query"]
    inputs = torch.randn(5, 128, generator=torch.Generator().manual_seed(1))
    scores = matrix.mask.mask_scores.detach().view(4, 4).clone().requires_grad_()
    weight = linear.weight.detach().clone().requires_grad_()
    theirs = TopKBinarizer.apply(scores, density)
    expanded = theirs.repeat_interleave(32, dim=0).repeat_interleave(32, dim=1)
    expected = functional.linear(inputs, weight * expanded, linear.bias)
    output = linear(inputs)
    assert torch.equal(output, expected)
    assert torch.equal(matrix.mask.selection.view(4, 4), theirs.detach())
    output.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(matrix.mask.mask_scores.grad.view(4, 4), scores.grad)
    assert torch.equal(linear.weight.grad, weight.grad)
    assert bool((weight.grad[expanded == 0] == 0).all())


@pytest.mark.parametrize(("head_size", "size"), [(64, 32), (32, 32), (16, 16), (48, 16), (3, 1)])
def test_blocks_are_as_large_as_heads_allow(head_size: int, size: int) -> None:
    _, pruner = made("block", layers=1, heads=2, head_size=head_size)
    assert {mask.selection.numel() for mask in pruner.attentions[0].masks} == {(2 * head_size // size) ** 2}


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5, 0.77, 1.0])
def test_every_matrix_keeps_the_same_number_of_blocks(density: float) -> None:
    _, pruner = made("block", density, head_size=16)
    for layer in range(2):
        for place in ("self.query", "self.key", "self.value", "output.dense"):
            assert int(blocks_of(pruner, layer, place).sum()) == kept_neurons(16, density)


@pytest.mark.parametrize("unit", UNITS)
def test_density_counts_the_weights_that_stay(unit: str) -> None:
    model, pruner = made(unit, 0.3, heads=4, head_size=8, width=50)
    small = smaller(model, pruner)
    prunable = sum(2 * 32 * 50 + 4 * 32 * 32 for _ in range(2))
    weights = [
        linear.weight
        for layer in small.bert.encoder.layer
        for linear in (*attention_matrices(layer.attention).values(), layer.intermediate.dense, layer.output.dense)
    ]
    alive = sum(int((weight != 0).sum()) for weight in weights)
    if unit == "head":
        assert pruner.density == pytest.approx(alive / prunable)
    else:  # of blocks, those of heads that vanished were counted too
        assert pruner.density == pytest.approx(0.3, abs=0.01)
        assert alive / prunable <= pruner.density
    assert abs(pruner.density - 0.3) < 0.05
    pruner.set_density(1.0)
    assert pruner.density == 1.0


def test_a_head_without_value_rows_leaves_its_constant_behind() -> None:
    model, pruner = made("block", 1.0)
    for layer in range(2):
        silence(pruner, layer, 1, "self.value")
    dense = model.bert.encoder.layer[0].attention.output.dense
    before = dense.bias.detach().clone()
    small = smaller(model, pruner)
    assert layer_sizes(small) == [(3, 24), (3, 24)]
    value = model.bert.encoder.layer[0].attention.self.value
    constant = dense.weight[:, 8:16] @ value.bias[8:16]
    torch.testing.assert_close(small.bert.encoder.layer[0].attention.output.dense.bias, before + constant)
    assert torch.equal(dense.bias, before), "the masked model stays as it is"
    difference, largest = max_logit_difference(model, small, texts())
    assert difference <= 1e-5 * max(1.0, largest)
    forgotten = compact(model, pruner.kept())
    assert max_logit_difference(model, forgotten, texts())[0] > 1e-3, "without the constant it would show"


def test_heads_that_keep_one_block_stay() -> None:
    _, pruner = made("block", 1.0, heads=2, head_size=64)
    for place in ("self.value", "output.dense"):
        silence(pruner, 0, 0, place)
    assert pruner.kept()[0].heads == (1,)
    for place, at in (("self.value", (0, 2)), ("output.dense", (3, 0))):
        blocks = blocks_of(pruner, 0, place).clone()
        blocks[at] = 1
        matrix = pruner.attentions[0]._matrices[place]  # type: ignore[attr-defined]
        matrix.mask.keep(blocks.flatten(), int(blocks.sum()))
    assert pruner.kept()[0].heads == (0, 1)
    blocks = blocks_of(pruner, 0, "output.dense").clone()
    blocks[3, 0], blocks[3, 1] = 0, 1  # the other half of the head than the values have
    pruner.attentions[0]._matrices["output.dense"].mask.keep(blocks.flatten(), int(blocks.sum()))  # type: ignore[attr-defined]
    assert pruner.kept()[0].heads == (1,), "what is read there is never written"


def test_baking_twice_changes_nothing() -> None:
    model, pruner = made("block", 1.0)
    silence(pruner, 0, 1, "self.value")
    pruner.bake(model)
    once = copy.deepcopy(model.state_dict())
    pruner.bake(model)
    assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("unit", UNITS)
def test_all_heads_may_go(unit: str) -> None:
    model, pruner = made(unit, 0.5, layers=2)
    if unit == "block":
        for head in range(4):
            silence(pruner, 0, head, "output.dense")
            silence(pruner, 1, head, "self.value")
    else:
        for attention in pruner.attentions:
            attention.masks[0].keep(torch.zeros(4), 0)
    small = smaller(model, pruner)
    assert [heads for heads, _ in layer_sizes(small)] == [0, 0]
    difference, largest = max_logit_difference(model, small, texts())
    assert difference <= 1e-5 * max(1.0, largest)


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


def test_detaching_brings_the_dense_model_back() -> None:
    for unit in UNITS:
        model, pruner = made(unit, 1.0, score=False)
        before = model(**texts()[1]).logits
        pruner.set_density(0.4)
        assert not torch.equal(model(**texts()[1]).logits, before)
        pruner.detach()
        torch.testing.assert_close(model(**texts()[1]).logits, before)
        assert not [name for name in model.state_dict() if "mask" in name]
        assert not [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]


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
