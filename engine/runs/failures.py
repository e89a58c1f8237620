"""What went wrong, in words: an exception -> `RunFailed` with the next step a person can take."""

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from engine.concealing import conceal
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

_OF_A_GPU = (
    *(
        "CUDA error",
        "CUDA driver",
        "CUDA-capable device",
        "CUDA GPUs",
        "NVIDIA driver",
        "cuda runtime error",
        "NCCL error",
    ),
    *(
        "CUBLAS_STATUS",
        "CUDNN_STATUS",
        "cuDNN error",
        "unspecified launch failure",
        "device-side assert",
        "GPU is lost",
    ),
)
"""What errors of PyTorch say that come from CUDA (https://docs.nvidia.com/cuda/cuda-runtime-api/, "Error handling")."""
_OF_FULL_MEMORY = (
    *("DefaultCPUAllocator", "CUDA error: out of memory", "CUDA out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)

_LAST_WORDS = "Could not be written to the store"


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
    if any(is_out_of_memory(each) for each in chain):
        return RunFailed(
            error=OutOfMemory.__name__,
            message=str(error)
            if isinstance(error, ChhatniError)
            else f"The memory is used up ({_first_line(_text(error))}).",
            next_step="Start a copy of the run with a smaller batch size or a smaller maximum length; "
            "or close other programs and resume this one.",
        )
    if any(_is_unwritable(each, log.parent) for each in chain):
        return RunFailed(
            error=kind,
            message=str(error)
            if isinstance(error, ChhatniError)
            else f"The run's folder cannot be written ({_text(error)}).",
            next_step=f"Make {log.parent} and what lies in it writable, then resume the run.",
        )
    if any(_is_gpu_lost(each) for each in chain):
        return RunFailed(
            error=kind,
            message=str(error)
            if isinstance(error, ChhatniError)
            else f"The GPU failed or is gone ({_first_line(_text(error))}).",
            next_step="See with nvidia-smi whether it is there and who uses it, then resume the run: it goes on from its last "
            "checkpoint. If that fails again, restart the driver or the machine, or start a copy on another device.",
        )
    for family, next_step in _NEXT_STEPS:
        if isinstance(error, family):
            return RunFailed(error=kind, message=str(error), next_step=next_step)
    return RunFailed(
        error=kind,
        message=f"An unexpected error ended the run: {_text(error)}.",
        next_step=f"The log says where it happened: {log}. Resuming the run tries again from its last checkpoint.",
    )


def last_words(event: RunFailed, ticket: int) -> str:
    """Write a failure as one line for the end of a log, where the store cannot be written.

    Args:
        event: what went wrong.
        ticket: the run's, so that the failure is not taken for one of a later part of the run.
    """
    return f"{_LAST_WORDS} ({ticket}): {event.model_dump_json()}"


def read_last_words(lines: Sequence[str], ticket: int) -> RunFailed | None:
    """Return the failure that lines of a log hold for this part of a run, or None if there is none or it is cut short."""
    beginning = f"{_LAST_WORDS} ({ticket}): "
    for line in reversed(lines):
        if line.startswith(beginning):
            try:
                return RunFailed.model_validate_json(line.removeprefix(beginning))
            except ValidationError:
                return None
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


def _is_unwritable(error: BaseException, folder: Path) -> bool:
    if not isinstance(error, OSError):
        return False
    ours = str(error.filename or "").startswith(str(folder))  # others, such as a dataset, could not be read
    return error.errno == errno.EROFS or (ours and error.errno in (errno.EACCES, errno.EPERM))


def _is_gpu_lost(error: BaseException) -> bool:
    """Tell an error of CUDA, its libraries or its driver, which is no lack of memory."""
    if isinstance(error, ConfigError):  # of a run that asks for a GPU which is not there, or no longer
        return "training.device" in error.fields
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"AcceleratorError", "NVMLError"}:  # by name: torch may not be imported here
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _OF_A_GPU)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory is used up, of the machine or of a GPU."""
    if isinstance(error, OutOfMemory | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # torch.OutOfMemoryError by name, for torch may not be imported here; its CPU allocator raises a RuntimeError.
    names = {cls.__name__ for cls in type(error).__mro__}
    return "OutOfMemoryError" in names or any(word in str(error) for word in _OF_FULL_MEMORY)


def _first_line(text: str) -> str:
    """Leave out what CUDA adds about how to look for errors in its programs; the log has it."""
    return text.partition("\n")[0].rstrip(".")


def _text(error: BaseException) -> str:
    text = conceal(str(error)).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
