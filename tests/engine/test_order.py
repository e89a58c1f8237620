"""The list of runs kept in order: moved while they wait, archived and deleted when they have ended; and older databases."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from engine import jobs, worker
from engine.cli import main
from engine.config import RunConfig
from engine.errors import JobError
from engine.home import lock_path, run_folder
from engine.runs.processes import process_created
from engine.runs.run import MIGRATIONS, SCHEMA, VERSION, Run
from engine.store import RunStore
from tests.engine.fake_training import train


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunStore]:
    monkeypatch.setenv("CHHATNI_HOME", str(tmp_path))
    opened = RunStore(tmp_path / "runs.db")
    yield opened
    opened.close()


def queued(store: RunStore, name: str = "", base: str = "starter", device: str = "cpu") -> Run:
    run = store.create(RunConfig.parse({"name": name, "model": {"base": base}}), device)
    store.set_process(run, os.getpid(), process_created(os.getpid()))
    return run


def ended(store: RunStore, name: str = "", base: str = "starter") -> Run:
    run = store.create(RunConfig.parse({"name": name, "model": {"base": base}}), "cpu")
    store.set_state(run.run_id, "stopped")
    return store.get(run.run_id)


def test_a_queued_run_goes_where_it_is_put(store: RunStore) -> None:
    a, b, c = (queued(store, name) for name in "abc")
    other = queued(store, "other", device="cuda-0")
    assert store.move(c.run_id, 0) == [c.run_id, a.run_id, b.run_id]
    assert [store.ahead(run.run_id) for run in (c, a, b, other)] == [0, 1, 2, 0]
    assert store.move(c.run_id, 99) == [a.run_id, b.run_id, c.run_id]
    assert store.move(c.run_id, 1) == [a.run_id, c.run_id, b.run_id]
    assert store.get(c.run_id).ticket == c.ticket, "its worker would take itself for one of an earlier part"
    last = queued(store, "last")
    assert store.ahead(last.run_id) == 3
    store.set_state(a.run_id, "starting")
    with pytest.raises(JobError, match="is starting; only a queued run has a place"):
        store.move(a.run_id, 0)
    store.move(b.run_id, 0)
    assert [store.ahead(run.run_id) for run in (b, c, last)] == [1, 2, 3], "one that works stays ahead of all"


def test_workers_take_turns_in_the_new_order(store: RunStore) -> None:
    runs = [store.create(RunConfig(name="steps=1"), "cpu") for _ in range(3)]
    threads = [threading.Thread(target=worker.run, args=(run.run_id, store.home, train)) for run in runs]
    with FileLock(lock_path(store.home, "cpu")):
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        store.move(runs[2].run_id, 0)
    for thread in threads:
        thread.join()
    begins = {run.run_id: store.get(run.run_id).started_at or 0.0 for run in runs}
    assert sorted(begins, key=lambda run_id: begins[run_id]) == [runs[2].run_id, runs[0].run_id, runs[1].run_id]


def test_an_archived_run_is_kept_and_left_out(store: RunStore) -> None:
    run, other = ended(store, "old"), ended(store, "new")
    assert store.archive(run.run_id).archived
    assert [each.run_id for each in store.runs(archived=False)] == [other.run_id]
    assert [each.run_id for each in store.runs(archived=True, states=["stopped"])] == [run.run_id]
    assert len(store.runs()) == 2
    assert not store.archive(run.run_id, False).archived
    store.archive(run.run_id)
    assert not store.requeue(run.run_id, "cpu").archived, "a run that goes on is on the list again"
    with pytest.raises(JobError, match="only an ended run can be archived"):
        store.archive(run.run_id)


@pytest.mark.parametrize("form", ["{id}", "{home}/runs/{id}", "{home}/runs/{id}/model"])
def test_a_base_is_not_deleted_while_a_run_needs_it(store: RunStore, form: str) -> None:
    base = ended(store, "base")
    folder = run_folder(store.home, base.run_id)
    (folder / "model").mkdir(parents=True)
    user = ended(store, "user", form.format(id=base.run_id, home=store.home))
    with pytest.raises(JobError, match=rf"is the base, and so the teacher, of .*(\n.*)*{user.run_id}"):
        jobs.delete(store, base.run_id)
    assert folder.is_dir()
    assert store.get(base.run_id) == base
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE runs SET state = 'done' WHERE run_id = ?", (user.run_id,))
    jobs.delete(store, base.run_id)
    assert not folder.exists()
    assert [run.run_id for run in store.runs()] == [user.run_id]


@pytest.mark.parametrize(
    "form", ["{home}/runs/{id}/model/", "{link}/runs/{id}/model", "~/runs/{id}/model", "{home}/x/../runs/{id}"]
)
def test_a_base_is_found_however_its_path_is_written(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    base, link = ended(store, "base"), tmp_path / "link"
    (run_folder(store.home, base.run_id) / "model").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    link.symlink_to(store.home)
    monkeypatch.setenv("HOME", str(store.home))
    user = ended(store, "user", form.format(id=base.run_id, home=store.home, link=link))
    assert store.needing(base.run_id) == [user]
    with pytest.raises(JobError, match=user.run_id):
        jobs.delete(store, base.run_id)


@pytest.mark.parametrize("root", ["here", "repository"])
def test_a_relative_base_is_looked_for_where_bases_are(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    base = ended(store, "base")
    folder = run_folder(store.home, base.run_id)
    (folder / "model").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    user = ended(store, "user", f"runs/{base.run_id}/model")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.needing(base.run_id) == []
    if root == "here":
        monkeypatch.chdir(store.home)
    else:
        monkeypatch.setattr("engine.runs.rows.REPOSITORY", store.home)
    assert store.needing(base.run_id) == [user]


def test_bases_that_lie_elsewhere_do_not_stand_against_a_deletion(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, other = ended(store, "base"), ended(store, "other")
    folder = run_folder(store.home, base.run_id)
    for run in (base, other):
        (run_folder(store.home, run.run_id) / "model").mkdir(parents=True)
    (store.home / "circle").symlink_to(store.home / "circle")
    monkeypatch.chdir(folder)  # in which no name of a base is a folder
    bases = ("starter", "owner/name", f"{folder}-more/model", "~nobody-of-that-name/model", "a\0b")
    for name in (*bases, str(store.home / "circle"), str(run_folder(store.home, other.run_id) / "model")):
        queued(store, "user", name)
    assert store.needing(base.run_id) == []
    jobs.delete(store, base.run_id)


def test_deleting_waits_for_the_worker_to_leave(store: RunStore) -> None:
    run = store.create(RunConfig(), "cpu")
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        store.set_process(run, sleeper.pid, process_created(sleeper.pid))
        store.set_state(run.run_id, "stopped")
        with pytest.raises(JobError, match=f"process {sleeper.pid}.* is still tidying up"):
            jobs.delete(store, run.run_id, patience_s=0.1)
        assert store.get(run.run_id).state == "stopped"
    finally:
        sleeper.kill()
        sleeper.wait()
    jobs.delete(store, run.run_id)
    assert store.runs() == []


def test_the_command_line_keeps_order(store: RunStore, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, old = queued(store, "a"), queued(store, "b"), ended(store, "old \u202eevil")
    assert main(["queue", "b", "--to", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [b.run_id, a.run_id]
    assert main(["queue", "b"]) == 2
    assert "Add --to 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["queue", "b", "--to", "0"])
    assert main(["archive", old.run_id]) == 0
    assert main(["runs"]) == 0
    assert old.run_id not in capsys.readouterr().out.splitlines()[-1]
    assert main(["runs", "--all"]) == 0
    shown = capsys.readouterr().out
    assert old.run_id in shown
    assert "\u202e" not in shown
    assert main(["rename", old.run_id, "new\x1b[31m name"]) == 0
    assert store.get(old.run_id).config.name == "new [31m name"
    assert main(["delete", "a"]) == 2
    assert "Stop it first" in capsys.readouterr().err
    assert main(["delete", old.run_id, "--json"]) == 0
    assert {run.run_id for run in store.runs()} == {a.run_id, b.run_id}


def test_a_database_of_the_version_before_is_brought_up_to_date(store: RunStore) -> None:
    added = ("place INTEGER", "archived INTEGER", "starter_pid INTEGER", "starter_created REAL")
    lines = SCHEMA[0].splitlines()
    older = "\n".join(line for line in lines if not line.strip().startswith(added)).replace(
        "result TEXT,", "result TEXT"
    )
    config = RunConfig(name="kept").model_dump_json()
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        for statement in (older, *SCHEMA[1:], "PRAGMA user_version=1"):
            db.execute(statement)
        for number in (1, 2):
            db.execute(
                "INSERT INTO runs (run_id, name, config, state, device, ticket, created_at, heartbeat_at)"
                " VALUES (?, 'kept', ?, 'stopped', 'cpu', ?, 1, 1)",
                (f"old-{number}", config, number),
            )
        db.commit()
    outcomes: list[int] = []
    threads = [threading.Thread(target=lambda: outcomes.append(len(RunStore(store.path).runs()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [2] * 4, "of several at once, one migrates and the others wait"
    assert [(run.place, run.archived, run.starter) for run in store.runs()] == [(2, False, None), (1, False, None)]
    assert list(MIGRATIONS) == list(range(1, VERSION))
    first, second = store.requeue("old-2", "cpu"), store.requeue("old-1", "cpu")
    assert [store.ahead(run.run_id) for run in (first, second)] == [0, 1]
