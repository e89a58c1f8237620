"""What can be counted about a corpus of written texts: ``python -m engine.corpus_checks``.

A corpus that was made by filling in templates, or by copying, shows it: pairs of texts share most of their characters, many
texts of a topic begin with the same words, and new texts bring few new words. `measure` puts figures to that, and `card_rows`
writes them for the corpus's data card.

Sources: resemblance of shingle sets, Broder 1997, "On the resemblance and containment of documents", section 2; growth of the
vocabulary, Heaps 1978, "Information Retrieval", section 7.5.
"""

import csv
import hashlib
import math
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer

from engine.data import STARTER

SHINGLE = 4
"""Characters in a shingle; in Devanagari, where vowel signs count, about two syllables."""
LONG_SHINGLE = 8
"""Characters in a shingle where a short text is looked for inside a long one, which has most short shingles anyway."""
ARTICLE_WORDS = 40
"""Words from which a text counts as an article; between headlines and articles there is nothing."""

_BLOCK = 1000
"""Texts that are compared with all others at once: of 12,000 texts, all at once would take gigabytes."""
_BETWEEN_WORDS = re.compile(r"[^0-9a-z\u0900-\u0963\u0966-\u097f\u200c\u200d]+")
"""Everything that is no Latin or Devanagari letter, sign, digit or joiner; the danda ends a word."""


@dataclass(frozen=True)
class Text:
    """One row of a corpus."""

    text: str
    label: str
    split: str

    @property
    def is_article(self) -> bool:
        return len(self.text.split()) >= ARTICLE_WORDS


@dataclass(frozen=True)
class Likeness:
    """How alike two texts are, 0 to 1."""

    share: float
    one: str
    other: str


@dataclass(frozen=True)
class Figures:
    """What `measure` finds; shares are 0 to 1."""

    nearest: Likeness
    """The two texts with the highest Jaccard similarity of their character shingles."""
    nearest_across: Likeness
    """The same among texts of different splits."""
    contained_across: Likeness
    """The text of which the largest part stands in one text of another split."""
    tokens: int
    types: int
    """Different words."""
    new_in_second_half: float
    """Share of the words in the second half of the texts, in an order without meaning, that bring a new word."""
    heaps_exponent: float
    """b in types = a x tokens^b, from the half and the whole."""
    first_word: tuple[float, str]
    """Largest share of one topic's texts that begin with the same word, and that topic."""
    first_two_words: tuple[float, str]
    devanagari: float
    """Share of Devanagari among all letters and signs."""
    least_devanagari: float
    """The same in the text where it is lowest."""
    texts_with_latin: int
    texts_with_devanagari_digits: int
    texts_with_ascii_digits: int
    headline_words: tuple[int, float, int]
    """Fewest, median and most words of a headline."""
    article_words: tuple[int, float, int]


def read_corpus(path: Path = STARTER) -> list[Text]:
    """Read a corpus as it is written, without any cleaning."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Text(row["text"], row["label"], row["split"]) for row in csv.DictReader(file)]


def measure(corpus: Sequence[Text]) -> Figures:
    """Count everything; takes about ten seconds for 12,000 texts."""
    texts = [row.text for row in corpus]
    splits = np.array([row.split for row in corpus])
    tokens, types, new, exponent = growth(texts)
    letters = [_letters(text) for text in texts]
    with_letters = [shares for shares in letters if sum(shares)]
    headlines = [len(row.text.split()) for row in corpus if not row.is_article]
    articles = [len(row.text.split()) for row in corpus if row.is_article]
    return Figures(
        nearest=nearest(texts, texts, apart=np.arange(len(texts))),
        nearest_across=nearest(texts, texts, apart=splits),
        contained_across=nearest(texts, texts, apart=splits, length=LONG_SHINGLE, contained=True),
        tokens=tokens,
        types=types,
        new_in_second_half=new,
        heaps_exponent=exponent,
        first_word=alike_beginnings(corpus, 1),
        first_two_words=alike_beginnings(corpus, 2),
        devanagari=sum(ours for ours, _ in letters) / max(1, sum(map(sum, letters))),
        least_devanagari=min(ours / (ours + latin) for ours, latin in with_letters),
        texts_with_latin=sum(latin > 0 for _, latin in letters),
        texts_with_devanagari_digits=sum(bool(re.search("[०-९]", text)) for text in texts),
        texts_with_ascii_digits=sum(bool(re.search("[0-9]", text)) for text in texts),
        headline_words=_spread(headlines),
        article_words=_spread(articles),
    )


def nearest(
    texts: Sequence[str],
    others: Sequence[str],
    *,
    apart: NDArray[np.generic] | None = None,
    length: int = SHINGLE,
    contained: bool = False,
) -> Likeness:
    """Find the most alike pair of a text and another text, by the character shingles they share.

    Args:
        texts: one side of the pairs.
        others: the other side.
        apart: where both sides are the same texts, a mark for each; pairs of equal marks do not count.
        length: characters in a shingle.
        contained: rather than Jaccard similarity, the share of the first text's shingles that the other has.
    """
    counter = CountVectorizer(analyzer="char", ngram_range=(length, length), binary=True, dtype=np.int32)
    counter.fit([*texts, *others])
    one, other = counter.transform(texts), counter.transform(others).T.tocsr()
    sizes, other_sizes = np.asarray(one.sum(axis=1)).ravel(), np.asarray(other.sum(axis=0)).ravel()
    best = Likeness(0.0, "", "")
    for start in range(0, len(texts), _BLOCK):
        shared = (one[start : start + _BLOCK] @ other).tocoo()
        rows, columns, common = shared.row + start, shared.col, shared.data
        if apart is not None:
            counted = apart[rows] != apart[columns]
            rows, columns, common = rows[counted], columns[counted], common[counted]
        if not len(rows):
            continue
        whole = sizes[rows] if contained else sizes[rows] + other_sizes[columns] - common
        shares = common / whole
        place = int(shares.argmax())
        if shares[place] > best.share:
            best = Likeness(float(shares[place]), texts[rows[place]], others[columns[place]])
    return best


def words(text: str) -> list[str]:
    """Return the words of a text, without punctuation and in lower case."""
    return [word for word in _BETWEEN_WORDS.split(text.casefold()) if word]


def growth(texts: Sequence[str]) -> tuple[int, int, float, float]:
    """Return tokens, types, the share of new words in the second half of the texts, and Heaps' exponent.

    The order is that of a hash of the texts: topics and kinds are mixed, and the order of the file does not count.
    """
    mixed = sorted(texts, key=lambda text: hashlib.sha256(text.encode("utf-8")).digest())
    halves = [[word for text in part for word in words(text)] for part in _halves(mixed)]
    before, types = len(set(halves[0])), len({*halves[0], *halves[1]})
    tokens = len(halves[0]) + len(halves[1])
    exponent = math.log(types / before) / math.log(tokens / len(halves[0]))
    return tokens, types, (types - before) / len(halves[1]), exponent


def alike_beginnings(corpus: Sequence[Text], count: int) -> tuple[float, str]:
    """Return the largest share of one topic's texts that begin with the same ``count`` words, and that topic."""
    found = []
    for label in sorted({row.label for row in corpus}):
        beginnings = Counter(tuple(words(row.text)[:count]) for row in corpus if row.label == label)
        found.append((beginnings.most_common(1)[0][1] / beginnings.total(), label))
    return max(found)


def card_rows(figures: Figures) -> str:
    """Write the figures as the rows of the data card's table."""
    (one, one_topic), (two, two_topic) = figures.first_word, figures.first_two_words
    heads, articles = figures.headline_words, figures.article_words
    return "\n".join(
        f"| {name} | {value} |"
        for name, value in (
            ("most alike pair of texts, Jaccard similarity of character 4-grams", f"{figures.nearest.share:.3f}"),
            ("the same, the two in different splits", f"{figures.nearest_across.share:.3f}"),
            (
                "most of one text's character 8-grams found in one text of another split",
                _percent(figures.contained_across.share),
            ),
            ("words / different words", f"{figures.tokens:,} / {figures.types:,}"),
            ("words of the second half of the texts that are new", _percent(figures.new_in_second_half)),
            ("exponent of vocabulary growth (Heaps)", f"{figures.heaps_exponent:.3f}"),
            ("most texts of a topic with the same first word", f"{_percent(one)} ({one_topic})"),
            ("most texts of a topic with the same first two words", f"{_percent(two)} ({two_topic})"),
            ("letters in Devanagari, all texts / lowest text", f"{_percent(figures.devanagari)} / "
             f"{_percent(figures.least_devanagari)}"),
            ("texts with Latin letters", f"{figures.texts_with_latin}"),
            ("texts with Devanagari digits / with 0 to 9", f"{figures.texts_with_devanagari_digits} / "
             f"{figures.texts_with_ascii_digits}"),
            ("words in a headline: fewest / median / most", f"{heads[0]} / {heads[1]:g} / {heads[2]}"),
            ("words in an article: fewest / median / most", f"{articles[0]} / {articles[1]:g} / {articles[2]}"),
        )
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _letters(text: str) -> tuple[int, int]:
    """Return the numbers of Devanagari and of Latin letters and signs."""
    return len(re.findall("[\u0900-\u0963\u0970-\u097f]", text)), len(re.findall("[a-zA-Z]", text))


def _halves(texts: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    return texts[: len(texts) // 2], texts[len(texts) // 2 :]


def _spread(values: Sequence[int]) -> tuple[int, float, int]:
    return min(values), float(np.median(values)), max(values)


def main() -> int:
    """Print the rows of the card, and the pairs behind the likenesses."""
    figures = measure(read_corpus())
    print(card_rows(figures))
    for pair in (figures.nearest, figures.nearest_across, figures.contained_across):
        print(f"{pair.share:.3f}\n  {pair.one}\n  {pair.other}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
