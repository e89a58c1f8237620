"""One process works on one run: ``python -m engine.worker RUN_ID``.

It waits for its turn (the queue's order and the lock of its device), runs `training.train`, writes what that yields,
and turns whatever goes wrong into a `RunFailed`. While it waits it imports nothing heavy, so a long queue costs little
memory.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

from filelock import FileLock, Timeout

from engine import standby
from engine.concealing import Concealed
from engine.config import RunConfig
from engine.errors import ChhatniError, JobError, StoreLocked
from engine.events import Event, RunFinished, RunStopped
from engine.home import default_home, lock_path, run_folder
from engine.jobs import log_path, reconcile
from engine.runs.device_locks import DeviceLock
from engine.runs.event_writer import RETRY_S, EventWriter
from engine.runs.failures import describe_failure, last_words
from engine.runs.processes import process_created
from engine.runs.run import Run, RunState
from engine.store import RunStore

TURN_POLL_S = 0.25
RECONCILE_EVERY_S = 1.0
STOP_POLL_S = 0.5
STOP_PATIENCE_S = 1.0
LAST_WORKER_PATIENCE_S = 60.0
"""How long the former worker of a resumed run may take to leave."""
BALLAST_BYTES = 262_144
"""Space on the disk that a run holds while it works, to be given up for the last words of a run that filled it."""
STORE_PATIENCE_S = 60.0
"""A run must not die because somebody looks at its database with another tool."""


class Trainer(Protocol):
    """What `training.train` looks like from here."""

    def __call__(
        self, config: RunConfig, *, run_id: str, home: Path, should_stop: Callable[[], bool], resume: bool
    ) -> Iterator[Event]: ...


def main(arguments: Sequence[str] | None = None, train: Trainer | None = None) -> int:
    """Work on the run named on the command line, or on the next that comes (``--standby``); return the exit code."""
    with redirect_stdout(Concealed(sys.stdout)), redirect_stderr(Concealed(sys.stderr)):
        return _main(arguments, train)


def _main(arguments: Sequence[str] | None, train: Trainer | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == [standby.ARGUMENT]:
        given = [standby.await_run(sys.stdin.buffer)]
    if len(given) != 1:
        print("usage: python -m engine.worker RUN_ID", file=sys.stderr)
        return 2
    told_to_go = threading.Event()

    def go(signal_number: int, frame: FrameType | None) -> None:
        told_to_go.set()

    signal.signal(signal.SIGTERM, go)
    signal.signal(signal.SIGINT, go)
    try:
        return run(given[0], default_home(), train, told_to_go)
    except ChhatniError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception:  # noqa: BLE001 - printed here, where its secrets are concealed
        traceback.print_exc()
        return 1


def run(run_id: str, home: Path, train: Trainer | None = None, told_to_go: threading.Event | None = None) -> int:
    """Work on one queued run until it has ended; return the exit code, 0 if it is done or stopped.

    Args:
        train: what trains, by default `training.train`.
        told_to_go: once set, the run saves itself and stops.

    Raises:
        JobError: if the run is unknown or not queued, or another worker has it; then it is left as it is.
    """
    told_to_go = told_to_go or threading.Event()
    run_folder(home, run_id)  # refuses what is no id before it becomes the name of a file
    store = RunStore(home / "runs.db", busy_timeout_s=STORE_PATIENCE_S)
    try:
        with _only_worker(home, run_id):
            this = store.get(run_id)
            if this.state != "queued":
                raise JobError(f"Run {run_id} is {this.state}; a worker takes queued runs only. Resume it instead.")
            store.set_process(this, os.getpid(), process_created(os.getpid()))
            return _wait_and_train(store, this, train, told_to_go)
    finally:
        store.close()


@contextmanager
def _only_worker(home: Path, run_id: str) -> Iterator[None]:
    """Hold the run's own lock, by which others know that it is being worked on."""
    lock = FileLock(lock_path(home, f"run-{run_id}"), timeout=LAST_WORKER_PATIENCE_S)
    try:
        lock.acquire()
    except Timeout:
        raise JobError(f"Another worker has run {run_id} and does not leave. Stop it by force, then resume.") from None
    try:
        yield
    finally:
        lock.release()


def _wait_and_train(store: RunStore, this: Run, train: Trainer | None, told_to_go: threading.Event) -> int:
    device = DeviceLock(store.home, this.device)
    ballast = _hold_ballast(run_folder(store.home, this.run_id))
    try:
        if not _wait_for_turn(store, this, device, told_to_go):
            _end(store, this, RunStopped(step=this.step), "stopped", told_to_go)
            return 0
        _train(store, this, train, told_to_go)
        return 0
    except Exception as error:  # noqa: BLE001 - whatever it is, the person must hear of it
        with suppress(OSError):  # the log lies on the disk that may be full
            traceback.print_exc()
        event = describe_failure(error, log_path(store.home, this.run_id))
        _drop(ballast)
        try:
            _end(store, this, event, "failed", told_to_go)
        except JobError as second:  # the next reconcile finds a dead process and reads this
            _say(str(second))
            _say(last_words(event, this.ticket), stamped=False)
        return 1
    finally:
        _drop(ballast)
        device.release()


def _hold_ballast(folder: Path) -> Path:
    """Take up a little space, to be dropped on a full disk so that the cause can be written."""
    ballast = folder / "ballast"
    with suppress(OSError):  # full already, or a disk that cannot reserve space
        folder.mkdir(parents=True, exist_ok=True)
        with ballast.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
            else:  # macOS
                file.write(b"\0" * BALLAST_BYTES)
    return ballast


def _drop(ballast: Path) -> None:
    with suppress(OSError):  # of a home that became read-only
        ballast.unlink(missing_ok=True)


def _wait_for_turn(store: RunStore, this: Run, device: DeviceLock, told_to_go: threading.Event) -> bool:
    """Return True as soon as the run is first in the queue, has the device and is starting; False if it is to stop."""
    _say(f"Run {this.run_id} ({this.title}) waits for {this.device}.")
    if device.trouble:
        _say(device.trouble)
    reconciled_at, trouble = float("-inf"), ""
    while True:
        try:
            answer = _look_for_turn(store, this, device, told_to_go)
        except StoreLocked as error:
            if told_to_go.is_set():
                return False
            if str(error) != trouble:
                trouble = str(error)
                _say(trouble)
            answer = None
        if answer is not None:
            _say(f"It has {this.device}." if answer else "Told to stop while waiting.")
            return answer
        if time.monotonic() - reconciled_at >= RECONCILE_EVERY_S:
            try:
                reconcile(store)  # a dead run ahead would block the queue
            except JobError as error:  # such as a full disk, of which this run need not die while it waits
                if str(error) != trouble:
                    trouble = str(error)
                    _say(trouble)
            reconciled_at = time.monotonic()
        told_to_go.wait(TURN_POLL_S)


def _look_for_turn(store: RunStore, this: Run, device: DeviceLock, told_to_go: threading.Event) -> bool | None:
    """Return True if the run is starting now, False if it is to stop, None if it is to wait."""
    now = store.get(this.run_id)
    if told_to_go.is_set() or now.stop_requested or now.state != "queued" or now.ticket != this.ticket:
        return False
    if store.ahead(this.run_id) > 0 or not device.take():
        return None
    started = False
    try:
        started = store.set_state(this.run_id, "starting", expected={"queued"})
    finally:
        if not started:
            device.release()
    return True if started else None  # else somebody changed the state in between


def _real_trainer() -> Callable[..., Iterator[Event]]:
    standby.finish_imports()
    from engine.training import train  # imports torch, so only now

    return train


def _train(store: RunStore, this: Run, train: Trainer | None, told_to_go: threading.Event) -> None:
    """Draw events from training until it ends, and write them.

    Raises:
        RuntimeError: if training ends without saying how; and whatever training raises.
    """
    saved = run_folder(store.home, this.run_id) / "resume"
    ended = False
    with EventWriter(store, this.run_id, told_to_go, _say) as writer:
        trainer = train or partial(_real_trainer(), before_saving=writer.flush)
        events = trainer(
            store.get(this.run_id).config,  # it may have been renamed while it waited
            run_id=this.run_id,
            home=store.home,
            should_stop=_StopSwitch(store, this.run_id, told_to_go),
            resume=saved.is_dir() and any(saved.iterdir()),
        )
        for event in events:
            if isinstance(event, RunFinished | RunStopped):
                writer.close()
                state: RunState = "done" if isinstance(event, RunFinished) else "stopped"
                _end(store, this, event, state, told_to_go)
                ended = True
                _say(f"The run is {store.get(this.run_id).state}.")
                continue  # lets training tidy up; it has nothing more to tell
            writer.put(event)
    if not ended:
        raise RuntimeError("training ended without a result")


class _StopSwitch:
    """Tells training whether to stop; asks the store at most twice a second, for training may ask at every step."""

    def __init__(self, store: RunStore, run_id: str, told_to_go: threading.Event) -> None:
        self._store = store
        self._run_id = run_id
        self._told_to_go = told_to_go
        self._asked_at = float("-inf")
        self._stop = False

    def __call__(self) -> bool:
        if self._stop:
            return True
        if self._told_to_go.is_set():
            self._stop = True
            # so that everybody sees it stopping; a database that is locked must not hold up what has to be saved now
            hasty = RunStore(self._store.path, busy_timeout_s=STOP_PATIENCE_S)
            with closing(hasty), suppress(StoreLocked):
                hasty.request_stop(self._run_id)
        elif time.monotonic() - self._asked_at >= STOP_POLL_S:
            self._asked_at = time.monotonic()
            with suppress(StoreLocked):  # it is asked again soon
                self._stop = self._store.stop_requested(self._run_id)
        return self._stop


def _end(store: RunStore, this: Run, event: Event, state: RunState, told_to_go: threading.Event) -> None:
    """Write how the run ended, unless somebody ended it before; a locked database is waited for until the process is to go.

    Raises:
        JobError: if it cannot be written.
    """
    told = False
    while True:
        try:
            store.end(this.run_id, event, state, ticket=this.ticket)
            return
        except StoreLocked as error:
            if told_to_go.is_set():
                raise
            if not told:
                _say(f"{error} The run is {state}; that is written as soon as the database answers.")
                told = True
        told_to_go.wait(RETRY_S)


def _say(text: str, *, stamped: bool = True) -> None:
    with suppress(OSError):  # a log on a full disk must not hide what happened to the run
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}" if stamped else text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
