"""Datasets: the starter corpus, L3Cube-MahaNews or a person's own file, as cleaned splits with label ids.

    config -> tables (reading, mahanews) -> columns -> parts -> cleaning -> cut -> TextData

Everything dropped on the way is counted in the `DataReport`. The same file and seed always give the same splits.
"""

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from engine.config import MAHANEWS, DataConfig
from engine.errors import DataError
from engine.records import DataReport, SplitReport
from engine.texts.cleaning import Part, clean, normalise
from engine.texts.columns import SPLIT_NAMES, Columns, find_columns, find_text_column, found_note, split_column
from engine.texts.encodings import decode
from engine.texts.mahanews import LICENCE_NOTE, count_note, fetch
from engine.texts.reading import Table, read_bytes, read_table
from engine.texts.splitting import SPLITS, check_labels, check_not_empty, cut_missing, listed

STARTER = Path(__file__).resolve().parent.parent / "assets" / "corpus" / "corpus.csv"

_MEGABATCH = 50
"""Batches whose texts are sorted by length together: enough to save padding, few enough that epochs differ."""


class Split(NamedTuple):
    """Texts and the ids of their labels in `TextData.labels`."""

    texts: list[str]
    labels: list[int]


@dataclass(frozen=True)
class TextData:
    """A dataset, ready for a tokenizer."""

    labels: tuple[str, ...]
    """Label names by id, in alphabetical order."""
    train: Split
    validation: Split
    test: Split
    report: DataReport


@dataclass(frozen=True)
class _Source:
    """What was read, before cleaning: parts named by split, or one named ``all`` that is still to be cut."""

    parts: dict[str, Part]
    paths: dict[str, Path]
    notes: tuple[str, ...]


def load_data(config: DataConfig, seed: int, home: Path) -> TextData:
    """Read, clean and split a dataset.

    Args:
        config: what to read; see `DataConfig`.
        seed: decides which texts are held out where the dataset has no splits of its own.
        home: folder under which downloads are kept.

    Raises:
        DataError: if the dataset cannot be read, understood, downloaded or split.
    """
    source = _read_source(config, home)
    if config.test_path is not None:
        source = _with_test_file(source, config)
    order = [name for name in ("all", *SPLITS) if name in source.parts]
    cleaned, reports, conflicts = clean({name: source.parts[name] for name in order})
    for name, report in reports.items():
        check_not_empty(report, name, source.paths[name])
    splits, cut_notes = cut_missing(cleaned, source.paths[order[0]], seed)
    labels = tuple(sorted(set(splits["train"].labels)))
    check_labels(labels, splits, source.paths)
    ids = {label: number for number, label in enumerate(labels)}
    ready = {name: Split(splits[name].texts, [ids[label] for label in splits[name].labels]) for name in SPLITS}
    counts = Counter(label for split in splits.values() for label in split.labels)
    first = source.parts[order[0]]
    data_report = DataReport(
        source=config.source,
        text_column=first.text_column,
        label_column=first.label_column,
        labels=labels,
        conflicting_labels=conflicts,
        splits=reports,
        sizes={name: len(ready[name].texts) for name in SPLITS},
        label_counts={label: counts[label] for label in labels},
        notes=source.notes + cut_notes + _count_notes(config, reports) + _case_notes(labels),
    )
    return TextData(labels, ready["train"], ready["validation"], ready["test"], data_report)


class TextFile(NamedTuple):
    """Texts of a file, to be classified."""

    texts: list[str]
    notes: tuple[str, ...]
    """Sentences for the person on what was read, such as which column was taken for the texts."""


def read_texts(path: Path, text_column: str | None) -> TextFile:
    """Read texts to classify: a ``.txt`` with one text a line, or a table with a column of texts.

    The texts are normalised as for training; empty ones are left out.

    Raises:
        DataError: if the file cannot be read or holds no text.
    """
    path = _expanded(path)
    notes: tuple[str, ...] = ()
    if path.suffix.lower() == ".txt":
        lines: Sequence[str] = decode(path, read_bytes(path)).split("\n")
    else:
        table = read_table(path, also=(".txt",))
        column, how = find_text_column(table, text_column)
        lines, notes = table.columns[column], (*table.notes, *found_note("Texts", column, how, table))
    texts = [text for text in map(normalise, lines) if text]
    if not texts:
        raise DataError(f"{path} holds no text, only empty lines. Give a file with one text a line.", path)
    return TextFile(texts, notes)


def batches(lengths: Sequence[int], batch_size: int, *, seed: int | None = None, epoch: int = 0) -> list[list[int]]:
    """Group indices into batches of equal length where there are enough, else of similar length; each index once.

    Batches of equal length need no padding mask, which lets the fast attention kernels in. Only one batch may be short.

    Args:
        lengths: tokens of each text.
        batch_size: texts in a batch, at least 1.
        seed: None sorts all texts by length, which pads least; a number shuffles, the same for the same seed and epoch.
        epoch: counts from 0, so that each pass sees other batches.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
    indices = list(range(len(lengths)))
    if seed is None:
        return _chunks(sorted(indices, key=lambda i: lengths[i]), batch_size)
    generator = random.Random(f"{seed}/{epoch}")  # noqa: S311 - repeatable, not secret
    generator.shuffle(indices)
    of_length: dict[int, list[int]] = {}
    for index in indices:
        of_length.setdefault(lengths[index], []).append(index)
    found = [batch for alike in of_length.values() for batch in _chunks(alike, batch_size) if len(batch) == batch_size]
    placed = {index for batch in found for index in batch}
    rest = [index for index in indices if index not in placed]
    for group in _chunks(rest, batch_size * _MEGABATCH):
        found += _chunks(sorted(group, key=lambda i: lengths[i]), batch_size)
    generator.shuffle(found)
    return found


def _chunks(indices: list[int], size: int) -> list[list[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _read_source(config: DataConfig, home: Path) -> _Source:
    """Read the dataset itself, without a test file of its own."""
    # With a test file beside a dataset known by name, named columns are the test file's.
    named = (None, None) if config.test_path is not None else (config.text_column, config.label_column)
    if config.source in MAHANEWS:
        tables = fetch(config.source, home)
        columns = find_columns(tables["train"], *named)
        parts = {name: _part(table, _alike(table, columns)) for name, table in tables.items()}
        return _Source(parts, {name: table.path for name, table in tables.items()}, (*columns.notes, LICENCE_NOTE))
    if config.source == "starter":
        return _read_file(STARTER, named[0] or "text", named[1] or "label")
    path = _expanded(config.source)
    if not path.suffix and not os.path.exists(path):  # unlike Path.exists, false for any odd name
        known = ", ".join(("starter", *MAHANEWS))
        raise DataError(f"There is no dataset {config.source!r}. Give one of {known}, or the path of a file.", path)
    return _read_file(path, config.text_column, config.label_column)


def _read_file(path: Path, text_column: str | None, label_column: str | None) -> _Source:
    """Read one file; a split column of its own is obeyed."""
    table = read_table(path)
    columns = find_columns(table, text_column, label_column)
    whole = _part(table, columns)
    column = split_column(table, columns)
    if column is None:
        return _Source({"all": whole}, {"all": path}, columns.notes)
    rows: dict[str, list[int]] = {}
    for index, value in enumerate(table.columns[column]):
        # A repeated header says "split" here; it goes to training, where cleaning counts and drops it.
        rows.setdefault(SPLIT_NAMES.get(value.strip().casefold(), "train"), []).append(index)
    if "train" not in rows:
        raise DataError(
            f"{path}: column {column!r} puts no row into train. Mark the rows to learn from as train.", path
        )
    parts = {
        name: whole._replace(texts=[whole.texts[i] for i in chosen], labels=[whole.labels[i] for i in chosen])
        for name, chosen in rows.items()
    }
    note = f"Column {column!r} of {path.name} says which split a text belongs to."
    return _Source(parts, dict.fromkeys(parts, path), (*columns.notes, note))


def _with_test_file(source: _Source, config: DataConfig) -> _Source:
    """Take the test split from a file of its own; the rest of the dataset is for training and validation."""
    path = _expanded(config.test_path or "")
    table = read_table(path)
    like = next(iter(source.parts.values()))
    columns = _alike(table, Columns(like.text_column, like.label_column), config.text_column, config.label_column)
    parts = {("train" if name == "all" else name): part for name, part in source.parts.items()}
    paths = {("train" if name == "all" else name): found for name, found in source.paths.items()}
    notes = (*source.notes, *columns.notes)
    if "test" in parts:
        notes += (f"The test split is {path.name}; the dataset's own test split is not used.",)
    return replace(source, parts=parts | {"test": _part(table, columns)}, paths=paths | {"test": path}, notes=notes)


def _expanded(path: str | Path) -> Path:
    """Expand a leading ``~``; unlike `Path.expanduser`, leave that of an unknown user as it is."""
    return Path(os.path.expanduser(path))


def _alike(table: Table, columns: Columns, text_column: str | None = None, label_column: str | None = None) -> Columns:
    """Find the columns of another file of the dataset: as told, else of the same name, else anew."""
    text = text_column or (columns.text if columns.text in table.columns else None)
    label = label_column or (columns.label if columns.label in table.columns else None)
    return find_columns(table, text, label)


def _part(table: Table, columns: Columns) -> Part:
    return Part(table.columns[columns.text], table.columns[columns.label], columns.text, columns.label)


def _count_notes(config: DataConfig, reports: Mapping[str, SplitReport]) -> tuple[str, ...]:
    """Point out published files that do not have the published number of rows."""
    if config.source not in MAHANEWS:
        return ()
    published = [name for name in reports if name != "test" or config.test_path is None]
    notes = [
        count_note(config.source, name, reports[name].rows_read, reports[name].repeated_headers) for name in published
    ]
    return tuple(note for note in notes if note is not None)


def _case_notes(labels: Sequence[str]) -> tuple[str, ...]:
    """Point out labels that are probably one, written in two ways."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(label.casefold(), []).append(label)
    return tuple(
        f"The labels {listed(group)} differ only in upper and lower case; they are kept apart."
        for group in alike.values()
        if len(group) > 1
    )
