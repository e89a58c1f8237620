"""Probabilities that can be believed, and answers that are withheld by a stated rule."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.data import Split
from engine.errors import CheckpointError
from engine.measuring import calibration
from engine.measuring.calibration import (
    Calibration,
    doubt,
    expected_calibration_error,
    fit_calibration,
    fit_temperature,
    load_calibration,
    save_calibration,
    unsure_below,
)
from engine.records import CalibrationReport
from engine.texts import familiarity
from engine.texts.familiarity import Familiarity
from engine.texts.languages import languages_of, margin, margin_within

MARATHI = [
    "पुण्यात मेट्रोच्या नव्या मार्गाचे उद्घाटन झाले",
    "शेतकऱ्यांच्या मागण्यांसाठी विधानभवनावर मोर्चा निघाला",
    "आजपासून शाळा सुरू होणार, विद्यार्थ्यांची लगबग",
    "भारताने तिसरा सामना जिंकत मालिका खिशात घातली",
]
HINDI = "दिल्ली में भारी बारिश के कारण यातायात ठप हो गया है"
ENGLISH = "Heavy rain brings traffic in the capital to a halt"


def drawn(temperature: float, texts: int = 4000) -> tuple[NDArray[np.float32], list[int]]:
    """Draw logits, and labels from what the logits divided by the temperature say."""
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 3, (texts, 4)).astype(np.float32)
    odds = np.exp(logits / temperature)
    shares = odds / odds.sum(axis=1, keepdims=True)
    return logits, [int(chance.choice(4, p=row)) for row in shares]


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.08)


def test_a_split_that_is_all_right_gives_a_bound_and_no_infinity() -> None:
    logits = np.eye(3, dtype=np.float32)
    assert fit_temperature(logits, [0, 1, 2]) == pytest.approx(calibration.COLDEST, rel=0.05)


def test_the_error_is_the_gap_between_belief_and_truth() -> None:
    probabilities = np.array([[0.9, 0.1]] * 10)
    assert expected_calibration_error(probabilities, [0] * 9 + [1]) == pytest.approx(0.0)
    assert expected_calibration_error(probabilities, [0] * 5 + [1] * 5) == pytest.approx(0.4)
    # one bin too sure, one not sure enough: gaps do not cancel out between bins
    mixed = np.array([[0.9, 0.1]] * 5 + [[0.6, 0.4]] * 5)
    assert expected_calibration_error(mixed, [0] * 10) == pytest.approx((0.1 + 0.4) / 2)


@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 1000))
def test_the_error_is_a_share(labels: int, texts: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    probabilities = chance.dirichlet(np.ones(labels), texts)
    assert 0.0 <= expected_calibration_error(probabilities, chance.integers(0, labels, texts).tolist()) <= 1.0


def test_a_calibrated_model_is_better_calibrated_and_says_how_often_it_is_sure() -> None:
    logits, labels = drawn(2.5, 800)
    texts = [MARATHI[number % len(MARATHI)] for number in range(800)]
    train = Split(MARATHI, [0, 1, 2, 3])
    report, familiar = fit_calibration(
        train, (logits[:400], Split(texts[:400], labels[:400])), (logits[400:], Split(texts[400:], labels[400:]))
    )
    assert report.ece < report.ece_before - 0.05
    assert report.temperature == pytest.approx(2.5, rel=0.25)
    assert (report.fitted_on, report.measured_on) == (400, 400)
    assert report.languages == ("mr",)
    assert familiar is not None
    assert report.strange_within == 0.0, "the validation texts are the training texts"
    # among texts that it is sure of, more are right
    assert report.sure_accuracy is not None
    right = float((logits[400:].argmax(axis=1) == np.array(labels[400:])).mean())
    assert 0.0 < report.sure < 1.0
    assert report.sure_accuracy > right


def known(strange_within: float = 0.9) -> Calibration:
    report = CalibrationReport(
        temperature=1.5,
        ece_before=0.2,
        ece=0.05,
        fitted_on=9,
        measured_on=9,
        languages=("mr",),
        language_margin=4.0,
        strange_within=strange_within,
    )
    return Calibration(report, Familiarity.of(MARATHI))


@pytest.mark.parametrize(
    ("text", "probability", "labels", "wanted"),
    [
        (MARATHI[0], 0.51, 12, ""),
        (MARATHI[0], 0.49, 12, "low probability"),
        (MARATHI[0], 0.74, 2, "low probability"),
        (MARATHI[0], 0.76, 2, ""),
        (HINDI, 0.99, 12, "other language"),
        (ENGLISH, 0.99, 12, "other language"),
        ("\u200d\ufe0f", 0.99, 12, "no letters"),
        ("😀 !!! 123 १२३", 0.99, 12, "no letters"),
        ("", 0.99, 12, "no letters"),
        ("आणि आणि आणि आणि", 0.99, 12, "repetition"),
        ("आणि आणि आणि", 0.99, 12, "unfamiliar"),
        (f"{MARATHI[0]} {MARATHI[0].split()[0]}", 0.99, 12, ""),
        ("झिंबुळ फटकोरा नेविसळ गुम्पाट टिरवंडे", 0.99, 12, "unfamiliar"),
    ],
)
def test_the_rule_says_why_an_answer_is_unsure(text: str, probability: float, labels: int, wanted: str) -> None:
    assert doubt(known(), text, probability, labels) == wanted


def test_a_model_without_calibration_knows_no_languages() -> None:
    assert doubt(None, HINDI, 0.99, 12) == ""
    assert doubt(None, HINDI, 0.3, 12) == "low probability"
    assert doubt(None, "आणि आणि आणि आणि", 0.99, 12) == "repetition"
    older = Calibration(known().report, None)
    assert doubt(older, "झिंबुळ फटकोरा नेविसळ गुम्पाट टिरवंडे", 0.99, 12) == "", "it does not know what is unfamiliar"


@pytest.mark.parametrize(("labels", "bound"), [(2, 0.75), (3, 0.5), (12, 0.5)])
def test_the_bound_is_one_half_and_more_where_a_guess_is_as_good(labels: int, bound: float) -> None:
    assert unsure_below(labels) == bound


def test_languages_are_those_of_enough_texts() -> None:
    assert languages_of(MARATHI * 10 + [HINDI]) == ("mr",)
    assert languages_of(MARATHI * 2 + [HINDI] * 2) == ("mr", "hi")
    assert languages_of([ENGLISH]) == ("en",)


def test_the_margin_is_nothing_in_an_own_language_and_passes_most_own_texts() -> None:
    assert margin(MARATHI[0], ["mr"]) == (0.0, "mr")
    away, code = margin(HINDI, ["mr"])
    assert (away > 5.0, code) == (True, "hi")
    assert margin(HINDI, ["mr", "hi"])[0] == 0.0
    assert margin_within([*MARATHI * 20, HINDI], ["mr"]) == 0.0
    assert margin_within([*MARATHI, HINDI], ["mr"]) == away


def test_a_calibration_is_read_back_and_a_foreign_file_is_refused(tmp_path: Path) -> None:
    assert load_calibration(tmp_path) is None
    save_calibration(tmp_path, known())
    found = load_calibration(tmp_path)
    assert found is not None
    assert found.report == known().report
    assert found.familiar is not None
    assert found.familiar.strange(MARATHI[0]) == 0.0
    assert found.familiar.strange("झिंबुळ फटकोरा") > 0.9
    (tmp_path / familiarity.FILE).write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"familiar\.bin has 5 bytes; it must have 65,536. Delete it"):
        load_calibration(tmp_path)
    (tmp_path / familiarity.FILE).unlink()
    assert load_calibration(tmp_path) == Calibration(known().report, None)
    for text in ("{", '{"temperature": "hot"}', known().report.model_dump_json().replace("1.5", "0.0")):
        (tmp_path / calibration.FILE).write_text(text)
        with pytest.raises(CheckpointError, match=r"calibration\.json cannot be read.*Delete it"):
            load_calibration(tmp_path)
