"""The worker that waits for a run, with real processes whose training is `fake_training`."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from engine import jobs, standby
from engine.config import RunConfig
from engine.errors import JobError
from engine.home import REPOSITORY
from engine.runs.processes import is_alive
from engine.runs.run import ENDED, Run
from engine.store import RunStore
from tests.engine.test_jobs import log, until, wait

COMMAND = (sys.executable, "-m", "tests.engine.fake_training")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunStore]:
    monkeypatch.setattr(jobs, "WORKER_COMMAND", COMMAND)
    opened = RunStore(tmp_path / "runs.db")
    yield opened
    if standby._ready is not None:
        standby.send_away(standby._ready.child)
        standby._ready = None
    for child in standby._leaving:
        child.wait(10)
    for run in opened.runs():
        if run.pid is not None and is_alive(run.pid, run.pid_created):
            os.kill(run.pid, signal.SIGKILL)
    opened.close()


def waiting() -> "subprocess.Popen[bytes]":
    assert standby._ready is not None
    return standby._ready.child


def start(store: RunStore, name: str = "steps=2") -> Run:
    return jobs.start(store, RunConfig.parse({"name": name}))


def test_the_next_run_is_worked_on_by_the_worker_that_waits(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.keep_ready(store.home)
    child = waiting()
    jobs.keep_ready(store.home)
    assert waiting() is child, "one is enough"
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "True")  # as scikit-learn does when it is imported
    run = start(store)
    assert run.pid == child.pid
    assert wait(store, run.run_id, "done").pid == child.pid
    assert "waits for cpu" in log(store, run.run_id), "its output goes where that of every worker goes"
    child.wait(10)
    other = start(store)
    assert other.pid != child.pid, "a worker has one run"
    wait(store, other.run_id, "done")


def test_it_goes_on_after_the_studio_has_died_and_an_idle_one_does_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from engine import jobs, standby; from engine.store import RunStore\n"
        "from engine.config import RunConfig\n"
        f"jobs.WORKER_COMMAND = {COMMAND!r}\n"
        "store = RunStore(Path(sys.argv[1]) / 'runs.db')\n"
        "jobs.keep_ready(store.home)\n"
        "run = jobs.start(store, RunConfig.parse({'name': 'steps=20 pause_s=0.1'}))\n"
        "jobs.keep_ready(store.home)\n"
        "print(standby._ready.child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    studio = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert studio.stdout is not None
    idle = psutil.Process(int(studio.stdout.readline()))
    studio.kill()
    studio.communicate()
    store = RunStore(tmp_path / "runs.db")
    (run,) = store.runs()
    assert wait(store, run.run_id, "done", seconds=30).step == 20
    until(lambda: not idle.is_running() or idle.status() == psutil.STATUS_ZOMBIE)
    store.close()


def test_a_worker_that_nobody_needs_ends(tmp_path: Path) -> None:
    code = (
        "from engine import standby; import sys; standby.IMPORTED = (); standby.HOLD_S = standby.IDLE_S = 0.1\n"
        "standby.await_run(sys.stdin.buffer)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdin=subprocess.PIPE)
    try:
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("what", ["setting", "code"])
def test_it_is_not_used_once_something_has_changed(store: RunStore, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    jobs.keep_ready(store.home)
    child = waiting()
    if what == "setting":
        monkeypatch.setenv("CHHATNI_OF_THIS_TEST", "1")
    else:
        changed_at = standby._code_changed_at()
        monkeypatch.setattr(standby, "_code_changed_at", lambda: changed_at + 1.0)
    run = start(store)
    assert run.pid != child.pid
    wait(store, run.run_id, "done")
    assert child.wait(10) == 0
    jobs.keep_ready(store.home)
    assert waiting().pid != child.pid


def test_a_dead_one_is_replaced_and_holds_up_no_run(store: RunStore) -> None:
    jobs.keep_ready(store.home)
    waiting().kill()
    waiting().wait()
    wait(store, start(store).run_id, "done")
    jobs.keep_ready(store.home)
    child = waiting()
    child.kill()
    child.wait()
    jobs.keep_ready(store.home)
    assert waiting().pid != child.pid


def test_one_that_dies_as_it_gets_its_run_is_replaced(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over = standby.hand_over
    died = []

    def too_late(child: "subprocess.Popen[bytes]", run_id: str, log: Path) -> bool:
        child.kill()
        child.wait()
        died.append(child.pid)
        return hand_over(child, run_id, log)

    monkeypatch.setattr(standby, "hand_over", too_late)
    jobs.keep_ready(store.home)
    run = start(store)
    assert run.pid not in died
    assert wait(store, run.run_id, "done")
    assert len(died) == 1


def test_where_its_process_cannot_be_noted_another_worker_starts(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise JobError("The database is locked.")

    jobs.keep_ready(store.home)
    child = waiting()
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "set_process", locked)
        run = start(store)
    assert child.wait(10) == 0
    assert wait(store, run.run_id, "done").pid != child.pid


def test_none_is_kept_where_memory_is_short(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    short = SimpleNamespace(available=standby.SPARE_BYTES - 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: short)
    jobs.keep_ready(store.home)
    assert standby._ready is None


def test_a_starter_killed_at_any_moment_leaves_a_run_that_goes_on_or_is_interrupted(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine import jobs; from engine.store import RunStore\n"
        "from engine.config import RunConfig\n"
        f"jobs.WORKER_COMMAND = {COMMAND!r}\n"
        "store = RunStore(Path(sys.argv[1]) / 'runs.db')\n"
        "jobs.keep_ready(store.home)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "jobs.start(store, RunConfig.parse({'name': 'steps=3 pause_s=0.05'}))\n"
        "print('started', flush=True)\n"
    )
    store, chance = RunStore(tmp_path / "runs.db"), random.Random(0)
    ends = []
    for moment in range(8):
        before = {run.run_id for run in store.runs()}
        starter = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert starter.stdin is not None
        assert starter.stdout is not None
        starter.stdout.readline()
        starter.stdin.write(b"\n")
        starter.stdin.flush()
        time.sleep(0.5 if moment == 0 else chance.uniform(0, 0.05))  # the first has time to start its run
        starter.kill()
        starter.communicate()
        for run in store.runs():
            if run.run_id not in before:
                until(lambda one=run.run_id: bool(jobs.reconcile(store)) or store.get(one).state in ENDED, 30)
                ends.append(store.get(run.run_id).state)
    assert "done" in ends
    assert set(ends) <= {"done", "interrupted"}
    store.close()


def test_a_run_that_only_queues_leaves_the_waiting_worker_where_it_is(store: RunStore) -> None:
    first = start(store, "steps=2000 pause_s=0.02")
    wait(store, first.run_id, "training")
    jobs.keep_ready(store.home)
    child = waiting()
    assert start(store).pid != child.pid, "in the queue it would hold its memory for hours"
    assert waiting() is child
    jobs.stop(store, first.run_id)


def test_files_that_come_and_go_do_not_hold_up_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "jobs.py").write_text("")
    os.utime(engine / "jobs.py", (5.0, 5.0))
    (engine / ".#jobs.py").symlink_to("nobody@nowhere")  # as an editor leaves them
    monkeypatch.setattr(standby, "__file__", str(engine / "standby.py"))
    assert standby._code_changed_at() == 5.0


def test_what_a_waiting_worker_could_not_import_fails_its_run_with_the_reason() -> None:
    code = (
        "from engine import standby\n"
        "standby.IMPORTED = ('no_such_library',); standby._import_all()\n"
        "try:\n    standby.finish_imports()\nexcept ModuleNotFoundError as error:\n    print(error.name)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "no_such_library"
