"""The student: shrinking model and optimizer in the middle of training changes nothing but the size."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from engine.compaction import KeptLayer, compact_in_place, compose, layer_sizes, whole
from engine.config import PruningConfig, RunConfig
from engine.errors import TrainingError
from engine.evaluation import count_parameters
from engine.events import Compacted
from engine.loop.optimization import make_optimizer
from engine.loop.student import Student
from engine.methods.movement import MovementPruner
from engine.model import random_model
from engine.pruning import DensitySchedule
from engine.shapes import Shape

SHAPE = Shape(layers=3, hidden_size=32, heads=2, intermediate_size=64, vocabulary=50, labels=3, positions=32)
IDS = torch.randint(5, 50, (4, 9), generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 1])


def prepared() -> SimpleNamespace:
    """Return what a `Student` asks of a `Prepared`."""
    ids = IDS.tolist()
    return SimpleNamespace(
        new_student=lambda: random_model(SHAPE, ["a", "b", "c"], 0),
        tokenizer=SimpleNamespace(pad_token_id=0),
        train_ids=ids,
        validation_ids=ids,
        test_ids=ids,
        device=torch.device("cpu"),
        pad_id=0,
    )


def student(config: PruningConfig, steps: int = 10) -> tuple[Student, torch.optim.Optimizer]:
    made = Student(prepared(), config, steps)  # type: ignore[arg-type]
    return made, make_optimizer(made.model, RunConfig(pruning=config), 1e-3, fused=True)


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Take one step without dropout, as an evaluation's model would."""
    model.eval()
    functional.cross_entropy(model(input_ids=IDS).logits, LABELS).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_training_goes_on_after_compaction_as_the_masked_model_would() -> None:
    config = PruningConfig(final_density=0.5, width_multiple=1)
    models = []
    for shrink in (True, False):
        torch.manual_seed(0)
        model = random_model(SHAPE, ["a", "b", "c"], 0)
        pruner = MovementPruner(model, config, DensitySchedule.of(config, 10))
        optimizer = make_optimizer(model, RunConfig(pruning=config), 1e-3, fused=True)
        for _ in range(3):
            pruner.set_density(0.5)
            step(model, optimizer)
        pruner.set_density(0.5)  # the selection stays as it is from here on
        if shrink:
            kept = pruner.kept()
            pruner.detach()
            compact_in_place(model, kept, optimizer)
            assert layer_sizes(model) == [(2, 32)] * 3
        for _ in range(4):
            step(model, optimizer)
        models.append(model)
    with torch.no_grad():
        small, masked = (model(input_ids=IDS).logits for model in models)
    torch.testing.assert_close(small, masked, atol=1e-5, rtol=1e-5)


def test_the_optimizer_keeps_the_moments_of_what_stays_and_forgets_the_rest() -> None:
    model = random_model(SHAPE, ["a", "b", "c"], 0)
    optimizer = make_optimizer(model, RunConfig(), 1e-3, fused=True)
    step(model, optimizer)
    old = optimizer.state[model.bert.encoder.layer[2].output.dense.weight]["exp_avg"].clone()
    alive = sum(value["exp_avg"].numel() for value in optimizer.state.values())
    everything = whole(model)
    kept = (everything[0], everything[2]._replace(neurons=(3, 10, 11), heads=(1,)))
    compact_in_place(model, kept, optimizer)
    weight = model.bert.encoder.layer[1].output.dense.weight
    assert torch.equal(optimizer.state[weight]["exp_avg"], old[:, [3, 10, 11]])
    parameters = {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for group in optimizer.param_groups for parameter in group["params"]} == parameters
    assert {id(parameter) for parameter in optimizer.state} == parameters
    after = sum(value["exp_avg"].numel() for value in optimizer.state.values())
    assert after == count_parameters(model) < alive
    step(model, optimizer)


def test_the_schedules_end_compacts_once_and_trains_on_small() -> None:
    made, optimizer = student(PruningConfig(final_density=0.25, width_multiple=1))
    told: list[Compacted] = []
    for number in range(10):
        told += [event for event in made.before_step(number, optimizer) if isinstance(event, Compacted)]
        step(made.model, optimizer)
        assert layer_sizes(made.model)[0][1] == (16 if number >= 7 else 64)
    (event,) = told
    assert event.step == 7
    assert event.intermediate_sizes == (16, 16, 16)
    assert event.stock
    assert event.heads_removed == 0
    assert event.max_logit_difference < 1e-4
    assert made.density == 0.25
    assert not [name for name in made.model.state_dict() if "mask" in name]
    assert count_parameters(made.smaller()) == SHAPE.pruned(0.25).parameters


@pytest.mark.parametrize("method", ["block-movement", "hybrid", "soft-cutoff", "magnitude", "wanda", "layer-dropping"])
@pytest.mark.parametrize("stop", [1, 5, 7, 9])
def test_a_student_put_back_goes_on_as_if_nothing_had_happened(method: str, stop: int) -> None:
    config = PruningConfig(final_density=0.5, method=method, width_multiple=1, iterations=3, vocabulary="full")  # type: ignore[arg-type]
    straight, optimizer = student(config)
    other, other_optimizer = student(config)

    def advance(made: Student, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for number in steps:
            list(made.before_step(number, optimizer))
            step(made.model, optimizer)
            made.after_step()

    advance(straight, optimizer, range(10))
    advance(other, other_optimizer, range(stop))
    facts, weights = other.facts(), {name: value.clone() for name, value in other.model.state_dict().items()}
    state = other_optimizer.state_dict()
    again, again_optimizer = student(config)
    again.restore(facts, weights, again_optimizer)
    again_optimizer.load_state_dict(state)
    advance(again, again_optimizer, range(stop, 10))
    assert again.kept == straight.kept
    assert again.density == straight.density
    wanted = straight.model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.model.state_dict().items())


def test_a_compaction_that_changes_the_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made, optimizer = student(PruningConfig(final_density=0.5, width_multiple=1))
    right = MovementPruner.kept

    def wrong(self: MovementPruner) -> tuple[KeptLayer, ...]:
        kept = right(self)
        return (kept[0]._replace(neurons=tuple(range(32))), *kept[1:])

    with torch.no_grad():
        made.model.bert.encoder.layer[0].output.dense.weight.mul_(10)
        list(made.before_step(0, optimizer))
        made.pruner.masks[0].mask_scores.copy_(torch.arange(64.0))  # type: ignore[union-attr]
    monkeypatch.setattr(MovementPruner, "kept", wrong)
    with pytest.raises(TrainingError, match="differ from the masked model's"):
        list(made.before_step(9, optimizer))


def test_units_keep_the_names_they_had_in_the_base() -> None:
    first = (KeptLayer(0, (0, 1), (0, 2, 4)), KeptLayer(3, (1,), (5, 6, 7)))
    second = (KeptLayer(1, (0,), (0, 2)),)
    assert compose(first, second) == (KeptLayer(3, (1,), (5, 7)),)
