"""The turn on a device, which all homes and users of a machine share.

Two runs on one device at once falsify each other's latency, and each would be charged the energy of both: the meter reads the whole
processor and the whole card. So there is one lock for each GPU, by its identity, and one for the CPU, whatever home a run is in.
The locks lie in a folder of the machine that everybody may write to. CHHATNI_LOCKS names another; a relative one lies in the home,
for machines whose homes shall not wait for one another, such as those with a share of the cores each.
"""

import os
import re
import stat
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock, Timeout

from engine.home import lock_path
from engine.runs.devices import gpu_uuid

SHARED = Path("/tmp/chhatni-locks")  # noqa: S108 - one place for all; TMPDIR is each session's own
"""Where the locks of a machine lie: open to every user, and only who made a file may remove it."""
_MARK_BYTES = 64


class DeviceLock:
    """The lock of one device; the system frees it when its process ends, however that comes."""

    def __init__(self, home: Path, name: str) -> None:
        """Find the lock's file.

        Args:
            home: of the run.
            name: as `devices.lock_name` gives it.

        Raises:
            JobError: if no folder can be made for it.
        """
        self._home = home
        self.path, self.trouble = _place(home, name)
        self._lock = FileLock(self.path, mode=0o666)

    def take(self) -> bool:
        """Take the turn if nobody has it; tell whether it is ours now."""
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        with suppress(OSError):  # it only says who has it
            _write(self.path, f"{os.getpid()} {_digest(self._home)}")
        return True

    def release(self) -> None:
        """Give the turn back, if we have it."""
        self._lock.release()


def held_elsewhere(home: Path, name: str) -> bool:
    """Tell whether a run of another home has the turn on a device."""
    path, _ = _place(home, name)
    try:
        with FileLock(path, mode=0o666, blocking=False):
            return False
    except Timeout:
        with suppress(OSError):
            mark = path.read_bytes()[:_MARK_BYTES].decode("ascii", errors="replace").split()
            return len(mark) == 2 and mark[1] != _digest(home)
    except OSError:  # a home that cannot be written
        pass
    return False


def _place(home: Path, name: str) -> tuple[Path, str]:
    """Return the file of a lock, and what keeps it from being the whole machine's, if anything does."""
    asked = os.environ.get("CHHATNI_LOCKS", "").strip()
    if asked and not Path(asked).is_absolute():
        return lock_path(home, name), ""
    uuid = gpu_uuid(name)
    file = f"{name if uuid is None else re.sub('[^A-Za-z0-9-]', '', uuid).lower()}.lock"
    folder = Path(asked) if asked else SHARED
    try:
        _make(folder, folder / file)
    except OSError as error:
        trouble = (
            f"{folder} cannot hold locks ({error.strerror}), so runs of other homes may use {name} at the same time."
        )
        return lock_path(home, name), trouble
    return folder / file, ""


def _make(folder: Path, file: Path) -> None:
    """Make a folder and a file in it that every user may lock.

    Raises:
        OSError: if somebody has put something else in their place, or the disk cannot be written.
    """
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise NotADirectoryError(20, "it is no folder")
    with suppress(FileExistsError):
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        try:
            os.fchmod(descriptor, 0o666)  # whatever the umask
        finally:
            os.close(descriptor)
    if not stat.S_ISREG(file.lstat().st_mode):
        raise PermissionError(1, f"{file.name} is no file")
    if not os.access(file, os.R_OK | os.W_OK):
        raise PermissionError(13, f"{file.name} is another user's and closed")


def _write(path: Path, text: str) -> None:
    # not O_CREAT: with it, Linux refuses another user's file in a folder like this one (fs.protected_regular)
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def _digest(home: Path) -> str:
    """Return what tells homes apart and tells other users nothing."""
    return blake2b(os.fsencode(home.resolve()), digest_size=8).hexdigest()
