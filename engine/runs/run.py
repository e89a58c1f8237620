"""What a run is in the store: its states, its row, and the tables that hold it.

`TRANSITIONS` is the whole life of a run:

    queued -> starting -> training -> done
                              |-> stopping -> stopped     asked to stop, saved
                              |-> failed                  an error, said in `Run.error`
                              `-> interrupted             its process died
    stopped, failed, interrupted -> queued                resumed, at the end of the queue
"""

import sqlite3
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from pydantic import ValidationError

from engine.config import RunConfig
from engine.errors import JobError
from engine.events import Event, RunFailed, from_json
from engine.records import RunResult

RunState = Literal["queued", "starting", "training", "stopping", "stopped", "failed", "done", "interrupted"]

STATES: tuple[RunState, ...] = get_args(RunState)
ACTIVE: frozenset[RunState] = frozenset({"queued", "starting", "training", "stopping"})
"""States in which a run must have a living process."""
ENDED: frozenset[RunState] = frozenset(STATES) - ACTIVE
RESUMABLE: frozenset[RunState] = ENDED - {"done"}

TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    "queued": frozenset({"starting", "stopped", "failed", "interrupted"}),
    "starting": frozenset({"training", "stopping", "stopped", "failed", "done", "interrupted"}),
    "training": frozenset({"stopping", "stopped", "failed", "done", "interrupted"}),
    "stopping": frozenset({"stopped", "failed", "done", "interrupted"}),
    "stopped": frozenset({"queued"}),
    "failed": frozenset({"queued"}),
    "interrupted": frozenset({"queued"}),
    "done": frozenset(),
}

VERSION = 2
SCHEMA = (
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        config TEXT NOT NULL,
        state TEXT NOT NULL,
        device TEXT NOT NULL,
        ticket INTEGER NOT NULL,
        place INTEGER NOT NULL,
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        heartbeat_at REAL NOT NULL,
        pid INTEGER,
        pid_created REAL,
        stop_requested INTEGER NOT NULL DEFAULT 0,
        step INTEGER NOT NULL DEFAULT 0,
        total_steps INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        result TEXT,
        archived INTEGER NOT NULL DEFAULT 0,
        starter_pid INTEGER,
        starter_created REAL
    )""",
    "CREATE INDEX runs_by_state ON runs (state, number)",
    """CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL
    )""",
    "CREATE INDEX events_of_run ON events (run_id, seq, kind)",
)
MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE runs ADD COLUMN place INTEGER NOT NULL DEFAULT 0",
        "UPDATE runs SET place = ticket",
        "ALTER TABLE runs ADD COLUMN archived INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN starter_pid INTEGER",
        "ALTER TABLE runs ADD COLUMN starter_created REAL",
    ),
}
"""What brings a database of an older version to the next one; by the older version."""


@dataclass(frozen=True)
class Run:
    """One run as its row stands; times are unix seconds."""

    run_id: str
    config: RunConfig
    state: RunState
    device: str
    """Name of the lock it takes its turn at, see `devices.lock_name`."""
    ticket: int
    """Drawn when the run joins the queue, and again at each resume: tells its parts from one another."""
    created_at: float
    started_at: float | None
    """When it first had its turn."""
    ended_at: float | None
    heartbeat_at: float
    """Last sign of life from its worker."""
    pid: int | None
    pid_created: float | None
    stop_requested: bool
    step: int
    total_steps: int
    error: RunFailed | None
    result: RunResult | None
    place: int = 0
    """Its place in the queue; lower goes first."""
    archived: bool = False
    """Whether it was put away: kept whole, and left out of the everyday list."""
    starter: tuple[int, float | None] | None = None
    """Id and creation time of the process that queued it last, which starts its worker."""

    @property
    def title(self) -> str:
        """The given name, or the recipe and the base where no name was given."""
        return self.config.title

    @property
    def active(self) -> bool:
        """Whether it waits or works, and so must have a living process."""
        return self.state in ACTIVE


@dataclass(frozen=True)
class StoredEvent:
    """An event, when it was written (unix seconds) and its place in the order of all events."""

    seq: int
    at: float
    event: Event


def run_from_row(row: sqlite3.Row) -> Run:
    """Read a whole row of the table ``runs``.

    Raises:
        JobError: if another version of the program wrote it.
    """
    try:
        config = _config_from_json(row["config"])
        error = None if row["error"] is None else RunFailed.model_validate_json(row["error"])
        result = None if row["result"] is None else _result_from_json(row["result"])
    except ValidationError as problem:
        raise JobError(_foreign(f"Run {row['run_id']}", problem)) from problem
    return Run(
        run_id=row["run_id"],
        config=config,
        state=row["state"],
        device=row["device"],
        ticket=row["ticket"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        heartbeat_at=row["heartbeat_at"],
        pid=row["pid"],
        pid_created=row["pid_created"],
        stop_requested=bool(row["stop_requested"]),
        step=row["step"],
        total_steps=row["total_steps"],
        error=error,
        result=result,
        place=row["place"],
        archived=bool(row["archived"]),
        starter=None if row["starter_pid"] is None else (row["starter_pid"], row["starter_created"]),
    )


# Pages list all runs again and again; equal text is read once, which is safe since what it becomes is frozen.
@lru_cache(maxsize=1024)
def _config_from_json(text: str) -> RunConfig:
    return RunConfig.model_validate_json(text)


@lru_cache(maxsize=1024)
def _result_from_json(text: str) -> RunResult:
    return RunResult.model_validate_json(text)


def event_from_body(body: str, run_id: str, seq: int) -> Event:
    """Read the JSON of a row of the table ``events``.

    Raises:
        JobError: if another version of the program wrote it.
    """
    try:
        return from_json(body)
    except ValidationError as problem:
        raise JobError(_foreign(f"Event {seq} of run {run_id}", problem)) from problem


def _foreign(what: str, problem: ValidationError) -> str:
    first = problem.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    return (
        f"{what} cannot be read ({place}: {first['msg']}); another version of the program wrote it. "
        "Use that version, or name another folder in CHHATNI_HOME."
    )
