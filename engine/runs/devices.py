"""Devices as the queue sees them, without torch.

Runs on one device take turns; `lock_name` says which runs share a turn.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pynvml  # type: ignore[import-untyped]

_NO_CARD = (
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
)
"""Answers that every process of the machine gets: all lock such a card by its number."""


def lock_name(device: str) -> str:
    """Return the name of the lock behind a device setting: ``cpu``, or ``cuda-0``, ``cuda-1`` and so on.

    The number is that of the machine, as ``nvidia-smi`` counts: CUDA_VISIBLE_DEVICES gives one card several numbers, and two
    studios that see it by different ones still take turns. (`engine` has CUDA count like that.)

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, as in `TrainingConfig.device`.
    """
    if device == "cpu" or (device == "auto" and gpu_count() == 0):
        return "cpu"
    ordinal = int(device.partition(":")[2] or 0)
    seen = _visible_gpus()
    # a card that is not there keeps the number it was asked for by; the run will say that it is not there
    return seen[ordinal] if ordinal < len(seen) else f"cuda-{ordinal}"


def gpu_count() -> int:
    """Return how many GPUs torch will see; NVML answers in milliseconds where torch would take seconds to import."""
    return len(_visible_gpus())


def gpu_uuid(name: str) -> str | None:
    """Return the identity of the card behind a lock name ``cuda-N``, or None where there is no such card or no driver to ask.

    Raises:
        pynvml.NVMLError: where there is one that does not answer.
    """
    kind, _, number = name.partition("-")
    if kind != "cuda" or not number.isdigit():
        return None
    try:
        with driver():
            return str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(int(number))))
    except pynvml.NVMLError as error:
        if error.value not in _NO_CARD:
            raise
    return None


@contextmanager
def driver() -> Iterator[None]:
    """Be connected to the driver of the cards (NVML) while the block runs.

    Raises:
        pynvml.NVMLError: where there is none.
    """
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _visible_gpus() -> list[str]:
    """Return the lock names of the GPUs that torch will see, in its order.

    CUDA_VISIBLE_DEVICES holds numbers, or beginnings of identities, and ends for CUDA at the first that there is not
    (https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars).
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return []
    with suppress(pynvml.NVMLError), driver():
        count = int(pynvml.nvmlDeviceGetCount())
        if visible is None:
            return [f"cuda-{number}" for number in range(count)]
        names: list[str] = []
        for wanted in (part.strip() for part in visible.split(",")):
            name = _named_gpu(wanted, count)
            if name is None or name in names:
                break
            names.append(name)
        return names
    return []


def _named_gpu(wanted: str, count: int) -> str | None:
    if wanted.isascii() and wanted.isdigit():
        return f"cuda-{int(wanted)}" if int(wanted) < count else None
    if re.fullmatch(r"MIG-[A-Za-z0-9/-]+", wanted):  # a slice of a card, which computes beside the others
        return f"cuda-{wanted.lower().replace('/', '-')}"
    if wanted.startswith("GPU-"):
        for number in range(count):
            if str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(number))).startswith(wanted):
                return f"cuda-{number}"
    return None
