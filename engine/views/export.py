"""Tables and events for other programs: CSV and JSON lines."""

import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime

import pandas as pd

from engine.runs.run import StoredEvent
from engine.views.dotted import dotted

Table = pd.DataFrame
"""What `to_csv` writes; so those who only pass tables on need not know how they are made."""


def to_csv(table: pd.DataFrame) -> bytes:
    """Write a table as CSV (UTF-8 with a byte-order mark, which spreadsheets need for Devanagari).

    A text cell that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection).
    """
    safe = flat(table).reset_index(drop=True)
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column].dtype):
            safe[column] = safe[column].map(_neutral)
    safe.columns = [_neutral(column) for column in safe.columns]
    buffer = io.StringIO()
    safe.to_csv(buffer, index=False, lineterminator="\r\n")
    return buffer.getvalue().encode("utf-8-sig")


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """Return a copy in which a named index is a column and columns of two levels have one: ``("Ours", "x")`` -> ``Ours: x``."""
    named = table.index.name is not None
    one = table.copy()
    if isinstance(one.columns, pd.MultiIndex):
        one.columns = pd.Index([": ".join(map(str, levels)) for levels in one.columns])
    return one.reset_index() if named else one


def events_frame(events: Iterable[StoredEvent]) -> pd.DataFrame:
    """Return one row an event: its number, when it was written (UTC), its kind, and each of its values in a column.

    Values inside values have dotted names; lists stand as JSON.
    """
    rows = []
    for stored in events:
        values = {name: _cell(value) for name, value in dotted(stored.event.model_dump(mode="json")).items()}
        rows.append({"seq": stored.seq, "at": _moment(stored.at), "kind": values.pop("kind")} | values)
    return pd.DataFrame(rows, columns=None if rows else ["seq", "at", "kind"])


def to_json_lines(events: Iterable[StoredEvent]) -> bytes:
    """Write events as JSON lines (UTF-8), each with its number and when it was written (UTC)."""
    lines = (
        json.dumps(
            {"seq": stored.seq, "at": _moment(stored.at)} | stored.event.model_dump(mode="json"), ensure_ascii=False
        )
        for stored in events
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _moment(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds")


def _cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _neutral(value: object) -> object:
    dangerous = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    return f"'{value}" if dangerous else value
