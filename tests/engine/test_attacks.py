"""Names from outside that would lead out of the home folder, at every door that takes a run's name or id."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import jobs, worker
from engine.cli import main
from engine.config import RunConfig
from engine.errors import CheckpointError, JobError
from engine.files.bases import find_base
from engine.home import run_folder
from engine.store import RunStore

# fmt: off
NAMES = [
    "../outside", "../../outside", "/etc/passwd", "..", ".", "", " ", "a\0b", "\0", "a\nb", "x" * 100_000,
    "․․/outside", "..／outside", "ａ", "а", "a\u202eb", "\ud800", "CON", "/dev/null", "/proc/self/mem", "%2e%2e/x",
    "~root", "$(touch x)", "; rm -rf /", "-rf", "--force", "' OR 1=1 --", 'a"b', "*", "%",
]
# fmt: on


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one ended run, and beside it a folder that nobody may touch."""
    made = tmp_path / "home"
    monkeypatch.setenv("CHHATNI_HOME", str(made))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside" / "model").mkdir(parents=True)
    (tmp_path / "outside" / "model" / "config.json").write_text("{}")
    store = RunStore(made / "runs.db")
    run = store.create(RunConfig(name="first"), "cpu")
    store.set_state(run.run_id, "failed")
    run_folder(made, run.run_id).mkdir(parents=True)
    store.close()
    return made


def tree(folder: Path) -> list[str]:
    """Return every path in a folder but the database's and the locks."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "runs.db" not in path.name and "locks" not in path.parts
    )


@pytest.mark.parametrize("command", ["show", "stop", "resume", "delete", "archive", "rename"])
def test_no_command_takes_a_name_for_a_path(home: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(home.parent)
    for name in NAMES:
        try:
            code = main([command, "--", name, *(["new"] if command == "rename" else [])])
        except SystemExit as end:  # argparse refuses it
            code = int(str(end.code))
        assert code == 2, name
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert len(told.err) < 200_000
    assert tree(home.parent) == before
    store = RunStore(home / "runs.db")
    assert [(run.state, run.title) for run in store.runs()] == [("failed", "first")]
    store.close()


def test_no_worker_takes_a_name_for_a_path(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(home.parent)
    for name in NAMES:
        assert worker.main([name]) == 1
        assert "is not a run id" in capsys.readouterr().err, name
    assert tree(home.parent) == before


def test_no_function_makes_a_path_of_a_name(home: Path) -> None:
    store = RunStore(home / "runs.db")
    for name in NAMES:
        for act in (
            *(store.delete, store.get, store.archive, store.request_stop),
            *(lambda text: jobs.log_tail(home, text, 5), lambda text: run_folder(home, text)),
        ):
            with pytest.raises(JobError):
                act(name)
    store.close()


@pytest.mark.parametrize("name", ["../outside", "․․/outside", "a\0b", "", "/dev/null", "/proc/self/mem", "x" * 100_000])
def test_no_base_is_found_behind_the_runs(home: Path, name: str) -> None:
    """A folder is a base when it is named as one; ``runs/`` in front of a name leads nowhere."""
    (home / "runs" / "outside").symlink_to(home.parent / "outside")
    with pytest.raises(CheckpointError):
        find_base(name, home)


def test_a_run_folder_that_became_a_link_is_not_followed_when_it_is_deleted(home: Path) -> None:
    store = RunStore(home / "runs.db")
    [run] = store.runs()
    folder = run_folder(home, run.run_id)
    folder.rmdir()
    folder.symlink_to(home.parent / "outside")
    with pytest.raises(JobError, match="Remove the folder"):
        store.delete(run.run_id)
    assert (home.parent / "outside" / "model" / "config.json").is_file()
    store.close()


def test_a_name_is_no_shell_string(home: Path) -> None:
    """As the shell would pass it on: through the real command line of a process of its own."""
    name = f"$(touch {home.parent}/made) `touch {home.parent}/made` ; touch {home.parent}/made"
    done = subprocess.run(
        [sys.executable, "-m", "engine", "show", "--json", name],
        cwd=Path(jobs.REPOSITORY),
        env={**os.environ, "CHHATNI_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert not (home.parent / "made").exists()
    shown = subprocess.run(
        [sys.executable, "-m", "engine", "runs", "--json"],
        cwd=Path(jobs.REPOSITORY),
        env={**os.environ, "CHHATNI_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(shown.stdout)) == 1
