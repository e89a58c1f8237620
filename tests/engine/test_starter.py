"""The shipped starter, and the parts of its training."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.config import DataConfig
from engine.data import load_data
from engine.files.bases import STARTER
from engine.files.storage import folder_bytes
from engine.inference import load_classifier
from engine.model import random_model
from engine.shapes import read_shape
from engine.starter import SEED, SHAPE, SvmTeacher
from engine.texts.alteration import alter, encode_loosely
from engine.texts.tokenization import encode, learn_tokenizer

TEXTS = ["क्रिकेट सामन्यात भारताचा विजय", "नवीन इलेक्ट्रिक कार बाजारात " * 20, "एक"]


def test_the_shipped_starter_is_small_and_as_good_as_its_card_says(tmp_path: Path) -> None:
    assert folder_bytes(STARTER) < 10_000_000
    assert read_shape(STARTER).intermediate_size == SHAPE.intermediate_size
    split = load_data(DataConfig(), 0, tmp_path).test
    classifier = load_classifier("starter", tmp_path)
    answers = classifier.classify(split.texts)
    right = sum(classifier.labels[label] == answer.label for answer, label in zip(answers, split.labels, strict=True))
    share = f"{right / len(split.texts) * 100:.2f} % /"
    card = (STARTER / "README.md").read_text(encoding="utf-8")
    assert f"| test accuracy / macro-F1 | {share}" in card


def test_altered_texts_are_new_every_time_and_the_same_for_the_same_seed() -> None:
    first, again = alter(TEXTS, random.Random(1)), alter(TEXTS, random.Random(1))
    assert first == again
    assert first != alter(TEXTS, random.Random(2))
    assert len(first) == len(TEXTS)
    assert all(text.strip() for text in first)
    assert len(first[1].split()) <= 48, "long texts are cut to a passage"


def test_loose_encoding_varies_the_subwords_and_keeps_the_characters() -> None:
    tokenizer = learn_tokenizer(TEXTS, 200, 64)
    strict = encode(tokenizer, TEXTS[:1], 64)[0]
    chance = random.Random(0)
    variants = [encode_loosely(tokenizer, TEXTS[:1], chance)[0] for _ in range(20)]
    assert len({tuple(ids) for ids in variants}) > 1
    for ids in variants:
        assert tokenizer.decode(ids[1:-1]) == tokenizer.decode(strict[1:-1])


def test_an_unknown_character_makes_one_unknown_token() -> None:
    tokenizer = learn_tokenizer(TEXTS, 200, 64)
    assert encode_loosely(tokenizer, ["漢"], random.Random(0)) == encode(tokenizer, ["漢"], 64)


def test_the_teacher_knows_its_own_texts(tmp_path: Path) -> None:
    split = load_data(DataConfig(), 0, tmp_path).train
    teacher = SvmTeacher(split)
    logits = teacher.logits(split.texts[:50])
    assert logits.shape == (50, 12)
    assert logits.argmax(dim=-1).tolist() == pytest.approx(split.labels[:50])


def test_the_head_start_tells_topics_apart_by_their_words(tmp_path: Path) -> None:
    data = load_data(DataConfig(), 0, tmp_path)
    tokenizer = learn_tokenizer(data.train.texts, 3000, 64)
    models = [random_model(replace(SHAPE, vocabulary=3000), data.labels, SEED, len(tokenizer)) for _ in range(2)]
    teacher = SvmTeacher(data.train)
    before = models[0].bert.embeddings.word_embeddings.weight.clone()
    for model in models:
        torch.manual_seed(SEED)
        teacher.give_head_start(model, tokenizer)
    after = models[0].bert.embeddings.word_embeddings.weight
    assert torch.equal(after, models[1].bert.embeddings.word_embeddings.weight), "the same seed, the same start"
    added = (after - before).detach()
    ids = {word: tokenizer.get_vocab()[word] for word in ("क्रिकेट", "सामना", "पोलिसांनी")}

    def alike(one: str, other: str) -> float:
        return float(torch.cosine_similarity(added[ids[one]], added[ids[other]], dim=0))

    assert alike("क्रिकेट", "सामना") > alike("क्रिकेट", "पोलिसांनी") + 0.3
