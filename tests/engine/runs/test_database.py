"""A database in trouble: full, damaged, locked, foreign or gone; what is said, and that nothing is lost."""

import sqlite3
from pathlib import Path

import pytest

from engine.config import RunConfig
from engine.errors import JobError
from engine.store import RunStore
from tests.engine.fake_training import step_logged
from tests.engine.raw_store import notices, sql


@pytest.mark.parametrize("error", [JobError("no"), ValueError("no"), KeyboardInterrupt()])
def test_what_is_cut_short_is_not_kept(store: RunStore, error: BaseException) -> None:
    run = store.create(RunConfig(), "cpu")

    def cut_short() -> None:
        with store._database.writing() as connection:
            connection.execute("DELETE FROM runs")
            raise error

    with pytest.raises(type(error)):
        cut_short()
    assert store.runs() == [run]
    store.append(run.run_id, notices(1))


def test_a_full_disk_is_said_and_takes_nothing_away(store: RunStore) -> None:
    run_id = store.create(RunConfig(), "cpu").run_id
    store.append(run_id, notices(2))
    with store._database.reading() as connection:  # the pool lends the same connection to the next call
        connection.execute("PRAGMA max_page_count=20")
    with pytest.raises(JobError, match=r"disk that holds .*runs\.db is full\. Free some space"):
        store.append(run_id, [step_logged(5), *notices(50, 4096)])
    assert len(store.events(run_id)) == 2, "part of a batch was kept"
    assert store.get(run_id).step == 0
    store.append(run_id, notices(1))


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(b"this is a letter, not a database" * 300)
    with pytest.raises(JobError, match=r"is damaged .*Move it away together with runs\.db-wal"):
        RunStore(path).runs()
    assert path.read_bytes().startswith(b"this is a letter")


def test_a_damaged_database_is_said(store: RunStore) -> None:
    for _ in range(40):
        store.append(store.create(RunConfig(), "cpu").run_id, notices(5, 500))
    sql(store.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    data = bytearray(store.path.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    store.path.write_bytes(bytes(data))
    with pytest.raises(JobError, match="is damaged"):
        store.runs()


def test_a_locked_database_is_said_and_can_still_be_read(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db", busy_timeout_s=0.1)
    run_id = store.create(RunConfig(), "cpu").run_id
    holder = sqlite3.connect(store.path)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(JobError, match=r"locked by another program for 0\.1 s\. Close what has it open"):
        store.append(run_id, notices(1))
    assert store.get(run_id).state == "queued"
    holder.close()
    store.append(run_id, notices(1))
    store.close()


def test_a_database_of_another_version_is_left_alone(store: RunStore) -> None:
    store.create(RunConfig(), "cpu")
    store.close()
    sql(store.path, "PRAGMA user_version=99")
    with pytest.raises(JobError, match=r"has version 99; this program knows version 2\. Update"):
        store.runs()


def test_rows_of_another_version_are_said(store: RunStore) -> None:
    run_id = store.create(RunConfig(), "cpu").run_id
    store.append(run_id, notices(1))
    sql(store.path, 'UPDATE events SET body = \'{"kind": "unheard"}\'')
    with pytest.raises(JobError, match=f"of run {run_id} cannot be read .*another version"):
        store.events(run_id)
    sql(store.path, "UPDATE runs SET config = '{\"colour\": 1}'")
    with pytest.raises(JobError, match=f"Run {run_id} cannot be read .*colour.*another version"):
        store.runs()


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match=r"cannot be made .*CHHATNI_HOME"):
        RunStore(tmp_path / "file" / "runs.db").runs()


def test_a_folder_in_place_of_the_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs.db").mkdir()
    with pytest.raises(JobError, match="cannot be opened"):
        RunStore(tmp_path / "runs.db").runs()


def test_a_database_that_was_removed_is_not_written_to_in_secret(store: RunStore) -> None:
    store.create(RunConfig(), "cpu")
    for path in store.home.glob("runs.db*"):
        path.unlink()
    assert store.runs() == []
    run = store.create(RunConfig(), "cpu")
    assert RunStore(store.path).runs() == [run]
