"""Which language a text is in, as far as its bytes tell: py3langid, which ships its model and needs no internet.

Naive Bayes over byte n-grams: Lui & Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool"
(https://aclanthology.org/P12-3005). A headline is short, and Marathi has neighbours, so the score is not asked for one answer but
for a margin: by how much is another language likelier than those that a model was trained on?
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import py3langid

SHARE = 0.05
"""A language counts as one of the training texts' where this share of them is in it."""
WITHIN = 0.98
"""Share of held-out texts of the model's own kind that the margin must let pass."""
SAMPLE = 2000
"""Texts that are looked at; of more, every so many-th one."""


def ranked(text: str) -> dict[str, float]:
    """Return the log-likelihood of each language (ISO 639 code) in nats, up to a constant, the likeliest first."""
    return {str(code): float(score) for code, score in py3langid.rank(text)}


def languages_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the languages that at least `SHARE` of the texts are in, the most frequent first; at least one."""
    counts = Counter(next(iter(ranked(text))) for text in _sample(texts))
    ordered = counts.most_common()
    return tuple(code for code, count in ordered if count >= SHARE * counts.total()) or (ordered[0][0],)


def margin(text: str, languages: Sequence[str]) -> tuple[float, str]:
    """Return by how many nats another language is likelier than these, 0 where none is, and the likeliest language."""
    scores = ranked(text)
    best = next(iter(scores))
    return scores[best] - max(scores.get(code, float("-inf")) for code in languages), best


def margin_within(texts: Sequence[str], languages: Sequence[str]) -> float:
    """Return the margin that `WITHIN` of these texts do not exceed."""
    return not_exceeded(margin(text, languages)[0] for text in _sample(texts))


def not_exceeded(values: Iterable[float]) -> float:
    """Return the value that `WITHIN` of these, at least one, do not exceed."""
    found = sorted(values)
    return found[max(0, -(-int(WITHIN * 100) * len(found) // 100) - 1)]


def _sample(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: -(-len(texts) // SAMPLE)]
