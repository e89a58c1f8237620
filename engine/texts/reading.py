"""Files of texts as one table of strings: CSV, TSV, JSONL, Parquet and Excel.

The bytes are checked first, so that a fault is named with its row; then Hugging Face ``datasets`` reads them (JSONL and Excel
have readers of their own). Everything stays text: labels such as ``01``, ``NA`` or ``2024-01-01`` keep their form.
"""

import csv
import io
import itertools
import json
import stat
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from engine.errors import DataError
from engine.texts.arrow import read_with_datasets
from engine.texts.encodings import decode
from engine.texts.spreadsheets import read_sheet

_NAMES_SHOWN = 20
_NAME_SHOWN = 60
"""How many names, and how many characters of each, a message holds: a file may have thousands of columns."""

_LONGEST_HEADER = 100_000
_WIDE = 500
"""Columns from which on a delimited table is read by the ``csv`` module alone."""


@dataclass(frozen=True)
class Table:
    """One file, column by column; all columns are equally long."""

    path: Path
    columns: dict[str, list[str]]
    """By name, in the order of the file; a missing value is an empty string."""
    rows: Sequence[int]
    """The number of each row, from 1 as a spreadsheet counts: the header of a CSV is row 1."""
    nested: tuple[str, ...] = ()
    """Columns that hold lists, objects or bytes and cannot be read as text."""
    notes: tuple[str, ...] = ()
    """Sentences for the person on what was read, such as which sheet of a workbook."""


def read_table(path: Path, also: tuple[str, ...] = ()) -> Table:
    """Read a table of texts by the ending of its name.

    Args:
        path: a CSV, TSV, JSONL, Parquet or Excel (.xlsx) file.
        also: endings that the caller reads itself, to be named when this one cannot be read.

    Raises:
        DataError: if the file is missing, of another kind, empty, not Unicode text or malformed; with the row to blame.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        _check_file(path)
        known = ", ".join(sorted((*READERS, *also)))
        raise DataError(
            f"{path} ends in {suffix or 'nothing'!r}; only {known} files can be read. Save the table as CSV in UTF-8.",
            path,
        )
    data = read_bytes(path)
    table = READERS[suffix](path, data)
    if table.nested and not table.columns:
        raise DataError(
            f"{path} holds lists, objects or bytes only ({enumerated(table.nested)}), no text. Give a table with a column "
            "of texts.",
            path,
        )
    if not table.rows:
        raise DataError(f"{path} has no rows under its header. Give a file with one text in each row.", path)
    return table


def read_bytes(path: Path) -> bytes:
    """Read a whole file that must not be empty.

    Raises:
        DataError: if it is missing, a folder, a device, unreadable or empty.
    """
    _check_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check its permissions.", path) from None
    if not data:
        raise DataError(f"{path} is empty (0 bytes). Give a file with texts in it.", path)
    return data


def _check_file(path: Path) -> None:
    """Refuse what is no file on disk; reading a pipe or a terminal would wait for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"There is no file {path}. Check the path and its spelling.", path) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{str(path)[:200]} cannot be opened: {reason}. Check the path.", path) from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} is a folder. Give the path of a file in it.", path)
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is not a regular file. Give the path of a file on disk.", path)


def _read_delimited(path: Path, data: bytes, separator: str) -> Table:
    """Read CSV or TSV (RFC 4180 quoting) whose first line names the columns."""
    text = decode(path, data)
    notes: tuple[str, ...] = ()
    if separator == ",":
        separator = _separator(text)
        words = {";": "semicolons", "\t": "tabs", "|": "bars"}.get(separator)
        notes = (f"The columns of {path.name} are separated by {words}.",) if words is not None else ()
    names, header, rows, last = _check_records(path, text, separator)
    if not rows:
        return Table(path, {}, rows)
    if len(names) > _WIDE:
        return Table(path, _wide_columns(text, separator, names, rows), rows, notes=notes)
    columns, _ = read_with_datasets(
        path,
        "csv",
        text.encode("utf-8"),
        column_names=names,
        sep=separator,
        header=header - 1,
        keep_default_na=False,
        na_filter=False,
        skip_blank_lines=False,
    )
    count = len(columns[names[0]])
    if count != last - header:
        raise DataError(
            f"{path} has {last - header} rows by its line ends, but {count} could be read. Save it again as CSV.",
            path,
        )
    if len(rows) < count:  # blank lines are no rows
        columns = {name: [values[row - header - 1] for row in rows] for name, values in columns.items()}
    return Table(path, columns, rows, notes=notes)


def _wide_columns(text: str, separator: str, names: list[str], rows: list[int]) -> dict[str, list[str]]:
    """Read the records that were checked without ``datasets``, which needs a second for each thousand columns."""
    records = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    return {name: [records[row - 1][place] for row in rows] for place, name in enumerate(names)}


def _separator(text: str) -> str:
    """Return what separates the columns of a CSV: as its header shows, a comma, or else a semicolon, a tab or a bar.

    Spreadsheets of countries that write 1,5 save CSV with semicolons, and "Unicode text" with tabs.
    """
    beginning = io.StringIO(text[:_LONGEST_HEADER], newline=None)
    header = next((line for line in beginning if line.strip()), "")
    bare = "".join(header.split('"')[::2])  # without what stands in quotes
    found = [mark for mark in (",", "\t", ";", "|") if mark in bare]
    return found[0] if found else ","


def _check_records(path: Path, text: str, separator: str) -> tuple[list[str], int, list[int], int]:
    """Check that all records of a delimited text are of one width, before pandas fills short ones up without a word.

    Returns:
        The column names, the number of the header, those of the other records that are not blank, and the last one.
    """
    names: list[str] = []
    header = row = 0
    rows: list[int] = []
    # The added record cannot stand in a decoded file, which has no NUL; an open quote swallows it whole.
    end = ["\0", "\0"]
    reader = csv.reader(itertools.chain(io.StringIO(text, newline=""), [separator.join(end)]), delimiter=separator)
    fields: list[str] = []
    try:
        for row, fields in enumerate(reader, start=1):
            if fields == end or not fields or (len(fields) == 1 and fields[0].isspace()):
                continue
            if not names:
                names, header = _column_names(path, fields, row), row
                continue
            if "\0" in fields[-1]:
                break
            if len(fields) != len(names):
                raise DataError(
                    f"{path}: row {row} has {_columns(len(fields))}, but the header has {_columns(len(names))} "
                    f"({enumerated(names)}). Put texts that hold a separator, a quote or a line break in quotes.",
                    path,
                    row,
                )
            rows.append(row)
    except csv.Error as error:
        raise DataError(
            f"{path}: row {row + 1} cannot be split into columns ({error}). Look for a quote that is never closed.",
            path,
            row + 1,
        ) from None
    if fields != end:
        raise DataError(f'{path}: a quote (") opened in row {row} is never closed. Close it, or double it.', path, row)
    if not names:
        raise DataError(f"{path} holds only blank lines. Give a file with a header and one text in each row.", path)
    return names, header, rows, row - 1


def enumerated(names: Collection[str]) -> str:
    """Write names for a message: the first few of many, and the beginning of long ones."""
    few = [name if len(name) <= _NAME_SHOWN else name[: _NAME_SHOWN - 1] + "…" for name in islice(names, _NAMES_SHOWN)]
    rest = len(names) - len(few)
    return ", ".join(few) + (f" and {rest:,} more" if rest else "")


def _columns(count: int) -> str:
    return f"{count} column" if count == 1 else f"{count} columns"


def _column_names(path: Path, header: Sequence[str], row: int) -> list[str]:
    """Return the names of a header, with a number for each nameless column (pandas writes one for its index)."""
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f"{path} has more than one column named {enumerated(twice)}. Rename one of them.", path, row)
    return names


def _read_jsonl(path: Path, data: bytes) -> Table:
    """Read one JSON object a line.

    Not through ``datasets``: its reader guesses types before it is told any, and writes ``2024-01-01`` back with a time
    of day. Here numbers, too, stay as they are written.
    """
    records: list[dict[str, str | None]] = []
    rows: list[int] = []
    # str.splitlines would also cut at U+2028 and its like, which may stand inside a JSON string.
    for row, line in enumerate(decode(path, data).split("\n"), start=1):
        if line.strip():
            records.append(_json_record(path, line, row))
            rows.append(row)
    names = list(dict.fromkeys(itertools.chain.from_iterable(records)))
    nested = tuple(name for name in names if any(record.get(name, "") is None for record in records))
    columns = {name: [record.get(name) or "" for record in records] for name in names if name not in nested}
    return Table(path, columns, rows, nested)


def _json_record(path: Path, line: str, row: int) -> dict[str, str | None]:
    """Parse one line: scalars as text, null as an empty string, lists and objects as None."""
    try:
        value = json.loads(line, parse_int=str, parse_float=str, parse_constant=_json_constant)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: row {row} is not JSON ({error.msg}, column {error.colno}). Write one object a line.", path, row
        ) from None
    except RecursionError:
        raise DataError(f"{path}: row {row} is nested too deeply. Write one flat object a line.", path, row) from None
    if not isinstance(value, dict):
        example = '{"text": "...", "label": "..."}'
        raise DataError(
            f"{path}: row {row} is not a JSON object. Write one object a line, such as {example}.", path, row
        )
    record = {str(name).strip(): _json_text(item) for name, item in value.items()}
    try:
        "".join(filter(None, itertools.chain(record, record.values()))).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(str(error.object)[error.start]):04x}"
        raise DataError(f"{path}: row {row} holds {half}, half a character. Write the whole pair.", path, row) from None
    return record


def _json_constant(written: str) -> str:
    return "" if written == "NaN" else written  # Python writes a number that is missing as NaN


def _json_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None


def _read_parquet(path: Path, data: bytes) -> Table:
    """Read Parquet; the numbers of a column that ``datasets`` has marked as ClassLabel become their names."""
    columns, nested = read_with_datasets(path, "parquet", data)
    count = len(next(iter(columns.values()), []))
    return Table(path, columns, range(1, count + 1), nested)


def _read_excel(path: Path, data: bytes) -> Table:
    """Read the first sheet of a workbook that holds anything."""
    sheet = read_sheet(path, data)
    names = _column_names(path, sheet.header, sheet.header_row)
    return Table(path, dict(zip(names, sheet.columns, strict=True)), sheet.rows, notes=sheet.notes)


READERS: dict[str, Callable[[Path, bytes], Table]] = {
    ".csv": lambda path, data: _read_delimited(path, data, ","),
    ".tsv": lambda path, data: _read_delimited(path, data, "\t"),
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".xlsx": _read_excel,
}
"""What reads a file, by the ending of its name."""
