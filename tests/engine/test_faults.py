"""What the fault suite found, each once and quickly; ``make faults`` tries the faults themselves."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from engine import jobs, worker
from engine.cli import main
from engine.config import RunConfig
from engine.data import load_data
from engine.errors import CheckpointError, DataError, JobError
from engine.events import Event
from engine.home import lock_path, run_folder
from engine.runs import event_writer
from engine.runs.database import explain
from engine.runs.failures import describe_failure
from engine.runs.processes import process_created
from engine.runs.run import Run
from engine.store import RunStore
from engine.terminal.visible import visible
from engine.texts.reading import read_table
from tests.engine.fake_training import run_finished, step_logged, train
from tests.engine.raw_store import sql


@pytest.fixture
def sleeper() -> Iterator[Callable[..., psutil.Process]]:
    """Start processes that do nothing, and end them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, code: str = "import time; time.sleep(60)") -> psutil.Process:
        started.append(subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True))
        return psutil.Process(started[-1].pid)

    yield start
    for child in started:
        child.kill()
        child.wait()


def orphan(store: RunStore) -> Run:
    """Queue a run whose starter was killed before it could note the worker."""
    run = store.create(RunConfig(), "cpu")
    child = subprocess.Popen([sys.executable, "-c", ""])
    created = process_created(child.pid)
    child.wait()
    sql(store.path, "UPDATE runs SET starter_pid = ?, starter_created = ?", child.pid, created)
    return run


# --- starters and workers --------------------------------------------------------------------------------------------


def test_a_run_whose_starter_was_killed_is_interrupted_at_once_unless_it_has_a_worker(
    store: RunStore, sleeper: Callable[..., psutil.Process]
) -> None:
    run = orphan(store)
    sleeper("-m", "engine.worker", run.run_id)  # stands for the worker that was started, and not noted
    assert jobs.reconcile(store) == []
    alone = orphan(store)
    sleeper("-m", "engine", "show", alone.run_id)  # is about the run, and does not work on it
    assert [dead.run_id for dead in jobs.reconcile(store)] == [alone.run_id]


@pytest.mark.parametrize("shift", [3600.0, -3600.0])
def test_a_clock_that_was_set_keeps_no_run_in_the_queue_for_ever(store: RunStore, shift: float) -> None:
    run = store.create(RunConfig(), "cpu")
    assert jobs.reconcile(store) == []
    sql(store.path, "UPDATE runs SET heartbeat_at = heartbeat_at + ?", shift)
    assert [dead.run_id for dead in jobs.reconcile(store)] == [run.run_id]


def test_force_ends_a_worker_although_the_clock_has_moved_its_creation(
    store: RunStore, sleeper: Callable[..., psutil.Process]
) -> None:
    run = store.create(RunConfig(), "cpu")
    lock = lock_path(store.home, f"run-{run.run_id}")
    code = (
        "import signal, sys, time\nfrom filelock import FileLock\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "lock = FileLock(sys.argv[1])\nlock.acquire()\nprint('held', flush=True)\ntime.sleep(60)"
    )
    process = sleeper(str(lock), code=code)
    deadline = time.monotonic() + 20
    while not _held(lock):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    store.set_process(run, process.pid, 1000.0)
    assert jobs.stop(store, run.run_id, force=True, grace_s=0.1).state == "interrupted"
    assert not _held(lock), "the worker still works on a run that is said to have ended"
    assert process.status() == psutil.STATUS_ZOMBIE


def _held(lock: Path) -> bool:
    held = FileLock(lock)
    try:
        held.acquire(blocking=False)
    except TimeoutError:
        return True
    held.release()
    return False


def test_a_starter_that_cannot_note_the_process_leaves_it_to_the_worker(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise JobError("The run database has been locked by another program.")

    monkeypatch.setattr(jobs, "WORKER_COMMAND", (sys.executable, "-c", "import time; time.sleep(5)"))
    monkeypatch.setattr(RunStore, "set_process", locked)
    run = jobs.start(store, RunConfig.parse({"training": {"device": "cpu"}}))
    assert run.state == "queued"
    assert jobs.reconcile(store) == []
    for child in psutil.Process().children():
        if child.cmdline()[-1:] == [run.run_id]:
            child.send_signal(signal.SIGKILL)


def test_a_waiting_run_survives_a_home_that_cannot_be_written(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> list[Run]:
        raise JobError("The disk is full.")

    monkeypatch.setattr(worker, "reconcile", full)
    monkeypatch.setattr(worker, "RECONCILE_EVERY_S", 0.0)
    run = store.create(RunConfig(name="steps=1"), "cpu")
    with FileLock(lock_path(store.home, "cpu")):
        waiting = threading.Thread(target=worker.run, args=(run.run_id, store.home, train))
        waiting.start()
        time.sleep(0.4)
        assert store.get(run.run_id).state == "queued"
    waiting.join()
    assert store.get(run.run_id).state == "done"
    assert capsys.readouterr().out.count("The disk is full.") == 1, "once is enough for a log"


def test_any_error_of_the_event_writer_ends_the_run(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: RunStore, run_id: str, events: Sequence[Event]) -> None:
        raise UnicodeError("half a character")

    monkeypatch.setattr(RunStore, "append", broken)
    run = store.create(RunConfig(), "cpu")
    writer = event_writer.EventWriter(store, run.run_id)
    writer.put(step_logged(1))
    with pytest.raises(UnicodeError, match="half a character"):
        writer.close()


def test_a_state_is_saved_only_when_the_disk_has_what_was_told_before(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that is killed right after saving goes on behind steps that nobody has heard of."""
    known: list[tuple[int, int]] = []
    flushed: list[bool] = []
    append = RunStore.append

    def slowly(self: RunStore, run_id: str, events: Sequence[Event], *, durable: bool = False) -> None:
        flushed.append(durable)
        time.sleep(0.05)
        append(self, run_id, events, durable=durable)

    def training(config: RunConfig, *, run_id: str, before_saving: Callable[[], None], **_: object) -> Iterator[Event]:
        for step in range(1, 6):
            yield step_logged(step)
            yield step_logged(step)
            before_saving()
            known.append((step, len(store.events(run_id))))
        yield run_finished(run_id)

    monkeypatch.setattr(RunStore, "append", slowly)
    monkeypatch.setattr(worker, "_real_trainer", lambda: training)
    monkeypatch.setattr(event_writer, "GATHER_S", 5.0)
    began = time.monotonic()
    assert worker.run(store.create(RunConfig(), "cpu").run_id, store.home) == 0
    assert known == [(step, 2 * step) for step in range(1, 6)]
    assert flushed.count(True) == 5
    assert time.monotonic() - began < 5, "it did not hurry"


def test_what_cannot_be_written_lets_nothing_be_saved(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[bool] = []

    def full(*_: object, **__: object) -> None:
        raise JobError("The disk is full.")

    def training(config: RunConfig, *, run_id: str, before_saving: Callable[[], None], **_: object) -> Iterator[Event]:
        yield step_logged(1)
        before_saving()
        saved.append(True)

    monkeypatch.setattr(RunStore, "append", full)
    monkeypatch.setattr(worker, "_real_trainer", lambda: training)
    run = store.create(RunConfig(), "cpu")
    assert worker.run(run.run_id, store.home) == 1
    assert store.get(run.run_id).state == "failed"
    assert not saved


def test_space_is_held_back_for_saying_why_a_run_failed(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = store.create(RunConfig(name="steps=9 diverge"), "cpu")
    ballast = run_folder(store.home, run.run_id) / "ballast"
    end, append = RunStore.end, RunStore.append

    def appended(self: RunStore, run_id: str, events: Sequence[Event]) -> None:
        sizes.append(ballast.stat().st_blocks * 512)
        append(self, run_id, events)

    def ended(self: RunStore, *arguments: object, **options: object) -> bool:
        assert not ballast.exists(), "it is still in the way as the failure is written"
        return end(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(RunStore, "append", appended)
    monkeypatch.setattr(RunStore, "end", ended)
    assert worker.run(run.run_id, store.home, train) == 1
    assert min(sizes) >= worker.BALLAST_BYTES
    done = store.create(RunConfig(name="steps=1"), "cpu")
    monkeypatch.undo()
    worker.run(done.run_id, store.home, train)
    assert not (run_folder(store.home, done.run_id) / "ballast").exists()


def test_failures_of_the_machine_say_what_to_do(tmp_path: Path) -> None:
    log = tmp_path / "runs" / "a" / "log.txt"

    def told(error: Exception) -> str:
        event = describe_failure(error, log)
        return f"{event.message} {event.next_step}"

    assert "The GPU failed or is gone (RuntimeError: CUDA error: device lost). See with nvidia-smi" in told(
        RuntimeError("CUDA error: device lost")
    )
    ours = PermissionError(errno.EACCES, "Permission denied", str(log.parent / "resume"))
    assert f"Make {log.parent} and what lies in it writable" in told(ours)
    saving = CheckpointError("The state at step 3 cannot be saved.")
    saving.__cause__ = OSError(errno.EROFS, "Read-only file system", "/elsewhere")
    assert told(saving).startswith("The state at step 3 cannot be saved. Make ")
    reading = DataError("texts.csv cannot be read.")
    reading.__context__ = PermissionError(errno.EACCES, "Permission denied", "/data/texts.csv")
    assert "Correct the dataset" in told(reading)


# --- the database ----------------------------------------------------------------------------------------------------


def test_what_a_power_cut_must_not_take_back_is_flushed(store: RunStore) -> None:
    for durable, level in ((True, 2), (False, 1), (True, 2)):  # FULL and NORMAL
        with store._database.writing(durable=durable) as db:
            assert db.execute("PRAGMA synchronous").fetchone()[0] == level
    asked: list[bool] = []
    writing = store._database.writing

    @contextmanager
    def noted(*, durable: bool = False) -> Iterator[sqlite3.Connection]:
        asked.append(durable)
        with writing(durable=durable) as db:
            yield db

    store._database.writing = noted  # type: ignore[method-assign]
    run = store.create(RunConfig(), "cpu")
    store.set_state(run.run_id, "starting")
    store.append(run.run_id, [step_logged(1)])
    store.end(run.run_id, step_logged(1), "failed")
    store.requeue(run.run_id, "cpu")
    assert asked == [True, False, False, True, True]


@contextmanager
def no_rights(folder: Path) -> Iterator[None]:
    """Take the right to write into a folder away, from root too, by acting as nobody."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A home below folders that everybody may enter, which pytest's own are not."""
    home = Path(tempfile.mkdtemp(prefix="chhatni-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home)


@pytest.mark.parametrize("log_kept", [False, True], ids=["closed", "left by a crash"])
def test_a_read_only_home_can_be_looked_at(
    open_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log_kept: bool
) -> None:
    monkeypatch.setenv("CHHATNI_HOME", str(open_home))
    with closing(sqlite3.connect(open_home / "runs.db")) as held:
        store = RunStore(open_home / "runs.db")
        run = orphan(store)
        if log_kept:
            held.execute("SELECT count(*) FROM runs").fetchone()  # the last one to close would tidy the log up
        store.close()
        assert (open_home / "runs.db-wal").exists() == log_kept
        with no_rights(open_home):
            other = RunStore(open_home / "runs.db", busy_timeout_s=0.2)
            assert [each.run_id for each in other.runs()] == [run.run_id]
            with pytest.raises(JobError, match="writable"):
                other.create(RunConfig(), "cpu")
            assert main(["runs"]) == 0
            told = capsys.readouterr()
            assert run.run_id in told.out
            other.close()
    assert [dead.run_id for dead in jobs.reconcile(store)] == [run.run_id]
    store.close()


def test_a_disk_without_room_beside_the_database_is_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR | (19 << 8)  # as where the index of the log cannot be made
    assert "failed (disk I/O error)" in str(explain(tmp_path / "runs.db", error, 1.0))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 0))  # type: ignore[attr-defined]
    assert "is full. Free some space" in str(explain(tmp_path / "runs.db", error, 1.0))


# --- reading and showing ---------------------------------------------------------------------------------------------


def test_a_table_of_ten_thousand_columns_is_read_in_seconds_and_like_a_narrow_one(tmp_path: Path) -> None:
    rows = [["text", "label"], ['a "quoted", text\nof two lines', "x"], ["", "y"], [" अ ", "NA"]]
    lines = ["", *('"' + text.replace('"', '""') + f'",{label}' for text, label in rows)]
    narrow, wide = tmp_path / "narrow.csv", tmp_path / "wide.csv"
    narrow.write_text("\n".join([*lines[:3], "  ", *lines[3:]]), encoding="utf-8")
    more = [",".join(f"c{number}" for number in range(9998)), *[",".join(["1"] * 9998)] * 3]
    padded = ["", *(f"{line},{cells}" for line, cells in zip(lines[1:], more, strict=True))]
    wide.write_text("\n".join([*padded[:3], "  ", *padded[3:]]), encoding="utf-8")
    began = time.monotonic()
    found, expected = read_table(wide), read_table(narrow)
    assert time.monotonic() - began < 5
    assert len(found.columns) == 10_000
    assert {name: found.columns[name] for name in expected.columns} == expected.columns
    assert list(found.rows) == list(expected.rows)


def test_half_a_character_in_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "अ", "label": "x"}\n{"text": "ब", "label": "y", "\\ud800": "z"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"row 2 holds \\ud800, half a character"):
        read_table(path)


def test_what_steers_a_terminal_is_shown_and_not_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert visible("a\x1b[31mb\x9b\u202ec\r\n\td") == "a\\x1b[31mb\\x9b\\u202ec\\x0d\n\td"
    assert visible("क्\u200dष") == "क्\u200dष", "joiners are letters' own"
    monkeypatch.setenv("CHHATNI_HOME", str(tmp_path))
    store = RunStore(tmp_path / "runs.db")
    base = "/models/old\x1b]0;title\x07\x9b2J"
    run = store.create(RunConfig.parse({"model": {"base": base}}), "cpu")
    for arguments in (["runs"], ["show", run.run_id], ["runs", "--json"], ["show", "\x1b[2J"], ["queue"]):
        main(arguments)
    with pytest.raises(SystemExit):
        main(["runs", "\x1b[2J"])
    told = capsys.readouterr()
    assert not {"\x1b", "\x9b", "\x07"} & set(told.out + told.err)
    assert "\\x1b]0;title" in told.out
    store.close()


def test_a_name_is_one_line_of_letters(tmp_path: Path) -> None:
    assert RunConfig(name=" a\x1b[31m\x00b\n\x85c ").name == "a [31m b c"


def test_labels_that_steer_a_terminal_stop_no_run(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"text {number},{'x' if number % 2 else 'y'}\x1b[31m" for number in range(20)]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    found = load_data(RunConfig.parse({"data": {"source": str(path)}}).data, 0, tmp_path)
    assert len(found.labels) == 2
