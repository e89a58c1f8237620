"""Two shapes timed in a process of their own, one measurement at a time on this home; without torch.

The process keeps the studio responsive, gives all of its memory back, and takes nothing with it should memory run out.
Whoever asks second waits: two measurements at once would disturb each other.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from engine.concealing import for_workers
from engine.errors import JobError, OutOfMemory, WorkerDied
from engine.home import REPOSITORY, lock_path
from engine.lab.plan import LIMIT_S, LabResult, LabSettings
from engine.records import Latency

Stage = Literal["waiting", "starting", "building", "timing"]
COMMAND = (sys.executable, "-m", "engine.lab.worker")
LOCK = "speed-lab"
POLL_S = 0.2
SETTINGS, STAGE, ANSWER, LOG = "settings.json", "stage.json", "answer.json", "log.txt"
"""Files of the folder that the two processes share: a pipe that nobody reads would block."""
_SAID_CHARACTERS = 300


@dataclass(frozen=True)
class Progress:
    """How far a measurement is; ``waiting`` means that another one has the turn."""

    stage: Stage
    elapsed_s: float
    expected_s: float
    """From the start to the end; 0 while it waits."""

    @property
    def share(self) -> float:
        """Share that is done, below 1 until there is a result."""
        return 0.0 if self.expected_s <= 0 else min(0.97, self.elapsed_s / self.expected_s)


def measure_apart(
    settings: LabSettings, home: Path, expected_s: float
) -> Generator[Progress | list[LabResult], None, None]:
    """Wait for the turn, then time two shapes in a process of their own; closing the iterator ends that process.

    Args:
        settings: what is timed.
        home: whose lock makes measurements take turns.
        expected_s: how long it will take as far as is known before; the process corrects it.

    Yields:
        `Progress` several times a second; last the results, one for each precision.

    Raises:
        OutOfMemory: if the shapes did not fit.
        JobError: if it took too long or went wrong otherwise.
    """
    lock = FileLock(lock_path(home, LOCK), thread_local=False)
    began = time.monotonic()
    while not _has_turn(lock):
        yield Progress("waiting", time.monotonic() - began, 0.0)
        time.sleep(POLL_S)
    try:
        with tempfile.TemporaryDirectory(prefix="chhatni-lab-") as name:
            folder = Path(name)
            (folder / SETTINGS).write_text(settings.to_json(), encoding="utf-8")
            code = yield from _follow(folder, expected_s)
            yield _results(settings, folder, code)
    finally:
        lock.release()


def _has_turn(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def _follow(folder: Path, expected_s: float) -> Generator[Progress, None, int]:
    """Run the process to its end and tell of it; returns its exit status. It does not outlive the one who listens."""
    began = time.monotonic()
    with (folder / LOG).open("wb") as output:
        try:
            child = subprocess.Popen(
                [*COMMAND, str(folder)],
                cwd=REPOSITORY,
                env=for_workers(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise JobError(
                f"The measuring process could not be started ({error.strerror}). Check free memory, then try again."
            ) from error
    stage: Stage = "starting"
    try:
        while child.poll() is None:
            elapsed = time.monotonic() - began
            if elapsed > LIMIT_S:
                raise JobError(
                    f"The measurement was ended after {LIMIT_S / 60:.0f} minutes. Try a smaller batch, shorter texts or fewer "
                    "layers."
                )
            said = _read(folder / STAGE)
            if said and said["stage"] != stage:
                stage, expected_s = said["stage"], elapsed + said["left_s"] if said["left_s"] else expected_s
            yield Progress(stage, elapsed, expected_s)
            time.sleep(POLL_S)
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
    return child.returncode


def _read(path: Path) -> dict[str, Any] | None:
    """Read an object that the process has put in place at once, if it is there."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def to_json(results: list[LabResult]) -> str:
    """Write results for the asking process, which knows the settings."""
    rows = []
    for result in results:
        row = asdict(replace(result, settings=None))  # type: ignore[arg-type]
        rows.append(row | {"dense": result.dense.model_dump(), "other": result.other.model_dump()})
    return json.dumps({"results": rows})


def _results(settings: LabSettings, folder: Path, code: int) -> list[LabResult]:
    """Turn what the process left behind into results.

    Raises:
        OutOfMemory, JobError: as it said, or as its end shows.
    """
    answer = _read(folder / ANSWER)
    if answer is None:
        log = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f" Its last words: {log[-1][:_SAID_CHARACTERS]}" if log else ""
        raise WorkerDied(
            f"The measuring process ended without a result (exit status {code}).{last} If it was ended by the system, memory "
            "was short: try smaller shapes."
        )
    if "error" in answer:
        raise (OutOfMemory if answer["memory"] else JobError)(answer["error"])
    rows = []
    for row in answer["results"]:
        latencies = {side: Latency.model_validate(row[side]) for side in ("dense", "other")}
        rows.append(LabResult(**{**row, **latencies, "settings": settings}))
    return rows
