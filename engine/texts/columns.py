"""Which column holds the texts, which the labels, and which the splits: as told, by name, or by shape."""

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from engine.errors import DataError
from engine.texts.reading import Table, enumerated

TEXT_NAMES = (
    *("text", "headline", "title", "news", "content", "sentence", "article", "document", "body"),
    *("मजकूर", "बातमी", "मथळा", "शीर्षक", "वाक्य"),
)
LABEL_NAMES = (
    *("label", "labels", "category", "topic", "class", "target", "genre", "tag"),
    *("वर्ग", "विषय", "प्रकार", "लेबल"),
)
"""Names by which a column is known, the most telling first."""
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What people write in a split column, and the split it means."""

INDEX_NAMES = (
    *(
        "id",
        "ids",
        "index",
        "idx",
        "level_0",
        "__index_level_0__",
        "row",
        "no",
        "no.",
        "nr",
        "number",
        "#",
        "sr",
        "sr.",
        "sr no",
    ),
    *(
        "sr. no.",
        "s.no",
        "s.no.",
        "s no",
        "serial",
        "serial no",
        "uid",
        "key",
        "क्रमांक",
        "क्र.",
        "क्र",
        "अ.क्र.",
        "अनुक्रमांक",
    ),
)
"""Names of columns that number the rows."""
_NAMELESS = re.compile(r"column \d+|unnamed: \d+(_level_\d+)?", re.IGNORECASE)
"""What a column without a name is called here, and in pandas."""
_SHORTEST_COUNT = 20
"""Rows that a count must last on average before it starts anew, so that labels 1, 2, 3, 1, 2, 3 are no index."""
_MOST_DIGITS = 18

_TOLD, _BY_NAME = "as told", "by its name"
_LONGEST_NAME_WORDS = 4
"""A column found by its shape whose name has more words is taken for a first text without a header over it."""


class Columns(NamedTuple):
    """The columns of a table that matter, and how they were found."""

    text: str
    label: str
    notes: tuple[str, ...] = ()


def find_columns(table: Table, text_column: str | None = None, label_column: str | None = None) -> Columns:
    """Find the columns of texts and labels.

    Raises:
        DataError: if a named column is missing or nested, or if it cannot be told which is meant; names the columns.
    """
    text = find_text_column(table, text_column, taken=label_column)
    known = _known(table, LABEL_NAMES, taken=text[0])
    if label_column is not None:
        label, how = _named(table, label_column, "label"), _TOLD
    elif known is not None:
        label, how = known, _BY_NAME
    else:
        label, how = _label_by_shape(table, text[0]), "by its few distinct values"
    if label == text[0]:
        raise DataError(
            f"{table.path}: column {label!r} is both text and label. Choose two columns from {_listed(table)}.",
            table.path,
        )
    notes = (*found_note("Texts", *text, table), *found_note("Labels", label, how, table))
    by_shape = [name for name in _free(table, taken=None) if name not in (text[0], label) and is_index(table, name)]
    if by_shape and {text[1], how} - {_TOLD, _BY_NAME}:
        notes += (f"Column {enumerated([repr(name) for name in by_shape])} numbers the rows: neither text nor label.",)
    return Columns(text[0], label, table.notes + notes)


def found_note(what: str, name: str, how: str, table: Table) -> tuple[str, ...]:
    """Say from which column something is read and how that was found, unless it was told."""
    return () if how == _TOLD else (f"{what} are read from column {name!r} of {table.path.name}, found {how}.",)


def find_text_column(table: Table, text_column: str | None, taken: str | None = None) -> tuple[str, str]:
    """Find the column of texts; return its name and how it was found."""
    if text_column is not None:
        return _named(table, text_column, "text"), _TOLD
    known = _known(table, TEXT_NAMES, taken)
    if known is not None:
        return known, _BY_NAME
    lengths = {name: fmean(map(len, values)) for name, values in _candidates(table, taken).items()}
    ranked = sorted(lengths, key=lambda name: lengths[name], reverse=True)
    if not ranked or lengths[ranked[0]] == 0 or (len(ranked) > 1 and lengths[ranked[0]] == lengths[ranked[1]]):
        raise DataError(
            f"{table.path}: cannot tell which column holds the texts. Name the text column, one of {_listed(table)}.",
            table.path,
        )
    name = ranked[0]
    if len(name.split()) > _LONGEST_NAME_WORDS:
        raise _headless(table, name)
    return name, "by its long values"


def is_index(table: Table, name: str) -> bool:
    """Tell whether a column only numbers the rows: whole numbers that count up, or that are all different under no name.

    A count may start anew, as where several tables were put below one another. A column of another name whose numbers are
    in no order may hold labels and is none.
    """
    values = [value.strip() for value in table.columns[name]]
    if not all(value.isdecimal() and len(value) <= _MOST_DIGITS for value in values):
        return False
    numbers = [int(value) for value in values]
    starts = 1 + sum(after != before + 1 for before, after in pairwise(numbers))
    if starts == 1 or len(numbers) >= starts * _SHORTEST_COUNT:
        return True
    nameless = _NAMELESS.fullmatch(name) is not None or name.casefold() in INDEX_NAMES
    return nameless and len(set(numbers)) == len(numbers)


def split_column(table: Table, columns: Columns) -> str | None:
    """Return the column named ``split`` if its values are names of splits.

    Raises:
        DataError: if some of its values are names of splits and others are not; with the row of the first other one.
    """
    name = next((name for name in table.columns if name.casefold() == "split" and name not in columns[:2]), None)
    if name is None:
        return None
    values = [value.strip().casefold() for value in table.columns[name]]
    if not any(value in SPLIT_NAMES for value in values):
        return None
    for row, value in zip(table.rows, values, strict=True):
        if value not in SPLIT_NAMES and value != "split":  # a repeated header says "split"; cleaning drops it
            raise DataError(
                f"{table.path}: row {row} has {value!r} in column {name!r}; it must be train, validation or test. "
                "Correct it, or give the column another name.",
                table.path,
                row,
            )
    return name


def _named(table: Table, wanted: str, role: str) -> str:
    """Return the column of this name, or the only one that differs from it in case alone."""
    names = (*table.columns, *table.nested)
    found = [name for name in names if name == wanted] or [
        name for name in names if name.casefold() == wanted.casefold()
    ]
    if len(found) != 1:
        raise DataError(
            f"{table.path} has no column {wanted!r} for the {role}. Choose one of its columns: {_listed(table)}.",
            table.path,
        )
    if found[0] in table.nested:
        raise DataError(
            f"{table.path}: column {wanted!r} holds lists, objects or bytes, not text. Choose one of {_listed(table)}.",
            table.path,
        )
    return found[0]


def _known(table: Table, names: Sequence[str], taken: str | None) -> str | None:
    """Return the first column, in the order of ``names``, whose name is one of them in any case."""
    by_name = {name.casefold(): name for name in reversed(_free(table, taken))}
    return next((by_name[name] for name in names if name in by_name), None)


def _label_by_shape(table: Table, text: str) -> str:
    """Return the only other column with at least two values that recur: at most half as many values as rows."""
    found = []
    for name, values in _candidates(table, text).items():
        distinct = len({value for value in values if value})
        if 2 <= distinct <= len(values) / 2:
            found.append(name)
    if len(found) != 1:
        hint = ""
        if len(table.columns) == 1 and any(mark in text for mark in ";\t|"):
            hint = (
                " Its columns seem to be separated by another mark than a comma; save it with commas, or tabs as .tsv."
            )
        reason = f"{', '.join(map(repr, found))} could all be it" if found else "none has a few values that recur"
        raise DataError(
            f"{table.path}: cannot tell which column holds the labels; {reason}. "
            f"Name the label column, one of {_listed(table)}.{hint}",
            table.path,
        )
    name = found[0]
    repeated = any(a == text and b == name for a, b in zip(table.columns[text], table.columns[name], strict=True))
    if name in table.columns[name] and not repeated:
        raise _headless(table, name)
    return name


def _headless(table: Table, name: str) -> DataError:
    return DataError(
        f"{table.path}: its first line seems to be data, not a header ({name[:60]!r} is where a column name belongs). "
        "Add a first line such as text,label, or name the columns.",
        table.path,
        1,
    )


def _free(table: Table, taken: str | None) -> dict[str, list[str]]:
    """Return the columns that may still be text or label."""
    return {name: values for name, values in table.columns.items() if name != taken and name.casefold() != "split"}


def _candidates(table: Table, taken: str | None) -> dict[str, list[str]]:
    """Return the columns that may be text or label by their shape: those that are free and number no rows, if any."""
    free = _free(table, taken)
    return {name: values for name, values in free.items() if not is_index(table, name)} or free


def _listed(table: Table) -> str:
    return enumerated([repr(name) for name in table.columns]) or "none"
