"""Tables for other programs."""

import io

import pandas as pd


def to_csv(table: pd.DataFrame) -> bytes:
    """Write a table as CSV (UTF-8 with a byte-order mark, which spreadsheets need for Devanagari).

    A text cell that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection).
    """
    safe = table.reset_index(drop=True).copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column].dtype):
            safe[column] = safe[column].map(_neutral)
    safe.columns = [_neutral(column) for column in safe.columns]
    buffer = io.StringIO()
    safe.to_csv(buffer, index=False, lineterminator="\r\n")
    return buffer.getvalue().encode("utf-8-sig")


def _neutral(value: object) -> object:
    dangerous = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    return f"'{value}" if dangerous else value
