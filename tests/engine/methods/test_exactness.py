"""Ours against nn_pruning's own modules, on the same weights and inputs: where they agree, and where nn_pruning is wrong.

nn_pruning's "topK:1d_alt" and "sigmoied_threshold:1d_alt" share one score per FFN neuron between the rows of the first matrix
and the columns of the second; ours multiplies the activation between them. Forward it is the same.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nn_pruning.modules.binarizer import ThresholdBinarizer, TopKBinarizer
from torch import Tensor
from transformers import BertForSequenceClassification

from engine.bench.nn_pruning_modules import coordinator, masked_nn, patched_bert
from engine.config import PruningConfig
from engine.distillation import distillation_loss
from engine.methods import masks
from engine.methods.masks import MaskedFeedForward
from engine.methods.movement import MovementPruner, top_share
from engine.methods.soft_cutoff import SoftCutoffPruner
from engine.model import random_model
from engine.pruning import DensitySchedule
from engine.shapes import Shape, kept_neurons

NEURONS, HIDDEN = 64, 32
BOTH_PATHS = pytest.mark.parametrize("gather_below", [0.0, 2.0], ids=["whole", "gathered"])
"""Ours multiplies the whole matrices or the kept rows and columns only."""


def bert(layers: int = 1) -> BertForSequenceClassification:
    model = random_model(Shape(layers, HIDDEN, 2, NEURONS, vocabulary=50, labels=3, positions=32), ["a", "b", "c"], 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():  # biases too
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def tokens() -> Tensor:
    return torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(3))


def random_scores(layers: int = 1) -> list[Tensor]:
    return list(torch.randn(layers, NEURONS, generator=torch.Generator().manual_seed(4)))


def their_scores(model: BertForSequenceClassification) -> list[torch.nn.Parameter]:
    return [parameter for name, parameter in model.named_parameters() if name.endswith("mask_scores")]


def set_scores(parameters: list[Any], scores: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, values in zip(parameters, scores, strict=True):
            parameter.copy_(values)


def feed_forward(layer: Any) -> dict[str, Tensor]:
    """Send the same activations through a layer's FFN and the same gradient back."""
    generator = torch.Generator().manual_seed(5)
    attended = torch.randn(3, 9, HIDDEN, generator=generator).requires_grad_()
    output = layer.feed_forward_chunk(attended)
    (output * torch.randn(output.shape, generator=generator)).sum().backward()
    up, down = layer.intermediate.dense, layer.output.dense
    gradients = {"input": attended, "up": up.weight, "up bias": up.bias, "down": down.weight, "down bias": down.bias}
    return {"output": output.detach(), **{name: value.grad for name, value in gradients.items()}}


def our_feed_forward(layer: Any, density: float) -> tuple[dict[str, Tensor], MaskedFeedForward]:
    ours = MaskedFeedForward(layer)
    set_scores([ours.mask.mask_scores], random_scores())
    kept = kept_neurons(NEURONS, density)
    ours.mask.keep(top_share(ours.mask.mask_scores, kept), kept)
    return feed_forward(layer), ours


def assert_alike(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)


# --- top-k masks -----------------------------------------------------------------------------------------------------


@BOTH_PATHS
@pytest.mark.parametrize("density", [0.125, 0.5, 0.875])
def test_masking_the_second_matrix_gives_the_mask_output_and_all_gradients_of_nn_pruning(
    density: float, gather_below: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # with its masks on the columns of the second matrix only, each score has one contribution, and it is ours
    monkeypatch.setattr(masks, "GATHER_BELOW", gather_below)
    theirs = bert().bert.encoder.layer[0]
    module = masked_nn()
    arguments = module.LinearPruningArgs("topK", "1d_alt", "disabled", 1, 1, min_elements=0.005, bias_mask=True)
    columns = module.SingleDimensionLinearPruningContextModule((HIDDEN, NEURONS), False, arguments)
    set_scores([columns.mask_scores], random_scores())
    theirs.output.dense = module.MaskedLinear(theirs.output.dense, [None, columns], None, arguments)
    theirs.output.dense.set_context(SimpleNamespace(get_context_data={"threshold": density}.get))

    result, ours = our_feed_forward(bert().bert.encoder.layer[0], density)
    expected = feed_forward(theirs)
    their_mask = theirs.output.dense.mask_module(theirs.output.dense.weight, density)
    assert torch.equal(their_mask, ours.mask.selection.expand(HIDDEN, NEURONS))
    for name in ("up", "up bias"):  # whole there, and its masked neurons then get no gradient from above either
        assert not bool(expected[name][ours.mask.selection == 0].any())
    assert_alike(result, expected)
    torch.testing.assert_close(ours.mask.mask_scores.grad, columns.mask_scores.grad, rtol=1e-4, atol=1e-5)
    assert bool((columns.mask_scores.grad[ours.mask.selection == 0] != 0).all()), "masked neurons can come back"


@BOTH_PATHS
def test_masking_both_matrices_adds_a_second_contribution_to_scores_and_silences_masked_neurons(
    gather_below: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What "topK:1d_alt" does, derived.

    Its score s_j stands in two masks: m1_j on row j of W1 (and on the bias, without a gradient), m2_j on column j of W2. With
    z = m1 (W1 x) + m1 b, a = gelu(z), y = (m2 W2) a and gradients passed straight through, summed over the tokens:

        dL/ds_j = dL/dm2_j + dL/dm1_j = a_j (dL/dy . W2_j) + dL/dz_j (W1_j . x)

    The first term is ours; the second is W1_j . (dL/dW1)_j. Where j is masked, a_j = gelu(0) = 0 and
    dL/dz_j = gelu'(0) (dL/dy . 0) = 0: both vanish, and the score of a masked neuron hears nothing more from the loss. Ours
    keeps a_j = gelu(W1_j . x + b_j), which is what straight-through means in Sanh et al. 2020, equation 3.
    """
    monkeypatch.setattr(masks, "GATHER_BELOW", gather_below)
    model, _ = patched_bert(bert(), density=0.5)
    theirs = model.bert.encoder.layer[0]
    (scores,) = their_scores(model)
    set_scores([scores], random_scores())
    expected = feed_forward(theirs)
    layer = bert().bert.encoder.layer[0]
    result, ours = our_feed_forward(layer, 0.5)

    assert_alike(result, expected)
    second = (layer.intermediate.dense.weight * layer.intermediate.dense.weight.grad).sum(1)
    relation = ours.mask.selection * (ours.mask.mask_scores.grad + second)
    torch.testing.assert_close(scores.grad, relation.detach(), rtol=1e-4, atol=1e-4)
    gone = ours.mask.selection == 0
    assert not bool(scores.grad[gone].any())
    assert bool((ours.mask.mask_scores.grad[gone] != 0).all())


def test_for_relu_without_biases_its_gradient_of_kept_neurons_is_twice_ours() -> None:
    # relu(z) = z relu'(z), so both contributions are the same number; AdamW does not see a constant factor
    model, _ = patched_bert(bert(), density=0.5)
    layers = [model.bert.encoder.layer[0], bert().bert.encoder.layer[0]]
    set_scores(their_scores(model), random_scores())
    for layer in layers:
        layer.intermediate.intermediate_act_fn = torch.nn.ReLU()
        torch.nn.init.zeros_(layer.intermediate.dense.bias)
    feed_forward(layers[0])
    _, ours = our_feed_forward(layers[1], 0.5)
    (scores,) = their_scores(model)
    kept = ours.mask.selection == 1
    torch.testing.assert_close(scores.grad[kept], 2 * ours.mask.mask_scores.grad[kept], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("density", [0.25, 0.5])
def test_a_whole_model_gives_the_logits_of_nn_pruning(density: float) -> None:
    theirs, set_density = patched_bert(bert(3), density=1.0)
    set_scores(their_scores(theirs), random_scores(3))
    set_density(density)
    ours = bert(3)
    config = PruningConfig(final_density=density, width_multiple=1)
    pruner = MovementPruner(ours, config, DensitySchedule.of(config, 10))
    set_scores([mask.mask_scores for mask in pruner.masks], random_scores(3))
    pruner.set_density(density)
    torch.testing.assert_close(ours(input_ids=tokens()).logits, theirs(input_ids=tokens()).logits, rtol=1e-4, atol=1e-5)


# --- soft cut-off ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [5, 10, 11, 30, 69, 70, 85])
def test_sigmoid_cut_off_its_schedule_and_l1_term_are_those_of_nn_pruning(step: int) -> None:
    """Its lambda and cut-off rise together, from 0, along the cubic curve; its L1 term carries a half that ours does not."""
    strength, cut_off = 3.0, 0.55
    theirs = bert(3)
    coordination = coordinator(
        dense_pruning_method="sigmoied_threshold:1d_alt",
        attention_pruning_method="disabled",
        attention_output_with_dense=False,
        regularization="l1",
        regularization_final_lambda=strength,
        initial_threshold=0.0,
        final_threshold=cut_off,
        initial_warmup=1,
        final_warmup=3,
    )
    coordination.patch_model(theirs)
    set_scores(their_scores(theirs), random_scores(3))
    coordination.schedule_threshold(step, 100, 10, training=True)

    ours = bert(3)
    config = PruningConfig(
        method="soft-cutoff", final_density=0.02, cut_off=cut_off, regularization_lambda=strength, width_multiple=1
    )
    pruner = SoftCutoffPruner(ours, config, DensitySchedule(0.02, warmup_steps=10, cooldown_start=70))
    set_scores([mask.mask_scores for mask in pruner.masks], random_scores(3))
    pruner.before_step(step)

    logits = theirs(input_ids=tokens()).logits
    torch.testing.assert_close(ours(input_ids=tokens()).logits, logits, rtol=1e-4, atol=1e-5)
    threshold = coordination.patcher_context.get_context_data("threshold")
    for layer, mask in zip(theirs.bert.encoder.layer, pruner.masks, strict=True):
        linear = layer.output.dense
        assert torch.equal(linear.mask_module(linear.weight, threshold), mask.selection.expand(HIDDEN, NEURONS))

    term, weight, _ = coordination.regularization_loss(theirs)
    penalty = pruner.penalty()
    if step <= 10:
        assert weight == 0.0
        assert penalty is None
        return
    assert penalty is not None
    torch.testing.assert_close(penalty, 2 * weight * term)
    penalty.backward()
    (2 * weight * term).backward()
    for parameter, mask in zip(their_scores(theirs), pruner.masks, strict=True):
        torch.testing.assert_close(mask.mask_scores.grad, parameter.grad)


# --- density schedule and distillation -------------------------------------------------------------------------------


@pytest.mark.parametrize("final", [0.05, 0.25, 0.75])
def test_the_cubic_schedule_is_that_of_nn_pruning_at_every_step(final: float) -> None:
    coordination = coordinator(initial_threshold=1.0, final_threshold=final, initial_warmup=1, final_warmup=3)
    schedule = DensitySchedule.of(PruningConfig(final_density=final, warmup_share=0.1, cooldown_share=0.3), 200)
    for step in range(200):
        coordination.schedule_threshold(step, 200, 20, training=True)
        assert schedule.at(step) == pytest.approx(coordination.patcher_context.get_context_data("threshold"), abs=1e-12)


def test_an_initial_density_begins_after_the_warm_up_where_nn_pruning_has_it_from_the_first_step() -> None:
    coordination = coordinator(initial_threshold=0.8, final_threshold=0.25, initial_warmup=1, final_warmup=3)
    config = PruningConfig(final_density=0.25, initial_density=0.8, warmup_share=0.1, cooldown_share=0.3)
    schedule = DensitySchedule.of(config, 100)
    for step in range(100):
        coordination.schedule_threshold(step, 100, 10, training=True)
        theirs = coordination.patcher_context.get_context_data("threshold")
        if step < 10:
            assert (theirs, schedule.at(step)) == (0.8, 1.0)
        else:
            assert schedule.at(step) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.5), (2.0, 0.9), (5.0, 0.1)])
def test_the_distillation_loss_is_that_of_nn_pruning(temperature: float, weight: float) -> None:
    coordination = coordinator(
        distil_temperature=temperature, distil_alpha_teacher=weight, distil_alpha_ce=1.0 - weight
    )
    coordination.teacher = bert(2)
    student = random_model(Shape(1, HIDDEN, 2, NEURONS, vocabulary=50, labels=3, positions=32), ["a", "b", "c"], 7)
    ids = tokens()
    inputs = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": torch.ones_like(ids)}
    outputs = student(**inputs)
    outputs.logits.retain_grad()
    cross_entropy = torch.nn.functional.cross_entropy(outputs.logits, torch.tensor([0, 1, 2]))
    theirs, _ = coordination.distil_loss_combine(cross_entropy, inputs, outputs)
    theirs.backward()

    logits = outputs.logits.detach().clone().requires_grad_()
    cross_entropy = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2]))
    taught = distillation_loss(logits, coordination.teacher(**inputs).logits.detach(), temperature)
    ours = (1.0 - weight) * cross_entropy + weight * taught
    ours.backward()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(logits.grad, outputs.logits.grad, rtol=1e-4, atol=1e-7)


# --- where nn_pruning is wrong: its answer, and ours -----------------------------------------------------------------


def their_ffn_masks(scores: Tensor, density: float) -> tuple[Tensor, Tensor]:
    """Return nn_pruning's masks of both matrices, shapes (neurons, hidden) and (hidden, neurons)."""
    model, _ = patched_bert(bert(), density=density)
    set_scores(their_scores(model), [scores])
    layer = model.bert.encoder.layer[0]
    up, down = layer.intermediate.dense, layer.output.dense
    return up.mask_module(up.weight, density), down.mask_module(down.weight, density)


def test_ties_it_cuts_the_second_matrix_along_the_wrong_axis_ours_keeps_whole_neurons() -> None:
    up, down = their_ffn_masks(torch.zeros(NEURONS), 0.5)
    assert sorted(up.sum(1).tolist()) == [0.0] * 32 + [HIDDEN] * 32  # neurons
    assert down.sum(0).tolist() == [16.0] * NEURONS  # of every neuron half its outputs
    assert sorted(down.sum(1).tolist()) == [0.0] * 16 + [NEURONS] * 16  # half of the outputs hear no neuron at all

    selection = top_share(torch.zeros(NEURONS), 32)
    assert set(selection.tolist()) == {0.0, 1.0}
    assert int(selection.sum()) == 32


def test_it_keeps_a_part_of_one_neuron_ours_keeps_whole_neurons() -> None:
    density = 0.3  # 19.2 neurons
    up, down = their_ffn_masks(random_scores()[0], density)
    for matrix, axis in ((up, 1), (down, 0)):
        shares = matrix.mean(axis)
        assert int((shares == 1).sum()) == 19
        (part,) = shares[(shares > 0) & (shares < 1)].tolist()
        assert part == pytest.approx(0.2, abs=1 / HIDDEN)
    selection = top_share(random_scores()[0], kept_neurons(NEURONS, density))
    assert int(selection.sum()) == 19
    assert torch.equal(selection, (up.mean(1) == 1).float())


def test_its_rounding_loses_a_neuron_ours_does_not() -> None:
    scores = torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert 0.29 * 100 < 29  # in floating point
    assert int(TopKBinarizer.apply(scores, 0.29).sum()) == 28
    assert int(top_share(scores, kept_neurons(100, 0.29)).sum()) == 29


def test_its_least_share_of_a_cut_off_fails_among_ties_ours_holds() -> None:
    # it promises half a percent, here at least 11 of 2,048 weights, and counts only what is strictly above the 11th highest
    promised = int(0.005 * NEURONS * HIDDEN) + 1
    tied = torch.zeros(NEURONS, HIDDEN)
    assert int(ThresholdBinarizer.apply(tied, 0.6, True, 0.005).sum()) == 0 < promised
    rows = random_scores()[0].sub(5.0).unsqueeze(1).expand(NEURONS, HIDDEN)  # every weight has its neuron's score
    assert int(ThresholdBinarizer.apply(rows, 0.6, True, 0.005).sum()) == 0 < promised

    config = PruningConfig(method="soft-cutoff", final_density=0.05, cut_off=0.6, width_multiple=1)
    pruner = SoftCutoffPruner(bert(2), config, DensitySchedule.of(config, 10))
    pruner.set_density(0.05, final=True)  # all scores are still 0, all sigmoids one half
    assert [mask.kept for mask in pruner.masks] == [3, 3]
