"""What a run has used so far, noted beside its checkpoints each time it is told.

Checkpoints are minutes apart. A killed run takes the steps behind the last one again; the energy and the time of those that were
lost it has used all the same, so they count. The note holds running totals, so that reading it twice counts nothing twice.
"""

import os
from pathlib import Path

from pydantic import ValidationError

from engine.emissions import EmissionsTotals
from engine.records import Record

NOTE = "spent.json"


class Spent(Record):
    """Totals over all parts of a run."""

    elapsed_s: float
    emissions: EmissionsTotals


def note_spent(folder: Path, spent: Spent) -> None:
    """Write the totals into a run's folder, in place of the former ones.

    They are not flushed to the disk, which would hold training up every second: of a machine whose power was cut, those of the last
    checkpoint count.

    Raises:
        OSError: if the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / NOTE
    unfinished = whole.with_name(f".{NOTE}.new")
    unfinished.write_text(spent.model_dump_json(), encoding="utf-8")
    os.replace(unfinished, whole)


def read_spent(folder: Path) -> Spent | None:
    """Return what a run had used when it was last told, or None where nothing whole was noted."""
    try:
        return Spent.model_validate_json((folder / NOTE).read_bytes())
    except (FileNotFoundError, ValidationError):  # a new run, or the bytes that a power cut has left
        return None


def forget_spent(folder: Path) -> None:
    """Remove the note of a run that has come to its end."""
    for name in (NOTE, f".{NOTE}.new"):
        (folder / name).unlink(missing_ok=True)


def spent_before(folder: Path, checkpoint: Spent | None) -> Spent | None:
    """Return what the parts of a run before this one have used: by the note or by the checkpoint, whichever knows of more."""
    noted = read_spent(folder)
    if noted is None or checkpoint is None:
        return noted or checkpoint
    later = noted.emissions.energy_kwh >= checkpoint.emissions.energy_kwh
    emissions = noted.emissions if later else checkpoint.emissions
    return Spent(elapsed_s=max(noted.elapsed_s, checkpoint.elapsed_s), emissions=emissions)
