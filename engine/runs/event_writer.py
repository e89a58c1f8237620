"""Events on their way from training to the store, written by a thread of their own.

A database that another program keeps locked is waited for, however long that takes: events gather here, and training goes on.
Before a checkpoint is saved, what waits is put on the disk beside it (``unwritten.jsonl`` in the run's folder); the next worker of
the run, or whoever finds that it died, writes it to the store first.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from engine.errors import StoreLocked
from engine.events import Event, from_json, to_json
from engine.files.storage import replace_file
from engine.home import lock_path, run_folder
from engine.store import RunStore

GATHER_S = 0.05
"""Events that come within this time are written in one transaction."""
HEARTBEAT_S = 5.0
"""A run that has nothing to tell gives a sign of life after this time."""
RETRY_S = 0.5
"""Pause after a try that met a locked database; the try itself has waited already."""
UNWRITTEN = "unwritten.jsonl"


class EventWriter:
    """Writes events from a thread of its own, so that training never waits for the disk.

    What comes within `GATHER_S` goes into one transaction; with nothing to write it gives a sign of life now and then.
    A write that fails is raised by the next `put` or by `close`; one that meets a locked database is tried again.
    """

    def __init__(
        self,
        store: RunStore,
        run_id: str,
        told_to_go: threading.Event | None = None,
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        """Begin with what an earlier worker of the run could not write.

        Args:
            store: where to.
            run_id: of the run.
            told_to_go: once set, `close` waits no longer for a locked database.
            say: is told when the database is locked and when it answers again.
        """
        self._store = store
        self._run_id = run_id
        self._told_to_go = told_to_go or threading.Event()
        self._say = say
        self._kept = run_folder(store.home, run_id) / UNWRITTEN
        self._changed = threading.Condition()
        self._waiting: list[Event] = _untold(store, run_id, self._kept)
        self._batch: list[Event] = []  # being written
        self._closed = False
        self._hurried = self._writing = False
        self._locked: StoreLocked | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._write, name="event-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, event: Event) -> None:
        """Hand over one event; it is in the store a moment later.

        Raises:
            JobError: if an earlier event could not be written.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise RuntimeError(f"training yielded {event.kind} after it had ended")
            self._waiting.append(event)
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when the disk has everything that was handed over, in the database or, while that is locked, beside it.

        Raises:
            JobError: if something could not be written.
            OSError: if it could not be written beside a locked database either.
        """
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._failure or self._locked or not (self._waiting or self._writing))
            self._hurried = False
            if self._failure is not None:
                raise self._failure
            if self._locked is not None:
                self._keep()
                return
        with suppress(StoreLocked):  # it has the events: only a power cut at this very moment could take them back
            self._store.append(self._run_id, [], durable=True)

    def close(self) -> None:
        """Return when everything is written; closing again changes nothing.

        Raises:
            JobError: if something could not be written.
        """
        with self._changed:
            already = self._closed
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._failure is not None and not already:
            raise self._failure

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting, timeout=HEARTBEAT_S)
                self._changed.wait_for(lambda: self._closed or self._hurried, timeout=GATHER_S if self._waiting else 0)
                self._batch, self._waiting, last, self._writing = self._waiting, [], self._closed, True
            failure: Exception | None = None
            try:
                self._store.append(self._run_id, self._batch)
            except Exception as error:  # noqa: BLE001 - raised where training hears of it
                failure = error
            if self._settle(failure, last):
                return

    def _settle(self, failure: Exception | None, last: bool) -> bool:
        """Take note of what came of a try; tell whether it was the last one."""
        with self._changed:
            if isinstance(failure, StoreLocked) and not (last and self._told_to_go.is_set()):
                if self._locked is None:
                    self._say(f"{failure} Until then the events of this run wait, and nothing of it is lost.")
                self._locked = failure
                self._waiting, self._batch, self._writing = self._batch + self._waiting, [], False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed and self._told_to_go.is_set(), timeout=RETRY_S)
                return False
            if failure is not None:
                with suppress(OSError):  # as of a full disk; then resuming repeats the steps since the checkpoint
                    self._keep()
            elif self._locked is not None:
                self._say("The run database answers again, and has every event.")
            self._locked, self._batch, self._writing = None, [], False
            if failure is None and self._kept.exists():
                try:
                    self._store.append(self._run_id, [], durable=True)  # before what is on the disk is given up
                    self._keep()
                except StoreLocked:
                    pass  # again; the file stays, and what of it is in the store is not written twice
                except Exception as error:  # noqa: BLE001 - raised where training hears of it
                    failure = error
            self._failure = failure
            self._changed.notify_all()
            return last or failure is not None

    def _keep(self) -> None:
        """Put what waits on the disk, in place of what waited before; call with the condition."""
        unwritten = self._batch + self._waiting
        if not unwritten:
            self._kept.unlink(missing_ok=True)
            return
        text = "".join(f"{to_json(event)}\n" for event in unwritten)
        replace_file(self._kept, lambda path: path.write_text(text, encoding="utf-8"))


def read_unwritten(path: Path) -> list[Event]:
    """Return the events that a worker could not write to the store; none where there is no such file or it is another version's."""
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")  # a label may hold what else ends a line in Unicode
        return [from_json(line) for line in lines if line]
    except (FileNotFoundError, ValueError):
        return []


def _untold(store: RunStore, run_id: str, kept: Path) -> list[Event]:
    """Return those of the kept events that the store lacks: a worker may be killed between the two."""
    events = read_unwritten(kept)
    if not events:
        return []
    with suppress(StoreLocked):
        told = {to_json(stored.event) for stored in store.events(run_id)}
        return [event for event in events if to_json(event) not in told]
    return events


def recover(store: RunStore, run_id: str) -> None:
    """Write to the store what a dead worker could not; of several who find it at once, one does.

    Raises:
        JobError: if the store cannot be written.
    """
    kept = run_folder(store.home, run_id) / UNWRITTEN
    if not kept.exists():
        return
    try:
        with FileLock(lock_path(store.home, f"run-{run_id}"), blocking=False):
            if events := _untold(store, run_id, kept):
                store.append(run_id, events)
            kept.unlink(missing_ok=True)
    except (Timeout, OSError):  # somebody else does it, or the home cannot be written
        return
