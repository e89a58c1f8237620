"""Which columns hold texts and labels: found by name or shape, told, or asked for."""

import json
from pathlib import Path

import pytest

from engine.errors import DataError
from engine.texts.columns import Columns, find_columns, find_text_column, is_index, split_column
from engine.texts.reading import Table, read_table


def table(columns: dict[str, list[str]]) -> Table:
    return Table(Path("news.csv"), columns, range(2, 2 + len(next(iter(columns.values())))))


TEXTS = ["मुंबईत आज मुसळधार पाऊस", "भारताचा सामन्यात विजय", "नवीन मोबाइल बाजारात", "पुण्यात चोरी उघड"]


@pytest.mark.parametrize(
    ("text", "label"),
    [("text", "label"), ("Headline", "CATEGORY"), ("मजकूर", "वर्ग"), ("बातमी", "विषय"), ("News", "Class")],
)
def test_columns_are_found_by_their_names(text: str, label: str) -> None:
    found = find_columns(table({"id": list("1234"), label: list("xyxy"), text: TEXTS}))
    assert found[:2] == (text, label)
    assert len(found.notes) == 2
    assert repr(text) in found.notes[0]
    assert "found by its name" in found.notes[1]


def test_columns_are_found_by_their_shape() -> None:
    found = find_columns(table({"id": list("1234"), "b": list("xyxy"), "a": TEXTS}))
    assert found[:2] == ("a", "b")
    assert "long values" in found.notes[0]
    assert "few distinct values" in found.notes[1]


@pytest.mark.parametrize(
    "index",
    [
        {"column 1": list("01234567")},
        {"column 1": list("73015264")},
        {"Unnamed: 0": list("73015264")},
        {"क्रमांक": list("०१२३४५६७")},
        {"rank": [str(number) for number in range(1998, 2006)]},
        {"__index_level_0__": ["7", "3", "100000000000", "1", "5", "2", "6", "4"]},
    ],
)
def test_an_index_is_neither_text_nor_label(index: dict[str, list[str]]) -> None:
    found = find_columns(table(index | {"a": list("एकदोनतीन")[:8], "b": list("10101010")}), label_column="b")
    assert found.text == "a"
    texts = [f"बातमी {i}" for i in range(8)]
    found = find_columns(table({"b": list("10101010"), "a": texts} | index))
    assert found[:2] == ("a", "b")
    assert f"Column {next(iter(index))!r} numbers the rows" in found.notes[-1]


def test_an_index_that_starts_anew_is_no_label_but_recurring_labels_are() -> None:
    texts = [f"बातमी क्रमांक {i}" for i in range(80)]
    index = [str(i % 40) for i in range(80)]
    labels = [str(1 + i % 4) for i in range(80)]
    assert find_columns(table({"n": index, "a": texts, "b": labels}))[:2] == ("a", "b")
    assert find_columns(table({"column 1": labels, "a": texts}))[:2] == ("a", "column 1"), "labels 1, 2, 3, 4, 1, 2 ..."
    assert find_columns(table({"column 1": sorted(labels), "a": texts})).label == "column 1"


def test_numbers_in_no_order_under_a_name_may_be_labels_and_told_columns_are_obeyed() -> None:
    columns = {"a": TEXTS, "score": ["3", "1", "3", "1"]}
    assert find_columns(table(columns)).label == "score"
    assert find_columns(table({"id": list("1234"), "a": TEXTS, "b": list("xyxy")}), "id").text == "id"
    assert find_text_column(table({"id": list("1234")}), None)[0] == "id", "where there is nothing else"
    assert not is_index(table({"id": ["9" * 5000] * 4}), "id")


def test_columns_that_are_told_need_no_note_and_may_differ_in_case() -> None:
    columns = {"text": list("abcd"), "Other": TEXTS, "label": list("xyxy"), "kind": list("xxyy")}
    assert find_columns(table(columns), "other", "kind") == Columns("Other", "kind", ())


def test_a_missing_column_is_answered_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"no column 'headline' for the text.*'text', 'label'"):
        find_columns(table({"text": TEXTS, "label": list("xyxy")}), "headline")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"b": list("xyxy"), "c": list("xxyy"), "a": TEXTS}, "'b', 'c' could all be it.*'b', 'c', 'a'"),
        ({"b": list("wxyz"), "a": TEXTS}, "none has a few values that recur.*'b', 'a'"),
        ({"a;b": [f"{text};x" for text in TEXTS]}, "separated by another mark"),
        ({"a": TEXTS, "b": TEXTS}, "cannot tell which column holds the texts"),
        ({"पुण्यात आज मुसळधार पाऊस पडला": TEXTS, "x": list("xyxy")}, "not a header"),
        ({"पुण्यात पाऊस": TEXTS, "x": list("xyxy")}, "not a header"),
    ],
)
def test_columns_that_cannot_be_told_are_asked_for(columns: dict[str, list[str]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        find_columns(table(columns))


def test_one_column_cannot_be_both() -> None:
    with pytest.raises(DataError, match="both text and label"):
        find_columns(table({"text": TEXTS, "label": list("xyxy")}), "label", "label")


def test_a_nested_column_cannot_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = ({"text": [text], "body": text, "label": "x"} for text in TEXTS)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(DataError, match="lists, objects or bytes"):
        find_columns(read_table(path), "text")


def test_the_only_column_is_the_text_column() -> None:
    assert find_text_column(table({"कथा": TEXTS}), None)[0] == "कथा"


def test_a_split_column_needs_names_of_splits() -> None:
    columns = {"text": TEXTS, "label": list("xyxy"), "Split": ["train", "Dev", "split", "test"]}
    found = Columns("text", "label")
    assert split_column(table(columns), found) == "Split"
    assert split_column(table(columns | {"Split": list("abcd")}), found) is None
    with pytest.raises(DataError, match="row 4 has 'tset'") as caught:
        split_column(table(columns | {"Split": ["train", "test", "tset", "test"]}), found)
    assert caught.value.row == 4
