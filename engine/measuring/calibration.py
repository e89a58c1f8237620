"""How much a model's probabilities can be believed, and when it had better say "not sure".

After training, one number, the temperature, is fitted to the validation split, so that of the texts given a probability of 70 %
about 70 % are right; it changes no answer. Both errors of calibration, before and after, are measured on the test split. An answer
is unsure by a stated rule (`doubt`): the text holds no letters, it is in a language that the training texts are not in, it says
the same again and again, too much of it is written like nothing in the training texts, or the calibrated probability is too low.

Sources: temperature scaling and expected calibration error, Guo et al. 2017, "On Calibration of Modern Neural Networks"
(https://arxiv.org/abs/1706.04599), sections 2 and 4.2; answering only where the probability is high, Hendrycks & Gimpel 2017
(https://arxiv.org/abs/1610.02136).
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from engine.data import Split
from engine.errors import CheckpointError
from engine.records import CalibrationReport, Doubt
from engine.texts.familiarity import Familiarity, load_familiarity
from engine.texts.languages import languages_of, margin, margin_within

FILE = "calibration.json"
BINS = 15
"""Bins of equal width for the expected calibration error, as in the paper."""
COLDEST, HOTTEST = 0.5, 20.0
"""Bounds of the temperature: a small split that is all right would otherwise ask for certainty."""


REPEATING_WORDS = 4
"""So many words say something by being repeated; of fewer, a headline may well say one twice."""


class Calibration(NamedTuple):
    """What a model needs beside its weights to know when it is not sure."""

    report: CalibrationReport
    familiar: Familiarity | None
    """None where an older version saved the model."""


def unsure_below(labels: int) -> float:
    """Return the calibrated probability below which an answer is unsure: one half, and of two labels three quarters.

    Below one half a calibrated answer is more likely wrong than right. Of two labels one always has a half, so there the
    bound is one and a half times the chance of a guess.
    """
    return max(0.5, 1.5 / labels)


def fit_calibration(
    train: Split,
    validation: tuple[NDArray[np.float32], Split],
    test: tuple[NDArray[np.float32], Split],
) -> Calibration:
    """Fit temperature, language margin and unfamiliar share to the validation split and measure all on the test split.

    Args:
        train: what the model learnt from; its languages are the model's own.
        validation: logits, shape (texts, labels), and the split they belong to.
        test: the same of the test split.
    """
    temperature = fit_temperature(validation[0], validation[1].labels)
    languages, familiar = languages_of(train.texts), Familiarity.of(train.texts)
    report = CalibrationReport(
        temperature=temperature,
        ece_before=expected_calibration_error(_probabilities(test[0], 1.0), test[1].labels),
        ece=expected_calibration_error(_probabilities(test[0], temperature), test[1].labels),
        fitted_on=len(validation[1].texts),
        measured_on=len(test[1].texts),
        languages=languages,
        language_margin=margin_within(validation[1].texts, languages),
        strange_within=familiar.strange_within(validation[1].texts),
    )
    calibration = Calibration(report, familiar)
    probabilities = _probabilities(test[0], temperature)
    sure = np.array(
        [
            not doubt(calibration, text, float(row.max()), row.size)
            for text, row in zip(test[1].texts, probabilities, strict=True)
        ]
    )
    right = probabilities.argmax(axis=1) == np.asarray(test[1].labels)
    found = {"sure": float(sure.mean()), "sure_accuracy": float(right[sure].mean()) if sure.any() else None}
    return Calibration(report.model_copy(update=found), familiar)


def fit_temperature(logits: NDArray[np.float32], labels: Sequence[int]) -> float:
    """Return the temperature that makes the labels likeliest: logits divided by it are calibrated.

    Args:
        logits: shape (texts, labels).
        labels: one id a text.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits.astype(np.float64) / math.exp(log_temperature), axis=1)
        return float(-scaled[rows, np.asarray(labels)].mean())

    found = minimize_scalar(loss, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded")
    return math.exp(float(found.x))


def expected_calibration_error(probabilities: NDArray[np.float64], labels: Sequence[int]) -> float:
    """Return the mean gap between probability and accuracy over `BINS` bins, weighted by their texts; 0 to 1.

    Args:
        probabilities: shape (texts, labels).
        labels: one id a text.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == np.asarray(labels)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(float(confidence[bins == each].sum() - right[bins == each].sum())) for each in set(bins.tolist())]
    return sum(gaps) / len(confidence)


def doubt(calibration: Calibration | None, text: str, probability: float, labels: int) -> Doubt:
    """Return why an answer is unsure, or nothing where it is not.

    Args:
        calibration: the model's own; None knows no languages and no training texts.
        text: the normalised text.
        probability: of the best label, calibrated.
        labels: how many labels there are.
    """
    if not any(character.isalpha() for character in text):
        return "no letters"
    if calibration is not None:
        report, familiar = calibration
        if margin(text, report.languages)[0] > report.language_margin:
            return "other language"
    words = text.split()
    if len(words) >= REPEATING_WORDS and 2 * len(set(words)) <= len(words):
        return "repetition"
    if calibration is not None and familiar is not None and familiar.strange(text) > report.strange_within:
        return "unfamiliar"
    return "low probability" if probability < unsure_below(labels) else ""


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Write the calibration into a model's folder."""
    (folder / FILE).write_text(calibration.report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if calibration.familiar is not None:
        calibration.familiar.save(folder)


def load_calibration(folder: Path) -> Calibration | None:
    """Read the calibration of a model's folder; None where the model has none.

    Raises:
        CheckpointError: if a file is there and is not one of ours.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        report = CalibrationReport.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a calibration ({type(error).__name__}). Delete it; the model then goes uncalibrated."
        ) from None
    return Calibration(report, load_familiarity(folder))


def _probabilities(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    found: NDArray[np.float64] = softmax(logits.astype(np.float64) / temperature, axis=1)
    return found
