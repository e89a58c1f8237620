"""Layer dropping: which layers go, that nothing else changes, and how it goes with other methods."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertForSequenceClassification

from engine.compaction import compact, is_stock, layer_sizes, max_logit_difference, plain_copy, whole
from engine.config import PruningConfig
from engine.methods.dropping import keep_outer_layers, layers_to_drop
from engine.methods.magnitude import magnitudes
from engine.methods.movement import MovementPruner
from tests.engine.pruned_runs import PrunedRun, random_bert, random_texts, same_weights

STEPS = 20


def pruning(**values: Any) -> PruningConfig:
    return PruningConfig.model_validate({"width_multiple": 1} | values)


def gone(layers: int, dropped: int) -> list[int]:
    model = random_bert(layers, 4, hidden=4)
    kept = {unit.number for unit in keep_outer_layers(whole(model), dropped)}
    return sorted(set(range(layers)) - kept)


def skipping(model: BertForSequenceClassification, numbers: list[int]) -> BertForSequenceClassification:
    """Return the model at its full size, whose layers of these numbers pass their input on."""
    masked = plain_copy(model)
    for number in numbers:
        masked.bert.encoder.layer[number].register_forward_hook(lambda module, arguments, output: arguments[0])
    return masked


def test_middle_layers_go_first_and_of_two_the_upper() -> None:
    assert [gone(12, dropped) for dropped in range(6)] == [
        [],
        [6],
        [5, 6],
        [5, 6, 7],
        [4, 5, 6, 7],
        [4, 5, 6, 7, 8],
    ]
    assert gone(12, 11) == list(range(1, 12))
    assert gone(5, 2) == [2, 3]
    assert gone(2, 1) == [1]


@pytest.mark.parametrize(
    ("values", "layers", "dropped"),
    [
        ({"drop_layers": 3}, 12, 3),
        ({"drop_layers": 1000}, 12, 11),
        ({"drop_layers": 4}, 1, 0),
        ({"method": "layer-dropping", "final_density": 0.75}, 12, 3),
        ({"method": "layer-dropping", "final_density": 0.5}, 4, 2),
        ({"method": "layer-dropping", "final_density": 0.01}, 12, 11),
        ({"method": "layer-dropping", "final_density": 0.75, "drop_layers": 5}, 12, 5),
        ({"method": "layer-dropping", "final_density": 0.25, "drop_layers": 5}, 12, 9),
        ({"method": "layer-dropping", "drop_layers": 2}, 12, 2),
        ({"method": "magnitude", "final_density": 0.25}, 12, 0),
    ],
)
def test_how_many_go(values: dict[str, Any], layers: int, dropped: int) -> None:
    assert layers_to_drop(pruning(**values), layers) == dropped


@settings(max_examples=25, deadline=None)
@given(layers=st.integers(1, 12), level=st.floats(0, 0.95), seed=st.integers(0, 10_000))
def test_leaving_layers_out_equals_passing_their_input_on(layers: int, level: float, seed: int) -> None:
    model = random_bert(layers, 16, seed)
    dropped = layers_to_drop(pruning(method="layer-dropping", final_density=1 - level), layers)
    kept = keep_outer_layers(whole(model), dropped)
    numbers = sorted(set(range(layers)) - {unit.number for unit in kept})
    smaller = compact(model, kept)
    difference, largest = max_logit_difference(skipping(model, numbers), smaller, random_texts(seed))
    assert largest > 0
    assert difference <= 1e-5 * max(1.0, largest)
    assert len(layer_sizes(smaller)) == layers - dropped == smaller.config.num_hidden_layers
    assert is_stock(smaller)
    assert [layer.attention.self.layer_idx for layer in smaller.bert.encoder.layer] == list(range(layers - dropped))


def test_dropping_another_layer_is_noticed() -> None:
    model = random_bert(4, 16)
    smaller = compact(model, keep_outer_layers(whole(model), 1))
    assert max_logit_difference(skipping(model, [1]), smaller, random_texts())[0] > 1e-3


def test_a_level_of_layers_is_reached_before_the_first_step_and_told_in_the_bases_numbers() -> None:
    base = random_bert(8, 16)
    run = PrunedRun(base, pruning(method="layer-dropping", final_density=0.5), STEPS)
    (told,) = run.compactions
    assert told.step == 0
    assert told.kept_layers == (0, 1, 6, 7)
    assert told.intermediate_sizes == (16,) * 4
    assert told.kept_neurons == (tuple(range(16)),) * 4
    assert told.stock
    assert run.student.density == run.student.density_target(3) == 0.5
    assert run.student.pruner is None
    for layer, number in zip(run.model.bert.encoder.layer, told.kept_layers, strict=True):
        original = base.bert.encoder.layer[number].state_dict()
        assert all(torch.equal(value, original[name]) for name, value in layer.state_dict().items())
    run.train()
    assert run.compactions == [told]
    assert len(layer_sizes(run.student.smaller())) == 4
    assert len(layer_sizes(base)) == 8  # the dense base is measured and taught from whole


def test_a_run_without_dropping_tells_nothing_before_the_first_step() -> None:
    assert PrunedRun(random_bert(4, 16), pruning(final_density=0.5), STEPS).compactions == []


def test_block_movement_halves_the_layers_that_are_left() -> None:
    base = random_bert(4, 16)
    run = PrunedRun(base, pruning(final_density=0.5, drop_layers=1), STEPS).train()
    first, last = run.compactions
    assert (first.step, first.kept_layers) == (0, (0, 1, 3))
    assert (last.step, last.kept_layers, last.intermediate_sizes) == (14, (0, 1, 3), (8, 8, 8))
    assert run.student.density == 0.5
    assert isinstance(run.student.pruner, MovementPruner)
    assert is_stock(run.model)


def test_dropped_and_pruned_equals_skipped_and_masked() -> None:
    base = random_bert(4, 16)
    run = PrunedRun(base, pruning(method="magnitude", final_density=0.5, drop_layers=2), STEPS)
    for group in run.optimizer.param_groups:
        group["lr"] = 0.0
    run.train()
    masked = skipping(base, [1, 2])
    for number in (0, 3):
        layer = masked.bert.encoder.layer[number]
        smallest = magnitudes(layer).topk(8, largest=False).indices
        with torch.no_grad():
            layer.output.dense.weight[:, smallest] = 0.0
    difference, largest = max_logit_difference(masked, run.student.smaller(), random_texts())
    assert difference <= 1e-5 * max(1.0, largest)


@pytest.mark.parametrize(
    "values",
    [
        {"method": "layer-dropping", "final_density": 0.5},
        {"final_density": 0.5, "drop_layers": 1},
        {"method": "soft-cutoff", "final_density": 0.5, "drop_layers": 1},
    ],
    ids=["layers", "and block movement", "and soft cut-off"],
)
def test_a_resumed_run_goes_on_with_the_layers_that_were_left(values: dict[str, Any]) -> None:
    base = random_bert(4, 16)
    straight = PrunedRun(base, pruning(**values), STEPS).train()
    stopped = PrunedRun(base, pruning(**values), STEPS)
    for step in (0, 7, 14, 17):
        resumed = stopped.train(until=step).resumed()
        assert resumed.student.kept == stopped.student.kept
        resumed.train()
        assert same_weights(resumed, straight), f"stopped before step {step}"
