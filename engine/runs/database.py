"""One SQLite file that many processes and threads share.

Write-ahead logging lets pages read while a worker writes. Connections are kept in a small pool: opening one at each
call would checkpoint the log at each close. Every error of SQLite leaves here as a `JobError` that says what to do.
"""

import os
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from engine.errors import JobError, StoreLocked
from engine.home import lock_path

_UNWRITABLE = (
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL),
)
"""What SQLite answers where the files beside a database cannot be made."""
_BESIDE_BYTES = 65_536
"""What the log and the index of the log need at least."""
_KEPT_OPEN = 4
"""Idle connections a pool keeps; more are opened when more threads come at once."""


class _Pool(list[sqlite3.Connection]):
    """Idle connections to one file, as one process opened them."""

    def __init__(self, file: tuple[int, int] | None) -> None:
        super().__init__()
        self.file = file
        self.process = os.getpid()

    def close(self) -> None:
        if self.process == os.getpid():  # SQLite forbids a forked child to touch its parent's connections
            while self:
                self.pop().close()


class Database:
    """A SQLite file with a schema, created on first use."""

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        version: int,
        busy_timeout_s: float,
        migrations: Mapping[int, Sequence[str]],
    ) -> None:
        self.path = path
        self._schema = schema
        self._version = version
        self._busy_timeout_s = busy_timeout_s
        self._migrations = migrations
        self._lock = threading.Lock()
        self._pool = self._new_pool(None)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for reading; what lies on a full or read-only disk can be read, too.

        Raises:
            JobError: if the file cannot be opened or read.
        """
        with self._lend(reading=True) as connection:
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside one transaction, which any exception rolls back.

        Args:
            durable: return only when the disk has it, so that a power cut cannot take it back.

        Raises:
            JobError: if the file cannot be written or stays locked.
        """
        with self._lend() as connection:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the idle connections; the next call opens a new one."""
        with self._lock:
            self._pool.close()

    @contextmanager
    def _lend(self, *, reading: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            connection, pool = self._borrow(reading)
            sound = False
            try:
                yield connection
                sound = True
            except JobError:
                sound = True  # the caller's own refusal, not the database's
                raise
            finally:
                self._give_back(connection, pool, keep=sound)
        except sqlite3.Error as error:
            raise explain(self.path, error, self._busy_timeout_s) from error

    def _give_back(self, connection: sqlite3.Connection, pool: _Pool | None, *, keep: bool) -> None:
        with self._lock:
            if keep and pool is self._pool and len(pool) < _KEPT_OPEN:
                pool.append(connection)
                return
        connection.close()

    def _borrow(self, reading: bool) -> tuple[sqlite3.Connection, _Pool | None]:
        """Take an idle connection, or open one; return it with the pool it goes back to, if it does."""
        file = _identity(self.path)
        with self._lock:
            # A deleted or replaced file must not live on in old connections, nor a parent's ones in a forked child.
            if file is None or self._pool.file != file or self._pool.process != os.getpid():
                self._pool.close()
            elif self._pool:
                return self._pool.pop(), self._pool
        try:
            connection = self._open()
        except sqlite3.OperationalError as error:
            if not reading or _code(error) not in _UNWRITABLE:
                raise
            return self._open_to_look(error), None
        file = _identity(self.path)
        with self._lock:
            if self._pool.file != file or self._pool.process != os.getpid():
                self._pool = self._new_pool(file)
            return connection, self._pool

    def _new_pool(self, file: tuple[int, int] | None) -> _Pool:
        pool = _Pool(file)
        weakref.finalize(self, pool.close)
        return pool

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JobError(
                f"The folder {self.path.parent} cannot be made ({error.strerror}). Make it writable, "
                "or name another folder in CHHATNI_HOME."
            ) from error
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys=ON")
            version = _version(connection)
            if version < self._version and (version == 0 or version in self._migrations):
                self._bring_up_to_date(connection)
            elif version != self._version:
                raise self._foreign(version)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_to_look(self, error: sqlite3.OperationalError) -> sqlite3.Connection:
        """Open a file that cannot be written, because the disk is full or read-only, for a look.

        Without a log beside it (https://sqlite.org/wal.html#read_only_databases) nobody is writing, and it can be taken as it is.

        Raises:
            sqlite3.OperationalError: the given one, if that cannot be done either.
        """
        log = self.path.with_name(self.path.name + "-wal")
        alone = not log.exists() or log.stat().st_size == 0
        address = f"{self.path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
        try:
            connection = sqlite3.connect(
                address, uri=True, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
        except sqlite3.OperationalError:
            raise error from None
        try:
            connection.row_factory = sqlite3.Row
            version = _version(connection)
        except sqlite3.OperationalError:
            connection.close()
            raise error from None
        if version != self._version:
            connection.close()
            raise error if version == 0 or version in self._migrations else self._foreign(version)
        return connection

    def _foreign(self, version: int) -> JobError:
        return JobError(
            f"The run database {self.path} has version {version}; this program knows version "
            f"{self._version}. Update the program, or name another folder in CHHATNI_HOME."
        )

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        """Write the schema, or what an older one lacks; of several processes, one does it and the others wait."""
        try:
            with FileLock(lock_path(self.path.parent, "runs-db"), timeout=self._busy_timeout_s):
                version = _version(connection)
                if version == 0:
                    self._use_write_ahead_log(connection)
                connection.execute("BEGIN IMMEDIATE")
                try:
                    for step in range(version, self._version):
                        for statement in self._schema if version == 0 else self._migrations[step]:
                            connection.execute(statement)
                        if version == 0:
                            break
                    connection.execute(f"PRAGMA user_version={self._version:d}")
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except Timeout as error:
            raise JobError(
                f"Another program has been creating {self.path} for {self._busy_timeout_s:g} s. "
                "Try again; if it stays so, end the other Chhatni processes first."
            ) from error
        except OSError as error:
            raise JobError(
                f"The folder {self.path.parent} cannot be written ({error.strerror}). Make it writable, "
                "or name another folder in CHHATNI_HOME."
            ) from error

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        """Switch the journal; SQLite does not wait here by itself when somebody else just looks at the file."""
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None  # not there yet; opening it will say what is wrong, if anything is
    return status.st_dev, status.st_ino


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the low byte is the primary code


def _is_full(folder: Path) -> bool:
    """Tell whether there is no room for the files beside a database, which SQLite calls a failure of the disk."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _BESIDE_BYTES
    return False


def explain(path: Path, error: sqlite3.Error, busy_timeout_s: float) -> JobError:
    """Turn an error of SQLite into a sentence with a way out (result codes: https://sqlite.org/rescode.html)."""
    code = _code(error)
    folder = path.parent
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(folder)):
        return JobError(f"The disk that holds {path} is full. Free some space on it, then try again or resume the run.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreLocked(
            f"The run database {path} has been locked by another program for {busy_timeout_s:g} s. "
            "Close what has it open for writing, such as a database browser, and try again."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return JobError(
            f"The run database {path} is damaged ({error}). Move it away together with {path.name}-wal and "
            f"{path.name}-shm to begin with an empty list; the saved models in {folder / 'runs'} stay as they are."
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return JobError(
            f"The run database {path} cannot be opened for writing ({error}). Make the folder {folder} writable, "
            "or name another one in CHHATNI_HOME."
        )
    if code == sqlite3.SQLITE_IOERR:
        return JobError(
            f"The disk that holds {path} failed ({error}). Check that it is connected, sound and has free space, "
            "then try again."
        )
    return JobError(
        f"The run database {path} refused a command ({type(error).__name__}: {error}). If another version of "
        "Chhatni made it, use that version, or name another folder in CHHATNI_HOME."
    )
