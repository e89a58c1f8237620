"""nn_pruning's own modules load and train on this Python."""

import dataclasses
import sys
from threading import Thread

import pytest
import torch

from engine.bench.nn_pruning_modules import masked_nn, patch_coordinator, patched_bert
from engine.model import random_model
from engine.shapes import Shape


def test_loading_leaves_dataclasses_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    masked_nn()
    before = dataclasses.dataclass
    for name in ("nn_pruning.modules.masked_nn", "nn_pruning.patch_coordinator"):
        monkeypatch.setitem(sys.modules, name, sys.modules.get(name))  # the test ends with the modules it began with
        monkeypatch.delitem(sys.modules, name)
    loaded: list[object] = []
    threads = [Thread(target=lambda: loaded.append(patch_coordinator())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 4
    assert len({id(module) for module in loaded}) == 1
    assert dataclasses.dataclass is before
    assert hash(masked_nn().InitDirective()) == hash(masked_nn().InitDirective())


@pytest.mark.parametrize(("hybrid", "scores"), [(False, 2), (True, 2 + 2 * 4)])
def test_a_patched_bert_takes_a_training_step(hybrid: bool, scores: int) -> None:
    shape = Shape(2, 64, 2, 128, vocabulary=50, labels=3, positions=32)
    model, set_density = patched_bert(random_model(shape, ["a", "b", "c"], 0), density=0.5, hybrid=hybrid)
    parameters = {name: value for name, value in model.named_parameters() if name.endswith("mask_scores")}
    assert len(parameters) == scores
    ids = torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(0))
    dense = random_model(shape, ["a", "b", "c"], 0)(input_ids=ids).logits
    set_density(1.0)
    torch.testing.assert_close(model(input_ids=ids).logits, dense)
    set_density(0.25)
    logits = model.train()(input_ids=ids).logits
    assert not torch.allclose(logits, dense)
    logits.square().sum().backward()
    assert all(bool(value.grad.any()) for value in parameters.values())
