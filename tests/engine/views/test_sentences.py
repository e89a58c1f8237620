"""Sentences about events: what went, when, and what that means."""

import pytest

from engine.config import PruningConfig
from engine.events import Compacted, ModelLoaded
from engine.views.run_tables import compaction_frame
from engine.views.sentences import pruned_unit, vocabulary_kept, what_went
from tests.engine.fake_training import VOCABULARY

LOADED = ModelLoaded(
    base="compact",
    head="new",
    layers=4,
    hidden_size=256,
    heads=4,
    intermediate_size=1024,
    vocabulary=4000,
    total_steps=60,
    steps_per_epoch=10,
    learning_rate=1e-4,
    distilling=False,
)


def compacted(step: int | None = 42, **changes: object) -> Compacted:
    values: dict[str, object] = {
        "step": step,
        "kept_layers": (0, 1, 2, 3),
        "intermediate_sizes": (256,) * 4,
        "max_logit_difference": 1e-6,
    }
    return Compacted.model_validate(values | changes)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (compacted(), "Step 42: FFN 1,024 -> 256 in each of 4 layers, 0 heads removed; trains on at this size"),
        (compacted(60), "Step 60: FFN 1,024 -> 256 in each of 4 layers, 0 heads removed"),
        (compacted(None), "At the end: FFN 1,024 -> 256 in each of 4 layers, 0 heads removed"),
        (
            compacted(
                0,
                kept_layers=(0, 3),
                intermediate_sizes=(1024, 1024),
            ),
            "Before the first step: layers 2, 3 dropped, FFN stays 1,024 in each of 2 layers, 0 heads removed; "
            "trains on at this size",
        ),
        (
            compacted(60, intermediate_sizes=(64, 128, 0, 192), heads_removed=1, stock=False),
            "Step 60: FFN 1,024 -> 0 to 192 in 4 layers (mean 96), 1 head removed; no longer a stock BERT",
        ),
        (
            compacted(60, kept_layers=(1,), intermediate_sizes=(256,), heads_removed=2, stock=False),
            "Step 60: FFN 1,024 -> 256 in 1 layer, 2 heads removed; no longer a stock BERT",
        ),
    ],
)
def test_a_compaction_in_a_sentence(event: Compacted, words: str) -> None:
    assert what_went(event, LOADED) == words


def test_an_event_without_its_model_says_what_is_left() -> None:
    assert what_went(compacted(), None) == "Step 42: FFN 256 in each of 4 layers, 0 heads removed"
    assert what_went(compacted(heads_removed=3), None) == "Step 42: FFN 256 in each of 4 layers, 3 heads removed"


def test_compactions_become_rows() -> None:
    uneven = compacted(60, intermediate_sizes=(64, 128, 64, 64), heads_removed=2)
    table = compaction_frame([compacted(), uneven])
    assert table["Step"].tolist() == [42, 60]
    assert table["FFN width"].tolist() == ["256", "64 to 128"]
    assert table["Heads removed"].tolist() == [0, 2]
    assert compaction_frame([]).empty


@pytest.mark.parametrize(
    ("settings", "unit"),
    [
        ({}, "FFN neurons"),
        ({"method": "wanda"}, "FFN neurons"),
        ({"method": "magnitude", "unit": "weight"}, "Weights"),
        ({"method": "wanda", "unit": "weight"}, "FFN neurons"),
        ({"method": "hybrid"}, "FFN + heads"),
        ({"method": "hybrid", "attention_unit": "block"}, "FFN + blocks"),
        ({"method": "layer-dropping"}, "Layers"),
    ],
)
def test_what_a_density_counts(settings: dict[str, object], unit: str) -> None:
    assert pruned_unit(PruningConfig.model_validate(settings)) == unit


@pytest.mark.parametrize("agreement", [None, 0.985])
def test_a_smaller_vocabulary_in_sentences(agreement: float | None) -> None:
    words = vocabulary_kept(VOCABULARY.model_copy(update={"label_agreement": agreement}))
    assert "2,500 of 4,000 tokens stay, 0.38 M parameters fewer" in words
    assert "0.40 % unknown tokens (before 0.10 %), 12.00 % of texts split otherwise" in words
    assert ("98.50 %" in words) == (agreement is not None)
