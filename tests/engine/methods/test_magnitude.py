"""Magnitude pruning by neuron and by weight: what goes, what stays exact, and what a stop and a resume must not change."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertForSequenceClassification

from engine.compaction import Kept, compact, compact_in_place, layer_sizes, max_logit_difference, plain_copy, whole
from engine.config import PruningConfig
from engine.evaluation import count_parameters
from engine.events import Compacted, MaskMoved, Notice
from engine.methods.magnitude import MagnitudePruner, WeightPruner, magnitudes
from engine.pruning import DensitySchedule, make_pruner
from engine.shapes import kept_neurons
from tests.engine.pruned_runs import PrunedRun, random_bert, random_texts, same_weights

STEPS = 20  # warm-up 2, cool-down from step 14 on


def pruning(**values: Any) -> PruningConfig:
    given_values = {"method": "magnitude", "final_density": 0.25, "iterations": 3, "width_multiple": 1} | values
    return PruningConfig.model_validate(given_values)


def pruner_of(model: BertForSequenceClassification, config: PruningConfig) -> Any:
    return make_pruner(model, config, DensitySchedule.of(config, STEPS))


def without(model: BertForSequenceClassification, kept: Kept) -> BertForSequenceClassification:
    """Return the model at its full size, with nothing in the weights of the neurons that go."""
    masked = plain_copy(model)
    with torch.no_grad():
        for unit, layer in zip(kept, masked.bert.encoder.layer, strict=True):
            gone = sorted(set(range(layer.intermediate.dense.out_features)) - set(unit.neurons))
            layer.intermediate.dense.weight[gone] = 0.0
            layer.intermediate.dense.bias[gone] = 0.0
            layer.output.dense.weight[:, gone] = 0.0
    return masked


def freeze(run: PrunedRun) -> PrunedRun:
    """Make the optimizer move nothing, so that weights can be recognised."""
    for group in run.optimizer.param_groups:
        group["lr"] = 0.0
    return run


def matrices(model: BertForSequenceClassification) -> dict[str, torch.Tensor]:
    return {
        name: module.weight.detach()
        for name, module in model.bert.encoder.named_modules()
        if isinstance(module, nn.Linear)
    }


def test_a_neuron_is_its_row_its_bias_and_its_column_together() -> None:
    model = random_bert(1, 8)
    layer = model.bert.encoder.layer[0]
    with torch.no_grad():
        for part in (layer.intermediate.dense.weight, layer.intermediate.dense.bias, layer.output.dense.weight):
            part.fill_(0.01)
        layer.intermediate.dense.weight[5, 0] = -3.0
        layer.intermediate.dense.bias[2] = -4.0
        layer.output.dense.weight[0, 7] = -5.0
    expected = [torch.tensor([0.01] * 65).norm()] * 8
    for neuron, large in ((5, 3.0), (2, 4.0), (7, 5.0)):
        expected[neuron] = torch.tensor([0.01] * 64 + [large]).norm()
    torch.testing.assert_close(magnitudes(layer), torch.stack(expected))
    config = pruning(final_density=3 / 8, schedule="constant", warmup_share=0.0)
    kept = pruner_of(model, config).before_step(0)
    assert [unit.neurons for unit in kept] == [(2, 5, 7)]


@settings(max_examples=25, deadline=None)
@given(
    layers=st.integers(1, 12),
    width=st.integers(2, 64),
    level=st.floats(0, 0.95),
    iterations=st.integers(1, 3),
    seed=st.integers(0, 10_000),
    method=st.sampled_from(["magnitude", "wanda"]),
)
def test_masked_and_compacted_models_give_equal_logits(
    layers: int, width: int, level: float, iterations: int, seed: int, method: str
) -> None:
    model = random_bert(layers, width, seed)
    config = pruning(method=method, final_density=1 - level, iterations=iterations)
    texts = random_texts(seed)
    if config.final_density == 1:
        assert pruner_of(model, config) is None
        return
    pruner = pruner_of(model, config)
    for step in range(STEPS):
        full = plain_copy(model) if step in pruner.iterations else model
        kept = pruner.before_step(step)
        if kept is not None:
            masked, smaller = without(full, kept), compact(model, kept)
            for other in (masked, model):  # the pruner silences what goes before it is taken out
                difference, largest = max_logit_difference(other, smaller, texts)
                assert largest > 0
                assert difference <= 1e-5 * max(1.0, largest)
            compact_in_place(model, kept)
        if step + 1 in pruner.iterations:
            model.train()(**texts[step % 2])
            pruner.after_step()
        if step >= pruner.schedule.cooldown_start:
            break
    assert {size for _, size in layer_sizes(model)} == {kept_neurons(width, 1 - level)}


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_moments_of_what_stays_are_not_touched_when_the_rest_goes(method: str) -> None:
    run = PrunedRun(random_bert(3, 64), pruning(method=method), STEPS).train(until=6)
    before = {
        name: (
            parameter.detach().clone(),
            {key: value.clone() for key, value in run.optimizer.state[parameter].items()},
        )
        for name, parameter in run.model.named_parameters()
    }
    first = [type(event) for event in run.student.before_step(6, run.optimizer)]
    assert first == [MaskMoved, Compacted]
    kept = {
        f"bert.encoder.layer.{place}.{name}": (dimension, torch.tensor(unit.neurons))
        for place, unit in enumerate(run.student.kept)
        for name, dimension in (
            ("intermediate.dense.weight", 0),
            ("intermediate.dense.bias", 0),
            ("output.dense.weight", 1),
        )
    }
    assert {len(index) for _, index in kept.values()} == {kept_neurons(64, 0.25 + 0.75 * (2 / 3) ** 3)}
    for name, parameter in run.model.named_parameters():
        weight, moments = before[name]
        state = run.optimizer.state[parameter]
        assert state.keys() == moments.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert state["step"] == moments["step"] == 6
        pairs = [(parameter.detach(), weight), *((state[key], moments[key]) for key in ("exp_avg", "exp_avg_sq"))]
        for now, then in pairs:
            if name in kept:
                dimension, index = kept[name]
                then = then.index_select(dimension, index)
            assert torch.equal(now, then)
        assert float(state["exp_avg_sq"].sum()) > 0
    grouped = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in run.model.parameters()}
    assert set(run.optimizer.state) == set(grouped)


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_a_share_of_the_original_width_goes_at_each_iteration_and_never_comes_back(method: str) -> None:
    run = PrunedRun(random_bert(2, 100), pruning(method=method, schedule="linear"), STEPS)
    at = {6: 75, 10: 50, 14: 25}
    width, kept = 100, run.student.kept
    for step in range(STEPS):
        run.train(until=step + 1)
        width = at.get(step, width)
        assert {size for _, size in layer_sizes(run.model)} == {width}
        assert run.student.density == width / 100
        for now, then in zip(run.student.kept, kept, strict=True):
            assert set(now.neurons) <= set(then.neurons)
        kept = run.student.kept
    assert [event.step for event in run.compactions] == [6, 10, 14]
    assert [event.kept_neurons for event in run.compactions[:2]] == [(), ()]
    assert run.compactions[-1].kept_neurons == tuple(unit.neurons for unit in kept)
    assert all(event.max_logit_difference < 1e-4 for event in run.compactions)


def test_what_is_left_carries_the_weights_of_the_neurons_named() -> None:
    base = random_bert(3, 64)
    run = freeze(PrunedRun(base, pruning(drop_layers=1), STEPS)).train()
    assert run.compactions[-1].kept_layers == (0, 2)
    for number, neurons, layer in zip(
        run.compactions[-1].kept_layers, run.compactions[-1].kept_neurons, run.model.bert.encoder.layer, strict=True
    ):
        original = base.bert.encoder.layer[number]
        index = list(neurons)
        assert torch.equal(layer.intermediate.dense.weight, original.intermediate.dense.weight[index])
        assert torch.equal(layer.intermediate.dense.bias, original.intermediate.dense.bias[index])
        assert torch.equal(layer.output.dense.weight, original.output.dense.weight[:, index])
        # where nothing moves between them, many iterations come to what one does
        assert neurons == tuple(sorted(magnitudes(original).topk(16).indices.tolist()))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 400),
    density=st.floats(0.01, 0.99),
    multiple=st.sampled_from([1, 8, 64]),
    iterations=st.integers(1, 8),
)
def test_only_the_last_width_is_rounded_and_no_earlier_one_is_below_it(
    width: int, density: float, multiple: int, iterations: int
) -> None:
    model = random_bert(1, width, hidden=4)
    config = pruning(final_density=density, width_multiple=multiple, iterations=iterations)
    pruner = pruner_of(model, config)
    widths = [width]
    for step in range(15):
        kept = pruner.before_step(step)
        if kept is not None:
            compact_in_place(model, kept)
            widths.append(len(kept[0].neurons))
            assert pruner.density == widths[-1] / width
    final = kept_neurons(width, density, multiple)
    assert widths[-1] == final
    assert all(earlier >= later for earlier, later in pairwise(widths))
    for between in widths[1:-1]:
        assert any(between == max(final, kept_neurons(width, asked)) for asked in pruner.iterations.values())


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_layers_of_different_width_each_lose_their_share(method: str) -> None:
    base = random_bert(2, 40)
    first, second = whole(base)
    compact_in_place(base, (first, second._replace(neurons=tuple(range(20)))))
    run = PrunedRun(base, pruning(method=method), STEPS).train()
    assert [size for _, size in layer_sizes(run.model)] == [10, 5]
    assert run.student.density == 0.25


@pytest.mark.parametrize("method", ["magnitude", "wanda", "block-movement", "hybrid"])
def test_rounding_is_told_once_with_both_widths(method: str) -> None:
    config = pruning(method=method, final_density=0.3, width_multiple=16)
    run = PrunedRun(random_bert(2, 64), config, STEPS).train()
    notices = [event.message for event in run.events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "16 and not 19 of 64" in notices[0]
    assert [size for _, size in layer_sizes(run.model)] == [16, 16]
    exact = pruning(method=method, final_density=0.25, width_multiple=16)
    again = PrunedRun(random_bert(2, 64), exact, STEPS).train()
    assert not [event for event in again.events if isinstance(event, Notice)]


def test_the_end_is_told_even_where_rounding_leaves_everything() -> None:
    run = PrunedRun(random_bert(2, 128), pruning(final_density=0.9, width_multiple=64), STEPS).train()
    assert [event.intermediate_sizes for event in run.compactions] == [(128, 128)]
    assert run.student.density == 1.0


def test_one_shot_prunes_once_when_the_warm_up_ends() -> None:
    run = PrunedRun(random_bert(2, 64), pruning(schedule="constant", iterations=10), STEPS).train()
    assert [event.step for event in run.compactions] == [2]
    assert run.student.density == 0.25


RESUMED = {
    "neurons": {},
    "neurons and layers": {"drop_layers": 1, "width_multiple": 8},
    "weights": {"unit": "weight"},
    "weights and layers": {"unit": "weight", "drop_layers": 1},
    "wanda": {"method": "wanda"},
    "wanda at every step": {"method": "wanda", "iterations": 12},
    "wanda from the first step": {"method": "wanda", "warmup_share": 0.0, "initial_density": 0.9},
}


@pytest.mark.parametrize("values", RESUMED.values(), ids=RESUMED)
def test_a_run_resumed_at_any_step_is_the_run_that_never_stopped(values: dict[str, Any]) -> None:
    base = random_bert(3, 24)
    with torch.no_grad():  # as a base may come
        base.bert.encoder.layer[0].intermediate.dense.weight[:, :8] = 0.0
    config = pruning(**values)
    straight = PrunedRun(base, config, STEPS).train()
    stopped = PrunedRun(base, config, STEPS)
    for step in (1, 2, 5, 6, 7, 9, 13, 14, 15, 18):  # before, at and after iterations, in the cool-down
        resumed = stopped.train(until=step).resumed()
        assert resumed.student.kept == stopped.student.kept
        resumed.train()
        assert same_weights(resumed, straight), f"stopped before step {step}"
        assert resumed.student.density == straight.student.density
        told = {event.step for event in resumed.compactions if event.step}
        assert told == {event.step for event in straight.compactions if event.step and event.step >= step}


def test_single_weights_go_by_matrix_the_smallest_first() -> None:
    base = random_bert(2, 64)
    run = freeze(PrunedRun(base, pruning(unit="weight", schedule="linear"), STEPS))
    for step, density in ((6, 0.75), (10, 0.5), (14, 0.25)):
        run.train(until=step + 1)
        assert run.student.density == pytest.approx(density)
        for name, weight in matrices(run.model).items():
            original = matrices(base)[name]
            assert int(weight.count_nonzero()) == round(weight.numel() * density), name
            assert torch.equal(weight[weight != 0], original[weight != 0])
            assert float(original[weight == 0].abs().max()) <= float(original[weight != 0].abs().min())
    rest = {name for name, _ in run.model.named_parameters()} - {
        f"bert.encoder.{name}.weight" for name in matrices(base)
    }
    for name in rest:
        assert torch.equal(run.model.get_parameter(name), base.get_parameter(name)), name


def test_of_equal_weights_no_more_than_the_share_goes() -> None:
    base = random_bert(1, 64)
    with torch.no_grad():
        base.bert.encoder.layer[0].output.dense.weight.fill_(0.5)
    pruner = WeightPruner(base, pruning(unit="weight"), DensitySchedule(0.25, 0, 0, "constant"))
    pruner.before_step(0)
    assert float((base.bert.encoder.layer[0].output.dense.weight != 0).float().mean()) == 0.25


def test_pruned_weights_stay_zero_whatever_the_optimizer_does_and_all_others_learn() -> None:
    base = random_bert(2, 64)
    run = PrunedRun(base, pruning(unit="weight", iterations=1), STEPS).train(until=15)
    zero = {name: weight == 0 for name, weight in matrices(run.model).items()}
    before = {name: weight.clone() for name, weight in matrices(run.model).items()}
    run.train()  # all of it in the cool-down, after the schedule has ended
    for name, weight in matrices(run.model).items():
        assert torch.equal(weight == 0, zero[name]), name
        assert bool((weight != before[name])[~zero[name]].float().mean() > 0.99), name


def test_what_the_base_has_at_zero_learns_until_the_first_iteration() -> None:
    base = random_bert(1, 64)
    with torch.no_grad():
        base.bert.encoder.layer[0].output.dense.weight[:16] = 0.0
    run = PrunedRun(base, pruning(unit="weight"), STEPS).train(until=6)
    assert bool((run.model.bert.encoder.layer[0].output.dense.weight != 0).all())


def test_single_weights_change_no_size_and_the_run_says_so() -> None:
    base = random_bert(2, 64)
    run = PrunedRun(base, pruning(unit="weight", final_density=0.4), STEPS).train()
    assert run.compactions == []
    assert count_parameters(run.student.smaller()) == count_parameters(base)
    assert isinstance(run.student.pruner, WeightPruner)
    assert run.student.pruner.zero_share == pytest.approx(0.6, abs=1e-3)
    notices = [event.message for event in run.events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "60 % of the weights" in notices[0]
    assert "neither smaller nor faster" in notices[0]
    smaller = run.student.smaller()
    assert all(float((weight == 0).float().mean()) > 0.59 for weight in matrices(smaller).values())


def test_each_unit_has_its_pruner() -> None:
    model = random_bert(1, 16)
    assert type(pruner_of(model, pruning())) is MagnitudePruner
    assert type(pruner_of(model, pruning(unit="weight"))) is WeightPruner
