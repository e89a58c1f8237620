"""Who waits for which device, places that are changed one by one, and what goes with a run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import RunConfig
from engine.errors import JobError, NoSuchRun
from engine.home import run_folder
from engine.runs import upkeep
from engine.runs.run import Run
from engine.store import RunStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    opened = RunStore(tmp_path / "runs.db")
    yield opened
    opened.close()


def queued(store: RunStore, name: str, device: str = "cpu", base: str = "starter") -> Run:
    return store.create(RunConfig.parse({"name": name, "model": {"base": base}}), device)


def names(store: RunStore) -> list[tuple[str, int, bool]]:
    return [(each.run.title, each.place, each.last) for each in upkeep.waiting(store)]


def test_waiting_runs_are_counted_for_each_device(store: RunStore) -> None:
    works = queued(store, "works")
    store.set_state(works.run_id, "starting")
    for name, device in (("a", "cpu"), ("x", "cuda-0"), ("b", "cpu")):
        queued(store, name, device)
    assert names(store) == [("a", 1, False), ("b", 2, True), ("x", 1, True)]
    assert [run.title for run in upkeep.in_order(store)] == ["works", "a", "b", "x"]


def test_a_run_is_moved_from_where_it_stands_now(store: RunStore) -> None:
    a, b, c = (queued(store, name) for name in "abc")
    upkeep.shift(store, c.run_id, -1)
    assert [name for name, _, _ in names(store)] == ["a", "c", "b"]
    upkeep.shift(store, a.run_id, 1)
    assert [name for name, _, _ in names(store)] == ["c", "a", "b"]
    for _ in range(3):  # further than the ends there is nowhere to go
        upkeep.shift(store, c.run_id, -1)
        upkeep.shift(store, b.run_id, 1)
    assert [name for name, _, _ in names(store)] == ["c", "a", "b"]
    store.set_state(c.run_id, "starting")
    with pytest.raises(JobError, match="is starting; only a queued run has a place"):
        upkeep.shift(store, c.run_id, 1)
    with pytest.raises(NoSuchRun, match="There is no run"):
        upkeep.shift(store, "20000101-000000-aaaa", 1)


def test_what_would_go_is_said_and_nothing_is_touched(store: RunStore) -> None:
    base = queued(store, "base")
    store.set_state(base.run_id, "stopped")
    folder = run_folder(store.home, base.run_id)
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_bytes(b"0" * 700)
    (folder / "log.txt").write_bytes(b"0" * 50)
    users = [queued(store, name, base=where) for name, where in (("one", base.run_id), ("two", str(folder / "model")))]
    queued(store, "other")
    found = upkeep.removal(store, base.run_id)
    assert (found.size_bytes, found.folder) == (750, folder)
    assert [run.run_id for run in found.needed_by] == [run.run_id for run in users]
    assert folder.is_dir()
    for run in users:
        store.set_state(run.run_id, "stopped")
    with pytest.raises(JobError, match="without it they could not go on"):
        store.delete(base.run_id)
    for run in users:
        store.delete(run.run_id)
    assert upkeep.removal(store, base.run_id).needed_by == ()
    store.delete(base.run_id)
    with pytest.raises(NoSuchRun):
        upkeep.removal(store, base.run_id)
