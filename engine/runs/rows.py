"""The rows of the run database, read and changed on a connection that the store has lent.

Every change of state goes through `move_state`.
"""

import secrets
import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import cast

from engine.errors import JobError, NoSuchRun
from engine.events import Event, ModelLoaded, RunFailed, RunFinished, RunStarted, RunStopped, StepLogged, to_json
from engine.home import REPOSITORY
from engine.runs.run import ENDED, STATES, TRANSITIONS, RunState, run_from_row

_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # none that are mistaken for one another
NEXT_TICKET = "(SELECT coalesce(max(ticket), 0) + 1 FROM runs)"
NEXT_PLACE = "(SELECT coalesce(max(place), 0) + 1 FROM runs)"


def new_id(db: sqlite3.Connection, now: float) -> str:
    """Make an id that sorts by time (UTC) and that nobody has yet."""
    while True:
        suffix = "".join(secrets.choice(_ID_LETTERS) for _ in range(4))
        run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{suffix}"
        if db.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is None:
            return run_id


def row_of(db: sqlite3.Connection, run_id: str) -> sqlite3.Row:
    """Return the row of a run.

    Raises:
        NoSuchRun: if there is none.
    """
    # halves of surrogate pairs, which SQLite refuses, are in no id
    known = run_id.encode("utf-8", "backslashreplace").decode("utf-8")
    found = db.execute("SELECT * FROM runs WHERE run_id = ?", (known,)).fetchone()
    if found is None:
        raise NoSuchRun(f"There is no run {run_id!r}. `python -m engine runs` lists those there are.")
    return cast(sqlite3.Row, found)


def move_state(db: sqlite3.Connection, run_id: str, state: RunState, expected: Collection[RunState] | None) -> bool:
    """Compare and set: the one place where a state changes."""
    sources = [source for source in STATES if state in TRANSITIONS[source] and (expected is None or source in expected)]
    now = time.time()
    started = now if state == "starting" else None
    ended = now if state in ENDED else None
    moved = db.execute(
        "UPDATE runs SET state = ?, started_at = coalesce(started_at, ?), ended_at = coalesce(?, ended_at)"
        f" WHERE run_id = ? AND state IN ({marks(sources)})",
        (state, started, ended, run_id, *sources),
    )
    return moved.rowcount == 1


def append_events(db: sqlite3.Connection, run_id: str, events: Sequence[Event]) -> None:
    """Write events and bring the run's row up to date; the first logged step makes a starting run a training one.

    Raises:
        JobError: if there is no such run.
    """
    now = time.time()
    columns: dict[str, int | float | str] = {"heartbeat_at": now}
    for event in events:
        columns.update(_summary(event))
    assignments = ", ".join(f"{column} = ?" for column in columns)
    updated = db.execute(f"UPDATE runs SET {assignments} WHERE run_id = ?", (*columns.values(), run_id))
    if updated.rowcount == 0:
        raise JobError(f"There is no run {run_id!r} any more; it was deleted while it worked.")
    if any(isinstance(event, StepLogged) for event in events):
        move_state(db, run_id, "training", {"starting"})
    db.executemany(
        "INSERT INTO events (run_id, at, kind, body) VALUES (?, ?, ?, ?)",
        [(run_id, now, event.kind, to_json(event)) for event in events],
    )


def _summary(event: Event) -> dict[str, int | float | str]:
    """Say which columns of the run's row an event changes."""
    match event:
        case StepLogged() | RunStopped():
            return {"step": event.step}
        case RunStarted():  # a run that was killed before its first checkpoint starts over
            return {"step": event.resumed_at_step or 0}
        case ModelLoaded():
            return {"total_steps": event.total_steps}
        case RunFinished():
            return {"result": event.result.model_dump_json()}
        case RunFailed():
            return {"error": to_json(event)}
        case _:
            return {}


def rows_needing(db: sqlite3.Connection, run_id: str, folder: Path) -> list[sqlite3.Row]:
    """Return the rows of runs that are not done and have a run, or what lies in its ``folder``, as their base."""
    others = "FROM runs WHERE state <> 'done' AND run_id <> ?"
    bases = db.execute(f"SELECT DISTINCT json_extract(config, '$.model.base') {others}", (run_id,)).fetchall()
    used = [base for (base,) in bases if base == run_id or _lies_in(base, folder)]
    return db.execute(
        f"SELECT * {others} AND json_extract(config, '$.model.base') IN ({marks(used)}) ORDER BY number",
        (run_id, *used),
    ).fetchall()


def _lies_in(base: str, folder: Path) -> bool:
    """Tell whether a base is a path into a folder, however it is written.

    A relative one may be meant from where this process works or from the repository, where workers do, see `bases.find_base`.
    """
    try:
        path, whole = Path(base).expanduser(), folder.resolve()
        places = (start / path for start in (REPOSITORY, Path()))
        return any(place.resolve().is_relative_to(whole) and place.is_dir() for place in places)
    except (
        OSError,
        RuntimeError,
        ValueError,
    ):  # no such user, links in a circle, a zero byte: no path that can be read
        return False


def marks(values: Collection[str]) -> str:
    """Return a placeholder for each value."""
    return ", ".join("?" * len(values))


def listing(rows: Iterable[sqlite3.Row]) -> str:
    """Name runs for a message, one a line."""
    return "\n".join(f"  {row['run_id']}  {row['name'] or run_from_row(row).title}  ({row['state']})" for row in rows)
