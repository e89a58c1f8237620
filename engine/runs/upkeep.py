"""The list of runs kept in order: who waits for which device, and what goes with a run that is deleted."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from engine.files.storage import folder_bytes
from engine.home import run_folder
from engine.runs.run import ACTIVE, Run
from engine.store import RunStore


@dataclass(frozen=True)
class Waiting:
    """A run that waits for its turn."""

    run: Run
    place: int
    """Among those that wait for the same device, 1 for the next in turn."""
    last: bool
    """Whether none of them comes after it."""


@dataclass(frozen=True)
class Removal:
    """What would go if a run were deleted, and what stands against it."""

    run: Run
    folder: Path
    size_bytes: int
    """Of all its files: log, checkpoints and, of a finished run, the model."""
    needed_by: tuple[Run, ...]
    """Runs that are not done and have it as their base; while there are any, it stays."""


def in_order(store: RunStore) -> list[Run]:
    """Return all runs that wait or work: device by device, those that work first, then by their place."""
    return sorted(store.runs(states=ACTIVE), key=lambda run: (run.device, run.state == "queued", run.place))


def waiting(store: RunStore) -> list[Waiting]:
    """Return the runs that wait, device by device in their order."""
    queued = [run for run in in_order(store) if run.state == "queued"]
    behind, before = Counter(run.device for run in queued), Counter[str]()
    found = []
    for run in queued:
        before[run.device] += 1
        found.append(Waiting(run, before[run.device], before[run.device] == behind[run.device]))
    return found


def shift(store: RunStore, run_id: str, by: int) -> None:
    """Let a waiting run go ``by`` places later among those that wait for its device, or earlier where that is negative.

    Raises:
        JobError: if it does not wait, or there is no such run.
    """
    places = {each.run.run_id: each.place for each in waiting(store)}
    store.move(run_id, max(0, places.get(run_id, 1) - 1 + by))


def removal(store: RunStore, run_id: str) -> Removal:
    """Say what would go with a run; nothing is touched.

    Raises:
        JobError: if there is no such run.
    """
    folder = run_folder(store.home, run_id)
    return Removal(store.get(run_id), folder, folder_bytes(folder), tuple(store.needing(run_id)))
