"""Temporary folders of killed meters go; everything else stays."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine.config import EmissionsConfig
from engine.emissions import EmissionsMeter
from engine.measuring.meter_folder import remove_left_folders

METER = (
    "import time\nfrom engine.emissions import EmissionsMeter\nfrom engine.config import EmissionsConfig\n"
    "EmissionsMeter(EmissionsConfig(), 'cpu').start()\nprint('started', flush=True)\ntime.sleep(60)\n"
)


def test_folders_of_killed_meters_are_removed_by_the_next_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    child = subprocess.Popen(
        [sys.executable, "-c", METER], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"started\n"
    [theirs] = tmp_path.iterdir()
    remove_left_folders()
    assert theirs.is_dir(), "its process lives"
    child.kill()
    child.wait()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    (tmp_path / "chhatni-power-someone").mkdir()
    (tmp_path / "chhatni-power-999999999-5-link").symlink_to(outside)
    (tmp_path / "chhatni-power-999999999-5-file").write_text("")
    reused = tmp_path / f"chhatni-power-{os.getpid()}-5-former"
    reused.mkdir()
    left = {path.name for path in tmp_path.iterdir()} - {theirs.name, reused.name}
    with EmissionsMeter(EmissionsConfig(), "cpu"):
        assert not theirs.exists()
        assert not reused.exists(), "the process that has the id now is another one"
        [ours] = tmp_path.glob(f"chhatni-power-{os.getpid()}-*")
        remove_left_folders()
        assert ours.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == left
    assert (outside / "kept").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away takes root")
def test_folders_of_other_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = tmp_path / "chhatni-power-999999999-5-x"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    remove_left_folders()
    assert theirs.is_dir()
    os.chown(theirs, 0, 0)
    remove_left_folders()
    assert not theirs.exists()
