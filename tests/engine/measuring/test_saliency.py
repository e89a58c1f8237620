"""Word saliency: contributions add up, belong to whole words, and say what the model's gradients say."""

import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.compaction import KeptLayer, compact
from engine.errors import CheckpointError
from engine.inference import MAX_CHARACTERS, Classifier, Window
from engine.measuring import saliency
from engine.measuring.calibration import Calibration
from engine.measuring.saliency import FEW_STEPS, STEPS, Saliency, explain, merge, split_words
from engine.model import load_folder
from engine.records import CalibrationReport
from engine.texts.cleaning import normalise
from tests.engine.tiny_bert import LABELS, TEXTS, tiny_model, tiny_tokenizer

POSITIONS = 32
DEVANAGARI = st.characters(min_codepoint=0x0900, max_codepoint=0x097F)
MIXED = st.text(st.one_of(DEVANAGARI, st.sampled_from(" \u200c\u200d।,.-?!'\"₹$ab1🙂\ufe0f\u202e<>&")), max_size=40)
CALIBRATION = Calibration(
    CalibrationReport(
        temperature=3.0,
        ece_before=0.2,
        ece=0.1,
        fitted_on=10,
        measured_on=10,
        languages=("mr",),
        language_margin=5.0,
    ),
    familiar=None,
)


def make_classifier(calibration: Calibration | None = None) -> Classifier:
    model = tiny_model(positions=POSITIONS)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # large enough weights that words differ in what they contribute
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return Classifier(model, tiny_tokenizer(POSITIONS), POSITIONS, calibration)


SHARED = make_classifier()


def total(found: Saliency) -> float:
    return sum(piece.contribution for piece in found.pieces)


def joined(found: Saliency) -> str:
    return "".join(piece.text for piece in found.pieces)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("label", LABELS)
def test_contributions_add_up_to_the_change_of_the_probability(text: str, label: str) -> None:
    found = explain(SHARED, text, label)
    (answer,) = SHARED.classify([text])
    assert found.label == label
    assert found.steps == STEPS
    assert found.probability == pytest.approx(answer.probabilities[label], abs=1e-5)
    assert total(found) == pytest.approx(found.probability - found.without_words, abs=2e-3)
    assert found.error == pytest.approx(abs(total(found) - found.probability + found.without_words), abs=1e-6)
    assert any(abs(piece.contribution) > 1e-3 for piece in found.pieces), "it is no answer that nothing counts"


def test_what_is_contributed_is_what_gradients_along_the_way_say() -> None:
    text, steps = TEXTS[0], 400
    window = SHARED.first_window(text)
    words, empty = SHARED.embed(window)
    summed = torch.zeros(len(words), dtype=torch.float64)
    for number in range(steps):  # the plain sum over equal steps, one at a time
        point = (empty + (number + 0.5) / steps * (words - empty)).requires_grad_()
        SHARED.probabilities(point[None])[0, 1].backward()
        assert point.grad is not None
        summed += ((words - empty) * point.grad).double().sum(-1) / steps
    expected = [piece.contribution for piece in merge(window, summed.tolist())]
    assert [piece.contribution for piece in explain(SHARED, text, LABELS[1]).pieces] == pytest.approx(
        expected, abs=1e-3
    )


def test_the_text_without_words_keeps_its_ends_and_its_length() -> None:
    tokenizer = tiny_tokenizer(POSITIONS)
    window = SHARED.first_window(TEXTS[0])
    padding = [tokenizer.pad_token_id] * (len(window.ids) - 2)
    ids = torch.tensor([[tokenizer.cls_token_id, *padding, tokenizer.sep_token_id]])
    with torch.no_grad():
        expected = SHARED._model(input_ids=ids).logits.softmax(-1)[0].tolist()
    for label, probability in zip(LABELS, expected, strict=True):
        assert explain(SHARED, TEXTS[0], label).without_words == pytest.approx(probability, abs=1e-5)


def test_the_likeliest_label_is_explained_unless_another_is_named() -> None:
    for text in TEXTS:
        assert explain(SHARED, text).label == SHARED.classify([text])[0].label
    with pytest.raises(ValueError, match="not in tuple"):
        explain(SHARED, TEXTS[0], "nothing")


def test_the_temperature_of_the_calibration_applies() -> None:
    warm = make_classifier(CALIBRATION)
    plain, found = explain(SHARED, TEXTS[0], LABELS[0]), explain(warm, TEXTS[0], LABELS[0])
    assert found.probability == pytest.approx(warm.classify([TEXTS[0]])[0].probabilities[LABELS[0]], abs=1e-5)
    assert abs(found.probability - plain.probability) > 1e-3
    assert total(found) == pytest.approx(found.probability - found.without_words, abs=1e-3)


def test_a_compacted_model_of_differing_layers_is_explained(tmp_path: Path) -> None:
    from engine.checkpoints import save_model

    pruned = compact(SHARED._model, (KeptLayer(0, (1,), tuple(range(20))), KeptLayer(1, (), tuple(range(7)))))
    save_model(tmp_path / "model", pruned, tiny_tokenizer(POSITIONS))
    loaded = load_folder(tmp_path / "model")
    classifier = Classifier(loaded.model, loaded.tokenizer, POSITIONS)
    found = explain(classifier, TEXTS[3])
    assert found.probability == pytest.approx(classifier.classify([TEXTS[3]])[0].confidence, abs=1e-5)
    assert total(found) == pytest.approx(found.probability - found.without_words, abs=2e-3)


def test_explaining_leaves_the_model_as_it_was() -> None:
    classifier = make_classifier()
    before = classifier.classify(TEXTS)
    explain(classifier, TEXTS[0])
    assert [answer.probabilities for answer in classifier.classify(TEXTS)] == [a.probabilities for a in before]
    assert all(parameter.grad is None for parameter in classifier._model.parameters())


def test_no_more_is_held_in_memory_than_set(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = explain(SHARED, TEXTS[0])
    sizes: list[int] = []
    forward = Classifier.probabilities

    def counted(self: Classifier, embeddings: torch.Tensor) -> torch.Tensor:
        if embeddings.requires_grad:
            sizes.append(embeddings.shape[0] * embeddings.shape[1])
        return forward(self, embeddings)

    monkeypatch.setattr(Classifier, "probabilities", counted)
    monkeypatch.setattr(saliency, "TOKENS_AT_ONCE", 50)
    found = explain(SHARED, TEXTS[0])
    assert len(sizes) > 3
    assert max(sizes) <= 50
    assert [p.contribution for p in found.pieces] == pytest.approx([p.contribution for p in expected.pieces], abs=1e-5)


def test_what_would_take_long_takes_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = len(SHARED.first_window(TEXTS[0]).ids)
    flops = 6 * STEPS * tokens * SHARED.layer_parameters
    monkeypatch.setattr(saliency, "PATIENCE_FLOPS", flops)
    assert explain(SHARED, TEXTS[0]).steps == STEPS
    monkeypatch.setattr(saliency, "PATIENCE_FLOPS", flops - 1)
    quick = explain(SHARED, TEXTS[0])
    assert quick.steps == FEW_STEPS
    assert quick.error > explain(SHARED, TEXTS[0], steps=STEPS).error


def test_of_a_long_text_the_first_window_is_explained() -> None:
    text = " ".join(TEXTS)
    found = explain(SHARED, text)
    assert not found.whole
    assert joined(found) == text
    read = [piece for piece in found.pieces if piece.read]
    assert 0 < len(read) < len(found.pieces)
    assert found.pieces[: len(read)] == read, "what is read comes first"
    assert all(piece.contribution == 0 for piece in found.pieces[len(read) :])
    alone = explain(SHARED, "".join(piece.text for piece in read[:-1]))
    assert alone.whole
    assert all(piece.read for piece in alone.pieces)


@pytest.mark.parametrize(("more", "whole"), [(0, True), (1, False)])
def test_a_text_that_just_fits_is_whole(more: int, whole: bool) -> None:
    tokenizer = tiny_tokenizer(POSITIONS)
    word = next(w for w in " ".join(TEXTS).split() if len(tokenizer(w, add_special_tokens=False)["input_ids"]) == 1)
    found = explain(SHARED, " ".join([word] * (POSITIONS - 2 + more)))
    assert found.whole == whole


def test_tokens_are_added_up_by_words() -> None:
    text = "मुंबईत, सामना!"
    spans = [(0, 0), (0, 2), (2, 6), (6, 7), (8, 13), (13, 14), (0, 0)]
    pieces = merge(Window(text, [0] * 7, spans), [9.0, 0.5, 0.25, -1.0, 2.0, 4.0, 9.0])
    assert [(piece.text, piece.contribution) for piece in pieces] == [
        ("मुंबईत", 0.75),
        (",", -1.0),
        (" ", 0.0),
        ("सामना", 2.0),
        ("!", 4.0),
    ]


def test_a_token_over_several_words_is_shared() -> None:
    pieces = merge(Window("अ आ इ", [0], [(0, 3)]), [1.0])
    assert [(piece.contribution, piece.read) for piece in pieces] == [
        (0.5, True),
        (0.0, True),
        (0.5, True),
        (0.0, False),
        (0.0, False),
    ]
    assert merge(Window("अ आ", [0], [(1, 2)]), [1.0])[1].contribution == 1.0, "nothing is lost"


@settings(max_examples=200, deadline=None)
@given(MIXED)
@example("क्\u200dष")
@example("र्‍या, 'ता'")
@example("।ा")
@example("<img src=x onerror=alert(1)>")
@example("👩\u200d👩\u200d👧 ok")
def test_words_are_whole_and_joined_the_text(text: str) -> None:
    pieces = split_words(text)
    assert "".join(pieces) == text
    assert all(pieces)
    for before, piece in zip(["", *pieces], pieces, strict=False):
        extends = unicodedata.category(piece[0]) in ("Mn", "Mc", "Me", "Cf")
        assert not extends or not before or before.isspace(), "a sign stays with what it extends"
        bare = [c for c in piece if unicodedata.category(c) not in ("Mn", "Mc", "Me", "Cf")]
        marks = [c for c in bare if unicodedata.category(c).startswith("P")]
        assert len(marks) <= 1
        assert not marks or len(bare) == 1, "punctuation is its own piece"
        assert piece.isspace() or not any(c.isspace() for c in piece)


@settings(max_examples=60, deadline=None)
@given(MIXED)
def test_any_text_comes_back_with_all_its_contributions(text: str) -> None:
    found = explain(SHARED, text, LABELS[0])
    assert joined(found) == normalise(text)
    assert total(found) == pytest.approx(found.probability - found.without_words, abs=0.02)
    assert all(piece.contribution == 0 for piece in found.pieces if piece.text.isspace())


@pytest.mark.parametrize("text", ["", " \n", "\0", "\ud800 x", "अ" * 5000, "[MASK] [SEP] [PAD]"])
def test_odd_texts_are_explained(text: str) -> None:
    found = explain(SHARED, text)
    assert found.whole
    assert found.probability == pytest.approx(SHARED.classify([text])[0].confidence, abs=1e-5)


def test_a_text_beyond_the_longest_is_not_whole() -> None:
    assert explain(SHARED, "अ" * MAX_CHARACTERS).whole, "one unknown word, however long"
    assert not explain(SHARED, "अ" * (MAX_CHARACTERS + 1)).whole


def test_a_tokenizer_that_knows_no_places_is_refused() -> None:
    classifier = make_classifier()

    class Slow:
        is_fast = False

    classifier._tokenizer = Slow()
    with pytest.raises(CheckpointError, match="which characters a token stands for"):
        explain(classifier, TEXTS[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_the_same() -> None:
    model = make_classifier()._model.to("cuda")
    found = explain(Classifier(model, tiny_tokenizer(POSITIONS), POSITIONS), TEXTS[0], LABELS[0])
    expected = explain(SHARED, TEXTS[0], LABELS[0])
    assert [p.contribution for p in found.pieces] == pytest.approx([p.contribution for p in expected.pieces], abs=1e-3)
