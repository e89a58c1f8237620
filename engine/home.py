"""The home folder: where runs, downloads and locks live on disk.

    <home>/runs.db              runs and their events
    <home>/runs/<run_id>/       log.txt, resume/ and model/ of one run
    <home>/cache/               downloads
    <home>/locks/               one file lock for each living run; those of devices are the machine's, see `runs.device_locks`

``CHHATNI_HOME`` names the home; without it the home is ``checkpoints/`` beside this package.
"""

import os
import re
from pathlib import Path

from engine.errors import JobError

REPOSITORY = Path(__file__).resolve().parent.parent
"""The folder that holds ``engine/``, ``pages/`` and ``app.py``."""

_RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def default_home() -> Path:
    """Return the home folder that the environment names, or the one beside the code; it need not exist yet."""
    named = os.environ.get("CHHATNI_HOME", "").strip()
    return Path(os.path.expanduser(named)).resolve() if named else REPOSITORY / "checkpoints"


def run_folder(home: Path, run_id: str) -> Path:
    """Return the folder of one run; it need not exist yet.

    Raises:
        JobError: if ``run_id`` is no run id, so that no text from outside can point to another place.
    """
    if _RUN_ID.fullmatch(run_id) is None:
        shown = run_id if len(run_id) <= 80 else run_id[:77] + "..."
        raise JobError(
            f"{shown!r} is not a run id; one has 1 to 64 lowercase letters, digits and hyphens. "
            "`python -m engine runs` lists those there are."
        )
    return home / "runs" / run_id


def lock_path(home: Path, name: str) -> Path:
    """Return the file that guards ``name`` (a device or a run), and make its folder.

    Raises:
        JobError: if the folder cannot be made.
    """
    folder = home / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(
            f"The folder {folder} cannot be made ({error.strerror}). Make {home} writable, "
            "or name another folder in CHHATNI_HOME."
        ) from error
    return folder / f"{name}.lock"
