"""The temporary folder of a meter, which is named after its process so that the next meter can tidy up after a killed one."""

import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from engine.runs.processes import is_alive, process_created

NAME = "chhatni-power"
"""How its name begins; the process's id and the time of its creation follow, because the system gives ids out again."""


def new_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make the folder of this process's meter, and remove those whose process was killed."""
    remove_left_folders()
    created = process_created(os.getpid()) or 0.0
    return tempfile.TemporaryDirectory(prefix=f"{NAME}-{os.getpid()}-{created:.0f}-", ignore_cleanup_errors=True)


def remove_left_folders() -> None:
    """Remove the folders of dead processes; those of living ones, of other users and of unknown origin stay."""
    for path in Path(tempfile.gettempdir()).glob(f"{NAME}-*"):
        named = re.fullmatch(rf"{NAME}-(\d{{1,9}})-(\d{{1,12}})-.+", path.name)
        if named is None or is_alive(int(named[1]), float(named[2])):
            continue
        with suppress(OSError):  # another meter removes it at this moment
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                shutil.rmtree(path)
