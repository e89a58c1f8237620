"""Start, stop and resume the worker processes of runs, and notice those that died.

A worker is a process of its own session, so that closing the studio or the terminal leaves it alone. Its output goes to
``runs/<run_id>/log.txt``: a pipe that nobody reads would freeze training once it is full. Nothing here imports torch.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import cast

import psutil
from filelock import FileLock, Timeout

from engine import standby
from engine.concealing import conceal, for_workers
from engine.config import RunConfig
from engine.errors import JobError, WorkerDied
from engine.events import RunFailed
from engine.home import REPOSITORY, lock_path, run_folder
from engine.runs.device_locks import held_elsewhere
from engine.runs.devices import lock_name
from engine.runs.event_writer import recover
from engine.runs.failures import read_last_words
from engine.runs.processes import is_alive, process_created
from engine.runs.run import ACTIVE, ENDED, Run, RunState
from engine.store import RunStore

WORKER_COMMAND = (sys.executable, "-X", "faulthandler", "-m", "engine.worker")
SPAWN_GRACE_S = 10.0
"""How long a living starter may take to note the process of a run."""
KILL_GRACE_S = 10.0
"""How long a worker may take to save itself once it is told to go."""
_POLL_S = 0.05
_TAIL_BYTES = 8192
_TAIL_LINES = 5
_LAST_WORDS_LINES = 20
"""Lines at the end of a log among which last words are looked for; an interpreter may complain as it ends."""

_children: dict[int, subprocess.Popen[bytes]] = {}
_children_lock = threading.Lock()


def start(store: RunStore, config: RunConfig) -> Run:
    """Queue a run and start its worker, which waits for its turn.

    Raises:
        JobError: if the worker cannot be started; then no run remains.
    """
    run = store.create(config, lock_name(config.training.device))
    try:
        _spawn(store, run)
    except BaseException:
        with suppress(JobError):  # what went wrong first is to be told; without its starter the run counts as dead
            store.set_state(run.run_id, "failed")
            store.delete(run.run_id)
        raise
    return store.get(run.run_id)


def keep_ready(home: Path) -> None:
    """Have a worker import everything that a run needs before one is started; it ends by itself if none comes."""
    standby.keep_ready(WORKER_COMMAND, _environment(home))


def resume(store: RunStore, run_id: str) -> Run:
    """Queue a stopped, interrupted or failed run again; its worker goes on from the last checkpoint, if there is one.

    Raises:
        JobError: if the run is active, done or unknown, or the worker cannot be started.
    """
    reconcile(store)
    device = lock_name(store.get(run_id).config.training.device)
    run = store.requeue(run_id, device)  # of two callers at once, one gets past this line
    try:
        _spawn(store, run)
    except JobError as error:
        event = RunFailed(
            error=type(error).__name__, message=str(error), next_step="Remove the cause, then resume the run."
        )
        store.end(run_id, event, "failed", ticket=run.ticket)
        raise
    return store.get(run_id)


def stop(store: RunStore, run_id: str, *, force: bool = False, grace_s: float = KILL_GRACE_S) -> Run:
    """Ask a run to save itself and stop.

    Args:
        force: ends its process, if it is still there after ``grace_s`` seconds; what came after the last checkpoint is
            lost, and the run is interrupted. Returns when the process is gone.

    Raises:
        JobError: if the run has ended already or is unknown.
    """
    reconcile(store)
    run = store.request_stop(run_id)
    if not force:
        return run
    if run.pid is None:  # its starter is about to note the process
        run = _wait_for_pid(store, run_id)
    if run.pid is not None and not _is_dead(store.home, run):
        _end_process(store.home, run, run.pid, grace_s)
    _reap()
    run = store.get(run_id)
    if run.state in ACTIVE:
        event = RunFailed(
            error="Killed",
            message=f"The worker did not stop by itself within {grace_s:g} s and was ended at step {run.step}.",
            next_step="Resume the run: it goes on from its last checkpoint, or from the start if there is none.",
        )
        store.end(run_id, event, "interrupted", ticket=run.ticket)
    return store.get(run_id)


def reconcile(store: RunStore) -> list[Run]:
    """Mark active runs whose process is dead as interrupted, and return those; a living one is never touched.

    A process that could not write its failure to the store, as on a full disk, has left it in its log: that run failed.
    """
    _reap()
    found = []
    for run in store.runs(states=ACTIVE):
        if not _is_dead(store.home, run):
            continue
        recover(store, run.run_id)
        said = read_last_words(log_tail(store.home, run.run_id, _LAST_WORDS_LINES), run.ticket)
        event, state = (_obituary(store.home, run), "interrupted") if said is None else (said, "failed")
        if store.end(run.run_id, event, cast(RunState, state), ticket=run.ticket):
            found.append(store.get(run.run_id))
    return found


def delete(store: RunStore, run_id: str, *, patience_s: float = KILL_GRACE_S) -> None:
    """Remove an ended run with its files, as soon as its worker has tidied up.

    Raises:
        JobError: if it has not ended, is needed as a base by a run that has not come to its end, does not exist, or its worker
            does not leave.
    """
    reconcile(store)
    run = store.get(run_id)
    deadline = time.monotonic() + patience_s
    while run.state in ENDED and run.pid is not None and not _is_dead(store.home, run):
        if time.monotonic() > deadline:
            raise JobError(
                f"The worker of run {run_id} (process {run.pid}) is still tidying up. Try again in a minute."
            )
        time.sleep(_POLL_S)
    store.delete(run_id)


def position(store: RunStore, run_id: str) -> int:
    """Return how many runs a queued run waits for on its device; 0 means it is its turn, or it waits no more.

    Raises:
        JobError: if there is no such run.
    """
    return store.ahead(run_id)


def waits_for_another_home(store: RunStore, run: Run) -> bool:
    """Tell whether a queued run would start now, did not a run of another home on this machine have its device."""
    return run.state == "queued" and store.ahead(run.run_id) == 0 and held_elsewhere(store.home, run.device)


def log_path(home: Path, run_id: str) -> Path:
    """Return the file that the worker's output goes to; it need not exist yet."""
    return run_folder(home, run_id) / "log.txt"


def log_tail(home: Path, run_id: str, lines: int) -> list[str]:
    """Return the last lines of a run's log, without empty ones; none if there is no log yet."""
    try:
        with log_path(home, run_id).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max(_TAIL_BYTES, 200 * lines)))
            text = conceal(file.read().decode("utf-8", errors="replace"))
    except FileNotFoundError:
        return []
    found = text.split("\n")  # an event may hold what else ends a line in Unicode
    return [line for line in found if line.strip()][-lines:]


def _spawn(store: RunStore, run: Run) -> None:
    """Start the worker of a queued run and note its process.

    Raises:
        JobError: if the system refuses.
    """
    _reap()
    log = log_path(store.home, run.run_id)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            if _give_to_waiting_worker(store, run, log):
                return
            child = subprocess.Popen(
                [*WORKER_COMMAND, run.run_id],
                cwd=REPOSITORY,
                env=_environment(store.home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise JobError(
            f"The worker of run {run.run_id} could not be started ({error.strerror}: {error.filename or log}). "
            "Check free memory and disk space and the rights of the home folder, then try again."
        ) from error
    # Before the child is put where others may reap it: afterwards its id could belong to another process.
    created = process_created(child.pid)
    with _children_lock:
        _children[child.pid] = child
    with suppress(JobError):  # such as a locked database: the worker notes itself, and has more patience
        store.set_process(run, child.pid, created)


def _environment(home: Path) -> dict[str, str]:
    """Return what a worker sees."""
    return {**for_workers(), "CHHATNI_HOME": str(home.resolve()), "PYTHONUNBUFFERED": "1"}


def _give_to_waiting_worker(store: RunStore, run: Run, log: Path) -> bool:
    """Let the worker that waits for a run have this one; False where none waits, or it is gone.

    Its process is noted before it knows of the run: whoever dies in between, the run is never without a process to look for.
    """
    if store.ahead(run.run_id):  # in the queue it would hold memory for hours
        return False
    child = standby.take(_environment(store.home))
    if child is None:
        return False
    try:
        store.set_process(run, child.pid, process_created(child.pid))
    except JobError:  # such as a locked database: a worker that starts from nothing has the time to wait for it
        standby.send_away(child)
        return False
    with _children_lock:
        _children[child.pid] = child
    return standby.hand_over(child, run.run_id, log)


def _reap() -> None:
    """Collect our ended children, which would otherwise stay zombies as long as this process lives."""
    with _children_lock:
        for pid in [pid for pid, child in _children.items() if child.poll() is not None]:
            del _children[pid]


def _is_dead(home: Path, run: Run) -> bool:
    """Tell whether an active run has lost its process; in doubt it has not."""
    if run.pid is None:
        return not (_is_being_started(run) or _is_worked_on(home, run) or _has_worker(run.run_id))
    if is_alive(run.pid, run.pid_created):
        return False
    if is_alive(run.pid, None):
        # Another process has the id, or the clock was set and creation times moved with it: the lock knows.
        return not _is_worked_on(home, run)
    return True


def _is_being_started(run: Run) -> bool:
    """Tell whether the process that queued the run may still start its worker."""
    if run.starter is None or not is_alive(*run.starter):
        return False
    return abs(time.time() - run.heartbeat_at) <= SPAWN_GRACE_S  # a clock that was set back must not prolong it


def _has_worker(run_id: str) -> bool:
    """Look through all processes for a worker of the run whose starter died before it could note it."""
    its_end = ["-m", WORKER_COMMAND[-1], run_id]
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if command[-3:] == its_end and process.info["status"] != psutil.STATUS_ZOMBIE:
            return True
    return False


def _is_worked_on(home: Path, run: Run) -> bool:
    """Tell whether a process holds the lock that a worker keeps for its whole life."""
    try:
        with FileLock(lock_path(home, f"run-{run.run_id}"), blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # the home cannot be written, nor the run marked as dead
        return True


def _obituary(home: Path, run: Run) -> RunFailed:
    process = "The worker process" if run.pid is None else f"The worker process {run.pid}"
    progress = f" at step {run.step} of {run.total_steps}" if run.step else ""
    message = f"{process} ended without a word while the run was {run.state}{progress}."
    last = log_tail(home, run.run_id, _TAIL_LINES)
    if last:
        message += "\nThe last lines of its log:\n" + "\n".join(last)
    return RunFailed(
        error=WorkerDied.__name__,
        message=message,
        next_step="Resume the run: it goes on from its last checkpoint, or from the start if there is none. "
        "If it dies again, the machine may be short of memory or disk space; try a smaller batch size.",
    )


def _wait_for_pid(store: RunStore, run_id: str) -> Run:
    deadline = time.monotonic() + SPAWN_GRACE_S
    while True:
        run = store.get(run_id)
        if run.pid is not None or run.state in ENDED or time.monotonic() > deadline:
            return run
        time.sleep(_POLL_S)


def _end_process(home: Path, run: Run, pid: int, grace_s: float) -> None:
    """Ask the process of a living run and its children to go, then make them.

    Raises:
        JobError: if the system does not let us, or the process survives.
    """
    for sign, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_GRACE_S)):
        try:
            # A worker leads its own group; one started by hand in a shell may belong to the shell's.
            if os.getpgid(pid) == pid:
                os.killpg(pid, sign)
            else:
                os.kill(pid, sign)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise JobError(f"Process {pid} belongs to another user. Ask them to stop the run.") from error
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if _is_dead(home, run):
                return
            time.sleep(_POLL_S)
    raise JobError(
        f"Process {pid} cannot be ended; it waits for a disk or a device. Try again, or restart the machine."
    )
