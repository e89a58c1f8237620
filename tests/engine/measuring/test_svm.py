"""The SVM that every run measures: what it learns, how far it reads, what it costs, and what is said of it."""

from typing import ClassVar

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from engine.config import DataConfig
from engine.data import Split, TextData, load_data
from engine.emissions import EmissionsTotals
from engine.measuring import svm
from engine.measuring.svm import NgramSvm, characters_read, measure_svm
from engine.records import EnergySplit, Measurement, RunResult
from engine.views.sentences import svm_found, svm_rivals, svm_verdict
from tests.engine.fake_training import REPORT, SVM, run_finished

WORDS = {0: ["क्रिकेट", "सामना", "धावा"], 1: ["डॉक्टर", "औषध", "आजार"], 2: ["किल्ला", "समुद्र", "डोंगर"]}


def split(labels: int = 3, ending: str = "") -> Split:
    rows = [(f"{one} {two}{ending}", label) for label in range(labels) for one in WORDS[label] for two in WORDS[label]]
    return Split([text for text, _ in rows], [label for _, label in rows])


class Meter:
    """Has used one more kWh at each reading."""

    readings = 0
    basis: ClassVar[dict[str, str]] = {"cpu": "measured", "ram": "estimated"}

    def totals(self) -> EmissionsTotals:
        self.readings += 1
        used = EnergySplit(cpu=float(self.readings), gpu=0.0, ram=0.0)
        return EmissionsTotals(duration_s=1.0, emissions_kg=0.0, training=used, evaluation=used)


def data(train: Split, validation: Split, test: Split) -> TextData:
    return TextData(("a", "b", "c"), train, validation, test, REPORT)


def test_it_is_scikit_learns_own_on_the_starter_corpus(tmp_path: object) -> None:
    corpus = load_data(DataConfig(), 0, tmp_path)  # type: ignore[arg-type]
    report = measure_svm(corpus, Meter())  # type: ignore[arg-type]
    plain = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, max_features=svm.MAX_FEATURES),
        LinearSVC(random_state=0),
    ).fit(corpus.train.texts, corpus.train.labels)
    for part, accuracy, macro_f1 in (
        (corpus.validation, report.accuracy, report.macro_f1),
        (corpus.test, report.test_accuracy, report.test_macro_f1),
    ):
        predicted = plain.predict(part.texts)
        assert accuracy == pytest.approx(float(np.mean(predicted == np.array(part.labels))))
        assert macro_f1 == pytest.approx(f1_score(part.labels, predicted, average="macro"))
        assert accuracy > 0.7
    assert report.features == len(plain[0].vocabulary_) == svm.MAX_FEATURES
    assert report.texts_cut == 0, "the longest article of the corpus is read to its end"
    assert report.training_s > 0
    assert report.latency_ms > 0


@pytest.mark.parametrize("labels", [2, 3])
def test_every_label_has_a_margin_and_the_right_one_is_largest(labels: int) -> None:
    known = split(labels)
    margins = NgramSvm(known).margins(known.texts)
    assert margins.shape == (len(known.texts), labels)
    assert margins.argmax(axis=1).tolist() == known.labels
    assert (margins.max(axis=1) > 0).all()


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    model = NgramSvm(split(), characters=12)
    text = "क्रिकेट सामना"
    beginning, other = text[:12], text[:12] + " डॉक्टर औषध आजार"
    assert np.array_equal(model.margins([beginning]), model.margins([other]))
    whole = NgramSvm(split())
    assert not np.array_equal(whole.margins([beginning]), whole.margins([other]))
    assert NgramSvm(split(ending=" क्ष"), characters=3).features < NgramSvm(split(ending=" क्ष")).features


def test_many_texts_share_the_characters_that_are_read() -> None:
    counts = (1, 4000, 8000, 17_600, 100_000)
    assert [characters_read(["अ" * 1200] * texts) for texts in counts] == [1000, 1000, 500, 227, 100]
    assert characters_read(["अ" * 30] * 100_000) == 1000, "short texts leave room"


def test_long_training_texts_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svm, "CHARACTERS_OF_A_TEXT", (1, 12))
    report = measure_svm(data(split(), split(), split()), Meter())  # type: ignore[arg-type]
    assert report.characters == 12
    assert report.texts_cut == sum(len(text) > 12 for text in split().texts) > 0


def test_the_number_of_features_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NgramSvm(split()).features > 50
    monkeypatch.setattr(svm, "MAX_FEATURES", 50)
    model = NgramSvm(split())
    assert model.features == 50
    ngrams = sum(len(ngram.encode()) for ngram in model._vectorizer.vocabulary_)
    assert model.size_bytes == 8 * (3 * 50 + 3 + 50) + ngrams


def test_each_split_is_measured_by_itself_and_the_energy_is_that_of_training() -> None:
    known = split()
    wrong = Split(known.texts, [(label + 1) % 3 for label in known.labels])
    meter = Meter()
    report = measure_svm(data(known, known, wrong), meter)  # type: ignore[arg-type]
    assert (report.accuracy, report.macro_f1) == (1.0, 1.0)
    assert (report.test_accuracy, report.test_macro_f1) == (0.0, 0.0)
    assert report.energy_kwh == 2.0, "one kWh more in each of the two phases between two readings"
    assert meter.readings == 2
    assert report.energy_basis == "estimated", "the memory's is"


def result(student: float | None, dense: float | None = 0.5, tested: bool = True) -> RunResult:
    def measured(model: Measurement, share: float | None) -> Measurement:
        test = share if tested else None
        return model.model_copy(update={"accuracy": share, "test_accuracy": test})

    plain = run_finished("a").result
    parts = {"dense": measured(plain.dense, dense), "student": measured(plain.student, student), "svm": SVM}
    return plain.model_copy(update=parts)


@pytest.mark.parametrize(
    ("student", "dense", "words"),
    [
        (0.7, 0.5, "The student beats it: 70.00 % to the SVM's 62.50 %."),
        (
            0.6,
            0.5,
            "The student does not beat it: 60.00 % to the SVM's 62.50 %. {base} does not beat it either (50.00 %).",
        ),
        (0.6, 0.8, "The student does not beat it: 60.00 % to the SVM's 62.50 %. {base} beats it (80.00 %)."),
        (
            0.625,
            0.6,
            "The student only equals it: 62.50 % to the SVM's 62.50 %. {base} does not beat it either (60.00 %).",
        ),
    ],
)
def test_whether_it_is_beaten_is_said_plainly(student: float, dense: float, words: str) -> None:
    assert svm_verdict(result(student, dense)) == words.format(base="The dense base")


def test_rivals_are_compared_on_one_split() -> None:
    assert svm_rivals(result(0.7)) == (SVM.test_accuracy, 0.5, 0.7)
    assert svm_rivals(result(0.7, tested=False)) == (SVM.accuracy, 0.5, 0.7)
    for without in (result(None, None), result(0.7).model_copy(update={"svm": None})):
        assert svm_rivals(without) is None
        assert svm_verdict(without) == ""


def test_what_it_cost_is_said_with_what_it_did_not_read() -> None:
    assert svm_found(SVM) == (
        "SVM on the same texts: a linear one over 900 character n-grams, trained in 0.25 s with 0.0001 Wh (estimated), 0.0 MB, "
        "0.5 ms a text. Test accuracy 62.50 %, macro-F1 50.00 %; validation accuracy 60.00 %. "
        "It reads the first 1,000 characters of a text; 2 training texts are longer."
    )
    assert "with too little energy to meter," in svm_found(SVM.model_copy(update={"energy_kwh": 0.0}))
    assert "It reads" not in svm_found(SVM.model_copy(update={"texts_cut": 0}))


def test_a_result_from_before_the_yardstick_is_read() -> None:
    stored = result(0.7).model_dump(mode="json")
    del stored["svm"]
    assert RunResult.model_validate(stored).svm is None
    assert RunResult.model_validate_json(result(0.7).model_dump_json()).svm == SVM
