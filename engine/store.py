"""Runs and their events, in one SQLite file that every process opens for itself.

A run is a row (see `runs.run`); what it says about itself are rows of ``events``. `append` also keeps the run's row up to
date (step, error, result), so that a list of hundreds of runs never reads an event. Every change of state goes through
`runs.rows.move_state`.
"""

import os
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from engine.config import RunConfig
from engine.errors import ConfigError, JobError
from engine.events import Event
from engine.home import lock_path, run_folder
from engine.runs.database import Database
from engine.runs.processes import process_created
from engine.runs.rows import (
    NEXT_PLACE,
    NEXT_TICKET,
    append_events,
    listing,
    marks,
    move_state,
    new_id,
    row_of,
    rows_needing,
)
from engine.runs.run import (
    ACTIVE,
    ENDED,
    MIGRATIONS,
    RESUMABLE,
    SCHEMA,
    VERSION,
    Run,
    RunState,
    StoredEvent,
    event_from_body,
    run_from_row,
)

_LARGEST = 2**63 - 1  # what SQLite holds as a whole number


class RunStore:
    """All runs of one home; every method may be called from any thread of any process.

    Every method raises `JobError` if the database is locked, damaged or out of space.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0) -> None:
        self.path = path
        self._database = Database(path, SCHEMA, VERSION, busy_timeout_s, MIGRATIONS)

    @property
    def home(self) -> Path:
        """The home folder, in which the database lies."""
        return self.path.parent

    def close(self) -> None:
        """Close idle connections; the store stays usable."""
        self._database.close()

    def create(self, config: RunConfig, device: str) -> Run:
        """Add a run at the end of the queue of ``device`` (a lock name), to be started by this process."""
        now = time.time()
        with self._database.writing(durable=True) as db:
            run_id = new_id(db, now)
            db.execute(
                "INSERT INTO runs (run_id, name, config, state, device, ticket, place, created_at, heartbeat_at,"
                f" starter_pid, starter_created) VALUES (?, ?, ?, 'queued', ?, {NEXT_TICKET}, {NEXT_PLACE}, ?, ?, ?, ?)",
                (run_id, config.name, config.model_dump_json(), device, now, now, *_this_process()),
            )
            return run_from_row(row_of(db, run_id))

    def get(self, run_id: str) -> Run:
        """Return a run by its whole id.

        Raises:
            JobError: if there is none.
        """
        with self._database.reading() as db:
            return run_from_row(row_of(db, run_id))

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
            raise JobError(f"{wanted!r} fits {len(rows)} runs. Give more of the id:\n{listing(rows[:10])}")
        if newest:
            raise JobError(f"No run has the id or name {wanted!r}. The newest are:\n{listing(newest)}")
        raise JobError(f"No run has the id or name {wanted!r}; there are no runs yet.")

    def runs(
        self, limit: int | None = None, states: Collection[RunState] | None = None, *, archived: bool | None = None
    ) -> list[Run]:
        """Return runs, the newest first.

        Args:
            limit: return at most so many.
            states: keep only those in one of these states.
            archived: keep only those that were put away, or only the others; None keeps both.
        """
        kept = [] if states is None else [f"state IN ({marks(states)})"]
        kept += [] if archived is None else [f"archived = {archived:d}"]
        where = f"WHERE {' AND '.join(kept)}" if kept else ""
        with self._database.reading() as db:
            rows = db.execute(
                f"SELECT * FROM runs {where} ORDER BY number DESC LIMIT ?",
                (*(states or ()), -1 if limit is None else min(limit, _LARGEST)),
            ).fetchall()
        return [run_from_row(row) for row in rows]

    def append(self, run_id: str, events: Sequence[Event], *, durable: bool = False) -> None:
        """Write a batch of events in one transaction and bring the run's row up to date.

        The first logged step makes a starting run a training one. An empty batch is a sign of life and nothing more.

        Args:
            durable: return only when the disk has it and all that was written before.

        Raises:
            JobError: if there is no such run.
        """
        with self._database.writing(durable=durable) as db:
            append_events(db, run_id, events)

    def end(self, run_id: str, event: Event, state: RunState, *, ticket: int | None = None) -> bool:
        """Write the last event and the ended state together, or nothing of it.

        Args:
            ticket: if given, the run must still hold it; so what belongs to the time before a resume cannot end the
                run that was resumed.

        Returns:
            Whether the run was in a state that leads to ``state``.
        """
        with self._database.writing(durable=True) as db:
            if ticket is not None and row_of(db, run_id)["ticket"] != ticket:
                return False
            if not move_state(db, run_id, state, None):
                return False
            append_events(db, run_id, [event])
            return True

    def events(self, run_id: str, after: int = 0, kinds: Collection[str] | None = None) -> list[StoredEvent]:
        """Return the events of a run whose ``seq`` is above ``after``, in order; ``kinds`` keeps only those.

        A resumed run repeats the steps after its last checkpoint, and so their events.
        """
        where = "" if kinds is None else f"AND kind IN ({marks(kinds)})"
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
            row_of(db, run_id)
            return move_state(db, run_id, state, expected)

    def requeue(self, run_id: str, device: str) -> Run:
        """Put an ended run back at the end of the queue, with no process and no stop request.

        Raises:
            JobError: if it has not ended, is done, or does not exist.
        """
        with self._database.writing(durable=True) as db:
            if not move_state(db, run_id, "queued", RESUMABLE):
                run = run_from_row(row_of(db, run_id))
                hint = "Start a copy of it instead." if run.state == "done" else "Stop it first, or let it go on."
                raise JobError(f"Run {run_id} is {run.state}, so it cannot be resumed. {hint}")
            db.execute(
                f"UPDATE runs SET device = ?, ticket = {NEXT_TICKET}, place = {NEXT_PLACE}, pid = NULL, pid_created = NULL,"
                " error = NULL, stop_requested = 0, ended_at = NULL, heartbeat_at = ?, archived = 0, starter_pid = ?,"
                " starter_created = ? WHERE run_id = ?",
                (device, time.time(), *_this_process(), run_id),
            )
            return run_from_row(row_of(db, run_id))

    def request_stop(self, run_id: str) -> Run:
        """Ask an active run to save itself and stop; asking again changes nothing.

        Raises:
            JobError: if it has ended already or does not exist.
        """
        with self._database.writing() as db:
            state = row_of(db, run_id)["state"]
            if state in ENDED:
                raise JobError(f"Run {run_id} is already {state}; there is nothing to stop.")
            db.execute("UPDATE runs SET stop_requested = 1 WHERE run_id = ?", (run_id,))
            move_state(db, run_id, "stopping", None)  # a queued run stays queued until its worker hears of it
            return run_from_row(row_of(db, run_id))

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
                f" AND state IN ({marks(ACTIVE)})",
                (pid, created, run.run_id, run.ticket, *ACTIVE),
            )

    def ahead(self, run_id: str) -> int:
        """Count the runs that a queued run waits for on its device; 0 for a run that is not queued.

        Raises:
            JobError: if there is no such run.
        """
        with self._database.reading() as db:
            row = row_of(db, run_id)
            if row["state"] != "queued":
                return 0
            query = (
                "SELECT count(*) FROM runs WHERE state IN ('queued', 'starting', 'training', 'stopping')"
                " AND device = ? AND (state <> 'queued' OR place < ?)"
            )
            return int(db.execute(query, (row["device"], row["place"])).fetchone()[0])

    def move(self, run_id: str, position: int) -> list[str]:
        """Give a queued run another position among the queued runs of its device, 0 for the first.

        Returns:
            The ids of those runs in their new order.

        Raises:
            JobError: if it is not queued, or there is no such run.
        """
        with self._database.writing() as db:
            row = row_of(db, run_id)
            if row["state"] != "queued":
                raise JobError(f"Run {run_id} is {row['state']}; only a queued run has a place in the queue to change.")
            waiting = db.execute(
                "SELECT run_id, place FROM runs WHERE state = 'queued' AND device = ? ORDER BY place", (row["device"],)
            ).fetchall()
            order = [other["run_id"] for other in waiting if other["run_id"] != run_id]
            order.insert(max(0, position), run_id)
            db.executemany(
                "UPDATE runs SET place = ? WHERE run_id = ?",
                [(held["place"], moved) for held, moved in zip(waiting, order, strict=True)],
            )
            return order

    def archive(self, run_id: str, archived: bool = True) -> Run:
        """Put an ended run away, or fetch it back; nothing of it is removed.

        Raises:
            JobError: if it has not ended, or there is no such run.
        """
        with self._database.writing() as db:
            state = row_of(db, run_id)["state"]
            if state not in ENDED:
                raise JobError(f"Run {run_id} is {state}; only an ended run can be archived. Stop it first.")
            db.execute("UPDATE runs SET archived = ? WHERE run_id = ?", (archived, run_id))
            return run_from_row(row_of(db, run_id))

    def rename(self, run_id: str, name: str) -> Run:
        """Give a run another name; an empty one brings back the title made from its recipe.

        Raises:
            JobError: if the name is too long or there is no such run.
        """
        try:
            name = RunConfig.parse({"name": name}).name
        except ConfigError as error:
            raise JobError(str(error)) from None
        with self._database.writing() as db:
            config = run_from_row(row_of(db, run_id)).config.model_copy(update={"name": name})
            db.execute(
                "UPDATE runs SET name = ?, config = ? WHERE run_id = ?", (name, config.model_dump_json(), run_id)
            )
            return run_from_row(row_of(db, run_id))

    def needing(self, run_id: str) -> list[Run]:
        """Return the runs that are not done and have this one as their base, oldest first; it cannot be deleted meanwhile."""
        folder = run_folder(self.home, run_id)
        with self._database.reading() as db:
            return [run_from_row(row) for row in rows_needing(db, run_id, folder)]

    def delete(self, run_id: str) -> None:
        """Remove an ended run: its row, its events and its folder with the saved model.

        Raises:
            JobError: if it has not ended, does not exist, is the base of a run that is not done, or its folder cannot be removed.
        """
        folder = run_folder(self.home, run_id)
        with self._database.writing(durable=True) as db:
            state = row_of(db, run_id)["state"]
            if state not in ENDED:
                raise JobError(f"Run {run_id} is {state}; only an ended run can be deleted. Stop it first.")
            users = rows_needing(db, run_id, folder)
            if users:
                raise JobError(
                    f"Run {run_id} is the base, and so the teacher, of runs that are not done; without it they could not go on:\n"
                    f"{listing(users[:10])}\nLet them end, or delete them first."
                )
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


def _this_process() -> tuple[int, float | None]:
    return os.getpid(), process_created(os.getpid())
