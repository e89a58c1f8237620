"""What fails on the disk: no space, a cut in the middle of a write, a database that is locked or damaged, a read-only home."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine import checkpoints, jobs, worker
from engine.errors import JobError
from engine.events import Notice, StepLogged
from engine.loop import finish
from engine.loop import steps as loop
from engine.runs.processes import is_alive
from engine.runs.run import ACTIVE, Run
from engine.store import RunStore
from tests.faults.harness import Outcome, Workshop, kill, slow_down

AT_STEP = 6
DISK_BYTES = 6_000_000
BLOCK = b"\0" * 4096


def full(shop: Workshop, tries: int) -> Iterator[Outcome]:
    """Fill the disk under a run right before it saves a checkpoint, events or its model."""
    for what, prologue, changes in (
        ("checkpoint", _before_saving, {}),
        ("events", _before_step, {"checkpoint_every_s": 86_400.0}),
        ("model", _before_model, {}),
    ):
        outcome = Outcome(f"disk full as the {what} is saved")
        for number in range(tries):
            with _small_disk(shop.folder / f"full-{what}-{number}") as folder:
                if folder is None:
                    outcome.remarks.append("not tried: mounting a small disk needs root")
                    break
                _fill_and_resume(shop, outcome, RunStore(folder / "runs.db"), prologue, changes)
        yield outcome


def _fill_and_resume(
    shop: Workshop, outcome: Outcome, store: RunStore, prologue: Callable[[Path], object], changes: dict[str, Any]
) -> None:
    outcome.tries += 1
    run = shop.start(store, lambda: prologue(store.home), **changes)
    _wait_for_the_end(store, run)
    ended = shop.truth_after(outcome, run, "failed", "interrupted", store=store)
    if ended is not None:
        outcome.check(ended.state == "failed", f"it is {ended.state}: {ended.error}")
        shop.says(outcome, ended, "", "Free some space")
    with RunStoreOf(store.path) as other:
        outcome.check([each.run_id for each in other.runs()] == [run.run_id], "the list cannot be read on a full disk")
    (store.home / "filler").unlink()
    shop.same_end(outcome, shop.wait(shop.resume(run, store), "done", store=store), store)
    store.close()


class RunStoreOf:
    """A store as another process would open it, closed at the end."""

    def __init__(self, path: Path) -> None:
        self._store = RunStore(path)

    def __enter__(self) -> RunStore:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


def _fill(home: Path) -> None:
    with suppress(OSError), (home / "filler").open("ab", buffering=0) as file:  # until there is no space left
        while True:
            file.write(BLOCK)


def _before_saving(home: Path) -> None:
    save = loop.save_resume_state

    def full_disk(folder: Path, resume: checkpoints.ResumeState) -> int:
        if resume.step == AT_STEP:
            _fill(home)
        return save(folder, resume)

    loop.save_resume_state = full_disk  # type: ignore[assignment]


def _before_step(home: Path) -> None:
    take = loop.Loop._take_step

    def full_disk(self: loop.Loop, indices: list[int]) -> object:
        if self.step + 1 == AT_STEP:
            _fill(home)
        return take(self, indices)

    loop.Loop._take_step = full_disk  # type: ignore[assignment, method-assign]


def _before_model(home: Path) -> None:
    save = finish.save_model

    def full_disk(*arguments: Any) -> None:
        _fill(home)
        save(*arguments)

    finish.save_model = full_disk  # type: ignore[assignment]


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a few megabytes of memory as a disk; None where that is not allowed."""
    folder.mkdir()
    if not _system("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)):
        yield None
        return
    try:
        yield folder
    finally:
        _system("umount", "--lazy", str(folder))


def _system(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def power_cuts(shop: Workshop, tries: int) -> Iterator[Outcome]:
    """End a worker, then cut a file short at a random byte, as if the disk had not kept the rest."""
    for what in ("state.pt", "model.safetensors", "manifest.json", "runs.db-wal"):
        outcome = Outcome(f"power cut in the middle of {what}")
        for number in range(tries):
            _cut_and_resume(shop, outcome, what, f"power-{what}-{number}")
        yield outcome


def _cut_and_resume(shop: Workshop, outcome: Outcome, what: str, name: str) -> None:
    outcome.tries += 1
    before = shop.new_home(name)
    run = shop.start(before)
    kept = (before.home / "runs.db-wal").stat().st_size  # the run itself was flushed to the disk
    saved_at = shop.random.randint(2, 10)
    while before.get(run.run_id).step < saved_at:
        time.sleep(0.01)
    kill(before.get(run.run_id))
    _wait_for_the_end(before, run)
    # a copy, for who closes the database last would tidy its log up
    shutil.copytree(before.home, shop.folder / f"{name}-after", ignore=shutil.ignore_patterns("*-shm"))
    before.close()
    store = shop.new_home(f"{name}-after")
    if what == "runs.db-wal":
        path, least = store.home / what, kept
    else:
        newest = max((shop.folder_of(run, store) / "resume").glob("step-*"))
        path, least = newest / what, 0
    with path.open("r+b") as file:
        file.truncate(shop.random.randint(least, path.stat().st_size - 1))
    shop.truth_after(outcome, run, "interrupted", store=store)
    done = shop.wait(shop.resume(run, store), "done", store=store)
    shop.same_end(outcome, done, store, whole=what != "runs.db-wal")
    if what != "runs.db-wal":
        notices = [s.event.message for s in store.events(run.run_id) if isinstance(s.event, Notice)]
        outcome.check(any("torn" in words for words in notices), "nobody said that the state was torn")
    store.close()


def _wait_for_the_end(store: RunStore, run: Run) -> None:
    """Wait until the worker has gone, without looking at the run as a studio does."""
    while True:
        now = store.get(run.run_id)
        if now.pid is not None and not is_alive(now.pid, now.pid_created):
            return
        time.sleep(0.01)


def databases(shop: Workshop) -> Iterator[Outcome]:
    """Lock the database for a while and for too long, and damage it."""
    yield _locked_for_a_while(shop)
    yield _locked_for_longer(shop)
    yield _locked_for_good(shop)
    yield _damaged(shop)


@contextmanager
def _lock(store: RunStore) -> Iterator[None]:
    connection = sqlite3.connect(store.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def _locked_for_a_while(shop: Workshop) -> Outcome:
    outcome = Outcome("database locked for 4 s", tries=1)
    store = shop.new_home("locked-a-while")
    run = shop.start(store, slow_down)
    shop.wait(run, "training", store=store)
    with _lock(store):
        time.sleep(4)
    shop.same_end(outcome, shop.wait(run, "done", store=store), store)
    store.close()
    return outcome


def _impatient() -> None:
    worker.STORE_PATIENCE_S = 1.0
    slow_down()


def _locked_for_longer(shop: Workshop) -> Outcome:
    outcome = Outcome("database locked for longer than a try waits", tries=1)
    store = shop.new_home("locked-longer")
    run = shop.start(store, _impatient)
    shop.wait(run, "training", store=store)
    with _lock(store):
        time.sleep(8)
    ended = shop.wait(run, "done", store=store)
    steps = [stored.event.step for stored in store.events(run.run_id) if isinstance(stored.event, StepLogged)]
    if steps != sorted(set(steps)) or not steps or steps[-1] != ended.total_steps:
        outcome.lose(f"of the steps {steps} were told")
    shop.same_end(outcome, ended, store)
    store.close()
    return outcome


def _locked_for_good(shop: Workshop) -> Outcome:
    outcome = Outcome("database locked until the worker is told to go", tries=1)
    store = shop.new_home("locked")
    run = shop.start(store, _impatient)
    shop.wait(run, "training", store=store)
    with _lock(store):
        time.sleep(2)
        os.kill(store.get(run.run_id).pid or 0, signal.SIGTERM)
        _wait_for_the_end(store, run)
    ended = shop.truth_after(outcome, run, "failed", store=store)
    if ended is not None:
        shop.says(outcome, ended, "has been locked by another program", "then resume the run")
    shop.same_end(outcome, shop.wait(shop.resume(run, store), "done", store=store), store)
    store.close()
    return outcome


def _damaged(shop: Workshop) -> Outcome:
    outcome = Outcome("database damaged")
    for place in (0, 4096):
        outcome.tries += 1
        store = shop.new_home(f"damaged-{place}")
        run = shop.start(store, slow_down)
        while store.get(run.run_id).step < 2:  # so that the state after the first step is saved
            time.sleep(0.01)
        kill(store.get(run.run_id))
        _wait_for_the_end(store, run)
        store.close()  # the last one to close it writes the log into the database
        whole = store.path.read_bytes()
        with store.path.open("r+b") as file:
            file.seek(place)
            file.write(os.urandom(4096))
        try:
            jobs.reconcile(store)
            store.events(run.run_id)
            outcome.check(False, "nobody noticed the damage")
        except JobError as error:
            outcome.check("is damaged" in str(error) and "Move it away" in str(error), str(error))
        outcome.check(any((shop.folder_of(run, store) / "resume").iterdir()), "what was saved is gone")
        store.close()
        store.path.write_bytes(whole)  # a backup
        shop.truth_after(outcome, run, "interrupted", store=store)
        shop.same_end(outcome, shop.wait(shop.resume(run, store), "done", store=store), store)
        store.close()
    return outcome


def read_only(shop: Workshop) -> Iterator[Outcome]:
    """Take the right to write away, from the whole home and in the midst of a run."""
    yield _read_only_home(shop)
    yield _read_only_run(shop)


def _read_only_home(shop: Workshop) -> Outcome:
    outcome = Outcome("read-only home")
    for closed in (True, False):
        store = shop.new_home(f"read-only-{closed}")
        run = shop.start(store)
        shop.wait(run, "training", store=store)
        kill(store.get(run.run_id))
        _wait_for_the_end(store, run)
        held = sqlite3.connect(store.path)  # keeps the log beside the database
        held.execute("SELECT count(*) FROM runs").fetchone()
        store.close()
        if closed:
            held.close()
        home = str(store.home)
        if not (_system("mount", "--bind", home, home) and _system("mount", "-o", "remount,ro,bind", home)):
            outcome.remarks.append("not tried: mounting needs root")
            return outcome
        outcome.tries += 1
        try:
            with RunStoreOf(store.path) as other:
                outcome.check([each.run_id for each in other.runs()] == [run.run_id], "the list cannot be read")
                outcome.check(other.get(run.run_id).state in ACTIVE, "a state was changed")
                for deed in (lambda: shop.start(other), lambda: jobs.resume(other, run.run_id)):  # noqa: B023
                    try:
                        deed()
                        outcome.check(False, "it said nothing")
                    except JobError as error:
                        outcome.check("writable" in str(error), str(error))
        finally:
            _system("umount", "--lazy", home)
        held.close()
        shop.truth_after(outcome, run, "interrupted", store=store)
        shop.same_end(outcome, shop.wait(shop.resume(run, store), "done", store=store), store)
        store.close()
    return outcome


def _read_only_run(shop: Workshop) -> Outcome:
    outcome = Outcome("disk becomes read-only during a run", tries=1)
    save = loop.save_resume_state

    def prologue() -> None:
        def refused(folder: Path, resume: checkpoints.ResumeState) -> int:
            if resume.step == AT_STEP:
                checkpoints.replace_folder = _refuse  # type: ignore[assignment]
            return save(folder, resume)

        loop.save_resume_state = refused  # type: ignore[assignment]

    run = shop.start(prologue=prologue)
    ended = shop.wait(run, "failed")
    shop.says(outcome, ended, "Read-only file system", "writable, then resume")
    shop.same_end(outcome, shop.wait(shop.resume(run), "done"))
    return outcome


def _refuse(folder: Path, write: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
