"""Pictures of the mask: what they show is the mask, they are few, they change nothing, and a resume takes the same ones."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.compaction import KeptLayer, compose
from engine.config import PruningConfig
from engine.events import Compacted, MaskMoved, Notice, to_json
from engine.inside.frames import unpack
from engine.loop import student as student_module
from engine.loop.snapshots import BINS, PICTURES, pack, picture_steps, take_picture
from engine.methods.hybrid import HybridPruner
from engine.methods.movement import MovementPruner
from engine.pruning import Evidence
from engine.records import LayerMask
from tests.engine.pruned_runs import PrunedRun, random_bert, same_weights

STEPS = 12
METHODS: dict[str, dict[str, Any]] = {
    "movement": {"method": "block-movement"},
    "heads": {"method": "hybrid"},
    "blocks": {"method": "hybrid", "attention_unit": "block"},
    "soft": {"method": "soft-cutoff"},
    "cut-off": {"method": "soft-cutoff", "cut_off": 0.45},
    "magnitude": {"method": "magnitude", "iterations": 4},
    "wanda": {"method": "wanda", "iterations": 4},
    "weights": {"method": "magnitude", "unit": "weight", "iterations": 4},
    "dropped": {"method": "block-movement", "drop_layers": 1},
    "dropped wanda": {"method": "wanda", "drop_layers": 1, "iterations": 3},
    "one shot": {"method": "block-movement", "schedule": "constant"},
}
ALL = pytest.mark.parametrize("values", METHODS.values(), ids=METHODS)


def pruning(values: dict[str, Any]) -> PruningConfig:
    return PruningConfig(**{"final_density": 0.4, "width_multiple": 1} | values)


def made(values: dict[str, Any]) -> PrunedRun:
    return PrunedRun(random_bert(3, 64, heads=4), pruning(values), STEPS)


def pictures(run: PrunedRun) -> list[MaskMoved]:
    return [event for event in run.events if isinstance(event, MaskMoved)]


def members(text: str) -> tuple[int, ...]:
    bits = unpack(text)
    return tuple(number for number in range(bits.bit_length()) if bits >> number & 1)


@given(first=st.integers(0, 500), length=st.integers(1, 3000))
def test_some_steps_of_many_are_chosen_with_both_ends(first: int, length: int) -> None:
    turns = range(first, first + length)
    chosen = picture_steps(turns)
    assert chosen <= set(turns)
    assert {first, first + length - 1} <= chosen
    assert len(chosen) == min(length, PICTURES - 1)
    if length > 500:
        gaps = np.diff(sorted(chosen))
        assert gaps.max() - gaps.min() <= 1, "they are evenly spread"


def test_a_run_without_masks_takes_none() -> None:
    assert picture_steps(()) == frozenset()
    assert not pictures(made({"final_density": 1.0}).train())
    dropped = made({"method": "layer-dropping"}).train()
    assert dropped.compactions
    assert not pictures(dropped)


@given(st.sets(st.integers(0, 99)))
def test_a_set_of_units_comes_back(units: set[int]) -> None:
    text = pack(units, 100)
    assert len(text) == 26
    assert set(members(text)) == units


def test_the_bits_are_where_the_event_says() -> None:
    assert pack([0, 1, 8, 15], 16) == "0381"
    assert pack([], 0) == ""


@ALL
def test_a_picture_is_the_mask_of_its_step_in_the_bases_numbering(values: dict[str, Any]) -> None:
    run, seen = made(values), 0
    while run.step < STEPS:
        pruner, before = run.student.pruner, run.student.kept
        assert pruner is not None
        for event in run.student.before_step(run.step, run.optimizer):
            if not isinstance(event, MaskMoved):
                continue
            seen += 1
            assert event.step == run.step
            assert event.density == pruner.density
            assert [each.layer for each in event.layers] == [layer.number for layer in before]
            assert {(each.neurons, each.heads) for each in event.layers} == {(64, 4)}
            if isinstance(pruner, MovementPruner):
                real = compose(before, pruner.kept())
                assert [len(layer.neurons) for layer in real] == [int(m.selection.sum()) for m in pruner.masks]
            else:  # what such methods choose is taken out at once, while the generator goes on
                real = ()
            shown = [(members(each.kept_neurons), members(each.kept_heads)) for each in event.layers]
            if real:
                assert shown == [(layer.neurons, layer.heads) for layer in real]
        if seen and not isinstance(pruner, MovementPruner):
            assert shown == [(layer.neurons, layer.heads) for layer in run.student.kept]
        run.train(until=run.step + 1)  # asks for the same mask again, which moves nothing
    assert seen >= (1 if values.get("schedule") == "constant" else 3)


@ALL
def test_the_first_masked_step_and_the_end_of_the_schedule_are_among_them(values: dict[str, Any]) -> None:
    run = made(values).train()
    taken = pictures(run)
    assert [event.step for event in taken] == sorted({event.step for event in taken})
    assert taken[-1].step == run.student.schedule.cooldown_start
    outcome = [(layer.number, layer.neurons, layer.heads) for layer in run.student.kept]
    shown = [(each.layer, members(each.kept_neurons), members(each.kept_heads)) for each in taken[-1].layers]
    assert shown == outcome
    for event in run.compactions:
        if event.step:
            assert event.step in {picture.step for picture in taken}


@pytest.mark.parametrize("steps", [500, 1234])
@pytest.mark.parametrize("values", [METHODS["soft"], METHODS["heads"], {"method": "wanda", "iterations": 900}], ids=str)
def test_a_long_run_takes_forty_at_most_and_none_of_the_first_masked_step_is_missed(
    values: dict[str, Any], steps: int
) -> None:
    run = PrunedRun(random_bert(2, 64), pruning(values), steps)
    pruner, first, taken = run.student.pruner, None, []
    assert pruner is not None
    for step in range(steps):
        for event in run.student.before_step(step, run.optimizer):
            if isinstance(event, MaskMoved):
                taken.append(event)
        if first is None and pruner.density < 1:
            first = step
    numbers = [event.step for event in taken]
    assert 30 <= len(numbers) <= PICTURES
    assert first in numbers
    assert numbers[-1] == run.student.schedule.cooldown_start
    assert next(event.step for event in taken if event.density < 1) == first


@ALL
@pytest.mark.parametrize("stop", [1, 2, 5, 9])
def test_a_resumed_run_takes_the_pictures_that_were_left(values: dict[str, Any], stop: int) -> None:
    whole = made(values).train()
    first = made(values).train(until=stop)
    again = first.resumed()
    again.events.clear()  # those of a student that starts
    again.train()
    assert pictures(first) + pictures(again) == pictures(whole)
    assert same_weights(again, whole)


def test_a_state_of_an_older_version_goes_on_without_a_second_first_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(student_module, "picture_steps", lambda turns: frozenset())
    run = made(METHODS["movement"]).train(until=6)
    assert len(pictures(run)) == 1
    facts, weights = run.student.facts(), {name: value.clone() for name, value in run.model.state_dict().items()}
    del facts["masked"]
    again = made(METHODS["movement"])
    again.student.restore(facts, weights, again.optimizer)
    again.optimizer.load_state_dict(run.optimizer.state_dict())
    again.step = 6
    assert not pictures(again.train())


@ALL
def test_taking_pictures_changes_nothing(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with_pictures = made(values).train()
    monkeypatch.setattr(student_module, "picture_steps", lambda turns: frozenset())
    without = made(values)
    without.student._masked = True
    without.train()
    assert not pictures(without)
    assert same_weights(with_pictures, without)


@pytest.mark.parametrize("name", ["movement", "heads", "soft", "magnitude", "wanda"])
def test_scores_are_counted_on_both_sides_of_the_cut_off(name: str) -> None:
    run = made(METHODS[name]).train()
    last = next(event for event in reversed(pictures(run)) if 0.45 < event.density < 0.99)
    for layer in last.layers:
        counts = layer.scores
        assert counts is not None
        assert len(counts.kept) == len(counts.gone) == BINS
        assert sum(counts.kept) == len(members(layer.kept_neurons))
        if name in ("movement", "heads", "soft"):
            assert sum(counts.kept) + sum(counts.gone) == 64
        assert counts.cut_off is not None
        assert counts.low < counts.cut_off <= counts.high
        width = (counts.high - counts.low) / BINS
        below = [count for place, count in enumerate(counts.kept) if counts.low + (place + 1) * width < counts.cut_off]
        above = [count for place, count in enumerate(counts.gone) if counts.low + place * width > counts.cut_off]
        assert sum(below) == 0, "nothing below the cut-off stays"
        assert sum(above) == 0, "nothing above it goes"


def test_scores_are_those_the_mask_was_chosen_by() -> None:
    run = made(METHODS["heads"]).train(until=6)
    event = next(iter(run.student.before_step(6, run.optimizer)))
    pruner = run.student.pruner
    assert isinstance(event, MaskMoved)
    assert isinstance(pruner, HybridPruner)
    for layer, mask, attention in zip(event.layers, pruner.masks, pruner.attentions, strict=True):
        scores = mask.mask_scores.detach().double().numpy()
        low, high = float(scores.min()), float(scores.max())
        assert layer.scores is not None
        assert layer.scores.low == pytest.approx(low, rel=1e-5)
        assert layer.scores.high == pytest.approx(high, rel=1e-5)
        stays = mask.selection.bool().numpy()
        assert list(layer.scores.kept) == np.histogram(scores[stays], BINS, (low, high))[0].tolist()
        assert list(layer.scores.gone) == np.histogram(scores[~stays], BINS, (low, high))[0].tolist()
        assert layer.scores.cut_off == pytest.approx(scores[stays].min(), rel=1e-5)
        heads = attention.masks[0].mask_scores.detach().numpy()
        assert layer.head_scores == pytest.approx(heads, rel=1e-5)


def test_pieces_of_matrices_are_told_as_shares() -> None:
    weights = pictures(made(METHODS["weights"]).train())
    for layer in weights[-1].layers:
        assert layer.kept_weights == pytest.approx(0.4, abs=0.01)
        assert layer.scores is None
        assert len(members(layer.kept_neurons)) == 64
    shares = [event.layers[0].kept_weights for event in weights]
    assert shares == sorted(shares, reverse=True)
    blocks = pictures(made(METHODS["blocks"]).train())[-1]
    assert {layer.kept_weights for layer in blocks.layers} == {6 / 16}, "of each matrix of 16 blocks, six stay"
    assert {layer.head_scores for layer in blocks.layers} == {()}


def test_scores_that_are_no_numbers_are_left_out() -> None:
    run = made(METHODS["movement"])
    run.train(until=5)
    pruner = run.student.pruner
    assert isinstance(pruner, MovementPruner)
    with torch.no_grad():
        pruner.masks[0].mask_scores[3] = float("nan")
    kept = run.student.kept
    picture = take_picture(5, 0.9, kept, kept, kept, pruner.evidence())
    assert picture.layers[0].scores is None
    assert picture.layers[1].scores is not None


def test_scores_that_do_not_differ_lie_in_one_bin_and_have_no_cut_off_while_all_stay() -> None:
    run = made(METHODS["movement"])
    event = next(iter(run.student.before_step(1, run.optimizer)))
    assert isinstance(event, MaskMoved)
    counts = event.layers[0].scores
    assert counts is not None
    assert (counts.low, counts.high, counts.cut_off) == (0.0, 0.0, None)
    assert max(counts.kept) == sum(counts.kept) == 64


def test_a_layer_of_bert_base_takes_about_a_kilobyte() -> None:
    generator = np.random.default_rng(0)
    scores = torch.tensor(generator.normal(size=3072))
    base = (KeptLayer(0, tuple(range(12)), tuple(range(3072))),)
    kept = (base[0]._replace(neurons=tuple(scores.topk(768).indices.sort().values.tolist())),)
    event = take_picture(1000, 0.25, base, base, kept, Evidence([scores], [scores[:12]]))
    assert len(to_json(event)) < 1400
    assert isinstance(event.layers[0], LayerMask)


@pytest.mark.parametrize("method", ["block-movement", "hybrid", "soft-cutoff"])
def test_a_rounded_width_is_told_where_each_layer_is_rounded_alike(method: str) -> None:
    run = PrunedRun(random_bert(2, 64), pruning({"method": method, "final_density": 0.3, "width_multiple": 16}), STEPS)
    run.train()
    notices = [event.message for event in run.events if isinstance(event, Notice)]
    compacted = [event for event in run.events if isinstance(event, Compacted)]
    assert len(compacted) == 1
    if method == "soft-cutoff":
        assert not notices, "its layers find their own widths, whose sum rounding leaves"
        return
    assert set(compacted[0].intermediate_sizes) == {16}
    assert len(notices) == 1
    assert "16 and not 19 of 64" in notices[0]
    exact = PrunedRun(random_bert(2, 64), pruning({"method": method, "final_density": 0.3}), STEPS).train()
    assert not [event for event in exact.events if isinstance(event, Notice)]
