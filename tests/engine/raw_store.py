"""The database behind a store, past all of its rules, and events to fill it with."""

import sqlite3
from contextlib import closing
from pathlib import Path

from engine.events import Event, Notice


def sql(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """Run one statement on a database and keep what it does; return its rows."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(statement, values).fetchall()
        connection.commit()
        return rows


def notices(count: int, size: int = 1) -> list[Event]:
    """Return events that are told apart by their number, of about so many bytes each."""
    return [Notice(message=f"{number}:" + "x" * size) for number in range(count)]
