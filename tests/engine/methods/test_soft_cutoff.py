"""Soft cut-off: one cut-off for all layers, whose widths then differ."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compaction import compact, compact_in_place, is_stock, layer_sizes, max_logit_difference
from engine.config import PruningConfig, RunConfig
from engine.loop.optimization import make_optimizer
from engine.methods.soft_cutoff import SoftCutoffPruner, rounded_widths
from engine.model import random_model
from engine.pruning import DensitySchedule, make_pruner
from engine.shapes import Shape, kept_neurons

LABELS = ["खेळ", "राजकारण", "Tech"]


def pruned_model(layers: int, width: int, seed: int = 0, **settings):  # type: ignore[no-untyped-def]
    config = PruningConfig(**{"method": "soft-cutoff", "final_density": 0.25, "width_multiple": 1} | settings)
    model = random_model(Shape(layers, 32, 2, width, vocabulary=60, labels=3, positions=32), LABELS, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # random biases too, so that a forgotten one shows
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    pruner = SoftCutoffPruner(model, config, DensitySchedule.of(config, 100))
    with torch.no_grad():
        for mask in pruner.masks:  # some layers matter more than others
            mask.mask_scores.normal_(float(torch.randn((), generator=generator)), generator=generator)
    return model, pruner


def all_scores(pruner: SoftCutoffPruner) -> torch.Tensor:
    return torch.cat([mask.mask_scores.detach() for mask in pruner.masks])


def selection(pruner: SoftCutoffPruner) -> torch.Tensor:
    return torch.cat([mask.selection for mask in pruner.masks])


def tokens(seed: int = 0) -> list[dict[str, torch.Tensor]]:
    ids = torch.randint(0, 60, (3, 11), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return [{"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}]


@settings(max_examples=25, deadline=None)
@given(
    layers=st.integers(1, 12),
    width=st.integers(1, 96),
    level=st.floats(0, 0.95),
    multiple=st.sampled_from([1, 16]),
    cut_off=st.none() | st.floats(0.05, 0.9),
    seed=st.integers(0, 10_000),
)
def test_masked_and_compacted_models_give_equal_logits(
    layers: int, width: int, level: float, multiple: int, cut_off: float | None, seed: int
) -> None:
    density = 1 - level
    model, pruner = pruned_model(layers, width, seed, final_density=density, width_multiple=multiple, cut_off=cut_off)
    pruner.set_density(density, final=True)
    smaller = compact(model, pruner.kept())
    assert [size for _, size in layer_sizes(smaller)] == [mask.kept for mask in pruner.masks]
    difference, largest = max_logit_difference(model, smaller, tokens(seed))
    assert largest > 0
    assert difference <= 1e-5 * max(1.0, largest)


def test_the_level_is_met_over_all_layers_by_the_highest_scores() -> None:
    _, pruner = pruned_model(4, 64)
    pruner.set_density(0.3)
    kept = kept_neurons(256, 0.3)
    assert pruner.density == kept / 256
    assert int(selection(pruner).sum()) == kept
    scores = all_scores(pruner)
    assert float(scores[selection(pruner) == 1].min()) > float(scores[selection(pruner) == 0].max())
    widths = [mask.kept for mask in pruner.masks]
    assert widths == [int(mask.selection.sum()) for mask in pruner.masks]
    assert len(set(widths)) > 1, "layers decide their own widths"


def test_lambda_does_not_change_the_level() -> None:
    for strength in (0.0, 100.0):
        _, pruner = pruned_model(3, 64, regularization_lambda=strength)
        pruner.before_step(99)
        assert pruner.density == 0.25


def test_a_layer_may_end_empty_and_its_neurons_may_come_back() -> None:
    model, pruner = pruned_model(3, 64)
    with torch.no_grad():
        pruner.masks[1].mask_scores.fill_(-9.0)
    pruner.set_density(0.5)
    assert pruner.masks[1].kept == 0
    model.train()
    model(**tokens()[1]).logits.square().sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())
    layer = model.bert.encoder.layer[1]
    assert not bool(layer.intermediate.dense.weight.grad.any())
    assert not bool(layer.output.dense.weight.grad.any())
    assert bool((pruner.masks[1].mask_scores.grad != 0).all())

    smaller = compact(model, pruner.kept())
    assert not is_stock(smaller)
    assert smaller.bert.encoder.layer[1].intermediate.dense.out_features == 0
    difference, largest = max_logit_difference(model, smaller, tokens())
    assert difference <= 1e-5 * max(1.0, largest)


@pytest.mark.parametrize("fused", [False, True])
def test_training_goes_on_at_the_small_size_with_an_empty_layer(fused: bool) -> None:
    model, pruner = pruned_model(3, 64)
    with torch.no_grad():
        pruner.masks[1].mask_scores.fill_(-9.0)
    optimizer = make_optimizer(model, RunConfig(pruning=pruner.config), 1e-3, fused=fused)
    model.train()
    for step in (69, 70, 71):
        kept = None if pruner.settled else pruner.before_step(step)
        if kept is not None:
            pruner.detach()
            compact_in_place(model, kept, optimizer)
            pruner.settle()
        model(**tokens()[1]).logits.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    widths = [width for _, width in layer_sizes(model)]
    assert widths[1] == 0
    assert sum(widths) == 48
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_scores_that_do_not_differ_yet_prune_every_layer_alike() -> None:
    _, pruner = pruned_model(3, 64)
    with torch.no_grad():
        for mask in pruner.masks:
            mask.mask_scores.zero_()
    pruner.set_density(0.25)
    assert [mask.kept for mask in pruner.masks] == [16, 16, 16]


def test_a_layer_that_was_smaller_before_gives_as_large_a_share() -> None:
    model, first = pruned_model(3, 64)
    with torch.no_grad():
        for mask, score in zip(first.masks, (5.0, 0.0, -5.0), strict=True):
            mask.mask_scores.copy_(torch.arange(64) / 64 + score)
    first.set_density(0.5)
    smaller = compact(model, first.kept())
    assert [width for _, width in layer_sizes(smaller)] == [64, 32, 0]
    second = SoftCutoffPruner(smaller, first.config, first.schedule)
    second.set_density(0.5)
    assert [mask.kept for mask in second.masks] == [32, 16, 0]
    second.set_density(0.25, final=True)
    difference, largest = max_logit_difference(smaller, compact(smaller, second.kept()), tokens())
    assert difference <= 1e-5 * max(1.0, largest)


def test_a_cut_off_rises_along_the_schedule_and_decides_the_density() -> None:
    _, pruner = pruned_model(4, 64, cut_off=0.6, final_density=0.05)
    sigmoids = all_scores(pruner).sigmoid()
    for step in (0, 10, 20, 40, 69):
        pruner.before_step(step)
        share = (1 - pruner.schedule.at(step)) / (1 - 0.05)
        assert torch.equal(selection(pruner), (sigmoids > 0.6 * share).float())
    pruner.before_step(70)
    assert torch.equal(selection(pruner), (sigmoids > 0.6).float())
    assert 0.05 < pruner.density < 1
    assert pruner.density == float(selection(pruner).mean())


def test_a_cut_off_does_not_go_below_the_final_density() -> None:
    _, pruner = pruned_model(4, 64, cut_off=0.999, final_density=0.25)
    pruner.before_step(70)
    assert int((all_scores(pruner).sigmoid() > 0.999).sum()) < 64
    assert int(selection(pruner).sum()) == 64
    assert pruner.density == 0.25


@given(
    layers=st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1)), min_size=1, max_size=12),
    multiple=st.sampled_from([1, 8, 64]),
)
def test_widths_are_rounded_to_a_multiple_next_to_them_and_keep_their_sum(
    layers: list[tuple[int, float]], multiple: int
) -> None:
    widths = [width for width, _ in layers]
    counts = [round(width * share) for width, share in layers]
    rounded = rounded_widths(counts, widths, multiple)
    wide = [layer for layer, width in enumerate(widths) if width > multiple]
    for layer, (count, width, result) in enumerate(zip(counts, widths, rounded, strict=True)):
        if layer in wide:
            assert result % multiple == 0 or result == width
            assert abs(result - count) < multiple
            assert 0 <= result <= width
        else:
            assert result == count
    assert bool(sum(rounded)) == bool(sum(counts)), "something stays"
    if wide and all(widths[layer] % multiple == 0 for layer in wide):
        drift = sum(rounded[layer] - counts[layer] for layer in wide)
        total = sum(counts[layer] for layer in wide)
        assert abs(drift) <= multiple / 2 or total < multiple / 2


@pytest.mark.parametrize(
    ("counts", "multiple", "expected"),
    [
        ([100, 200, 0], 64, [128, 192, 0]),
        ([90, 90, 90], 64, [128, 64, 64]),  # each by itself would be 64, and 78 of 270 neurons lost
        ([110, 110, 110], 64, [128, 128, 64]),  # each by itself would be 128, 54 too many
        ([20, 5, 0], 64, [64, 0, 0]),  # never a model without neurons
        ([17, 33, 64], 1, [17, 33, 64]),
        ([256, 250, 3], 64, [256, 256, 0]),
    ],
)
def test_rounding_by_hand(counts: list[int], multiple: int, expected: list[int]) -> None:
    assert rounded_widths(counts, [256, 256, 256], multiple) == expected


def test_rounding_keeps_the_highest_scores_of_a_layer() -> None:
    _, pruner = pruned_model(3, 96, width_multiple=32)
    pruner.set_density(0.4)
    before = [mask.kept for mask in pruner.masks]
    pruner.set_density(0.4, final=True)
    widths = [mask.kept for mask in pruner.masks]
    assert widths != before
    assert all(width % 32 == 0 for width in widths)
    for mask in pruner.masks:
        highest = mask.mask_scores.topk(mask.kept).indices.sort().values
        assert torch.equal(mask.selection.nonzero().flatten(), highest)


def test_the_penalty_is_the_weighted_mean_of_the_sigmoids_and_ends_with_the_masks() -> None:
    _, pruner = pruned_model(3, 64, regularization_lambda=2.0)
    pruner.before_step(0)
    assert pruner.penalty() is None, "no push before the schedule has begun"
    pruner.before_step(70)
    penalty = pruner.penalty()
    assert penalty is not None
    sigmoids = all_scores(pruner).sigmoid()
    torch.testing.assert_close(penalty.detach(), 2.0 * sigmoids.mean())
    penalty.backward()
    for mask, part in zip(pruner.masks, sigmoids.split(64), strict=True):
        torch.testing.assert_close(mask.mask_scores.grad, 2.0 * part * (1 - part) / 192)
    pruner.settle()
    assert pruner.penalty() is None
    assert pruned_model(3, 64, regularization_lambda=0.0)[1].penalty() is None


def test_a_step_waits_for_the_device_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    _, pruner = pruned_model(6, 64)
    waits: list[str] = []
    for name in ("tolist", "item", "nonzero", "__bool__", "__int__", "__float__", "__index__"):
        method = getattr(torch.Tensor, name)

        def counted(tensor, *args, _method=method, _name=name, **more):  # type: ignore[no-untyped-def]
            waits.append(_name)
            return _method(tensor, *args, **more)

        monkeypatch.setattr(torch.Tensor, name, counted)
    pruner.before_step(3)
    pruner.penalty()
    assert waits == []
    pruner.before_step(40)
    pruner.penalty()
    assert waits == ["tolist"]


def test_an_l1_term_pushes_scores_down_and_the_model_still_learns() -> None:
    config = PruningConfig(method="soft-cutoff", final_density=0.25, width_multiple=16, warmup_share=0.2)
    model = random_model(Shape(2, 32, 2, 64, vocabulary=60, labels=3, positions=32), LABELS, 0).train()
    schedule = DensitySchedule.of(config, 60)
    pruner = make_pruner(model, config, schedule)
    assert isinstance(pruner, SoftCutoffPruner)
    optimizer = make_optimizer(model, RunConfig(pruning=config), 1e-3, fused=False)
    torch.manual_seed(0)
    ids = torch.randint(0, 60, (24, 8))
    labels = ids[:, 0] % 3
    losses, kept = [], None
    for step in range(60):
        kept = kept or pruner.before_step(step)
        loss = torch.nn.functional.cross_entropy(model(input_ids=ids).logits, labels)
        penalty = pruner.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert float(all_scores(pruner).mean()) < -0.1
    assert sum(len(layer.neurons) for layer in kept) == 32
