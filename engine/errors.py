"""Everything Chhatni raises on purpose.

    ChhatniError            base of all; its text is fit to be shown to a person as it is
    |- ConfigError          settings that cannot work, all of them at once, by field
    |- DataError            a dataset that cannot be read or used, with its path and row
    |- CheckpointError      a model folder, hub id or resume state that cannot be loaded or saved
    |- JobError             a run that cannot be started, stopped or resumed
    |  |- NoSuchRun         a run that is not, or no longer, in the store
    |  |- StoreLocked       another program keeps the run database for itself
    |  `- WorkerDied        the process of a run ended without a word
    `- TrainingError        training itself went wrong
       |- Diverged          the loss is no longer a finite number
       `- OutOfMemory       the device has no memory left

A message says what happened, which value it met, and what to do about it.
"""

from collections.abc import Mapping
from pathlib import Path

from engine.concealing import conceal


class ChhatniError(Exception):
    """Base of every error that is meant for a person's eyes; its text holds no secret, whatever was quoted in it."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(conceal(word) if isinstance(word, str) else word for word in words))


class ConfigError(ChhatniError):
    """Settings that cannot work; ``fields`` maps a dotted field name to its complaint."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = {name: conceal(complaint) for name, complaint in fields.items()}
        super().__init__("\n".join(self.fields.values()))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[dict[str, str]]]:
        return (ConfigError, (self.fields,))


class DataError(ChhatniError):
    """A dataset that cannot be read or used; ``row`` counts from 1 where a row is to blame."""

    def __init__(self, message: str, path: Path | str | None = None, row: int | None = None) -> None:
        self.path = None if path is None else conceal(str(path))
        self.row = row
        super().__init__(message)


class CheckpointError(ChhatniError):
    """A model or a resume state that cannot be loaded or saved."""


class JobError(ChhatniError):
    """A run that cannot be started, stopped or resumed."""


class NoSuchRun(JobError):
    """A run that is not, or no longer, in the store."""


class StoreLocked(JobError):
    """Another program keeps the run database for itself."""


class WorkerDied(JobError):
    """The process of a run ended without saying why."""


class TrainingError(ChhatniError):
    """Training itself went wrong."""


class Diverged(TrainingError):
    """The loss is no longer a finite number."""


class OutOfMemory(TrainingError):
    """The device has no memory left for the next step."""
