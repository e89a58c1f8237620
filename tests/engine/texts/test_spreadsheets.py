"""Excel workbooks as people have them: every cell as it is shown, or a refusal that says why."""

import contextlib
import datetime
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from openpyxl import Workbook

from engine.config import DataConfig
from engine.data import load_data, read_texts
from engine.errors import DataError
from engine.texts import spreadsheets
from engine.texts.columns import find_columns
from engine.texts.reading import read_table

Rows = Sequence[Sequence[object]]


def workbook(path: Path, **sheets: Rows) -> Path:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert caught.value.path == str(path)
    return str(caught.value)


def test_cells_are_read_as_they_are_shown(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 1, 31, 14, 5)
    rows = [
        ["text", "label", "more"],
        ['एक, "दोन"\nतीन', 1, moment],
        ["007", 2.0, datetime.datetime(2024, 1, 31)],
        ["NA", 2.5, True],
        [None, "#N/A", None],
    ]
    found = read_table(workbook(tmp_path / "a.xlsx", News=rows))
    assert found.columns == {
        "text": ['एक, "दोन"\nतीन', "007", "NA"],
        "label": ["1", "2", "2.5"],
        "more": ["2024-01-31 14:05:00", "2024-01-31", "true"],
    }
    assert found.notes == ()


def test_blank_rows_and_columns_are_left_out_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    rows = [
        [],
        [None, "", "text", None, "label"],
        [],
        [None, 0, "अ", None, "x"],
        [" "],
        [None, 1, "ब", None, "y", "note"],
    ]
    found = read_table(workbook(tmp_path / "a.XLSX", News=rows))
    assert found.columns == {
        "column 1": ["0", "1"],
        "text": ["अ", "ब"],
        "label": ["x", "y"],
        "column 4": ["", "note"],
    }
    assert list(found.rows) == [4, 6]


def test_the_first_sheet_that_holds_anything_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    rows = [["headline", "topic"], *([f"बातमी {i}", "xy"[i % 2]] for i in range(8))]
    path = workbook(tmp_path / "a.xlsx", Cover=[], News=rows, Old=[["x"]], Notes=[["y"]])
    (note,) = read_table(path).notes
    assert "'News'" in note
    assert "'Old', 'Notes'" in note
    assert "Cover" not in note
    assert note in find_columns(read_table(path)).notes
    assert read_texts(path, None).notes[0] == note
    assert read_texts(path, None).texts == [f"बातमी {i}" for i in range(8)]


def test_a_workbook_is_a_dataset(tmp_path: Path) -> None:
    rows = [["", "बातमी", "वर्ग"], *([i, f"आजची बातमी {i}", i % 2] for i in range(40))]
    data = load_data(DataConfig(source=str(workbook(tmp_path / "a.xlsx", A=rows))), 0, tmp_path)
    assert (data.labels, data.report.sizes) == (("0", "1"), {"train": 32, "validation": 4, "test": 4})


def test_empty_workbooks_are_refused(tmp_path: Path) -> None:
    assert "its sheets are 'A', 'B'" in refusal(workbook(tmp_path / "a.xlsx", A=[], B=[[None], [" "]]))
    assert "no rows under its header" in refusal(workbook(tmp_path / "b.xlsx", A=[["text", "label"]]))
    assert "more than one column named text" in refusal(workbook(tmp_path / "c.xlsx", A=[["text", "text"], ["a", "b"]]))


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    assert "locked with a password" in refusal(path)
    path.write_bytes(b"text,label\n")
    assert "cannot be read as an Excel workbook" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    assert "cannot be read as an Excel workbook" in refusal(path)


def test_torn_workbooks_are_refused(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", A=[["text", "label"], *(["बातमी", "x"] for _ in range(20))])
    whole = path.read_bytes()
    for end in range(1, len(whole), 211):
        path.write_bytes(whole[:end])
        refusal(path)


def test_every_damaged_part_is_refused_or_read(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", A=[["text", "label"], ["बातमी", 1], ["बातमी", 2]])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for damaged in parts:
        for content in (b"", b"<a", b"<a/>", parts[damaged][: len(parts[damaged]) // 2], b"\xff" * 50):
            with zipfile.ZipFile(path, "w") as archive:
                for name, part in parts.items():
                    archive.writestr(name, content if name == damaged else part)
            with contextlib.suppress(DataError):
                assert read_table(path).rows


def test_a_stray_cell_far_away_costs_nothing(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    sheet["A1"], sheet["A2"], sheet["XFD1048576"] = "text", "अ", "stray"
    book.save(tmp_path / "a.xlsx")
    found = read_table(tmp_path / "a.xlsx")
    assert found.columns == {"text": ["अ", ""], "column 2": ["", "stray"]}
    assert list(found.rows) == [2, 1_048_576]


def test_too_much_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "a.xlsx", A=[["text", "label"], *(["बातमी", "x"] for _ in range(20))])
    monkeypatch.setattr(spreadsheets, "_MAX_CELLS", 39)
    assert "2 columns of 20 rows" in refusal(path)
    monkeypatch.setattr(spreadsheets, "_MAX_UNPACKED_BYTES", 1000)
    assert "unpacks to" in refusal(path)


def test_a_formula_counts_with_its_last_value(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", A=[["text", "label"], ["=1+1", "x"]])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part.replace(b"<v />", b"<v>2</v>").replace(b"<v></v>", b"<v>2</v>"))
    path.write_bytes(changed.getvalue())
    assert read_table(path).columns == {"text": ["2"], "label": ["x"]}
