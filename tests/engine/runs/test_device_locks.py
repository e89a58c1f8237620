"""One turn for each device of the machine, whichever home and user a run belongs to."""

import logging
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pynvml  # type: ignore[import-untyped]
import pytest
from filelock import FileLock

from engine import jobs, worker
from engine.config import RunConfig
from engine.errors import JobError
from engine.runs import device_locks, devices
from engine.runs.device_locks import DeviceLock, held_elsewhere
from engine.store import RunStore
from tests.engine.fake_training import train

UUIDS = ["GPU-aaaa1111-0000", "GPU-aaaa2222-0000", "GPU-bbbb3333-0000"]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the machine's locks, for this test alone."""
    folder = tmp_path / "machine" / "chhatni-locks"
    folder.parent.mkdir()
    monkeypatch.delenv("CHHATNI_LOCKS")
    monkeypatch.setattr(device_locks, "SHARED", folder)
    return folder


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cards, made up."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(UUIDS))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: UUIDS[handle])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize("name", ["cpu", "cuda-0"])
def test_two_homes_take_turns_on_one_device(shared: Path, tmp_path: Path, name: str) -> None:
    one, other = DeviceLock(tmp_path / "a", name), DeviceLock(tmp_path / "b", name)
    assert one.path == other.path == shared / f"{name}.lock"
    assert one.trouble == ""
    assert not held_elsewhere(tmp_path / "a", name)
    assert one.take()
    assert not other.take()
    assert held_elsewhere(tmp_path / "b", name)
    assert not held_elsewhere(tmp_path / "a", name), "its own run is no other home's"
    one.release()
    assert other.take()
    assert not one.take()
    other.release()


def test_devices_do_not_wait_for_one_another(shared: Path, tmp_path: Path) -> None:
    held = [DeviceLock(tmp_path, name) for name in ("cpu", "cuda-0", "cuda-1")]
    assert all(lock.take() for lock in held)
    for lock in held:
        lock.release()


def test_every_user_may_lock_and_only_who_made_a_file_may_remove_it(shared: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        lock = DeviceLock(tmp_path / "a", "cpu")
        assert lock.take()
    finally:
        os.umask(before)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    assert stat.S_IMODE(lock.path.stat().st_mode) == 0o666
    assert str(tmp_path) not in lock.path.read_text(), "others need not know where the home is"
    lock.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user takes root")
def test_another_user_waits_for_the_same_lock(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/tmp") / f"chhatni-locks-test-{os.getpid()}"  # below folders that everybody may enter
    code = (  # what is imported lies where the other user may not read
        "import os\nfrom pathlib import Path\nfrom engine.runs import device_locks\nos.setgid(65534)\nos.setuid(65534)\n"
        f"device_locks.SHARED = Path({str(folder)!r})\n"
        "lock = device_locks.DeviceLock(Path('/nonexistent'), 'cpu')\n"
        "print(lock.trouble or 'fine', lock.take())\nlock.release()\n"
    )
    monkeypatch.setattr(device_locks, "SHARED", folder)
    try:
        lock = DeviceLock(tmp_path, "cpu")
        environment = {name: value for name, value in os.environ.items() if name != "CHHATNI_LOCKS"}

        def asked() -> str:
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
            )
            return done.stdout.strip() or done.stderr

        assert lock.take()
        assert asked() == "fine False"
        lock.release()
        assert asked() == "fine True"
        assert lock.take(), "and it is ours again, although the other user has written to it"
        lock.release()
    finally:
        for path in folder.glob("*"):
            path.unlink()
        folder.rmdir()


@pytest.mark.parametrize(
    "in_the_way",
    [
        "file",
        "link",
        "dead link",
        "folder for the lock",
        "link for the lock",
        "pipe for the lock",
        "hard link for the lock",
    ],
)
def test_what_stands_in_the_way_is_told_and_the_home_keeps_its_own_lock(
    shared: Path, tmp_path: Path, in_the_way: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    if in_the_way == "file":
        shared.write_text("")
    elif in_the_way.endswith("link"):
        shared.symlink_to(outside if in_the_way == "link" else tmp_path / "nowhere")
    else:
        shared.mkdir()
        lock, theirs = shared / "cpu.lock", tmp_path / "thesis.txt"
        theirs.write_text("years of work")
        if in_the_way.startswith("folder"):
            lock.mkdir()
        elif in_the_way.startswith("pipe"):
            os.mkfifo(lock)
        elif in_the_way.startswith("hard"):
            lock.hardlink_to(theirs)
        else:
            lock.symlink_to(outside / "cpu.lock")
    one = DeviceLock(tmp_path / "a", "cpu")
    assert one.path == tmp_path / "a" / "locks" / "cpu.lock"
    assert "runs of other homes may use cpu at the same time" in one.trouble
    assert one.take()
    assert not DeviceLock(tmp_path / "a", "cpu").take()
    assert not held_elsewhere(tmp_path / "a", "cpu")
    one.release()
    assert list(outside.iterdir()) == [], "no link is followed"
    if in_the_way.endswith("for the lock"):
        assert theirs.read_text() == "years of work"


@pytest.mark.parametrize("late", ["hard link", "link", "pipe"])
def test_what_comes_into_a_lock_s_place_later_is_not_written_to(shared: Path, tmp_path: Path, late: str) -> None:
    theirs = tmp_path / "thesis.txt"
    theirs.write_text("years of work")
    lock = DeviceLock(tmp_path / "a", "cpu")
    lock.path.unlink()
    if late == "hard link":
        lock.path.hardlink_to(theirs)
    elif late == "link":
        lock.path.symlink_to(theirs)
    else:
        os.mkfifo(lock.path)
    assert lock.take()
    assert theirs.read_text() == "years of work"
    lock.release()


@pytest.mark.parametrize("late", ["link", "pipe"])
def test_what_comes_into_a_held_lock_s_place_is_not_opened(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    theirs = tmp_path / "thesis.txt"
    theirs.write_text("years of work")
    lock, acquired, taken = DeviceLock(tmp_path / "a", "cpu"), FileLock.acquire, threading.Event()

    def acquire_and_swap(self: FileLock, **options: bool) -> object:
        held = acquired(self, **options)
        lock.path.unlink()
        lock.path.symlink_to(theirs) if late == "link" else os.mkfifo(lock.path)
        return held

    def take() -> None:
        assert lock.take()
        taken.set()
        lock.release()

    monkeypatch.setattr(FileLock, "acquire", acquire_and_swap)
    thread = threading.Thread(target=take)
    thread.start()
    in_time = taken.wait(5)
    os.close(os.open(lock.path, os.O_RDWR | os.O_NONBLOCK))  # lets go of one that waits for the pipe's other end
    thread.join(5)
    assert in_time
    assert theirs.read_text() == "years of work"


def test_a_mark_is_replaced_whole(shared: Path, tmp_path: Path) -> None:
    lock = DeviceLock(tmp_path / "a", "cpu")
    lock.path.write_text("a mark that is much longer than any that a run would write into this file itself")
    assert lock.take()
    assert len(lock.path.read_text().split()) == 2
    assert held_elsewhere(tmp_path / "b", "cpu")
    lock.release()


def test_a_huge_file_is_not_read_whole(shared: Path, tmp_path: Path) -> None:
    path = DeviceLock(tmp_path / "a", "cpu").path
    os.truncate(path, 64 * 2**20)
    with FileLock(path):
        tracemalloc.start()
        try:
            assert not held_elsewhere(tmp_path / "a", "cpu")
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


def test_a_pipe_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHHATNI_LOCKS", "locks")
    (tmp_path / "locks").mkdir()
    os.mkfifo(tmp_path / "locks" / "cpu.lock")
    answers: list[bool] = []
    with FileLock(tmp_path / "locks" / "cpu.lock"):
        look = threading.Thread(target=lambda: answers.append(held_elsewhere(tmp_path, "cpu")))
        look.start()
        look.join(5)
        told = list(answers)
    look.join()  # even one that waited: nobody has the other end any more
    assert told == [False]


@pytest.mark.parametrize("how", ["removed", "replaced", "a link for the lock"])
def test_a_waiting_run_places_its_lock_anew(
    shared: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, lock = DeviceLock(tmp_path / "a", "cpu"), DeviceLock(tmp_path / "b", "cpu")
    assert first.take()
    assert not lock.take()
    first.release()
    shutil.rmtree(shared)
    if how == "replaced":
        shared.write_text("")
    elif how.startswith("a link"):
        shared.mkdir()
        lock.path.symlink_to(lock.path)
    with caplog.at_level(logging.WARNING):
        assert lock.take()
    if how == "removed":
        assert (lock.path, lock.trouble) == (shared / "cpu.lock", "")
        assert not DeviceLock(tmp_path / "a", "cpu").take(), "and others find it"
    else:
        assert lock.path == tmp_path / "b" / "locks" / "cpu.lock"
        assert "runs of other homes may use cpu at the same time" in lock.trouble
        assert lock.trouble in caplog.text, "the log says so"
    lock.release()


def test_a_file_that_is_closed_while_a_run_waits_does_not_fail_it(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lock, acquired = DeviceLock(tmp_path / "a", "cpu"), FileLock.acquire

    def closed(self: FileLock, **options: bool) -> object:
        if self.lock_file.startswith(str(shared)):
            raise PermissionError(13, "Permission denied")
        return acquired(self, **options)

    monkeypatch.setattr(FileLock, "acquire", closed)
    assert lock.take()
    assert lock.path == tmp_path / "a" / "locks" / "cpu.lock"
    assert "cannot hold locks (Permission denied)" in caplog.text
    lock.release()


def test_a_run_that_can_lock_nowhere_says_what_to_do(shared: Path, tmp_path: Path) -> None:
    lock = DeviceLock(tmp_path / "a", "cpu")
    shutil.rmtree(shared)
    shared.write_text("")
    (tmp_path / "a" / "locks" / "cpu.lock").mkdir(parents=True)
    with pytest.raises(JobError, match=r"locks/cpu\.lock cannot be locked \(.*writable, then resume the run"):
        lock.take()


def test_a_held_lock_s_file_never_looks_old(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_locks, "KEEP_EVERY_S", 0.01)
    lock = DeviceLock(tmp_path / "a", "cpu")

    def touched() -> bool:
        os.utime(lock.path, (0, 0))
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            if lock.path.stat().st_mtime > 0:
                return True
            time.sleep(0.01)
        return False

    before = set(threading.enumerate())
    assert lock.take()
    keepers = set(threading.enumerate()) - before
    assert touched()
    lock.release()
    for keeper in keepers:
        keeper.join(5)
    assert not touched(), "nobody's lock may be cleared away"


def test_a_folder_that_cannot_be_written_is_told(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    made = Path.mkdir
    monkeypatch.setattr(Path, "mkdir", lambda self, *a, **o: refused(self) if self == shared else made(self, *a, **o))
    lock = DeviceLock(tmp_path / "a", "cpu")
    assert "Read-only file system" in lock.trouble
    assert lock.take()
    lock.release()


def test_the_place_of_the_locks_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHHATNI_LOCKS", str(tmp_path / "elsewhere"))
    assert DeviceLock(tmp_path / "a", "cpu").path == tmp_path / "elsewhere" / "cpu.lock"
    monkeypatch.setenv("CHHATNI_LOCKS", "locks")
    assert DeviceLock(tmp_path / "a", "cpu").path == tmp_path / "a" / "locks" / "cpu.lock"
    monkeypatch.setenv("CHHATNI_LOCKS", "turns/of")
    lock = DeviceLock(tmp_path / "a", "cpu")
    assert (lock.path, lock.trouble) == (tmp_path / "a" / "turns" / "of" / "cpu.lock", ""), "a folder in each home"
    assert lock.take()
    assert DeviceLock(tmp_path / "b", "cpu").take()
    lock.release()
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("CHHATNI_LOCKS", "~/locks")
    assert DeviceLock(tmp_path / "a", "cpu").path == tmp_path / "me" / "locks" / "cpu.lock"


def test_a_folder_in_the_home_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHHATNI_LOCKS", "turns")
    (tmp_path / "turns").write_text("")
    lock = DeviceLock(tmp_path, "cpu")
    assert lock.path == tmp_path / "locks" / "cpu.lock"
    assert "turns cannot hold locks (File exists), so the lock of cpu lies in" in lock.trouble


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["cuda-0", "cuda-1", "cuda-2"]),
        ("2,0", ["cuda-2", "cuda-0"]),
        (" 1 , 2 ", ["cuda-1", "cuda-2"]),
        ("GPU-bbbb,GPU-aaaa2", ["cuda-2", "cuda-1"]),
        ("1,7,0", ["cuda-1"]),  # CUDA sees nothing behind a card that is not there
        ("0,-1,1", ["cuda-0"]),
        ("1,1", ["cuda-1"]),
        ("GPU-none", []),
        ("MIG-12ab/3/0", ["cuda-mig-12ab-3-0"]),
        ("", []),
        ("-1", []),
    ],
)
def test_a_card_has_one_name_however_many_numbers_cuda_gives_it(
    gpus: None, monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.gpu_count() == len(names)
    assert [devices.lock_name(f"cuda:{number}") for number in range(len(names))] == names
    assert devices.lock_name("auto") == (names[0] if names else "cpu")
    assert devices.lock_name("cuda:9") == "cuda-9", "it is not there, and the run will say so"


def test_a_card_is_locked_by_its_identity(
    gpus: None, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DeviceLock(tmp_path, "cuda-1").path == shared / "gpu-aaaa2222-0000.lock"
    assert devices.gpu_uuid("cuda-2") == UUIDS[2]
    assert devices.gpu_uuid("cpu") is None

    def broken(number: int) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", broken)
    lock = DeviceLock(tmp_path, "cuda-1")
    assert lock.path == shared / "cuda-1.lock"
    assert "does not tell the identity of cuda-1" in lock.trouble
    assert "runs that know its identity may use it at the same time" in lock.trouble
    assert not held_elsewhere(tmp_path, "cuda-1")


@pytest.mark.parametrize("answer", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_a_machine_without_a_driver_locks_by_number_and_has_no_trouble(
    gpus: None, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(answer)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    lock = DeviceLock(tmp_path, "cuda-0")
    assert (lock.path, lock.trouble) == (shared / "cuda-0.lock", "")


def test_cuda_counts_as_the_machine_does() -> None:
    code = "import engine, os; print(os.environ['CUDA_DEVICE_ORDER'])"
    for given, expected in ((None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")):
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_DEVICE_ORDER"}
        environment |= {} if given is None else {"CUDA_DEVICE_ORDER": given}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[tuple[RunStore, RunStore]]:
    stores = RunStore(tmp_path / "a" / "runs.db"), RunStore(tmp_path / "b" / "runs.db")
    yield stores
    for store in stores:
        store.close()


def test_runs_of_two_homes_never_overlap(shared: Path, homes: tuple[RunStore, RunStore]) -> None:
    runs = [store.create(RunConfig(name="steps=5 pause_s=0.1"), "cpu") for store in homes]
    threads = [
        threading.Thread(target=worker.run, args=(run.run_id, store.home, train))
        for run, store in zip(runs, homes, strict=True)
    ]
    for thread in threads:
        thread.start()
    waited = False
    while any(thread.is_alive() for thread in threads):
        looks = [store.get(run.run_id) for run, store in zip(runs, homes, strict=True)]
        assert sum(look.state in ("starting", "training") for look in looks) <= 1
        waited |= any(jobs.waits_for_another_home(store, look) for store, look in zip(homes, looks, strict=True))
        time.sleep(0.01)
    ended = [store.get(run.run_id) for run, store in zip(runs, homes, strict=True)]
    assert [run.state for run in ended] == ["done", "done"]
    assert waited, "and whoever waits is told why"
    spans = sorted((run.started_at or 0.0, run.ended_at or 0.0) for run in ended)
    assert spans[0][1] <= spans[1][0]


def test_a_run_outlives_that_the_folder_goes_while_it_waits(
    shared: Path,
    homes: tuple[RunStore, RunStore],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = DeviceLock(homes[0].home, "cpu")
    assert first.take()
    run = homes[1].create(RunConfig(name="steps=1"), "cpu")
    thread = threading.Thread(target=worker.run, args=(run.run_id, homes[1].home, train))
    thread.start()
    deadline = time.monotonic() + 20
    while "waits for cpu" not in capsys.readouterr().out:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shared.rename(shared.with_name("gone"))
    shared.write_text("")
    thread.join(20)
    assert homes[1].get(run.run_id).state == "done"
    assert "runs of other homes may use cpu at the same time" in caplog.text
    first.release()


def test_a_worker_says_where_its_turn_is_its_home_s_alone(
    shared: Path, homes: tuple[RunStore, RunStore], capsys: pytest.CaptureFixture[str]
) -> None:
    shared.write_text("")
    run = homes[0].create(RunConfig(name="steps=1"), "cpu")
    assert worker.run(run.run_id, homes[0].home, train) == 0
    assert "runs of other homes may use cpu at the same time" in capsys.readouterr().out
