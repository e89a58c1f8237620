"""The worker in this process, with training made for each test."""

import errno
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from engine import worker
from engine.config import RunConfig
from engine.errors import ChhatniError, ConfigError, DataError, Diverged, JobError, OutOfMemory, TrainingError
from engine.events import Event, Notice, RunFailed, RunStopped, StepLogged
from engine.home import REPOSITORY, lock_path, run_folder
from engine.runs import event_writer
from engine.runs.failures import read_last_words
from engine.runs.processes import process_created
from engine.runs.run import Run
from engine.store import RunStore
from tests.engine.fake_training import model_loaded, run_finished, run_started, step_logged, train
from tests.engine.waiting import until

Script = Callable[[str, Callable[[], bool]], Iterator[Event]]


def trainer(script: Script, seen: dict[str, object] | None = None) -> worker.Trainer:
    """Make a trainer of a generator that needs only the run id and the stop switch."""

    def made(
        config: RunConfig, *, run_id: str, home: Path, should_stop: Callable[[], bool], resume: bool
    ) -> Iterator[Event]:
        if seen is not None:
            seen.update(config=config, run_id=run_id, home=home, resume=resume)
        return script(run_id, should_stop)

    return made


def queued(store: RunStore, name: str = "") -> Run:
    return store.create(RunConfig(name=name), "cpu")


def test_a_run_passes_through_its_states(store: RunStore) -> None:
    run = queued(store)
    states: list[str] = []
    seen: dict[str, object] = {}

    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        states.append(store.get(run_id).state)
        yield run_started()
        states.append(store.get(run_id).state)
        yield step_logged(1)
        until(lambda: store.get(run_id).step == 1)
        states.append(store.get(run_id).state)
        assert not should_stop()
        yield run_finished(run_id)
        states.append(store.get(run_id).state)  # the end is written at once, and training may still tidy up

    assert worker.run(run.run_id, store.home, trainer(script, seen)) == 0
    assert states == ["starting", "starting", "training", "done"]
    assert seen == {"config": run.config, "run_id": run.run_id, "home": store.home, "resume": False}
    ended = store.get(run.run_id)
    assert (ended.pid, ended.pid_created) == (os.getpid(), process_created(os.getpid()))
    assert [stored.event.kind for stored in store.events(run.run_id)] == ["run_started", "step_logged", "run_finished"]
    for name in ("cpu", f"run-{run.run_id}"):
        FileLock(lock_path(store.home, name)).acquire(blocking=False)  # both are free again


def test_it_resumes_only_from_a_saved_state(store: RunStore) -> None:
    for saved, expected in ((False, False), (True, True)):
        run = queued(store)
        folder = run_folder(store.home, run.run_id) / "resume"
        folder.mkdir(parents=True)
        if saved:
            folder.joinpath("step").write_text("2")
        seen: dict[str, object] = {}
        worker.run(run.run_id, store.home, trainer(lambda run_id, stop: iter([run_finished(run_id)]), seen))
        assert seen["resume"] is expected


FAILURES = [
    (Diverged("The loss is nan."), "Diverged", "The loss is nan.", "lower learning rate"),
    (OutOfMemory("The GPU is full."), "OutOfMemory", "The GPU is full.", "smaller batch size"),
    (MemoryError(), "OutOfMemory", "The memory is used up (MemoryError).", "smaller batch size"),
    (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "OutOfMemory", "memory is used up", "smaller batch"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough"), "OutOfMemory", "used up", "smaller batch size"),
    (OSError(errno.ENOSPC, "No space left on device", "/x"), "OSError", "no space left on the disk", "Free some space"),
    (
        type("SafetensorError", (Exception,), {})("No space left on device (os error 28)"),
        "Saf",
        "no space",
        "Free some",
    ),
    (DataError("Row 3 has no label."), "DataError", "Row 3 has no label.", "Correct the dataset"),
    (ConfigError({"a": "A is 1.", "b": "B is 2."}), "ConfigError", "A is 1.\nB is 2.", "settings corrected"),
    (TrainingError("It cannot."), "TrainingError", "It cannot.", "Resume"),
    (ChhatniError("Some."), "ChhatniError", "Some.", "Remove the cause"),
    (ValueError("bad value."), "ValueError", "An unexpected error ended the run: ValueError: bad value.", "log.txt"),
]


@pytest.mark.parametrize(("error", "name", "message", "next_step"), FAILURES, ids=lambda value: type(value).__name__)
def test_every_failure_says_what_to_do(
    store: RunStore, capsys: pytest.CaptureFixture[str], error: Exception, name: str, message: str, next_step: str
) -> None:
    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        yield step_logged(1)
        raise error

    run = queued(store)
    assert worker.run(run.run_id, store.home, trainer(script)) == 1
    failed = store.get(run.run_id)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.error.startswith(name)
    assert message in failed.error.message
    assert next_step in failed.error.next_step
    assert [stored.event for stored in store.events(run.run_id)] == [step_logged(1), failed.error]
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_cause_below_decides_the_next_step(store: RunStore) -> None:
    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        yield run_started()
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise TrainingError("The checkpoint could not be saved.") from error

    run = queued(store)
    worker.run(run.run_id, store.home, trainer(script))
    failure = store.get(run.run_id).error
    assert failure is not None
    assert (failure.error, failure.next_step[:15]) == ("TrainingError", "Free some space")


@pytest.mark.parametrize(
    "events", [[], [step_logged(1)], [run_finished("x"), step_logged(2)]], ids=["nothing", "no end", "after the end"]
)
def test_training_that_breaks_its_word_is_a_failure(store: RunStore, events: list[Event]) -> None:
    run = queued(store)
    assert worker.run(run.run_id, store.home, trainer(lambda run_id, stop: iter(events))) == 1
    expected = "done" if any(event.kind == "run_finished" for event in events) else "failed"
    assert store.get(run.run_id).state == expected


def test_an_event_is_in_the_store_while_training_is_busy(store: RunStore) -> None:
    delays: list[float] = []

    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        for number in range(3):
            began = time.monotonic()
            yield Notice(message=str(number))
            until(lambda: len(store.events(run_id)) > number)  # noqa: B023 - read at once
            delays.append(time.monotonic() - began)
        yield run_finished(run_id)

    worker.run(queued(store).run_id, store.home, trainer(script))
    assert len(delays) == 3
    assert max(delays) < 0.5, delays  # 0.2 s and room for a busy machine


def test_events_that_come_together_are_written_together(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    append = RunStore.append

    def counted(self: RunStore, run_id: str, events: Sequence[Event]) -> None:
        batches.append(len(events))
        append(self, run_id, events)

    monkeypatch.setattr(RunStore, "append", counted)
    events: list[Event] = [model_loaded(60), *(step_logged(step) for step in range(1, 61))]

    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        for event in events:
            time.sleep(0.003)
            yield event
        yield run_finished(run_id)

    run = queued(store)
    began = time.monotonic()
    worker.run(run.run_id, store.home, trainer(script))
    possible = (time.monotonic() - began) / event_writer.GATHER_S + 2
    assert sum(batches) == 61
    assert len(batches) <= possible, batches
    assert [stored.event for stored in store.events(run.run_id)] == [*events, run_finished(run.run_id)]


def test_it_gives_a_sign_of_life_when_training_is_silent(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_writer, "HEARTBEAT_S", 0.05)

    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        first = store.get(run_id).heartbeat_at
        until(lambda: store.get(run_id).heartbeat_at > first + 0.1)
        yield run_finished(run_id)

    assert worker.run(queued(store).run_id, store.home, trainer(script)) == 0


def test_events_that_cannot_be_written_end_the_run(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: RunStore, run_id: str, events: Sequence[Event]) -> None:
        raise JobError("The disk that holds runs.db is full.")

    stopped_at: list[int] = []

    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        for step in range(1, 500):
            stopped_at[:] = [step]
            yield step_logged(step)
            time.sleep(0.01)

    monkeypatch.setattr(RunStore, "append", full)
    run = queued(store)
    assert worker.run(run.run_id, store.home, trainer(script)) == 1
    assert stopped_at[0] < 100
    failure = store.get(run.run_id).error
    assert failure is not None
    assert "is full" in failure.message

    def full_end(self: RunStore, *_: object, **__: object) -> bool:
        raise JobError("Full indeed.")

    monkeypatch.setattr(RunStore, "end", full_end)
    second = queued(store)
    assert worker.run(second.run_id, store.home, trainer(script)) == 1
    said = read_last_words(capsys.readouterr().out.splitlines(), second.ticket)
    assert said is not None
    assert "is full" in said.message


def test_a_log_that_cannot_be_written_hides_no_failure(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        monkeypatch.setattr(sys, "stdout", FullDisk())
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")
        yield

    run = queued(store)
    assert worker.run(run.run_id, store.home, trainer(script)) == 1
    failed = store.get(run.run_id)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.next_step.startswith("Free some space")


def test_asking_whether_to_stop_is_cheap_and_heard(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = RunStore.stop_requested

    def counted(self: RunStore, run_id: str) -> bool:
        asked.append(run_id)
        return ask(self, run_id)

    monkeypatch.setattr(RunStore, "stop_requested", counted)

    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        yield step_logged(1)
        for _ in range(10_000):
            assert not should_stop()
        assert len(asked) <= 2
        store.request_stop(run_id)
        until(should_stop, seconds=1.5)
        assert should_stop()
        yield RunStopped(step=1)

    run = queued(store)
    assert worker.run(run.run_id, store.home, trainer(script)) == 0
    assert store.get(run.run_id).state == "stopped"


def test_a_run_that_finishes_while_it_is_told_to_stop_is_done(store: RunStore) -> None:
    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        store.request_stop(run_id)
        yield step_logged(1)
        until(lambda: store.get(run_id).step == 1)
        assert store.get(run_id).state == "stopping"
        yield run_finished(run_id)

    run = queued(store)
    worker.run(run.run_id, store.home, trainer(script))
    assert store.get(run.run_id).state == "done"


def test_it_waits_for_the_device_even_if_the_queue_is_empty(store: RunStore) -> None:
    run = queued(store)
    told_to_go = threading.Event()
    with FileLock(lock_path(store.home, "cpu")):
        waiting = threading.Thread(target=worker.run, args=(run.run_id, store.home, train, told_to_go))
        waiting.start()
        time.sleep(0.6)
        assert store.get(run.run_id).state == "queued"
    waiting.join()
    assert store.get(run.run_id).state == "done"


def test_it_leaves_the_queue_when_told_to(store: RunStore) -> None:
    ahead, run = queued(store), queued(store)
    store.set_process(ahead, os.getpid(), process_created(os.getpid()))
    told_to_go = threading.Event()
    waiting = threading.Thread(target=worker.run, args=(run.run_id, store.home, train, told_to_go))
    waiting.start()
    time.sleep(0.4)
    assert store.get(run.run_id).state == "queued"
    told_to_go.set()
    waiting.join(timeout=1)
    assert store.get(run.run_id).state == "stopped"


def test_a_dead_run_ahead_does_not_block_the_queue(store: RunStore) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    created = process_created(child.pid)
    child.wait()
    dead, run = queued(store), queued(store)
    store.set_process(dead, child.pid, created)
    told_to_go = threading.Event()
    waiting = threading.Thread(target=worker.run, args=(run.run_id, store.home, train, told_to_go))
    waiting.start()
    waiting.join(timeout=5)
    told_to_go.set()
    assert (store.get(dead.run_id).state, store.get(run.run_id).state) == ("interrupted", "done")


def test_a_name_given_while_waiting_is_heard(store: RunStore) -> None:
    run = queued(store, "steps=9")
    with FileLock(lock_path(store.home, "cpu")):
        waiting = threading.Thread(target=worker.run, args=(run.run_id, store.home, train))
        waiting.start()
        time.sleep(0.3)
        store.rename(run.run_id, "steps=2")
    waiting.join()
    assert sum(isinstance(stored.event, StepLogged) for stored in store.events(run.run_id)) == 2


def test_a_run_is_taken_once(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LAST_WORKER_PATIENCE_S", 0.1)
    run = queued(store)
    with FileLock(lock_path(store.home, f"run-{run.run_id}")), pytest.raises(JobError, match="Another worker has run"):
        worker.run(run.run_id, store.home, train)
    assert store.get(run.run_id) == run
    worker.run(run.run_id, store.home, train)
    done = store.get(run.run_id)
    with pytest.raises(JobError, match="is done; a worker takes queued runs only"):
        worker.run(run.run_id, store.home, train)
    assert store.get(run.run_id) == done


def test_the_command_line_refuses_nonsense(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHHATNI_HOME", str(store.home))
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    assert worker.main([]) == 2
    assert "usage: python -m engine.worker RUN_ID" in capsys.readouterr().err
    assert worker.main(["../../etc"]) == 1
    assert "'../../etc' is not a run id" in capsys.readouterr().err
    assert worker.main(["nobody"]) == 1
    assert "There is no run 'nobody'" in capsys.readouterr().err


def test_while_it_waits_it_has_nothing_heavy_in_memory() -> None:
    code = (
        "import sys, engine.worker\n"
        "print({'torch', 'transformers', 'datasets', 'pandas', 'numpy', 'engine.training'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True) == "set()\n"


def test_a_run_that_others_ended_stays_as_they_left_it(store: RunStore) -> None:
    def script(run_id: str, should_stop: Callable[[], bool]) -> Iterator[Event]:
        yield step_logged(1)
        store.end(run_id, RunFailed(error="Killed", message="m", next_step="n"), "interrupted")
        yield run_finished(run_id)

    run = queued(store)
    assert worker.run(run.run_id, store.home, trainer(script)) == 0
    assert (store.get(run.run_id).state, store.get(run.run_id).result) == ("interrupted", None)


def test_a_failure_is_the_last_event(store: RunStore) -> None:
    run = queued(store, "steps=9 diverge")
    assert worker.run(run.run_id, store.home, train) == 1
    assert isinstance(store.events(run.run_id)[-1].event, RunFailed)
    assert store.get(run.run_id).step == 2
