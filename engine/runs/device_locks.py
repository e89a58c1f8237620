"""The turn on a device, which all homes and users of a machine share.

Two runs on one device at once falsify each other's latency, and each would be charged the energy of both: the meter reads the whole
processor and the whole card. So there is one lock for each GPU, by its identity, and one for the CPU, whatever home a run is in.
The locks lie in a folder of the machine that everybody may write to, so nothing in it is trusted: no link is followed, and a file
with other names too, which may be anybody's, is neither read nor written. CHHATNI_LOCKS names another folder; a relative one is a
folder in each home, for machines whose homes shall not wait for one another, such as those with a share of the cores each.
"""

import logging
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

import pynvml  # type: ignore[import-untyped]
from filelock import FileLock, Timeout

from engine.errors import JobError
from engine.home import lock_path
from engine.runs.devices import gpu_uuid

SHARED = Path("/tmp/chhatni-locks")  # noqa: S108 - one place for all; TMPDIR is each session's own
"""Where the locks of a machine lie: open to every user, and only who made a file may remove it."""
KEEP_EVERY_S = 3600.0
"""A held lock's file is touched this often: what is old is cleared out of /tmp, and then two runs would overlap."""
_MARK_BYTES = 64
_LOG = logging.getLogger(__name__)


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
        self._name = name
        self._given_back = threading.Event()
        self.path, self.trouble = _place(home, name)
        self._lock = FileLock(self.path, mode=0o666)

    def take(self) -> bool:
        """Take the turn if nobody has it; tell whether it is ours now.

        While a run waits, the folder may be removed, closed or replaced. Then the lock is placed anew, if need be in the home, and
        the log says what that means.

        Raises:
            JobError: if the home cannot hold the lock either.
        """
        try:
            taken = self._try()
        except OSError:
            taken = self._try_anew()
        if taken:
            with suppress(OSError):  # it only says who has it
                _write(self.path, f"{os.getpid()} {_digest(self._home)}")
            self._given_back = threading.Event()
            keeper = threading.Thread(target=_keep, args=(self.path, self._given_back), name="lock-keeper", daemon=True)
            keeper.start()
        return taken

    def release(self) -> None:
        """Give the turn back, if we have it."""
        self._given_back.set()
        self._lock.release()

    def _try(self) -> bool:
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    def _try_anew(self) -> bool:
        self._move(*_place(self._home, self._name))
        try:
            return self._try()
        except OSError as error:
            self._move(*_place_at_home(self._home, self._name, self.path.parent, error))
        try:
            return self._try()
        except OSError as error:
            raise JobError(
                f"{self.path} cannot be locked ({error.strerror}), so the run cannot wait for its turn on {self._name}. "
                f"Make {self._home} writable, then resume the run."
            ) from error

    def _move(self, path: Path, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            _LOG.warning(trouble)
        self.path, self.trouble = path, trouble
        self._lock = FileLock(path, mode=0o666)


def held_elsewhere(home: Path, name: str) -> bool:
    """Tell whether a run of another home has the turn on a device."""
    try:
        path, _ = _place(home, name)
        with FileLock(path, mode=0o666, blocking=False):
            return False
    except Timeout:
        with suppress(OSError):
            mark = _read(path).decode("ascii", errors="replace").split()
            return len(mark) == 2 and mark[1] != _digest(home)
    except (OSError, JobError):  # a home that cannot be written
        pass
    return False


def _place(home: Path, name: str) -> tuple[Path, str]:
    """Return the file of a lock, and what keeps it from being the whole machine's, if anything does.

    Raises:
        JobError: if neither the folder nor the home can hold it.
    """
    asked = os.environ.get("CHHATNI_LOCKS", "").strip()
    folder = Path(os.path.expanduser(asked)) if asked else SHARED
    if not folder.is_absolute():
        try:
            (home / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return _place_at_home(home, name, home / folder, error)
        return home / folder / f"{name}.lock", ""
    uuid, trouble = None, ""
    try:
        uuid = gpu_uuid(name)
    except pynvml.NVMLError as error:
        trouble = (
            f"The driver does not tell the identity of {name} ({error}), so it is locked by its number, "
            "and runs that know its identity may use it at the same time."
        )
    file = f"{name if uuid is None else re.sub('[^A-Za-z0-9-]', '', uuid).lower()}.lock"
    try:
        _make(folder, folder / file)
    except OSError as error:
        return _place_at_home(home, name, folder, error)
    return folder / file, trouble


def _place_at_home(home: Path, name: str, folder: Path, error: OSError) -> tuple[Path, str]:
    """Return the file of a lock in its home, and why it does not lie in the folder that it should.

    Raises:
        JobError: if the home cannot hold it.
    """
    path = lock_path(home, name)
    so = f"runs of other homes may use {name} at the same time"
    if home in folder.parents:
        so = f"the lock of {name} lies in {path.parent}"
    return path, f"{folder} cannot hold locks ({error.strerror}), so {so}."


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
    _refuse_strange(file.lstat(), file)
    if not os.access(file, os.R_OK | os.W_OK):
        raise PermissionError(13, f"{file.name} is another user's and closed")


def _refuse_strange(found: os.stat_result, file: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError(1, f"{file.name} is no file")
    if found.st_nlink != 1:
        raise PermissionError(1, f"{file.name} has other names too and may be somebody's file")


@contextmanager
def _opened(path: Path, how: int) -> Iterator[int]:
    """Open the file of a lock, and nothing else that may have come into its place.

    Raises:
        OSError: if it is gone, closed, a link, no file, or one with other names too.
    """
    # not O_CREAT: with it, Linux refuses another user's file in a folder like this one (fs.protected_regular);
    # not O_TRUNC: it would empty the file before it can be looked at; O_NONBLOCK: a named pipe would hold us up
    descriptor = os.open(path, how | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _refuse_strange(os.fstat(descriptor), path)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    """Return the beginning of a lock's file, as long as a mark may be; others may have made it of any size."""
    with _opened(path, os.O_RDONLY) as descriptor:
        return os.read(descriptor, _MARK_BYTES)


def _write(path: Path, text: str) -> None:
    with _opened(path, os.O_WRONLY) as descriptor:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, text.encode("ascii"))


def _keep(path: Path, given_back: threading.Event) -> None:
    """Touch the file of a lock now and then until the lock is given back."""
    while not given_back.wait(KEEP_EVERY_S):
        with suppress(OSError), _opened(path, os.O_WRONLY) as descriptor:  # gone already, or never written to
            os.utime(descriptor)


def _digest(home: Path) -> str:
    """Return what tells homes apart and tells other users nothing."""
    return blake2b(os.fsencode(home.resolve()), digest_size=8).hexdigest()
