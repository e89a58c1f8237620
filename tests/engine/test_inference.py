"""Classifying: any text, any number of them, answers in order."""

import math
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertModel

from engine.errors import CheckpointError
from engine.files import bases
from engine.inference import MAX_CHARACTERS, MAX_WINDOWS, OVERLAP, Classifier, Prediction, load_classifier
from engine.measuring.calibration import Calibration
from engine.records import CalibrationReport
from engine.texts.tokenization import longest_covered, window_starts
from tests.engine.hub import running_hub
from tests.engine.tiny_bert import LABELS, TEXTS, tiny_checkpoint, tiny_model, tiny_tokenizer

POSITIONS = 32


def make_classifier() -> Classifier:
    model = tiny_model(positions=POSITIONS)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # large enough weights that texts differ in what is said of them
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return Classifier(model, tiny_tokenizer(POSITIONS), POSITIONS)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_classifier()


SHARED = make_classifier()


def check(answer: Prediction, text: str) -> None:
    assert answer.text == text
    assert list(answer.probabilities) == list(LABELS)
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer.label == max(answer.probabilities, key=lambda label: answer.probabilities[label])
    assert answer.confidence == answer.probabilities[answer.label]
    assert answer.latency_ms > 0
    assert answer.tokens >= 2
    assert (answer.windows == 1) == (answer.tokens <= POSITIONS)
    assert 1 <= answer.windows <= MAX_WINDOWS


def mixed_texts(count: int) -> list[str]:
    generator = random.Random(0)
    words = " ".join(TEXTS).split()
    return [" ".join(generator.choices(words, k=generator.randint(0, 45))) for _ in range(count)]


def test_what_is_known_of_a_classifier(classifier: Classifier) -> None:
    assert classifier.labels == LABELS
    assert classifier.parameters == sum(parameter.numel() for parameter in tiny_model().parameters())
    assert classifier.size_bytes == 4 * classifier.parameters
    assert classifier.max_length == POSITIONS


def test_a_text_in_a_wrong_encoding_is_read_as_it_was_meant(classifier: Classifier) -> None:
    wrong = TEXTS[0].encode("utf-8").decode("cp866")
    meant, found = classifier.classify([TEXTS[0], wrong])
    assert found.text == wrong, "a person sees what was given"
    assert found.probabilities == pytest.approx(meant.probabilities, abs=1e-6)


def test_calibration_divides_the_logits_and_withholds_by_the_rule(classifier: Classifier) -> None:
    report = CalibrationReport(
        temperature=2.0, ece_before=0.2, ece=0.1, fitted_on=9, measured_on=9, languages=("mr",), language_margin=4.0
    )
    calibrated = Classifier(
        tiny_model(positions=POSITIONS), tiny_tokenizer(POSITIONS), POSITIONS, Calibration(report, None)
    )
    plain = Classifier(tiny_model(positions=POSITIONS), tiny_tokenizer(POSITIONS), POSITIONS)
    texts = [TEXTS[0], "दिल्ली में भारी बारिश के कारण यातायात ठप हो गया है", "123 !"]
    for before, after in zip(plain.classify(texts), calibrated.classify(texts), strict=True):
        roots = {label: share**0.5 for label, share in before.probabilities.items()}
        whole = sum(roots.values())
        assert after.probabilities == pytest.approx({label: root / whole for label, root in roots.items()}, abs=1e-5)
    assert [each.doubt for each in calibrated.classify(texts)][1:] == ["other language", "no letters"]
    assert plain.classify(texts)[1].doubt in ("", "low probability"), "without a calibration no language is foreign"


def test_a_batch_of_mixed_lengths_says_what_single_texts_say(classifier: Classifier) -> None:
    texts = mixed_texts(50)
    together = classifier.classify(texts, batch_size=8)
    assert [answer.text for answer in together] == texts, "the order is that of the texts"
    assert len({answer.label for answer in together}) > 1
    for text, answer in zip(texts, together, strict=True):
        check(answer, text)
        (alone,) = classifier.classify([text])
        assert answer.label == alone.label
        assert answer[5:] == alone[5:], "tokens, truncated, windows"
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_the_batch_size_changes_no_answer(classifier: Classifier, batch_size: int) -> None:
    texts = mixed_texts(20)
    expected = classifier.classify(texts, batch_size=7)
    for answer, other in zip(classifier.classify(texts, batch_size=batch_size), expected, strict=True):
        assert answer.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def read_window(classifier: Classifier, tokens: Sequence[int]) -> list[float]:
    """Return what the model says of tokens between its special ones."""
    tokenizer = tiny_tokenizer(POSITIONS)
    ids = torch.tensor([[tokenizer.cls_token_id, *tokens, tokenizer.sep_token_id]])
    with torch.no_grad():
        return list(classifier._model(input_ids=ids).logits.softmax(-1)[0].tolist())


def test_a_long_text_is_the_mean_of_its_windows(classifier: Classifier) -> None:
    words = " ".join(TEXTS).split()
    tokenizer = tiny_tokenizer(POSITIONS)
    size, seen = POSITIONS - 2, set()
    for count in range(1, 60):
        text = " ".join((words * 3)[:count])
        (answer,) = classifier.classify([text])
        body = tokenizer(text, truncation=False, add_special_tokens=False)["input_ids"]
        starts = window_starts(len(body), size, int(OVERLAP * size), MAX_WINDOWS)
        said = [read_window(classifier, body[start : start + size]) for start in starts]
        mean = [sum(column) / len(column) for column in zip(*said, strict=True)]
        assert list(answer.probabilities.values()) == pytest.approx(mean, abs=1e-5)
        assert (answer.windows, answer.tokens, answer.truncated) == (len(starts), len(body) + 2, False)
        seen.add(answer.windows)
    assert {1, 2, 3} <= seen


def test_the_end_of_a_long_text_counts(classifier: Classifier) -> None:
    beginning = " ".join(TEXTS)
    one, other = classifier.classify([f"{beginning} {TEXTS[0]}", f"{beginning} {TEXTS[2]}"])
    assert one.windows == other.windows > 1
    assert list(one.probabilities.values()) != pytest.approx(list(other.probabilities.values()), abs=1e-3)


def test_beyond_the_last_window_nothing_is_read_and_it_is_said(classifier: Classifier) -> None:
    size = POSITIONS - 2
    most = longest_covered(size, int(OVERLAP * size), MAX_WINDOWS)
    tokenizer = tiny_tokenizer(POSITIONS)
    word = next(
        word for word in " ".join(TEXTS).split() if len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1
    )
    whole, longer, longest = classifier.classify([" ".join([word] * count) for count in (most, most + 1, 3 * most)])
    assert (whole.windows, whole.tokens, whole.truncated) == (MAX_WINDOWS, most + 2, False)
    for answer in (longer, longest):
        assert (answer.windows, answer.tokens, answer.truncated) == (MAX_WINDOWS, most + 2, True)
        assert answer.probabilities == pytest.approx(whole.probabilities, abs=1e-5)


def test_windows_of_all_texts_share_batches(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = Classifier._probabilities

    def counted(self: Classifier, ids: list[list[int]]) -> torch.Tensor:
        sizes.append(len(ids))
        assert max(map(len, ids)) <= POSITIONS
        return forward(self, ids)

    monkeypatch.setattr(Classifier, "_probabilities", counted)
    answers = classifier.classify([" ".join(TEXTS * 2)] * 3 + [TEXTS[0]], batch_size=4)
    windows = sum(answer.windows for answer in answers)
    assert windows > 8
    assert sum(sizes) == windows
    assert len(sizes) == math.ceil(windows / 4)


def test_groups_of_texts_change_nothing(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = mixed_texts(10)
    expected = classifier.classify(texts)
    monkeypatch.setattr("engine.inference._GROUP", 3)
    for answer, other in zip(classifier.classify(texts), expected, strict=True):
        assert (answer.text, answer.windows) == (other.text, other.windows)
        assert answer.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_a_text_of_one_window_is_read_as_training_reads_it(classifier: Classifier) -> None:
    ids = tiny_tokenizer(POSITIONS)(TEXTS[3], truncation=True, max_length=POSITIONS, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = classifier._model(input_ids=ids).logits.softmax(-1)[0].tolist()
    (answer,) = classifier.classify([TEXTS[3]])
    assert answer.windows == 1
    assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "🙂🙃👩‍👩‍👧‍👦",
        "\0",
        "a\0b",
        "\x00" * 5000,
        "अ" * 5000,
        "[MASK] [SEP] [PAD]",
        "\ufeff",
        "१२३ ₹",
        "\ud800 x",
        "‮abc",
    ],
)
def test_odd_texts_have_an_answer(classifier: Classifier, text: str) -> None:
    (answer,) = classifier.classify([text])
    check(answer, text)


def test_a_million_characters(classifier: Classifier) -> None:
    for text in ("क्रिकेट " * 125_000, "x" * 1_000_000):
        (answer,) = classifier.classify([text])
        check(answer, text)
        assert len(text) > MAX_CHARACTERS
        assert answer.truncated
        assert answer.tokens <= MAX_WINDOWS * POSITIONS


def test_no_texts_have_no_answers(classifier: Classifier) -> None:
    assert classifier.classify([]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=60), max_size=6))
def test_any_texts_have_answers_in_their_order(texts: list[str]) -> None:
    answers = SHARED.classify(texts, batch_size=2)
    assert len(answers) == len(texts)
    for answer, text in zip(answers, texts, strict=True):
        check(answer, text)


def test_threads_do_not_disturb_one_another(classifier: Classifier) -> None:
    texts = mixed_texts(12)
    expected = [answer.probabilities for answer in classifier.classify(texts)]
    found: list[list[dict[str, float]]] = []

    def work() -> None:
        found.extend([answer.probabilities for answer in classifier.classify(texts)] for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert all(
        one == pytest.approx(other, abs=1e-5) for some in found for one, other in zip(some, expected, strict=True)
    )


def test_classifiers_are_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "runs" / "20261120-211502-k3f9" / "model"
    model = tiny_checkpoint(folder, positions=POSITIONS)
    monkeypatch.setattr(bases, "STARTER", folder)
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.models["someone/tiny"] = folder
        sources = ["starter", "20261120-211502-k3f9", str(folder), "someone/tiny"]
        classifiers = [load_classifier(source, tmp_path) for source in sources]
    ids = tiny_tokenizer(POSITIONS)(TEXTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = dict(zip(LABELS, model(input_ids=ids).logits.softmax(-1)[0].tolist(), strict=True))
    for loaded in classifiers:
        assert loaded.labels == LABELS
        assert loaded.max_length == POSITIONS
        assert loaded.classify([TEXTS[0]])[0].probabilities == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("source", ["compact", "muril-shape"])
def test_random_bases_are_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{source} has random weights and knows no topics"):
        load_classifier(source, tmp_path)


def test_a_base_without_a_head_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    BertModel(tiny_checkpoint(folder).config).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="has no trained classification head"):
        load_classifier(str(folder), tmp_path)


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no base model 'nothing'"):
        load_classifier("nothing", tmp_path)
