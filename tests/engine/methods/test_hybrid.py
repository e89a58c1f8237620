"""Hybrid pruning: heads judged by their blocks' movement, blocks as in nn_pruning, and a smaller model that computes the same."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_pruning.modules.binarizer import TopKBinarizer
from torch import Tensor
from torch.nn import functional

from engine.compaction import compact, is_stock, layer_sizes, max_logit_difference
from engine.methods.hybrid import HybridPruner, MaskedBlocks, attention_matrices
from engine.shapes import kept_neurons
from tests.engine.hybrid_models import UNITS, made, shrink, silence, smaller, texts, without_dropout


def blocks_of(pruner: HybridPruner, layer: int, place: str) -> Tensor:
    """Return the 0/1 selection of one matrix's blocks, shape (rows of blocks, columns of blocks)."""
    attention = pruner.attentions[layer]
    assert isinstance(attention, MaskedBlocks)
    matrix = attention._matrices[place]
    return matrix.mask.selection.view(matrix._blocks)


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
