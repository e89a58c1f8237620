"""Files as people have them: every one is read as written or refused with its path, its row and a way out."""

import codecs
import contextlib
import csv
import json
import os
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.texts.columns import find_columns
from engine.texts.reading import read_table


def refusal(path: Path) -> DataError:
    """Read a file that must be refused, and hold the error to the form all of them have."""
    with pytest.raises(DataError) as caught:
        read_table(path)
    error = caught.value
    assert error.path == str(path)
    assert str(path) in str(error)
    assert str(error).endswith("."), "an error is made of sentences"
    return error


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def test_csv_keeps_every_value_as_it_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n007,01\nNA,NA\n"एक, दोन\n""तीन""",1e5\nnull,True\n,2024-01-01\n')
    found = read_table(path)
    assert found.columns == {
        "text": ["007", "NA", 'एक, दोन\n"तीन"', "null", ""],
        "label": ["01", "NA", "1e5", "True", "2024-01-01"],
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_blank_lines_are_no_rows_and_rows_keep_their_numbers(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / "a.csv", ending.join(["", "text,label", "", "अ,x", "   ", '"",y', ""]))
    found = read_table(path)
    assert found.columns == {"text": ["अ", ""], "label": ["x", "y"]}
    assert list(found.rows) == [4, 6]


def test_tsv_and_an_ending_in_capitals(tmp_path: Path) -> None:
    path = write(tmp_path / "a.TSV", "text\tlabel\nएक, दोन\tx\n")
    assert read_table(path).columns == {"text": ["एक, दोन"], "label": ["x"]}


@pytest.mark.parametrize("name", ["news[1].csv", "a*b?.csv", "बातम्या आज.csv", "100%20#1.csv"])
def test_odd_names_are_only_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a::b"
    folder.mkdir()
    assert read_table(write(folder / name, "text,label\nअ,x\n")).columns["text"] == ["अ"]


@pytest.mark.parametrize(
    "content",
    [
        "text,label\nछाटणी,x\n".encode("utf-8-sig"),
        "text,label\nछाटणी,x\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "text,label\nछाटणी,x\n".encode("utf-16-be"),
        "text,label\nछाटणी,x\n".encode("utf-16-le"),
        "text,label\nछाटणी,x\n".encode("utf-16-be"),
        "text\tlabel\r\nछाटणी\tx\r\n".encode("utf-16"),
    ],
)
def test_utf_8_and_utf_16_are_understood_with_and_without_a_byte_order_mark(tmp_path: Path, content: bytes) -> None:
    assert read_table(write(tmp_path / "a.csv", content)).columns == {"text": ["छाटणी"], "label": ["x"]}


def test_a_changed_file_is_read_again_even_if_its_time_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\nजुने,x\n")
    times = path.stat()
    assert read_table(path).columns["text"] == ["जुने"]
    write(path, "text,label\nनवे!,x\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read_table(path).columns["text"] == ["नवे!"]


def test_jsonl_keeps_numbers_dates_and_missing_keys_as_text(tmp_path: Path) -> None:
    lines = [
        '{"text": "एक\u2028दोन", "label": "2024-01-01", "n": 1.50}',
        "",
        '{"label": "2024-01-02", "text": null, "n": true}',
        '{"text": "तीन", "label": 01234, "tags": ["x"]}'.replace("01234", "12"),
    ]
    found = read_table(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert found.columns == {
        "text": ["एक\u2028दोन", "", "तीन"],
        "label": ["2024-01-01", "2024-01-02", "12"],
        "n": ["1.50", "true", ""],
    }
    assert found.nested == ("tags",)
    assert found.rows == [1, 3, 4]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a"', "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"text": "\\ud83d"}', "half a character"),
    ],
)
def test_a_broken_json_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    error = refusal(write(tmp_path / "a.jsonl", '{"text": "a", "label": "x"}\n\n' + line + "\n"))
    assert error.row == 3
    assert said in str(error)


def test_parquet_becomes_text_and_class_ids_become_names(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    features = Features(
        {
            "text": Value("string"),
            "label": ClassLabel(names=["Crime", "Sports"]),
            "year": Value("int64"),
            "vector": [Value("float32")],
        }
    )
    rows = {"text": ["अ", None, "इ"], "label": [1, 0, -1], "year": [2023, None, 2024], "vector": [[1.0], [], [2.0]]}
    Dataset.from_dict(rows, features=features).to_parquet(path)
    found = read_table(path)
    assert found.columns == {"text": ["अ", "", "इ"], "label": ["Sports", "Crime", ""], "year": ["2023", "", "2024"]}
    assert found.nested == ("vector",)


@pytest.mark.parametrize("content", [b"no parquet", b"PAR1" + bytes(range(256)) + b"PAR1"])
def test_parquet_nonsense_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "cannot be read as parquet" in str(refusal(write(tmp_path / "a.parquet", content)))


def test_a_number_that_is_missing_is_no_label(tmp_path: Path) -> None:
    numbers = [1.5, float("nan"), None]
    Dataset.from_dict({"label": numbers}).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").columns["label"] == ["1.5", "", ""]
    lines = "".join(json.dumps({"label": number}) + "\n" for number in [*numbers, "NaN"])
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    assert read_table(tmp_path / "a.jsonl").columns["label"] == ["1.5", "", "", "NaN"]


def test_a_table_of_lists_only_says_so(tmp_path: Path) -> None:
    Dataset.from_dict({"words": [["a"], ["b"]]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"lists, objects or bytes only \(words\)"):
        read_table(tmp_path / "a.parquet")


def test_thousands_of_columns_and_endless_names_keep_a_message_short(tmp_path: Path) -> None:
    names = ["x" * 5000, *(f"c{number}" for number in range(3000))]
    (tmp_path / "a.csv").write_text(",".join(names) + "\nonly one\n", encoding="utf-8")
    with pytest.raises(DataError, match="and 2,981 more") as caught:
        read_table(tmp_path / "a.csv")
    assert len(str(caught.value)) < 800


def test_a_torn_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    Dataset.from_dict({"text": ["अ"] * 50, "label": ["x"] * 50}).to_parquet(path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        if end:
            refusal(write(path, whole[:end]))


@pytest.mark.parametrize(
    ("content", "row", "said"),
    [
        ("text,label\nअ,x\nआ\n", 3, "row 3 has 1 column, but the header has 2 columns (text, label)"),
        ("text,label\nअ,x\n\nआ,इ,y\n", 4, "row 4 has 3 columns"),
        ('text,label\nअ,x\n"आ,y\nइ,x\n', 3, "opened in row 3 is never closed"),
        ('text,label\nअ,"x\n', 2, "never closed"),
        ('text,label\nअ,x\n"', 3, "never closed"),
        ("text,label\n" + "अ" * 200_000 + ",x\n", 2, "field larger than field limit"),
        ("text,text,label\nअ,आ,x\n", 1, "more than one column named text"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, content: str, row: int, said: str) -> None:
    error = refusal(write(tmp_path / "a.csv", content))
    assert error.row == row
    assert said in str(error)


def test_a_nameless_column_gets_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ",text,label,\n0,अ,x,\n1,आ,y,\n")
    assert list(read_table(path).columns) == ["column 1", "text", "label", "column 4"]


@pytest.mark.parametrize(
    ("content", "row", "said"),
    [
        ("text,label\nअ,x\n".encode() + b"caf\xe9,y\n", 3, "byte 0xE9 at offset 20 (line 3)"),
        (codecs.BOM_UTF8 + b"text,label\ncaf\xe9,y\n", 2, "byte 0xE9 at offset 17 (line 2)"),
        ("text,label\nअ,x\n".encode("utf-16") + b"\x00", 3, "is not UTF-16"),
        ("text,label\nअ,x\n".encode("utf-16-le") + b"\x00", 3, "is not UTF-16"),
        (bytes(range(1, 32)) * 4 + b"a\0" * 3, 5, "NUL"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", 1, "is not UTF-8"),
        (b"text,label\n\x00\x01\x02,x\n", 2, "NUL"),
        (b"text,label\n\x00\x01\x02,xx\n", 2, "NUL"),
    ],
)
def test_bytes_that_are_no_text_are_named(tmp_path: Path, content: bytes, row: int, said: str) -> None:
    error = refusal(write(tmp_path / "a.csv", content))
    assert error.row == row
    assert said in str(error)
    assert "UTF-8" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is empty"), ("text,label\n", "no rows under its header"), ("\n \n\n", "only blank lines")],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str, said: str, suffix: str) -> None:
    content = content.replace(",", "\t") if suffix == ".tsv" else content
    assert said in str(refusal(write(tmp_path / f"a{suffix}", content)))


def test_an_empty_parquet_and_jsonl_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    Dataset.from_dict(
        {"text": [], "label": []}, features=Features({n: Value("string") for n in ("text", "label")})
    ).to_parquet(path)
    assert "no rows" in str(refusal(path))
    assert "no rows" in str(refusal(write(tmp_path / "a.jsonl", "\n\n")))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "There is no file" in str(refusal(tmp_path / "nowhere.csv"))
    assert "There is no file" in str(refusal(write(tmp_path / "a.csv", "x") / "inside.csv"))
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    assert "is a folder" in str(refusal(folder))
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in str(refusal(tmp_path / "pipe.csv"))
    for name in ("a\0b.csv", "x" * 5000 + ".csv"):
        with pytest.raises(DataError, match="cannot be opened"):
            read_table(Path(name))


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.csv", "text,label\n")

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "Permission denied" in str(refusal(path))


def test_another_ending_is_refused_with_the_ones_that_work(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "a.xls", b"PK\x03\x04"))
    assert ".csv, .jsonl, .parquet, .tsv, .xlsx" in str(error)
    assert "'.xls'" in str(error)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_of_another_separator_is_read_as_its_header_shows(tmp_path: Path, mark: str) -> None:
    path = write(tmp_path / "a.csv", f'\nlabel{mark}text\r\nx{mark}एक, दोन\r\ny{mark}"तीन{mark} चार"\r\n')
    found = read_table(path)
    assert found.columns == {"label": ["x", "y"], "text": ["एक, दोन", f"तीन{mark} चार"]}
    assert "separated by" in found.notes[0]
    assert found.notes[0] in find_columns(found, "text", "label").notes


def test_a_comma_in_the_header_is_the_separator_whatever_else_stands_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"text; all|of\tit",label\n"एक; दोन",x\n')
    found = read_table(path)
    assert found.columns == {"text; all|of\tit": ["एक; दोन"], "label": ["x"]}
    assert found.notes == ()
    one = write(tmp_path / "b.csv", '"text; all"\nएक\n')
    assert read_table(one).columns == {"text; all": ["एक"]}


cells = st.text(st.sampled_from("aअ\u0947 ,\"'\n\r\t#\\\u2028;"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=6))
def test_whatever_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("cells") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    found = read_table(path)
    assert list(zip(found.columns["text"], found.columns["label"], strict=True)) == rows


@settings(max_examples=100, deadline=None)
@given(
    content=st.binary(min_size=1, max_size=60), suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", ".xlsx"])
)
def test_no_bytes_make_anything_but_a_table_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = write(tmp_path_factory.mktemp("bytes") / f"a{suffix}", content)
    with contextlib.suppress(DataError):
        assert all(len(values) > 0 for values in read_table(path).columns.values())
