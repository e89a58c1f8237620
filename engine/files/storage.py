"""Files and folders that are either whole or not there.

Everything is written under a temporary name beside its place, flushed to the disk and renamed: a crash, a full disk or a
power cut leaves the former file as it was.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<suffix>former|[a-z0-9_]{8})")
"""Hidden names as `tempfile` and `_swap` make them."""


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file by ``write(temporary_path)`` and put it in place at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)  # mkstemp makes it private
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def replace_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Fill a folder by ``write(temporary_folder)`` and put it in place; a former one is removed only afterwards."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(temporary)
        for path in [*temporary.rglob("*"), temporary]:
            # mkdtemp and safetensors make them private; a finished model may be read by others
            path.chmod(0o755 if path.is_dir() else 0o644)
            _flush(path)
        _swap(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _flush(folder.parent)


def tidy(folder: Path) -> None:
    """Undo what a killed process left half done in a folder that nobody else writes to.

    A former folder whose successor was never put in place comes back; unfinished temporaries go.
    """
    for path in folder.glob(".*.*"):
        found = _LEFTOVER.fullmatch(path.name)
        if found is None:
            continue
        whole = folder / found["name"]
        if found["suffix"] == "former" and not whole.exists():
            path.rename(whole)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _swap(temporary: Path, folder: Path) -> None:
    """Put a folder in place of another, which comes back if that fails."""
    former = folder.with_name(f".{folder.name}.former")
    shutil.rmtree(former, ignore_errors=True)
    moved = folder.exists()
    if moved:
        folder.rename(former)
    try:
        temporary.rename(folder)
    except OSError:
        if moved:
            former.rename(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; what is removed while they are counted counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):  # which takes a folder that is gone for an empty one
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError, NotADirectoryError):  # such as of a run that is just tidying up
                total += path.stat().st_size if path.is_file() else 0
    return total


def _flush(path: Path) -> None:
    """Make the disk keep a file's bytes, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
