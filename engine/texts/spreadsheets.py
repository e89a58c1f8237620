"""Excel workbooks (.xlsx) as rows of text, by way of openpyxl.

Not through `pandas.read_excel`, which stands on openpyxl too: it pads every row to the widest, so that one stray cell far to
the right of a long table would fill the memory, and it turns numbers and dates into its own types before they become text.
"""

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import ParseError

from engine.errors import DataError

_MAX_ROWS = 1_048_576
"""Rows that a sheet can have; a damaged one may claim more."""
_MAX_UNPACKED_BYTES = 2_000_000_000
_MAX_CELLS = 50_000_000
_OLE = b"\xd0\xcf\x11\xe0"
"""How .xls files begin, and workbooks that are locked with a password."""
_ERRORS = frozenset(("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "#NAME?"))
"""What a cell shows where its formula has failed: no text."""
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, ParseError, LookupError, ValueError, TypeError, AttributeError),
    *(OSError, EOFError, NotImplementedError, RuntimeError, OverflowError),
)
"""The ways in which the archive, its XML and openpyxl say that bytes are no workbook."""
_NAMES_SHOWN = 8


class Sheet(NamedTuple):
    """The sheet of a workbook that was read."""

    header: list[str]
    """What stands above each column; empty where nothing does."""
    header_row: int
    columns: list[list[str]]
    """The cells below the header, one list a column; all are equally long."""
    rows: list[int]
    """The number of each row, as the spreadsheet shows it; blank rows are left out."""
    notes: tuple[str, ...]


def read_sheet(path: Path, data: bytes) -> Sheet:
    """Read the first sheet of a workbook that holds anything; its first row that is not blank names the columns.

    Numbers that are whole lose their ``.0``, dates are written as 2024-01-31, and formulas count with their last value.

    Raises:
        DataError: if it is no workbook, or none of its sheets holds a row; names the sheets.
    """
    if data.startswith(_OLE):
        raise DataError(
            f"{path} is locked with a password, or an .xls file of before 2007. Save it again as .xlsx without a password.",
            path,
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and validations that it does not know, and nobody needs here
            return _read_workbook(path, data)
    except _DAMAGED as error:
        reason = str(error).strip().split("\n")[0][:200].strip("'\".") or type(error).__name__
        raise DataError(
            f"{path} cannot be read as an Excel workbook: {reason}. Save it again as .xlsx, or as CSV in UTF-8.", path
        ) from None


def _read_workbook(path: Path, data: bytes) -> Sheet:
    from openpyxl import load_workbook

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > _MAX_UNPACKED_BYTES:
        raise DataError(f"{path} unpacks to {unpacked / 1e9:.1f} GB, which is too much. Save the table as CSV.", path)
    book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    try:
        sheets = book.worksheets
        filled = [sheet for sheet in sheets if next(_rows_of(sheet), None) is not None]
        names = _listed([sheet.title for sheet in sheets])
        if not filled:
            raise DataError(
                f"{path} holds no cell with a value; its sheets are {names}. Give a file with texts in it.", path
            )
        chosen = filled[0]
        notes: tuple[str, ...] = ()
        if len(filled) > 1:
            others = _listed([sheet.title for sheet in filled[1:]])
            notes = (
                f"Of {path.name} only sheet {chosen.title!r} is read, its first one that holds anything; not read: {others}. "
                "To use another, move it to the front or save it as a file of its own.",
            )
        return _as_columns(path, _rows_of(chosen), notes)
    finally:
        book.close()


def _rows_of(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each row that is not blank, without the empty cells at its end."""
    sheet.reset_dimensions()  # what a sheet says of its own size is often wrong
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number > _MAX_ROWS:
            return
        cells = [_text(value) for value in row]
        while cells and not cells[-1].strip():
            cells.pop()
        if cells:
            yield number, cells


def _as_columns(path: Path, found: Iterator[tuple[int, list[str]]], notes: tuple[str, ...]) -> Sheet:
    """Turn rows of any width into columns; those without a name and without a value are left out."""
    header_row, header = next(found)
    rows: list[int] = []
    cells: list[list[str]] = []
    used = {place for place, name in enumerate(header) if name.strip()}
    for number, row in found:
        rows.append(number)
        cells.append(row)
        used.update(place for place, value in enumerate(row) if value and place not in used)
    if len(used) * len(rows) > _MAX_CELLS:
        raise DataError(
            f"{path} has {len(used):,} columns of {len(rows):,} rows, which is too much. Keep the columns of texts and labels.",
            path,
        )
    places = sorted(used)
    columns = [[row[place] if place < len(row) else "" for row in cells] for place in places]
    names = [header[place] if place < len(header) else "" for place in places]
    return Sheet(names, header_row, columns, rows, notes)


def _text(value: object) -> str:
    """Write a cell as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return "" if value in _ERRORS else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value != value:  # not a number
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:_NAMES_SHOWN]) or "none"
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
