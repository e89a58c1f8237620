"""Files and folders that are whole or not there."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.files.storage import folder_bytes, replace_file, replace_folder, tidy


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def writes(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def fills(**files: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text)

    return write


def breaks(path: Path) -> None:
    (path / "half" if path.is_dir() else path).write_text("half of it")
    raise OSError("the disk is full")


def test_a_file_is_written_where_nothing_was(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "file.json"
    replace_file(target, writes("a"))
    assert target.read_text() == "a"
    assert mode(target) == 0o644
    assert names(target.parent) == ["file.json"]


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    seen: list[str] = []

    def write(path: Path) -> None:
        path.write_text("ne")
        seen.append(target.read_text())
        path.write_text("new")
        seen.append(target.read_text())

    replace_file(target, write)
    assert seen == ["old", "old"], "nobody sees half of it"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("theirs")
    (tmp_path / "file").symlink_to(tmp_path / "other")
    replace_file(tmp_path / "file", writes("ours"))
    assert (tmp_path / "other").read_text() == "theirs"
    assert (tmp_path / "file").read_text() == "ours"


def test_a_file_that_cannot_be_written_leaves_the_former(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(OSError, match="disk is full"):
        replace_file(target, breaks)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_in_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "file", writes("a"))
    assert names(tmp_path) == ["file"]


def test_a_folder_is_written_where_nothing_was(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    replace_folder(target, fills(a="1", b="2"))
    assert names(target) == ["a", "b"]
    assert names(target.parent) == ["model"]


def test_everybody_may_read_what_is_in_a_folder(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "inner").mkdir(mode=0o700)
        (folder / "inner" / "file").touch(mode=0o600)

    replace_folder(tmp_path / "model", write)
    found = [mode(tmp_path / "model" / name) for name in (".", "inner", "inner/file")]
    assert found == [0o755, 0o755, 0o644]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    replace_folder(target, fills(a="old", gone="old"))
    seen: list[list[str]] = []

    def write(folder: Path) -> None:
        fills(a="new", b="new")(folder)
        seen.append(names(target))

    replace_folder(target, write)
    assert seen == [["a", "gone"]], "the former is there until the new one is whole"
    assert names(target) == ["a", "b"]
    assert (target / "a").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_filled_leaves_the_former(tmp_path: Path) -> None:
    target = tmp_path / "model"
    replace_folder(target, fills(a="old"))
    with pytest.raises(OSError, match="disk is full"):
        replace_folder(target, breaks)
    assert names(target) == ["a"]
    assert names(tmp_path) == ["model"]
    with pytest.raises(OSError, match="disk is full"):
        replace_folder(tmp_path / "other", breaks)
    assert names(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_put_in_place_brings_the_former_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    replace_folder(target, fills(a="old"))
    rename = Path.rename

    def fail(path: Path, to: Path) -> Path:
        if to == target and not path.name.endswith(".former"):
            raise PermissionError("not now")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(PermissionError, match="not now"):
        replace_folder(target, fills(a="new"))
    assert (target / "a").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_what_a_crash_left_behind_does_not_disturb(tmp_path: Path) -> None:
    fills(junk="x")((tmp_path / ".model.former") if (tmp_path / ".model.former").mkdir() is None else tmp_path)
    replace_folder(tmp_path / "model", fills(a="1"))
    replace_folder(tmp_path / "model", fills(a="2"))
    assert names(tmp_path) == ["model"]


def test_what_a_killed_process_left_is_tidied(tmp_path: Path) -> None:
    for name in (".model.former", ".model.a1b2c3_4", ".resume.former", "resume", ".git", ".notes.txt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    (tmp_path / ".teacher.safetensors.a1b2c3_4").write_text("half")
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", ".notes.txt", "model", "resume"]
    assert (tmp_path / "model" / "a").read_text() == ".model.former", (
        "killed between two renames, the former comes back"
    )
    assert (tmp_path / "resume" / "a").read_text() == "resume"


def test_bytes_reach_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        steps.append("fsync")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        steps.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    replace_file(tmp_path / "file", writes("a"))
    assert steps == ["fsync", "replace", "fsync"]


def test_bytes_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "inner" / "b").write_bytes(b"4567")
    assert folder_bytes(tmp_path) == 7
    assert folder_bytes(tmp_path / "none") == 0


@pytest.mark.parametrize("gone", ["resume/state.bin", "resume"])
def test_what_is_removed_while_bytes_are_counted_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    (tmp_path / "resume" / "inner").mkdir(parents=True)
    (tmp_path / "log.txt").write_bytes(b"123")
    (tmp_path / "resume" / "state.bin").write_bytes(b"4567")
    is_file = Path.is_file
    looked: list[str] = []

    def look(path: Path) -> bool:
        found = is_file(path)
        looked.append(path.name)
        if path.name == "log.txt" and gone == "resume":  # the worker tidies up between two looks
            shutil.rmtree(tmp_path / "resume")
        elif path.name == "state.bin":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "is_file", look)
    assert folder_bytes(tmp_path) == 3
    assert looked == ["log.txt"] if gone == "resume" else "state.bin" in looked
