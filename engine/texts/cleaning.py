"""What is done to texts before a model sees them, counted: normalise, drop what is no data, keep the splits apart."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from engine.records import SplitReport
from engine.texts.columns import LABEL_NAMES
from engine.texts.devanagari import repair, spell

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
"""Soft hyphen, zero-width space, both joiners, word joiner and byte order mark: no text where they stand alone."""


class Part(NamedTuple):
    """Texts and labels of one split as they were read, with the names of their columns."""

    texts: Sequence[str]
    labels: Sequence[str]
    text_column: str
    label_column: str


class Cleaned(NamedTuple):
    """Texts and labels of one split, normalised, each text once."""

    texts: list[str]
    labels: list[str]


def normalise(text: str) -> str:
    """Return the text as data and models have it: in one spelling, with single spaces and none at the ends.

    Wrongly decoded Devanagari is restored (`engine.texts.devanagari`); everything else is Unicode NFC.
    """
    return _spelled(repair(text))


def _spelled(repaired: str) -> str:
    return " ".join(spell(repaired).split())


def clean(parts: Mapping[str, Part]) -> tuple[dict[str, Cleaned], dict[str, SplitReport], int]:
    """Clean the splits in their order; a text that stands in an earlier one is dropped from the later one.

    Args:
        parts: by name, in the order train, validation, test, so that test loses what the others know.

    Returns:
        The cleaned splits, what was done to each, and how many texts carry more than one label (the first was kept).
    """
    first_labels: dict[str, str] = {}
    conflicting: set[str] = set()
    cleaned: dict[str, Cleaned] = {}
    reports: dict[str, SplitReport] = {}
    for name, part in parts.items():
        cleaned[name], reports[name] = _clean_part(part, first_labels, conflicting)
    return cleaned, reports, len(conflicting)


def _clean_part(part: Part, first_labels: dict[str, str], conflicting: set[str]) -> tuple[Cleaned, SplitReport]:
    """Clean one split; ``first_labels`` maps each text met so far, here or in an earlier split, to its label."""
    kept = Cleaned([], [])
    here: set[str] = set()
    headers = empty_texts = empty_labels = duplicates = leaked = repaired = 0
    columns = normalise(part.text_column), normalise(part.label_column)
    for raw, label in zip(part.texts, map(normalise, part.labels), strict=True):
        restored = repair(raw)
        text = _spelled(restored)
        if _is_header(text, label, *columns):
            headers += 1
        elif not text.strip(_INVISIBLE):
            empty_texts += 1
        elif not label.strip(_INVISIBLE):
            empty_labels += 1
        elif text in first_labels:
            duplicates += text in here
            leaked += text not in here
            here.add(text)
            if first_labels[text] != label:
                conflicting.add(text)
        else:
            first_labels[text] = label
            here.add(text)
            repaired += restored != raw
            kept.texts.append(text)
            kept.labels.append(label)
    report = SplitReport(
        rows_read=len(part.texts),
        repeated_headers=headers,
        empty_texts=empty_texts,
        empty_labels=empty_labels,
        duplicates=duplicates,
        leaked=leaked,
        kept=len(kept.texts),
        repaired=repaired,
    )
    return kept, report


def _is_header(text: str, label: str, text_column: str, label_column: str) -> bool:
    """Tell whether a row repeats the header.

    A label that equals its column's name is enough where that name means "label" and so is no class; in a column
    ``spam`` of ``spam`` and ``ham`` it is not.
    """
    if label != label_column:
        return False
    return text == text_column or label.casefold() in LABEL_NAMES
