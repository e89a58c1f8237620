"""One worker that has imported everything and waits, so that a run begins at once.

Importing torch and transformers takes the first seconds of every worker. A studio in which somebody is about to press Start
keeps one worker ready:

    keep_ready -> python -m engine.worker --standby -> await_run <- hand_over (one line on its standard input) -> worker.run

It ends by itself when nobody needs it for `IDLE_S`, and when the studio dies, because that closes its standard input. It is
not used once the code or a setting of ours has changed since it started.
"""

import importlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, cast

import psutil

from engine.errors import TrainingError
from engine.home import REPOSITORY

ARGUMENT = "--standby"
IMPORTED = ("engine.measuring.tracker", "engine.training")
"""What a waiting worker imports; all else comes with these."""
IDLE_S = 900.0
HOLD_S = 1.5
"""A page that has asked for a worker is being drawn on the same cores; importing can wait so long."""
SPARE_BYTES = 2 * 1024**3
"""Memory that must be free for a worker to be kept: it takes half a gigabyte, which a small machine needs for the run itself."""


class _Ready(NamedTuple):
    child: "subprocess.Popen[bytes]"
    settings: dict[str, str]
    code: float
    until: float
    """Reading of the monotonic clock, in seconds; later it may be about to end."""


_ready: _Ready | None = None
_leaving: list["subprocess.Popen[bytes]"] = []
"""Waiting workers that were sent away and have not been collected yet."""
_turn = threading.Lock()
_imports: threading.Thread | None = None
_trouble: list[Exception] = []


def keep_ready(command: tuple[str, ...], environment: dict[str, str]) -> None:
    """Have a worker wait for the next run; does nothing where one waits already or memory is short.

    Args:
        command: starts a worker, without its run.
        environment: what the worker will see.
    """
    global _ready
    with _turn:
        if _ready is not None:
            if _fits(_ready, environment):
                return
            former, _ready = _ready, None
            send_away(former.child)
        if not _has_memory():
            return
        code = _code_changed_at()
        try:
            child = subprocess.Popen(
                [*command, ARGUMENT],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:  # the run itself will be started, or refused with the reason
            return
        _ready = _Ready(child, _settings(environment), code, time.monotonic() + 0.9 * IDLE_S)


def take(environment: dict[str, str]) -> "subprocess.Popen[bytes] | None":
    """Return the waiting worker, if there is one that fits; the caller hands a run over to it or ends it."""
    global _ready
    with _turn:
        if _ready is None:
            return None
        waited, _ready = _ready, None
        if _fits(waited, environment):
            return waited.child
        send_away(waited.child)
        return None


def hand_over(child: "subprocess.Popen[bytes]", run_id: str, log: Path) -> bool:
    """Give a waiting worker its run and the file for its output; False if it has just died."""
    order = json.dumps({"run_id": run_id, "log": str(log)}).encode() + b"\n"
    try:
        with cast(IO[bytes], child.stdin) as line:
            line.write(order)
    except OSError:
        return False
    return True


def send_away(child: "subprocess.Popen[bytes]") -> None:
    """Let a waiting worker end; it does so by itself, and is collected later."""
    cast(IO[bytes], child.stdin).close()
    _leaving[:] = [former for former in [*_leaving, child] if former.poll() is None]


def await_run(given: IO[bytes]) -> str:
    """In the waiting worker: import what training needs, until a run comes; return its id.

    Does not return where none comes: the process ends.
    """
    global _imports
    ready, _, _ = select.select([given], [], [], HOLD_S)
    if not ready:
        _imports = threading.Thread(target=_import_all, name="imports", daemon=True)
        _imports.start()
        ready, _, _ = select.select([given], [], [], IDLE_S)
    line = given.readline() if ready else b""
    if not line.endswith(b"\n"):
        os._exit(0)  # at once: an interpreter that is importing in a thread cannot end in order
    order = json.loads(line)
    with Path(order["log"]).open("ab") as log, open(os.devnull, "rb") as nothing:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    return str(order["run_id"])


def finish_imports() -> None:
    """Wait for what a waiting worker has begun to import, so that no two threads import the same.

    Raises:
        Exception: what went wrong in it; importing a library a second time would hide that.
    """
    if _imports is not None:
        _imports.join()
    if _trouble:
        raise _trouble[0]


def _import_all() -> None:
    try:
        for name in IMPORTED:
            importlib.import_module(name)
        if IMPORTED:
            from engine.emissions import find_hardware

            with suppress(TrainingError):  # the run's own meter will meet the same, and say so
                find_hardware()
    except Exception as error:  # noqa: BLE001 - raised by `finish_imports`, where the run hears of it
        _trouble.append(error)


def _fits(ready: _Ready, environment: dict[str, str]) -> bool:
    if ready.child.poll() is not None or time.monotonic() > ready.until:
        return False
    return ready.settings == _settings(environment) and ready.code == _code_changed_at()


def _settings(environment: dict[str, str]) -> dict[str, str]:
    """Return our own variables; libraries add to the others as a studio imports them."""
    return {name: value for name, value in environment.items() if name.startswith("CHHATNI_")}


def _has_memory() -> bool:
    try:
        return psutil.virtual_memory().available >= SPARE_BYTES
    except (OSError, psutil.Error):  # a machine that does not say
        return False


def _code_changed_at() -> float:
    latest = 0.0
    for path in Path(__file__).parent.rglob("*.py"):
        with suppress(OSError):  # an editor's lock, or a file that has just been replaced
            latest = max(latest, path.stat().st_mtime)
    return latest
