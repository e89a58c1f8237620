"""A database that another program keeps locked delays what is told and loses nothing of it."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine import jobs, worker
from engine.config import RunConfig
from engine.errors import Diverged, JobError, StoreLocked
from engine.events import Event, Notice, StepLogged, to_json
from engine.home import run_folder
from engine.runs import event_writer
from engine.runs.event_writer import UNWRITTEN, EventWriter, read_unwritten, recover
from engine.runs.run import Run
from engine.store import RunStore
from tests.engine.fake_training import every_event, run_finished, step_logged
from tests.engine.waiting import until


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunStore]:
    """A store that waits a twentieth of a second for a lock."""
    monkeypatch.setattr(worker, "STORE_PATIENCE_S", 0.05)
    monkeypatch.setattr(worker, "STOP_PATIENCE_S", 0.05)
    for module in (worker, event_writer):
        monkeypatch.setattr(module, "RETRY_S", 0.02)
    opened = RunStore(tmp_path / "runs.db", busy_timeout_s=0.05)
    yield opened
    opened.close()


class Lock:
    """Another program with the database."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("BEGIN IMMEDIATE")

    def open(self) -> None:
        self._connection.rollback()
        self._connection.close()


@contextmanager
def locked(store: RunStore) -> Iterator[None]:
    lock = Lock(store.path)
    yield
    lock.open()


def queued(store: RunStore) -> Run:
    return store.create(RunConfig(), "cpu")


def steps(store: RunStore, run: Run) -> list[int]:
    return [stored.event.step for stored in store.events(run.run_id) if isinstance(stored.event, StepLogged)]


def kept(store: RunStore, run: Run) -> Path:
    return run_folder(store.home, run.run_id) / UNWRITTEN


def trainer(script: Callable[[Callable[[], bool]], Iterator[Event]]) -> worker.Trainer:
    def train(
        config: RunConfig, *, run_id: str, home: Path, should_stop: Callable[[], bool], resume: bool
    ) -> Iterator[Event]:
        return script(should_stop)

    return train


def test_a_locked_database_is_said_to_be_locked(hasty: RunStore) -> None:
    run = queued(hasty)
    with locked(hasty), pytest.raises(StoreLocked, match="locked by another program"):
        hasty.append(run.run_id, [])


def test_events_wait_for_a_locked_database_in_their_order(hasty: RunStore) -> None:
    run, said = queued(hasty), list[str]()
    writer = EventWriter(hasty, run.run_id, say=said.append)
    writer.put(step_logged(1))
    until(lambda: steps(hasty, run) == [1])
    with locked(hasty):
        for step in range(2, 40):
            writer.put(step_logged(step))
            time.sleep(0.005)
        until(lambda: len(said) == 1)
        assert steps(hasty, run) == [1]
    writer.put(step_logged(40))
    writer.close()
    assert steps(hasty, run) == list(range(1, 41))
    assert "locked by another program" in said[0]
    assert said[1:] == ["The run database answers again, and has every event."]
    assert not kept(hasty, run).exists()


def test_a_checkpoint_may_be_saved_while_the_database_is_locked(hasty: RunStore) -> None:
    run = queued(hasty)
    with EventWriter(hasty, run.run_id) as writer:
        with locked(hasty):
            for step in range(1, 6):
                writer.put(step_logged(step))
            writer.flush()
            assert read_unwritten(kept(hasty, run)) == [step_logged(step) for step in range(1, 6)]
            writer.put(step_logged(6))
            writer.flush()
            assert len(read_unwritten(kept(hasty, run))) == 6
        until(lambda: not kept(hasty, run).exists())
        writer.put(step_logged(7))
        writer.flush()
        assert steps(hasty, run) == list(range(1, 8)), "each once"
        assert not kept(hasty, run).exists()


def test_the_next_worker_begins_with_what_the_former_could_not_write(hasty: RunStore) -> None:
    run = queued(hasty)
    path = kept(hasty, run)
    path.parent.mkdir(parents=True)
    events = every_event(run.run_id)
    path.write_text("".join(f"{to_json(event)}\n" for event in events), encoding="utf-8")
    with EventWriter(hasty, run.run_id) as writer:
        writer.put(step_logged(9))
    assert [stored.event for stored in hasty.events(run.run_id)] == [*events, step_logged(9)]
    assert not path.exists()


@pytest.mark.parametrize("torn", ["", "{", '{"kind": "of tomorrow"}\n', "[]\n"])
def test_events_of_another_version_are_left_out(hasty: RunStore, torn: str) -> None:
    run = queued(hasty)
    kept(hasty, run).parent.mkdir(parents=True)
    kept(hasty, run).write_text(torn)
    recover(hasty, run.run_id)
    assert hasty.events(run.run_id) == []


def test_what_a_dead_worker_could_not_write_is_found_with_its_death(hasty: RunStore) -> None:
    run = queued(hasty)
    hasty.set_process(run, 2**22 - 1, 5.0)
    kept(hasty, run).parent.mkdir(parents=True)
    kept(hasty, run).write_text("".join(f"{to_json(step_logged(step))}\n" for step in (1, 2)))
    assert [dead.state for dead in jobs.reconcile(hasty)] == ["interrupted"]
    assert steps(hasty, run) == [1, 2]
    assert [stored.event.kind for stored in hasty.events(run.run_id)][-1] == "run_failed"
    assert not kept(hasty, run).exists()
    jobs.reconcile(hasty)
    assert steps(hasty, run) == [1, 2], "once"


def test_a_run_whose_database_is_locked_throughout_ends_as_it_should(
    hasty: RunStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_POLL_S", 0.0)
    run = queued(hasty)

    def script(should_stop: Callable[[], bool]) -> Iterator[Event]:
        yield step_logged(1)
        until(lambda: steps(hasty, run) == [1])
        lock = Lock(hasty.path)
        for step in range(2, 30):
            assert not should_stop()
            yield step_logged(step)
            time.sleep(0.01)
        threading.Timer(1.0, lock.open).start()
        yield run_finished(run.run_id)

    assert worker.run(run.run_id, hasty.home, trainer(script)) == 0
    assert hasty.get(run.run_id).state == "done"
    assert steps(hasty, run) == list(range(1, 30))
    assert [stored.event.kind for stored in hasty.events(run.run_id)][-1] == "run_finished"
    assert "the events of this run wait" in capsys.readouterr().out


def test_an_end_that_meets_a_locked_database_is_written_later(
    hasty: RunStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    close = EventWriter.close
    held: list[Lock] = []

    def then_locked(self: EventWriter) -> None:
        close(self)
        if not held:
            held.append(Lock(hasty.path))
            threading.Timer(0.6, held[0].open).start()

    monkeypatch.setattr(EventWriter, "close", then_locked)
    for fails in (False, True):
        held.clear()
        run = queued(hasty)

        def script(should_stop: Callable[[], bool], fails: bool = fails, run: Run = run) -> Iterator[Event]:
            yield step_logged(1)
            if fails:
                raise Diverged("The loss is nan.")
            yield run_finished(run.run_id)

        worker.run(run.run_id, hasty.home, trainer(script))
        ended = hasty.get(run.run_id)
        assert ended.state == ("failed" if fails else "done")
        assert (ended.error is not None and ended.error.error == "Diverged") is fails
    assert capsys.readouterr().out.count("is written as soon as the database answers") == 2


def test_a_worker_that_is_told_to_go_does_not_wait_for_ever_and_says_why(
    hasty: RunStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run, told_to_go = queued(hasty), threading.Event()
    locks: list[Lock] = []

    def script(should_stop: Callable[[], bool]) -> Iterator[Event]:
        yield step_logged(1)
        until(lambda: steps(hasty, run) == [1])
        locks.append(Lock(hasty.path))
        for step in range(2, 10):
            yield step_logged(step)
            time.sleep(0.02)
        told_to_go.set()
        assert should_stop()
        yield run_finished(run.run_id)

    began = time.monotonic()
    assert worker.run(run.run_id, hasty.home, trainer(script), told_to_go) == 1
    assert time.monotonic() - began < 5
    said = capsys.readouterr().out
    assert hasty.get(run.run_id).state == "training", "nobody could write more"
    locks[0].open()
    jobs.log_path(hasty.home, run.run_id).write_text(said, encoding="utf-8")
    hasty.set_process(hasty.get(run.run_id), 2**22 - 1, 5.0)
    [ended] = jobs.reconcile(hasty)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.error == "StoreLocked"
    assert "locked by another program" in ended.error.message
    assert "resume the run" in ended.error.next_step
    assert steps(hasty, run) == list(range(1, 10)), "what was told is not lost"


def test_what_a_full_disk_refused_is_kept_for_the_next_worker(hasty: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = queued(hasty)
    append = RunStore.append

    def full(*_: object, **__: object) -> None:
        raise JobError("The disk is full.")

    monkeypatch.setattr(RunStore, "append", full)
    writer = EventWriter(hasty, run.run_id)
    writer.put(step_logged(1))
    with pytest.raises(JobError, match="full"):
        writer.close()
    monkeypatch.setattr(RunStore, "append", append)
    EventWriter(hasty, run.run_id).close()
    assert steps(hasty, run) == [1]


def test_a_run_that_waits_for_its_turn_outlives_a_locked_database(
    hasty: RunStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "TURN_POLL_S", 0.02)
    run = queued(hasty)
    set_process = RunStore.set_process
    locks: list[Lock] = []

    def then_locked(self: RunStore, *arguments: object) -> None:
        set_process(self, *arguments)  # type: ignore[arg-type]
        if not locks:
            locks.append(Lock(hasty.path))
            threading.Timer(0.6, locks[0].open).start()

    monkeypatch.setattr(RunStore, "set_process", then_locked)
    assert worker.run(run.run_id, hasty.home, trainer(lambda stop: iter([run_finished(run.run_id)]))) == 0
    assert hasty.get(run.run_id).state == "done"
    assert capsys.readouterr().out.count("has been locked by another program") == 1


def test_a_disk_that_fails_once_the_database_answers_is_heard_of(
    hasty: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = queued(hasty)
    writer = EventWriter(hasty, run.run_id)
    with locked(hasty):
        writer.put(step_logged(1))
        writer.flush()
        assert kept(hasty, run).exists()

        def full(path: Path, write: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: full(path, None))
        monkeypatch.setattr(event_writer, "replace_file", full)
    until(lambda: not writer._thread.is_alive())
    with pytest.raises(OSError, match="No space left"):
        writer.put(step_logged(2))
    with pytest.raises(OSError, match="No space left"):  # it does not wait for ever
        writer.flush()
    with pytest.raises(OSError, match="No space left"):
        writer.close()


def test_words_may_hold_what_ends_a_line_in_unicode(hasty: RunStore) -> None:
    run = queued(hasty)
    notice = Notice(message="one\u2028two\x85three\x0cfour")
    with EventWriter(hasty, run.run_id) as writer, locked(hasty):
        writer.put(notice)
        writer.flush()
        assert read_unwritten(kept(hasty, run)) == [notice]


def test_what_a_killed_worker_had_just_written_is_not_told_twice(hasty: RunStore) -> None:
    run = queued(hasty)
    hasty.append(run.run_id, [step_logged(1), step_logged(2)])
    kept(hasty, run).parent.mkdir(parents=True)
    kept(hasty, run).write_text("".join(f"{to_json(step_logged(step))}\n" for step in (2, 3)))
    recover(hasty, run.run_id)
    assert steps(hasty, run) == [1, 2, 3]
