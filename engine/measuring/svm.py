"""The yardstick that costs a second: a linear SVM over character n-grams, trained on the run's own training texts.

Where a transformer does not beat it, there is no point in making that transformer smaller, and the studio says so. Its settings
are fixed: nothing is tuned, neither on validation nor on test texts. It is also the starter's teacher.

Sources: character n-grams for text categorisation, Cavnar & Trenkle 1994, section 3; the solver, Fan et al. 2008, "LIBLINEAR: A
Library for Large Linear Classification" (https://jmlr.org/papers/v9/fan08a.html), section 2.
"""

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from engine.data import Split, TextData
from engine.emissions import EmissionsMeter
from engine.evaluation import scores
from engine.records import SvmReport

MAX_FEATURES = 100_000
"""The most frequent n-grams that are kept, of the 177,474 that the starter corpus has."""
CHARACTERS_IN_ALL = 4_000_000
"""Characters of training text that are read in all; of more, each text has its even share. So many, in 20,000 texts of 12 topics,
took 12 s on one core; 80,000 headlines, which are never cut, 26 s; the 10,204 texts of the starter corpus 2.1 s."""
CHARACTERS_OF_A_TEXT = (100, 1000)
"""Of a text at least the first number is read, whatever the sum, and at most the second, about twice what 128 tokens hold."""
TIMED_TEXTS = 50
"""Validation texts that are classified one by one for the latency."""


class NgramSvm:
    """A linear SVM over TF-IDF of character 2- to 5-grams within words, with a row of weights for each label."""

    def __init__(self, split: Split, characters: int | None = None) -> None:
        """Learn a split, of which every label must occur.

        Args:
            split: what to learn from.
            characters: how many of a text's characters are read; None reads all.
        """
        self.characters = characters
        self._vectorizer = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=MAX_FEATURES
        )
        features = self._vectorizer.fit_transform(self._read(split.texts))
        self._svm = LinearSVC(random_state=0).fit(features, split.labels)

    @property
    def features(self) -> int:
        """How many n-grams it knows."""
        return len(self._vectorizer.vocabulary_)

    @property
    def size_bytes(self) -> int:
        """Bytes of its weights as they are in memory, and of its n-grams in UTF-8: without them the weights say nothing."""
        numbers = (self._svm.coef_, self._svm.intercept_, self._vectorizer.idf_)
        ngrams = sum(len(ngram.encode("utf-8", "surrogatepass")) for ngram in self._vectorizer.vocabulary_)
        return sum(int(array.nbytes) for array in numbers) + ngrams

    def margins(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return how far each text lies on each label's side, shape (texts, labels)."""
        found: NDArray[np.float64] = self._svm.decision_function(self._vectorizer.transform(self._read(texts)))
        # Of two labels scikit-learn keeps one row of weights: the margin of the second.
        return np.stack([-found, found], axis=1) if found.ndim == 1 else found

    def _read(self, texts: Sequence[str]) -> list[str]:
        return [text[: self.characters] for text in texts]


def characters_read(texts: Sequence[str]) -> int:
    """Return how many characters of each of these training texts are read: the most, unless all of them are too many so."""
    least, most = CHARACTERS_OF_A_TEXT
    if sum(min(len(text), most) for text in texts) <= CHARACTERS_IN_ALL:
        return most
    return min(most, max(least, CHARACTERS_IN_ALL // len(texts)))


def measure_svm(data: TextData, meter: EmissionsMeter) -> SvmReport:
    """Train the SVM on the training split and measure it on the other two, on the processor.

    Args:
        data: the run's own splits.
        meter: the run's running meter; the energy of the training is the difference of two of its readings.

    Raises:
        TrainingError: where the energy cannot be measured.
    """
    characters = characters_read(data.train.texts)
    before_kwh, began = meter.totals().energy_kwh, time.perf_counter()
    svm = NgramSvm(data.train, characters)
    training_s = time.perf_counter() - began
    energy_kwh = meter.totals().energy_kwh - before_kwh
    found = [scores(torch.from_numpy(svm.margins(split.texts)), split.labels) for split in (data.validation, data.test)]
    return SvmReport(
        accuracy=found[0][0],
        macro_f1=found[0][1],
        test_accuracy=found[1][0],
        test_macro_f1=found[1][1],
        features=svm.features,
        size_bytes=svm.size_bytes,
        training_s=training_s,
        energy_kwh=energy_kwh,
        energy_basis="estimated" if "estimated" in meter.basis.values() else "measured",
        latency_ms=_latency_ms(svm, data.validation.texts),
        characters=characters,
        texts_cut=sum(len(text) > characters for text in data.train.texts),
    )


def _latency_ms(svm: NgramSvm, texts: Sequence[str]) -> float:
    """Return the median time of one text, the counting of its n-grams included."""
    svm.margins(texts[:1])  # warm up
    times = []
    for text in texts[:TIMED_TEXTS]:
        began = time.perf_counter()
        svm.margins([text])
        times.append(1000.0 * (time.perf_counter() - began))
    return statistics.median(times)
