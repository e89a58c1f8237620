"""Runs and their events, in one SQLite file that every process opens for itself.

A run is a row (see `runs`); what it says about itself are rows of ``events``. `append` also keeps the run's row up to
date (step, error, result), so that a list of hundreds of runs never reads an event. Every change of state goes through
`_move`.
"""

import secrets
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import cast

from engine.config import RunConfig
from engine.database import Database
from engine.errors import JobError
from engine.events import Event, ModelLoaded, RunFailed, RunFinished, RunStarted, RunStopped, StepLogged, to_json
from engine.home import lock_path, run_folder
from engine.runs import (
    ACTIVE,
    ENDED,
    RESUMABLE,
    SCHEMA,
    STATES,
    TRANSITIONS,
    VERSION,
    Run,
    RunState,
    StoredEvent,
    event_from_body,
    run_from_row,
)

__all__ = ["ACTIVE", "ENDED", "RESUMABLE", "TRANSITIONS", "Run", "RunState", "RunStore", "StoredEvent"]

_NAME_LENGTH = 120  # as in RunConfig.name
_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # none that are mistaken for one another
_NEXT_TICKET = "(SELECT coalesce(max(ticket), 0) + 1 FROM runs)"


class RunStore:
    """All runs of one home; every method may be called from any thread of any process.

    Every method raises `JobError` if the database is locked, damaged or out of space.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0) -> None:
        self.path = path
        self._database = Database(path, SCHEMA, VERSION, busy_timeout_s)

    @property
    def home(self) -> Path:
        """The home folder, in which the database lies."""
        return self.path.parent

    def close(self) -> None:
        """Close idle connections; the store stays usable."""
        self._database.close()

    def create(self, config: RunConfig, device: str) -> Run:
        """Add a run at the end of the queue of ``device`` (a lock name)."""
        now = time.time()
        with self._database.writing() as db:
            run_id = _new_id(db, now)
            db.execute(
                "INSERT INTO runs (run_id, name, config, state, device, ticket, created_at, heartbeat_at)"
                f" VALUES (?, ?, ?, 'queued', ?, {_NEXT_TICKET}, ?, ?)",
                (run_id, config.name, config.model_dump_json(), device, now, now),
            )
            return run_from_row(_row(db, run_id))

    def get(self, run_id: str) -> Run:
        """Return a run by its whole id.

        Raises:
            JobError: if there is none.
        """
        with self._database.reading() as db:
            return run_from_row(_row(db, run_id))

    def find(self, text: str) -> Run:
        """Return the run with this id, or this unique beginning of an id, or this unique name.

        Raises:
            JobError: if none or several fit; it lists the candidates.
        """
        # a shell passes bytes that are no UTF-8 as halves of surrogate pairs, which SQLite refuses
        wanted = text.strip().encode("utf-8", "backslashreplace").decode("utf-8")
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT * FROM runs WHERE ?1 <> '' AND (substr(run_id, 1, length(?1)) = ?1 OR name = ?1)"
                " ORDER BY number DESC",
                (wanted,),
            ).fetchall()
            newest = [] if rows else db.execute("SELECT * FROM runs ORDER BY number DESC LIMIT 5").fetchall()
        for fits in (
            [row for row in rows if row["run_id"] == wanted],
            [row for row in rows if row["run_id"].startswith(wanted)],
            [row for row in rows if row["name"] == wanted],
        ):
            if len(fits) == 1:
                return run_from_row(fits[0])
        if rows:
            raise JobError(f"{wanted!r} fits {len(rows)} runs. Give more of the id:\n{_listing(rows[:10])}")
        if newest:
            raise JobError(f"No run has the id or name {wanted!r}. The newest are:\n{_listing(newest)}")
        raise JobError(f"No run has the id or name {wanted!r}; there are no runs yet.")

    def runs(self, limit: int | None = None, states: Collection[RunState] | None = None) -> list[Run]:
        """Return runs, the newest first; ``states`` keeps only those in one of them."""
        where = "" if states is None else f"WHERE state IN ({_marks(states)})"
        with self._database.reading() as db:
            rows = db.execute(
                f"SELECT * FROM runs {where} ORDER BY number DESC LIMIT ?",
                (*(states or ()), -1 if limit is None else limit),
            ).fetchall()
        return [run_from_row(row) for row in rows]

    def append(self, run_id: str, events: Sequence[Event]) -> None:
        """Write a batch of events in one transaction and bring the run's row up to date.

        The first logged step makes a starting run a training one. An empty batch is a sign of life and nothing more.

        Raises:
            JobError: if there is no such run.
        """
        with self._database.writing() as db:
            _append(db, run_id, events)

    def end(self, run_id: str, event: Event, state: RunState, *, ticket: int | None = None) -> bool:
        """Write the last event and the ended state together, or nothing of it.

        Args:
            ticket: if given, the run must still hold it; so what belongs to the time before a resume cannot end the
                run that was resumed.

        Returns:
            Whether the run was in a state that leads to ``state``.
        """
        with self._database.writing() as db:
            if ticket is not None and _row(db, run_id)["ticket"] != ticket:
                return False
            if not _move(db, run_id, state, None):
                return False
            _append(db, run_id, [event])
            return True

    def events(self, run_id: str, after: int = 0, kinds: Collection[str] | None = None) -> list[StoredEvent]:
        """Return the events of a run whose ``seq`` is above ``after``, in order; ``kinds`` keeps only those.

        A resumed run repeats the steps after its last checkpoint, and so their events.
        """
        where = "" if kinds is None else f"AND kind IN ({_marks(kinds)})"
        with self._database.reading() as db:
            rows = db.execute(
                f"SELECT seq, at, body FROM events WHERE run_id = ? AND seq > ? {where} ORDER BY seq",
                (run_id, after, *(kinds or ())),
            ).fetchall()
        return [StoredEvent(row["seq"], row["at"], event_from_body(row["body"], run_id, row["seq"])) for row in rows]

    def set_state(self, run_id: str, state: RunState, *, expected: Collection[RunState] | None = None) -> bool:
        """Move a run to ``state`` if `TRANSITIONS` allows it from where it is now.

        Args:
            expected: moves it only out of one of these states.

        Returns:
            Whether it moved.

        Raises:
            JobError: if there is no such run.
        """
        with self._database.writing() as db:
            _row(db, run_id)
            return _move(db, run_id, state, expected)

    def requeue(self, run_id: str, device: str) -> Run:
        """Put an ended run back at the end of the queue, with no process and no stop request.

        Raises:
            JobError: if it has not ended, is done, or does not exist.
        """
        with self._database.writing() as db:
            if not _move(db, run_id, "queued", RESUMABLE):
                run = run_from_row(_row(db, run_id))
                hint = "Start a copy of it instead." if run.state == "done" else "Stop it first, or let it go on."
                raise JobError(f"Run {run_id} is {run.state}, so it cannot be resumed. {hint}")
            db.execute(
                f"UPDATE runs SET device = ?, ticket = {_NEXT_TICKET}, pid = NULL, pid_created = NULL, error = NULL,"
                " stop_requested = 0, ended_at = NULL, heartbeat_at = ? WHERE run_id = ?",
                (device, time.time(), run_id),
            )
            return run_from_row(_row(db, run_id))

    def request_stop(self, run_id: str) -> Run:
        """Ask an active run to save itself and stop; asking again changes nothing.

        Raises:
            JobError: if it has ended already or does not exist.
        """
        with self._database.writing() as db:
            state = _row(db, run_id)["state"]
            if state in ENDED:
                raise JobError(f"Run {run_id} is already {state}; there is nothing to stop.")
            db.execute("UPDATE runs SET stop_requested = 1 WHERE run_id = ?", (run_id,))
            _move(db, run_id, "stopping", None)  # a queued run stays queued until its worker hears of it
            return run_from_row(_row(db, run_id))

    def stop_requested(self, run_id: str) -> bool:
        """Tell whether somebody has asked the run to stop."""
        with self._database.reading() as db:
            row = db.execute("SELECT stop_requested FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return row is not None and bool(row[0])

    def set_process(self, run: Run, pid: int, created: float | None) -> None:
        """Note the process that works for an active run; one that has ended or was resumed since keeps what it has."""
        with self._database.writing() as db:
            db.execute(
                "UPDATE runs SET pid = ?, pid_created = ? WHERE run_id = ? AND ticket = ?"
                f" AND state IN ({_marks(ACTIVE)})",
                (pid, created, run.run_id, run.ticket, *ACTIVE),
            )

    def ahead(self, run_id: str) -> int:
        """Count the runs that a queued run waits for on its device; 0 for a run that is not queued.

        Raises:
            JobError: if there is no such run.
        """
        with self._database.reading() as db:
            row = _row(db, run_id)
            if row["state"] != "queued":
                return 0
            query = (
                "SELECT count(*) FROM runs WHERE state IN ('queued', 'starting', 'training', 'stopping')"
                " AND device = ? AND (state <> 'queued' OR ticket < ?)"
            )
            return int(db.execute(query, (row["device"], row["ticket"])).fetchone()[0])

    def rename(self, run_id: str, name: str) -> Run:
        """Give a run another name; an empty one brings back the title made from its recipe.

        Raises:
            JobError: if the name is too long or there is no such run.
        """
        name = " ".join(name.split())
        if len(name) > _NAME_LENGTH:
            raise JobError(f"The name has {len(name)} characters; at most {_NAME_LENGTH} fit. Shorten it.")
        with self._database.writing() as db:
            config = run_from_row(_row(db, run_id)).config.model_copy(update={"name": name})
            db.execute(
                "UPDATE runs SET name = ?, config = ? WHERE run_id = ?", (name, config.model_dump_json(), run_id)
            )
            return run_from_row(_row(db, run_id))

    def delete(self, run_id: str) -> None:
        """Remove an ended run: its row, its events and its folder with the saved model.

        Raises:
            JobError: if it has not ended, does not exist, or its folder cannot be removed.
        """
        folder = run_folder(self.home, run_id)
        with self._database.writing() as db:
            state = _row(db, run_id)["state"]
            if state not in ENDED:
                raise JobError(f"Run {run_id} is {state}; only an ended run can be deleted. Stop it first.")
            db.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
        try:
            if folder.exists():
                shutil.rmtree(folder)
            lock_path(self.home, f"run-{run_id}").unlink(missing_ok=True)
        except OSError as error:
            raise JobError(
                f"Run {run_id} is off the list, but {error.filename} could not be removed ({error.strerror}). "
                f"Remove the folder {folder} by hand."
            ) from error


def _new_id(db: sqlite3.Connection, now: float) -> str:
    """Make an id that sorts by time (UTC) and that nobody has yet."""
    while True:
        suffix = "".join(secrets.choice(_ID_LETTERS) for _ in range(4))
        run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{suffix}"
        if db.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is None:
            return run_id


def _row(db: sqlite3.Connection, run_id: str) -> sqlite3.Row:
    row = db.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise JobError(f"There is no run {run_id!r}. `python -m engine runs` lists those there are.")
    return cast(sqlite3.Row, row)


def _move(db: sqlite3.Connection, run_id: str, state: RunState, expected: Collection[RunState] | None) -> bool:
    """Compare and set: the one place where a state changes."""
    sources = [source for source in STATES if state in TRANSITIONS[source] and (expected is None or source in expected)]
    now = time.time()
    started = now if state == "starting" else None
    ended = now if state in ENDED else None
    moved = db.execute(
        "UPDATE runs SET state = ?, started_at = coalesce(started_at, ?), ended_at = coalesce(?, ended_at)"
        f" WHERE run_id = ? AND state IN ({_marks(sources)})",
        (state, started, ended, run_id, *sources),
    )
    return moved.rowcount == 1


def _append(db: sqlite3.Connection, run_id: str, events: Sequence[Event]) -> None:
    now = time.time()
    columns: dict[str, int | float | str] = {"heartbeat_at": now}
    for event in events:
        columns.update(_summary(event))
    assignments = ", ".join(f"{column} = ?" for column in columns)
    updated = db.execute(f"UPDATE runs SET {assignments} WHERE run_id = ?", (*columns.values(), run_id))
    if updated.rowcount == 0:
        raise JobError(f"There is no run {run_id!r} any more; it was deleted while it worked.")
    if any(isinstance(event, StepLogged) for event in events):
        _move(db, run_id, "training", {"starting"})
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


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def _listing(rows: Iterable[sqlite3.Row]) -> str:
    return "\n".join(f"  {row['run_id']}  {row['name'] or run_from_row(row).title}  ({row['state']})" for row in rows)
