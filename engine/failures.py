"""What went wrong, in words: an exception -> `RunFailed` with the next step a person can take."""

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from engine.errors import (
    CheckpointError,
    ChhatniError,
    ConfigError,
    DataError,
    Diverged,
    JobError,
    OutOfMemory,
    TrainingError,
)
from engine.events import RunFailed

_NEXT_STEPS: tuple[tuple[type[ChhatniError], str], ...] = (
    (Diverged, "Start a copy of the run with a lower learning rate, such as a third of this one's."),
    (ConfigError, "Start a copy of the run with the settings corrected."),
    (DataError, "Correct the dataset, then resume the run, or start a copy with another dataset."),
    (CheckpointError, "Check the base model and the run's folder, then resume the run or start a copy."),
    (JobError, "Remove the cause, then resume the run."),
    (TrainingError, "Resume the run from its last checkpoint, or start a copy with other settings."),
    (ChhatniError, "Remove the cause, then resume the run."),
)

_LAST_WORDS = "Could not be written to the store: "


def describe_failure(error: Exception, log: Path) -> RunFailed:
    """Turn what ended a run into its last event.

    Args:
        log: where the whole traceback stands.
    """
    chain = list(_causes(error))
    kind = type(error).__name__
    if any(_is_disk_full(each) for each in chain):
        return RunFailed(
            error=kind,
            message=str(error)
            if isinstance(error, JobError)  # of the store, whose words say it all
            else f"There is no space left on the disk ({_text(error)}).",
            next_step="Free some space, then resume the run: it goes on from its last checkpoint.",
        )
    if any(_is_out_of_memory(each) for each in chain):
        return RunFailed(
            error=OutOfMemory.__name__,
            message=str(error) if isinstance(error, ChhatniError) else f"The memory is used up ({_text(error)}).",
            next_step="Start a copy of the run with a smaller batch size or a smaller maximum length; "
            "or close other programs and resume this one.",
        )
    for family, next_step in _NEXT_STEPS:
        if isinstance(error, family):
            return RunFailed(error=kind, message=str(error), next_step=next_step)
    return RunFailed(
        error=kind,
        message=f"An unexpected error ended the run: {_text(error)}.",
        next_step=f"The log says where it happened: {log}. Resuming the run tries again from its last checkpoint.",
    )


def last_words(event: RunFailed) -> str:
    """Write a failure as one line for the end of a log, where the store cannot be written."""
    return _LAST_WORDS + event.model_dump_json()


def read_last_words(line: str) -> RunFailed | None:
    """Return the failure that a line of a log holds, or None if it holds none or is cut short."""
    if not line.startswith(_LAST_WORDS):
        return None
    try:
        return RunFailed.model_validate_json(line.removeprefix(_LAST_WORDS))
    except ValidationError:
        return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return "No space left on device" in str(error)  # safetensors reports it in an error of its own


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, OutOfMemory | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # torch.OutOfMemoryError by name, for torch may not be imported here; its CPU allocator raises a RuntimeError.
    names = {cls.__name__ for cls in type(error).__mro__}
    return "OutOfMemoryError" in names or "DefaultCPUAllocator" in str(error)


def _text(error: BaseException) -> str:
    text = str(error).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
