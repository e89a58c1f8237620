"""Everything Chhatni raises on purpose.

    ChhatniError            base of all; its text is fit to be shown to a person as it is
    |- ConfigError          settings that cannot work, all of them at once, by field
    |- DataError            a dataset that cannot be read or used, with its path and row
    |- CheckpointError      a model folder, hub id or resume state that cannot be loaded or saved
    |- JobError             a run that cannot be started, stopped or resumed
    |  `- WorkerDied        the process of a run ended without a word
    `- TrainingError        training itself went wrong
       |- Diverged          the loss is no longer a finite number
       `- OutOfMemory       the device has no memory left

A message says what happened, which value it met, and what to do about it.
"""

from collections.abc import Mapping
from pathlib import Path


class ChhatniError(Exception):
    """Base of every error that is meant for a person's eyes."""


class ConfigError(ChhatniError):
    """Settings that cannot work; ``fields`` maps a dotted field name to its complaint."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = dict(fields)
        super().__init__("\n".join(self.fields.values()))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[dict[str, str]]]:
        return (ConfigError, (self.fields,))


class DataError(ChhatniError):
    """A dataset that cannot be read or used; ``row`` counts from 1 where a row is to blame."""

    def __init__(self, message: str, path: Path | str | None = None, row: int | None = None) -> None:
        self.path = None if path is None else str(path)
        self.row = row
        super().__init__(message)


class CheckpointError(ChhatniError):
    """A model or a resume state that cannot be loaded or saved."""


class JobError(ChhatniError):
    """A run that cannot be started, stopped or resumed."""


class WorkerDied(JobError):
    """The process of a run ended without saying why."""


class TrainingError(ChhatniError):
    """Training itself went wrong."""


class Diverged(TrainingError):
    """The loss is no longer a finite number."""


class OutOfMemory(TrainingError):
    """The device has no memory left for the next step."""
