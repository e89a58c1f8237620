"""The starter corpus: as many texts as it promises, in clean Unicode, unlike one another, unlike MahaNews; card and corpus agree.

The bounds stand a little beyond what was measured, so that a change for the worse is seen. What they would say of a corpus of
templates or of copies is tested beside them.
"""

import random
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engine.corpus_checks import (
    Figures,
    Text,
    alike_beginnings,
    card_rows,
    growth,
    main,
    measure,
    nearest,
    read_corpus,
    words,
)
from engine.data import STARTER
from engine.home import REPOSITORY
from engine.texts.cleaning import normalise
from engine.texts.reading import read_table

LABELS = (
    "Auto", "Bhakti", "Crime", "Education", "Fashion", "Health",
    "International", "Manoranjan", "Politics", "Sports", "Tech", "Travel",
)  # fmt: skip
CARD = STARTER.with_name("README.md")
MAHANEWS = REPOSITORY.parent / "shared" / "mahanews" / "SHC_Valid.csv"

NEAR_DUPLICATE = 0.45
"""Jaccard similarity of character 4-grams; a headline with one word exchanged for another of its length reaches 0.6 and more."""
NEAR_ACROSS_SPLITS = 0.30
CONTAINED_ACROSS_SPLITS = 0.55
NEAR_MAHANEWS = 0.50


@pytest.fixture(scope="module")
def corpus() -> list[Text]:
    return read_corpus()


@pytest.fixture(scope="module")
def figures(corpus: list[Text]) -> Figures:
    return measure(corpus)


def test_every_topic_has_its_texts_in_every_split(corpus: list[Text]) -> None:
    assert {row.label for row in corpus} == set(LABELS), "labels are spelt as in MahaNews"
    assert {row.split for row in corpus} == {"train", "validation", "test"}
    for label in LABELS:
        rows = [row for row in corpus if row.label == label]
        assert sum(not row.is_article for row in rows) >= 900, label
        assert sum(row.is_article for row in rows) >= 10, label
        shares = {split: count / len(rows) for split, count in Counter(row.split for row in rows).items()}
        assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.01), label
        assert {row.split for row in rows if row.is_article} == {"train", "validation", "test"}, label


def test_headlines_and_articles_have_their_lengths(corpus: list[Text], figures: Figures) -> None:
    assert figures.article_words[0] >= 60
    assert figures.article_words[2] <= 150
    assert figures.headline_words[0] >= 2
    assert figures.headline_words[2] <= 20
    lengths = Counter(len(row.text.split()) for row in corpus if not row.is_article)
    assert max(lengths.values()) < 0.3 * lengths.total(), "headlines are not all of one length"


def test_texts_are_clean_unicode_once_each(corpus: list[Text]) -> None:
    texts = [row.text for row in corpus]
    assert STARTER.read_bytes()[:3] != "\ufeff".encode()
    assert [text for text in texts if not text.strip()] == []
    assert [text for text in texts if text != normalise(text)] == [], "NFC, single spaces, none at the ends"
    folded = Counter(" ".join(words(text)) for text in texts)
    assert [text for text, count in folded.items() if count > 1] == [], "the same but for case and punctuation"
    for text in texts:
        for place, letter in enumerate(text):
            if unicodedata.category(letter) in ("Cc", "Cf", "Cn", "Co", "Cs"):
                # A joiner shapes what follows a virama; anywhere else it is invisible dirt.
                assert letter in "\u200c\u200d", (hex(ord(letter)), text)
                around = text[place - 1 : place + 2]
                assert around[0] == "\N{DEVANAGARI SIGN VIRAMA}", (place, text)


def test_the_script_is_devanagari_with_some_latin_and_digits_of_both(figures: Figures, corpus: list[Text]) -> None:
    assert figures.devanagari > 0.97
    assert figures.least_devanagari > 0.5
    assert figures.texts_with_latin >= 1_900
    assert figures.texts_with_devanagari_digits >= 1_000
    assert figures.texts_with_ascii_digits >= 240
    strange = {
        letter
        for row in corpus
        for letter in row.text
        if not (letter.isascii() or "\u0900" <= letter <= "\u097f" or letter in "\u200c\u200d")
    }
    assert strange == set(), "letters of a third script, or typographic signs that MahaNews writes otherwise"


def test_no_two_texts_are_near_duplicates(figures: Figures) -> None:
    assert figures.nearest.share < NEAR_DUPLICATE, figures.nearest


def test_splits_share_no_near_duplicates_and_no_passages(figures: Figures) -> None:
    assert figures.nearest_across.share < NEAR_ACROSS_SPLITS, figures.nearest_across
    assert figures.contained_across.share < CONTAINED_ACROSS_SPLITS, figures.contained_across


def test_the_vocabulary_keeps_growing(figures: Figures) -> None:
    assert figures.types > 35_000
    assert figures.new_in_second_half > 0.23
    assert figures.heaps_exponent > 0.64


def test_texts_of_a_topic_begin_in_many_ways(figures: Figures) -> None:
    assert figures.first_word[0] < 0.015, figures.first_word
    assert figures.first_two_words[0] < 0.01, figures.first_two_words


def test_the_card_says_what_is_measured(figures: Figures, corpus: list[Text]) -> None:
    card = CARD.read_text(encoding="utf-8")
    assert card_rows(figures) in card
    sizes = Counter(row.split for row in corpus)
    articles = sum(row.is_article for row in corpus)
    said = " ".join(card.split())
    assert f"{len(corpus):,} Marathi texts" in said
    assert f"{len(corpus) - articles:,} are headlines and {articles} are short articles" in said
    assert (
        f"{sizes['train']:,} for training, {sizes['validation']:,} for validation, {sizes['test']:,} for test" in said
    )


@pytest.mark.skipif(not MAHANEWS.exists(), reason=f"the sample {MAHANEWS.name} is not beside this repository")
def test_nothing_comes_from_mahanews(corpus: list[Text]) -> None:
    published = [normalise(text) for text in read_table(MAHANEWS).columns["Text"]]
    assert len(published) > 2500
    known = {" ".join(words(text)) for text in published}
    assert [row.text for row in corpus if " ".join(words(row.text)) in known] == []
    pair = nearest([row.text for row in corpus], published)
    assert pair.share < NEAR_MAHANEWS, pair
    assert f"| most alike pair of a text and a MahaNews headline, the same similarity | {pair.share:.3f} |" in (
        CARD.read_text(encoding="utf-8")
    )


def test_a_headline_with_one_word_exchanged_is_a_near_duplicate(corpus: list[Text]) -> None:
    chance = random.Random(0)
    found = []
    for row in chance.sample([row for row in corpus if len(row.text.split()) >= 7], 100):
        parts = row.text.split()
        place = chance.randrange(len(parts))
        parts[place] = "".join(chance.choice("कतपमरलवस") for _ in parts[place])
        found.append(nearest([row.text], [" ".join(parts)]).share)
    assert np.median(found) > 0.6
    assert min(found) > NEAR_ACROSS_SPLITS


def test_likeness_is_the_share_of_shingles() -> None:
    assert nearest(["abcdef"], ["abcdxy"]).share == pytest.approx(1 / 5)  # abcd, of abcd bcde cdef bcdx cdxy
    assert nearest(["abcdef"], ["xyz abcdef xyz"], contained=True).share == 1.0
    assert nearest(["अआइई"], ["उऊऋए"]).share == 0.0
    texts = ["abcdef", "abcdxy", "abcdef"]
    assert nearest(texts, texts, apart=np.arange(3)).share == 1.0
    marked = nearest(texts, texts, apart=np.array(["train", "test", "train"]))
    assert {marked.one, marked.other} == {"abcdef", "abcdxy"}


def test_templates_show_in_growth_and_beginnings() -> None:
    slots = [(f"गाव{one}", f"भाव{two}") for one in range(20) for two in range(20)]
    tokens, types, new, exponent = growth([f"{one} येथील बाजारात आज {two} मिळाला" for one, two in slots])
    assert (tokens, types) == (6 * 400, 4 + 40)
    assert new < 0.01
    assert exponent < 0.1
    turned = [Text(f"आज मोठी गर्दी {one} {two}", "Travel", "train") for one, two in slots]
    assert alike_beginnings(turned, 2) == (1.0, "Travel")
    assert alike_beginnings([*turned[:2], Text("आज नाही", "Travel", "train")], 2) == (pytest.approx(2 / 3), "Travel")


def test_words_leave_punctuation_out_and_joiners_in() -> None:
    assert words("'दऱ्या', SUV-ची किंमत ₹५ लाख। ठीक?") == ["दऱ्या", "suv", "ची", "किंमत", "५", "लाख", "ठीक"]
    assert words("र\u094d\u200dया") == ["र\u094d\u200dया"]


def test_the_command_prints_the_rows_of_the_card(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = tmp_path / "corpus.csv"
    rows = STARTER.read_text(encoding="utf-8").splitlines()
    articles = [row for row in rows if len(row.split()) > 50][:2]
    few.write_text("\n".join([rows[0], *rows[1:40], *articles]) + "\n", encoding="utf-8")
    monkeypatch.setattr("engine.corpus_checks.read_corpus", lambda: read_corpus(few))
    assert main() == 0
    assert capsys.readouterr().out.startswith(card_rows(measure(read_corpus(few))))
