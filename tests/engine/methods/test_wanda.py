"""Activation-aware pruning: what it ranks neurons by, when it looks, and what of that is saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from engine.checkpoints import ResumeState, load_resume_state, save_resume_state
from engine.config import PruningConfig
from engine.events import Compacted, MaskMoved, Notice
from engine.methods.magnitude import magnitudes
from engine.methods.wanda import ActivationPruner
from engine.pruning import DensitySchedule, make_pruner
from tests.engine.pruned_runs import PrunedRun, random_bert, random_texts

STEPS = 20  # warm-up 2, cool-down from step 14 on; iterations before steps 6, 10 and 14


def pruning(**values: Any) -> PruningConfig:
    given_values = {"method": "wanda", "final_density": 0.25, "iterations": 3, "width_multiple": 1} | values
    return PruningConfig.model_validate(given_values)


def attached(model: BertForSequenceClassification, **values: Any) -> ActivationPruner:
    pruner = make_pruner(model, pruning(**values), DensitySchedule.of(pruning(**values), STEPS))
    assert isinstance(pruner, ActivationPruner)
    return pruner


def seen_by_hooks(model: BertForSequenceClassification, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Run one training step forward; return what came out of each layer's first half, shape (batch, tokens, neurons)."""
    seen: list[Tensor] = []
    hooks = [
        layer.intermediate.register_forward_hook(lambda module, arguments, output: seen.append(output.detach()))
        for layer in model.bert.encoder.layer
    ]
    model.train()(**inputs)
    for hook in hooks:
        hook.remove()
    return seen


def hooks_on(model: BertForSequenceClassification) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("padded", [False, True])
def test_importance_is_outgoing_weight_times_the_norm_over_real_tokens(padded: bool) -> None:
    model = random_bert(2, 24)
    pruner = attached(model)
    inputs = random_texts()[int(padded)]
    pruner.before_step(5)
    activations = seen_by_hooks(model, inputs)
    pruner.after_step()
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    rankings = []
    for layer, seen in zip(model.bert.encoder.layer, activations, strict=True):
        norms = seen[real].double().norm(dim=0)  # (neurons,)
        expected = (layer.output.dense.weight.double().abs() * norms).sum(0).float()
        torch.testing.assert_close(pruner.importance(layer), expected, rtol=1e-4, atol=1e-5)
        rankings.append(tuple(sorted(expected.topk(13).indices.tolist())))
        assert rankings[-1] != tuple(sorted(layer.output.dense.weight.abs().sum(0).topk(13).indices.tolist()))
        assert rankings[-1] != tuple(sorted(magnitudes(layer).topk(13).indices.tolist()))
    pruner.iterations[6] = 13 / 24
    kept = pruner.before_step(6)
    assert kept is not None
    assert [unit.neurons for unit in kept] == rankings


def test_only_the_step_before_an_iteration_pays() -> None:
    run = PrunedRun(random_bert(2, 24), pruning(), STEPS)
    listening: list[bool] = []  # in each training step; the probe itself is one hook

    def look(*_: object) -> None:
        if run.model.training:
            listening.append(hooks_on(run.model) > 1)

    probe = run.model.bert.pooler.register_forward_hook(look)
    run.train()
    probe.remove()
    assert [step for step, heard in enumerate(listening) if heard] == [5, 9, 13]
    assert hooks_on(run.model) == 0


def test_validation_texts_do_not_count() -> None:
    model = random_bert(2, 24)
    pruner = attached(model)
    pruner.before_step(5)
    model.eval()(**random_texts()[0])
    blind = [pruner.importance(layer) for layer in model.bert.encoder.layer]
    for layer, importance in zip(model.bert.encoder.layer, blind, strict=True):
        assert torch.equal(importance, layer.output.dense.weight.abs().sum(0))


def test_squares_of_half_precision_activations_do_not_overflow() -> None:
    model = random_bert(1, 24)
    pruner = attached(model)
    pruner.before_step(5)
    layer = model.bert.encoder.layer[0]
    for hook in list(layer.intermediate._forward_hooks.values()):
        hook(layer.intermediate.train(), (), torch.full((2, 5, 24), 1000.0, dtype=torch.float16))
    expected = layer.output.dense.weight.abs().sum(0) * 1000.0 * 10**0.5
    torch.testing.assert_close(pruner.importance(layer), expected, rtol=1e-3, atol=0.0)


def test_what_was_seen_is_saved_while_it_is_needed_and_decides_after_a_resume(tmp_path: Path) -> None:
    base = random_bert(2, 24)
    run = PrunedRun(base, pruning(), STEPS).train(until=6)
    state = ResumeState(6, "hash", run.model.state_dict(), {}, {"student": run.student.facts()})
    save_resume_state(tmp_path, state)
    loaded, reasons = load_resume_state(tmp_path, "hash")
    assert loaded is not None
    assert not reasons
    resumed = PrunedRun(base, pruning(), STEPS)
    resumed.student.restore(loaded.facts["student"], loaded.model, resumed.optimizer)
    forgetful = PrunedRun(base, pruning(), STEPS)
    seen = [name for name in loaded.model if "pruning_mask" in name]
    assert [loaded.model[name].shape for name in seen] == [(24,), (24,)]
    nothing = {name: torch.zeros(0) for name in seen}
    forgetful.student.restore(loaded.facts["student"], loaded.model | nothing, forgetful.optimizer)
    for other in (run, resumed, forgetful):
        told = [type(event) for event in other.student.before_step(6, other.optimizer)]
        assert told == [MaskMoved, Compacted]
    assert resumed.student.kept == run.student.kept
    assert forgetful.student.kept != run.student.kept
    later = run.model.state_dict()
    assert [later[name].numel() for name in seen] == [0, 0]


def test_a_state_between_two_iterations_is_saved_and_loaded_without_activations(tmp_path: Path) -> None:
    base = random_bert(2, 24)
    run = PrunedRun(base, pruning(), STEPS).train(until=8)
    save_resume_state(tmp_path, ResumeState(8, "hash", run.model.state_dict(), {}, {"student": run.student.facts()}))
    loaded, _ = load_resume_state(tmp_path, "hash")
    assert loaded is not None
    resumed = PrunedRun(base, pruning(), STEPS)
    resumed.student.restore(loaded.facts["student"], loaded.model, resumed.optimizer)
    assert resumed.model.bert.encoder.layer[0].intermediate.dense.out_features < 24


def test_before_the_first_step_the_weights_decide_and_the_run_says_so() -> None:
    base = random_bert(2, 24)
    values: dict[str, Any] = {"schedule": "constant", "warmup_share": 0.0}
    run = PrunedRun(base, pruning(**values), STEPS).train()
    for unit, layer in zip(run.student.kept, base.bert.encoder.layer, strict=True):
        best = layer.output.dense.weight.abs().sum(0).topk(6).indices
        assert unit.neurons == tuple(sorted(best.tolist()))
    notices = [event.message for event in run.events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "by the weights alone" in notices[0]
    later = PrunedRun(base, pruning(), STEPS).train()
    assert not [event for event in later.events if isinstance(event, Notice)]


def test_nothing_of_it_is_left_in_the_finished_model() -> None:
    run = PrunedRun(random_bert(2, 24), pruning(), STEPS).train()
    assert not [name for name in run.model.state_dict() if "pruning_mask" in name]
    assert hooks_on(run.model) == 0
    assert run.student.pruner is not None
    run.student.pruner.detach()  # once more does no harm
