"""Files and settings as nobody would write them: made, mutated, and cut short."""

import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from openpyxl import Workbook

from engine.config import RunConfig

TEXTS = [f"{first} सामना {number} आज" for number, first in enumerate(("क्रिकेट", "निवडणूक", "डॉक्टर") * 5)]
LABELS = ["खेळ", "राजकारण", "आरोग्य"] * 5
NASTY = (
    *(
        b"\0",
        b'"',
        b'""',
        b"'",
        b",",
        b"\t",
        b";",
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n\n",
        b"\\",
        b"\\ud800",
        b"\xff",
        b"\xfe\xff",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xe2\x80\xa8",
        b"\x1b[31m",
        b"{",
        b"[" * 2000,
        b'{"a":' * 1500,
        b"1e999",
        b"NaN",
    ),
    *(
        b"9" * 5000,
        b"x" * 140_000,
        b'"' + b"y\n" * 500,
        b"text",
        b"label",
        b"split",
        b"train",
        b"null",
        b"true",
        b"<",
        b"&#0;",
    ),
)
"""What upsets readers: separators, marks of encodings, halves of characters, depth, length and words with a meaning."""


def _delimited(separator: str) -> bytes:
    rows = [
        "text" + separator + "label",
        *(f'"{text}"{separator}{label}' for text, label in zip(TEXTS, LABELS, strict=True)),
    ]
    return ("\n".join(rows) + "\n").encode("utf-8")


def _jsonl() -> bytes:
    rows = ({"text": text, "label": label, "n": 1.5} for text, label in zip(TEXTS, LABELS, strict=True))
    return ("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n").encode("utf-8")


def _parquet() -> bytes:
    sink = io.BytesIO()
    columns = {"text": TEXTS, "label": LABELS, "n": list(range(15)), "list": [[number] for number in range(15)]}
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _xlsx() -> bytes:
    book = Workbook()
    sheet = book.active
    sheet.append(["text", "label"])
    for pair in zip(TEXTS, LABELS, strict=True):
        sheet.append(pair)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


SEEDS: dict[str, bytes] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": _jsonl(),
    ".parquet": _parquet(),
    ".xlsx": _xlsx(),
    ".txt": "\n".join(TEXTS).encode("utf-8"),
}


@st.composite
def files(draw: Callable[..., Any]) -> tuple[str, bytes]:
    """Return the ending of a name and the bytes of a file: a whole one in which a few things have gone wrong."""
    ending = draw(st.sampled_from([*SEEDS, ".csv", ".jsonl"]))
    data = draw(st.one_of(st.just(SEEDS[ending]), st.just(SEEDS[ending]), st.binary(max_size=200), _table_text()))
    if ending not in (".parquet", ".xlsx") and draw(st.integers(0, 4)) == 0:
        encoding = draw(st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp1252", "utf-8-sig"]))
        data = data.decode("utf-8", "replace").encode(encoding, "replace")
    for _ in range(draw(st.integers(0, 5))):
        data = _mutated(draw, data)
    return ending, data


def _table_text() -> st.SearchStrategy[bytes]:
    """Tables of any characters at all."""
    cell = st.one_of(
        st.text(max_size=20), st.sampled_from(["text", "label", "split", "id", "", " ", "1", "अ", "\u200d", "\x85"])
    )
    rows = st.lists(st.lists(cell, max_size=5), max_size=12)
    return rows.map(lambda table: "\n".join(",".join(row) for row in table).encode("utf-8", "surrogatepass"))


def _mutated(draw: Callable[..., Any], data: bytes) -> bytes:
    place = draw(st.integers(0, len(data)))
    length = draw(st.integers(0, 64))
    kind = draw(st.sampled_from(["flip", "cut", "drop", "repeat", "insert", "insert"]))
    if kind == "flip" and place < len(data):
        return data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1 :]
    if kind == "cut":
        return data[:place]
    if kind == "drop":
        return data[:place] + data[place + length :]
    if kind == "repeat":
        return data[:place] + data[place : place + length] * 3 + data[place + length :]
    return data[:place] + draw(st.sampled_from(NASTY)) + data[place:]


ODD_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**63, -(2**64), 10**400, 1e308, float("inf"), float("nan"), 5e-324]),
    st.floats(),
    st.text(max_size=30),
    st.text(alphabet=st.characters(categories=("Cs", "Cc", "Cf")), max_size=5),
    st.sampled_from(
        ["\ud800", "\0", "a\x1b[31mb", "x" * 5000, "../..", "~nobody/x", "//", "NaN", "1e9", "०.५", "cuda:99"]
    ),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@st.composite
def settings_values(draw: Callable[..., Any]) -> dict[str, Any]:
    """Return the values of a config, some of which are odd, missing or of another name."""
    values: dict[str, Any] = json.loads(RunConfig().model_dump_json())
    for _ in range(draw(st.integers(1, 4))):
        part = draw(st.sampled_from([*values, "other"]))
        if isinstance(values.get(part), dict) and draw(st.booleans()) and values[part]:
            values[part][draw(st.sampled_from([*values[part], "unknown"]))] = draw(ODD_VALUES)
        elif draw(st.integers(0, 3)) == 0:
            values[part] = draw(ODD_VALUES)
    return values


def command_lines(options: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Make arguments of a command: its own options with odd values, and words that stand alone."""
    word = st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            ["0", "-1", "0.5", "1e999", "nan", "9" * 5000, "\udcff", "\x1b[2J", "%s{0}", "a\0b", "", "--", "-", "अ"]
        ),
    )
    pair = st.tuples(st.sampled_from(options), word).map(list)
    return st.lists(st.one_of(pair, pair, word.map(lambda text: [text])), max_size=3).map(
        lambda parts: [re.sub(r"^\w[\w.-]*/\w[\w.-]*$", "x", text) for part in parts for text in part]  # no hub ids
    )
