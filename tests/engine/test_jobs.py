"""The queue with real worker processes, whose training is `fake_training`."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from engine import jobs
from engine.config import RunConfig
from engine.errors import JobError
from engine.events import RunFailed, RunStarted, StepLogged
from engine.home import REPOSITORY, lock_path, run_folder
from engine.runs.failures import last_words
from engine.runs.processes import is_alive, process_created
from engine.runs.run import ENDED, Run, RunState
from engine.store import RunStore
from tests.engine.waiting import until

LONG = "steps=2000 pause_s=0.02"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunStore]:
    monkeypatch.setattr(jobs, "WORKER_COMMAND", (sys.executable, "-m", "tests.engine.fake_training"))
    opened = RunStore(tmp_path / "runs.db")
    yield opened
    for run in opened.runs():
        if run.pid is not None and is_alive(run.pid, run.pid_created) and run.pid != os.getpid():
            os.kill(run.pid, signal.SIGKILL)
    opened.close()


def start(store: RunStore, name: str = "", device: str = "cpu") -> Run:
    return jobs.start(store, RunConfig.parse({"name": name, "training": {"device": device}}))


def wait(store: RunStore, run_id: str, *states: RunState, seconds: float = 15.0) -> Run:
    """Return the run once it is in one of ``states``."""
    deadline = time.monotonic() + seconds
    while (run := store.get(run_id)).state not in states:
        if time.monotonic() > deadline:
            pytest.fail(f"{run_id} is {run.state}, not one of {states}:\n{log(store, run_id)}")
        time.sleep(0.02)
    return run


def log(store: RunStore, run_id: str) -> str:
    return "\n".join(jobs.log_tail(store.home, run_id, 50))


def gone(run: Run) -> bool:
    return run.pid is not None and not is_alive(run.pid, run.pid_created)


def test_a_run_goes_from_start_to_done_in_a_session_of_its_own(store: RunStore) -> None:
    run = start(store, "steps=3 pause_s=0.2")
    assert run.state in ("queued", "starting")
    assert run.pid is not None
    assert run.pid_created == process_created(run.pid)
    until(lambda: os.getsid(run.pid or 0) == run.pid)
    done = wait(store, run.run_id, "done")
    assert done.result is not None
    assert (done.step, done.total_steps, done.error) == (3, 3, None)
    assert done.started_at is not None
    assert done.ended_at is not None
    assert done.created_at <= done.started_at < done.ended_at
    kinds = [stored.event.kind for stored in store.events(run.run_id)]
    assert kinds == ["run_started", "model_loaded", *["step_logged"] * 3, "run_finished"]
    assert "waits for cpu" in log(store, run.run_id)
    until(lambda: gone(run))


def test_runs_on_one_device_take_turns_in_order(store: RunStore) -> None:
    runs = [start(store, "steps=4 pause_s=0.05") for _ in range(3)]
    assert [jobs.position(store, run.run_id) for run in runs][2] == 2
    spans = []
    for run in runs:
        ended = wait(store, run.run_id, "done")
        assert ended.started_at is not None
        assert ended.ended_at is not None
        spans.append((ended.started_at, ended.ended_at))
    assert spans[0][1] <= spans[1][0]
    assert spans[1][1] <= spans[2][0]
    assert [jobs.position(store, run.run_id) for run in runs] == [0, 0, 0]


def test_another_device_has_its_own_queue(store: RunStore) -> None:
    slow = start(store, LONG)
    wait(store, slow.run_id, "training")
    other = start(store, device="cuda:1")
    assert (other.device, jobs.position(store, other.run_id)) == ("cuda-1", 0)
    wait(store, other.run_id, "done")
    assert store.get(slow.run_id).state == "training"


def test_stop_while_queued_and_while_training(store: RunStore) -> None:
    training, queued = start(store, LONG), start(store, LONG)
    wait(store, training.run_id, "training")
    assert jobs.stop(store, queued.run_id).state == "queued"
    ended = wait(store, queued.run_id, "stopped")
    assert [stored.event.kind for stored in store.events(queued.run_id)] == ["run_stopped"]
    assert (ended.started_at, ended.step) == (None, 0)
    assert store.get(training.run_id).state == "training"

    assert jobs.stop(store, training.run_id).state == "stopping"
    stopped = wait(store, training.run_id, "stopped")
    assert stopped.step > 0
    assert [stored.event.kind for stored in store.events(training.run_id)][-2:] == ["checkpoint_saved", "run_stopped"]
    with pytest.raises(JobError, match="already stopped"):
        jobs.stop(store, training.run_id)


def test_a_stopped_run_resumes_where_it_was_behind_the_others(store: RunStore) -> None:
    first = start(store, "steps=40 pause_s=0.02")
    wait(store, first.run_id, "training")
    jobs.stop(store, first.run_id)
    stopped = wait(store, first.run_id, "stopped")
    second = start(store, LONG)
    wait(store, second.run_id, "training")
    resumed = jobs.resume(store, first.run_id)
    assert (resumed.state, resumed.stop_requested) == ("queued", False)
    assert resumed.pid != stopped.pid
    assert jobs.position(store, first.run_id) == 1
    jobs.stop(store, second.run_id)
    done = wait(store, first.run_id, "done")
    assert done.started_at == stopped.started_at
    starts = [s.event for s in store.events(first.run_id) if isinstance(s.event, RunStarted)]
    assert [event.resumed_at_step for event in starts] == [None, stopped.step]
    steps = [s.event.step for s in store.events(first.run_id) if isinstance(s.event, StepLogged)]
    assert steps == list(range(1, 41))


def test_a_killed_run_is_noticed_and_the_next_one_starts(store: RunStore) -> None:
    first, second = start(store, LONG), start(store, "steps=2")
    assert first.pid is not None
    wait(store, first.run_id, "training")
    until(lambda: store.get(first.run_id).step > 0 and "waits for cpu" in log(store, second.run_id))
    os.kill(first.pid, signal.SIGKILL)  # this process does not collect it: it stays a zombie, and yet counts as dead
    dead = wait(store, first.run_id, "interrupted", seconds=5)
    assert psutil.Process(first.pid).status() == psutil.STATUS_ZOMBIE
    assert dead.error is not None
    assert dead.error.error == "WorkerDied"
    assert f"process {first.pid} ended without a word while the run was training at step" in dead.error.message
    assert "It has cpu." in dead.error.message, "the end of the log is missing"
    assert dead.error.next_step.startswith("Resume the run")
    assert store.events(first.run_id, kinds=["run_failed"])[-1].event == dead.error
    wait(store, second.run_id, "done")
    assert jobs.reconcile(store) == []
    assert not psutil.pid_exists(first.pid), "reconcile left our own zombie"
    assert jobs.resume(store, first.run_id).state == "queued"
    wait(store, first.run_id, "training")


def test_resume_by_two_at_once_makes_one_worker(store: RunStore) -> None:
    run = store.create(RunConfig(name=LONG), "cpu")
    store.end(run.run_id, RunFailed(error="E", message="m", next_step="n"), "failed")
    outcomes: list[str] = []
    gate = threading.Barrier(4)

    def resume() -> None:
        gate.wait()
        try:
            outcomes.append(jobs.resume(store, run.run_id).state)
        except JobError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=resume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [outcome for outcome in outcomes if "cannot be resumed" in outcome]
    assert len(refused) == 3, outcomes

    def workers() -> int:  # a process has no command line for a moment after it was made
        return sum(run.run_id in " ".join(child.cmdline()) for child in psutil.Process().children())

    until(lambda: workers() > 0)
    assert workers() == 1
    wait(store, run.run_id, "training")
    starts = [stored for stored in store.events(run.run_id) if isinstance(stored.event, RunStarted)]
    assert len(starts) == 1


def test_many_can_start_at_once(store: RunStore) -> None:
    runs: list[Run] = []
    threads = [threading.Thread(target=lambda: runs.append(start(store, "steps=1"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.run_id for run in runs}) == 3
    for run in runs:
        wait(store, run.run_id, "done")
        assert len(store.events(run.run_id)) == 4


def test_force_ends_what_does_not_stop(store: RunStore) -> None:
    run = start(store, f"stubborn {LONG}")
    wait(store, run.run_id, "training")
    ended = jobs.stop(store, run.run_id, force=True, grace_s=0.3)
    assert (ended.state, gone(run)) == ("interrupted", True)
    assert ended.error is not None
    assert ended.error.error == "Killed"
    assert "within 0.3 s" in ended.error.message


def test_force_lets_a_run_save_itself(store: RunStore) -> None:
    run = start(store, LONG)
    wait(store, run.run_id, "training")
    ended = jobs.stop(store, run.run_id, force=True)
    assert (ended.state, ended.error, gone(run)) == ("stopped", None, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_to_stop(store: RunStore, number: signal.Signals) -> None:
    run = start(store, LONG)
    assert run.pid is not None
    wait(store, run.run_id, "training")
    os.kill(run.pid, number)
    ended = wait(store, run.run_id, "stopped")
    assert ended.stop_requested
    assert any((run_folder(store.home, run.run_id) / "resume").iterdir())


def test_a_worker_that_dies_at_once_tells_why(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WORKER_COMMAND", (sys.executable, "-c", "import sys; sys.exit('no such thing')"))
    run = start(store)
    until(lambda: gone(run))
    (dead,) = jobs.reconcile(store)
    assert (dead.run_id, dead.state) == (run.run_id, "interrupted")
    assert dead.error is not None
    assert dead.error.message.endswith("log:\nno such thing")


def test_what_a_worker_could_not_write_to_the_store_is_read_from_its_log(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = RunFailed(error="JobError", message="The disk is full.\nReally.", next_step="Free some space.")
    noise = "Exception ignored in: <function finalize>"
    for ticket, cut, state in ((1, None, "failed"), (2, -5, "interrupted"), (99, None, "interrupted")):
        line = last_words(full, ticket)[:cut]  # a ticket other than its own is that of an earlier part of the run
        monkeypatch.setattr(jobs, "WORKER_COMMAND", (sys.executable, "-c", f"print({line!r}, {noise!r}, sep=chr(10))"))
        run = start(store)
        until(lambda run=run: gone(run))  # type: ignore[misc]
        (dead,) = jobs.reconcile(store)
        assert (dead.state, dead.error == full) == (state, state == "failed")


def test_a_worker_that_cannot_be_started_leaves_no_run(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WORKER_COMMAND", (str(store.home / "no-python"),))
    with pytest.raises(JobError, match=r"could not be started .*no-python"):
        start(store)
    assert store.runs() == []
    assert list((store.home / "runs").iterdir()) == []
    run = store.create(RunConfig(), "cpu")
    store.set_state(run.run_id, "stopped")
    with pytest.raises(JobError, match="could not be started"):
        jobs.resume(store, run.run_id)
    failed = store.get(run.run_id)
    assert failed.state == "failed"
    assert failed.error is not None
    assert "could not be started" in failed.error.message


def test_reconcile_spares_the_living(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = store.create(RunConfig(), "cpu")
    store.set_process(alive, os.getpid(), process_created(os.getpid()))
    young = store.create(RunConfig(), "cpu")  # its starter, this process, is about to note the process
    moved = store.create(RunConfig(), "cpu")  # the clock was set, and the creation times moved with it
    store.set_process(moved, os.getpid(), 1000.0)
    with FileLock(lock_path(store.home, f"run-{moved.run_id}")):
        assert jobs.reconcile(store) == []
        assert {run.state for run in store.runs()} == {"queued"}
    assert [run.run_id for run in jobs.reconcile(store)] == [moved.run_id]  # somebody else has its process id
    monkeypatch.setattr(jobs, "SPAWN_GRACE_S", 0.0)
    assert [run.run_id for run in jobs.reconcile(store)] == [young.run_id]
    assert store.get(alive.run_id).state == "queued"


@pytest.mark.parametrize("state", ["queued", "starting", "training", "stopping"])
def test_stop_and_resume_notice_a_dead_worker_first(store: RunStore, state: RunState) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    created = process_created(child.pid)
    child.wait()
    run = store.create(RunConfig(name="steps=1"), "cpu")
    store.set_process(run, child.pid, created)
    for step in ("starting", "training", "stopping"):
        if store.get(run.run_id).state != state:
            store.set_state(run.run_id, step)
    with pytest.raises(JobError, match="already interrupted"):
        jobs.stop(store, run.run_id)
    if state == "training":
        jobs.resume(store, run.run_id)
        wait(store, run.run_id, "done")


def test_resume_refuses_what_is_active_or_done(store: RunStore) -> None:
    run = start(store, "steps=10 pause_s=0.05")
    with pytest.raises(JobError, match="Stop it first, or let it go on"):
        jobs.resume(store, run.run_id)
    wait(store, run.run_id, "done")
    with pytest.raises(JobError, match=r"is done, so it cannot be resumed\. Start a copy"):
        jobs.resume(store, run.run_id)


def test_a_run_outlives_the_one_who_started_it(store: RunStore) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom engine import jobs\nfrom engine.config import RunConfig\n"
        "from engine.store import RunStore\n"
        "jobs.WORKER_COMMAND = (sys.executable, '-m', 'tests.engine.fake_training')\n"
        "config = RunConfig.parse({'name': 'steps=5 pause_s=0.1', 'training': {'device': 'cpu'}})\n"
        "print(jobs.start(RunStore(Path(sys.argv[1])), config).run_id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    run = store.get(done.stdout.strip())
    assert run.state not in ENDED
    assert jobs.reconcile(store) == []
    wait(store, run.run_id, "done")


def test_the_tail_of_a_log_is_bounded(store: RunStore) -> None:
    run_id = store.create(RunConfig(), "cpu").run_id
    assert jobs.log_tail(store.home, run_id, 3) == []
    path = jobs.log_path(store.home, run_id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(b"line %d\n\n" % number for number in range(50_000)) + "अ\xff".encode("utf-8", "replace"))
    assert jobs.log_tail(store.home, run_id, 3) == ["line 49998", "line 49999", "अÿ"]
    path.write_text("first\none\u2028line\n", encoding="utf-8")
    assert jobs.log_tail(store.home, run_id, 3) == ["first", "one\u2028line"], "an event in it may hold such a sign"
    path.write_bytes(b"x" * 100_000)
    assert len(jobs.log_tail(store.home, run_id, 3)[0]) == 8192
