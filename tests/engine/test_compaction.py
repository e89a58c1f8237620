"""A compacted model computes what the masked one did, and is a stock checkpoint."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.checkpoints import save_model
from engine.compaction import compact, is_stock, max_logit_difference, plain_copy
from engine.config import PruningConfig
from engine.evaluation import count_bytes, count_parameters
from engine.methods.movement import MovementPruner
from engine.model import random_model
from engine.pruning import DensitySchedule
from engine.shapes import Shape
from engine.texts.tokenization import learn_tokenizer

LABELS = ["खेळ", "राजकारण", "Tech"]


def masked_model(layers: int, width: int, density: float, seed: int):  # type: ignore[no-untyped-def]
    shape = Shape(layers, 32, 2, width, vocabulary=60, labels=3, positions=32)
    model = random_model(shape, LABELS, seed)
    config = PruningConfig(final_density=density, width_multiple=1)
    pruner = MovementPruner(model, config, DensitySchedule.of(config, 10))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # random biases too, so that a forgotten one shows
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    pruner.set_density(density)
    return shape, model, pruner


@settings(max_examples=25, deadline=None)
@given(
    layers=st.integers(1, 12),
    width=st.integers(2, 96),
    level=st.floats(0, 0.95),
    seed=st.integers(0, 10_000),
)
def test_masked_and_compacted_models_give_equal_logits(layers: int, width: int, level: float, seed: int) -> None:
    shape, model, pruner = masked_model(layers, width, 1 - level, seed)
    smaller = compact(model, pruner.kept())
    ids = torch.randint(0, 60, (3, 11), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    inputs = [{"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}]
    difference, largest = max_logit_difference(model, smaller, inputs)
    assert largest > 0
    assert difference <= 1e-5 * max(1.0, largest)
    assert count_parameters(smaller) == shape.pruned(1 - level).parameters
    assert count_bytes(smaller) == shape.pruned(1 - level).size_bytes()


def test_leaving_out_a_kept_neuron_is_noticed() -> None:
    _, model, pruner = masked_model(2, 64, 0.5, seed=3)
    right = pruner.kept()
    swapped = (min(set(range(64)) - set(right[0].neurons)), *right[0].neurons[1:])
    wrong = (right[0]._replace(neurons=tuple(sorted(swapped))), *right[1:])
    inputs = [{"input_ids": torch.randint(0, 60, (3, 11), generator=torch.Generator().manual_seed(0))}]
    assert max_logit_difference(model, compact(model, wrong), inputs)[0] > 1e-4


def test_the_given_model_stays_as_it_is() -> None:
    _, model, pruner = masked_model(2, 64, 0.5, seed=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    smaller = compact(model, pruner.kept())
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_layers_of_different_width_are_not_stock() -> None:
    _, model, pruner = masked_model(2, 64, 0.5, seed=3)
    kept = pruner.kept()
    assert is_stock(compact(model, kept))
    ragged = compact(model, (kept[0], kept[1]._replace(neurons=kept[1].neurons[:-1])))
    assert not is_stock(ragged)
    assert ragged.config.pruned_layers == [{"heads": 2, "intermediate_size": 32}, {"heads": 2, "intermediate_size": 31}]


def test_stock_transformers_loads_it_without_our_code(tmp_path: Path) -> None:
    _, model, pruner = masked_model(2, 64, 0.25, seed=5)
    tokenizer = learn_tokenizer(["क्रिकेट सामना आज", "निवडणूक निकाल"], 60, 32)
    small = compact(model, pruner.kept())
    save_model(tmp_path / "model", small, tokenizer)
    text = "आज सामना"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    logits = model(input_ids=ids).logits[0].tolist()
    program = (
        "import sys, json, torch\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
        "model, info = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], output_loading_info=True)\n"
        "assert not info['missing_keys'] and not info['unexpected_keys'], info\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "inputs = tokenizer(sys.argv[2], return_tensors='pt')\n"
        "assert 'engine' not in sys.modules\n"
        "print(json.dumps([model(**inputs).logits[0].tolist(), list(model.config.id2label.values()),"
        " model.config.intermediate_size]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model"), text],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    import json

    theirs, labels, width = json.loads(done.stdout)
    assert theirs == pytest.approx(logits, abs=1e-4)
    assert labels == LABELS
    assert width == 16


def test_level_zero_copies_the_model_whole() -> None:
    shape = Shape(2, 32, 2, 64, vocabulary=60, labels=3, positions=32)
    model = random_model(shape, LABELS, 0)
    copy = plain_copy(model)
    ids = torch.randint(0, 60, (2, 5))
    assert torch.equal(model(input_ids=ids).logits, copy(input_ids=ids).logits)
    assert copy.classifier.weight.data_ptr() != model.classifier.weight.data_ptr()
