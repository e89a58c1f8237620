"""Devices and processes as the queue sees them, without torch.

Runs on one device take turns; `lock_name` says which runs share a turn. A process is known by its id together with the
time it was created, because the system gives ids out again.
"""

import os

import psutil
import pynvml  # type: ignore[import-untyped]

CLOCK_SLACK_S = 2.0
"""psutil adds a rounded boot time to each creation time, so two readings of one process may differ by a second."""


def lock_name(device: str) -> str:
    """Return the name of the lock behind a device setting: ``cpu``, ``cuda-0``, ``cuda-1`` and so on.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, as in `TrainingConfig.device`.
    """
    if device == "auto":
        return "cuda-0" if _sees_gpu() else "cpu"
    if device == "cuda":
        return "cuda-0"
    return device.replace(":", "-")


def _sees_gpu() -> bool:
    return gpu_count() > 0


def gpu_count() -> int:
    """Return how many GPUs torch will see; NVML answers in milliseconds where torch would take seconds to import."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return 0
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0  # no driver
    try:
        count = int(pynvml.nvmlDeviceGetCount())
        return count if visible is None else min(count, len(visible.split(",")))
    except pynvml.NVMLError:
        return 0
    finally:
        pynvml.nvmlShutdown()


def process_created(pid: int) -> float | None:
    """Return when the process was created, in unix seconds; None if there is no such process."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_alive(pid: int, created: float | None) -> bool:
    """Tell whether this very process still runs; a zombie does not.

    Args:
        pid: the process id.
        created: what `process_created` said when the process was young; None believes the id alone.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        return created is None or abs(process.create_time() - created) <= CLOCK_SLACK_S
    except psutil.AccessDenied:
        return True  # it exists and belongs to somebody else; do not declare it dead on a guess
    except psutil.Error:
        return False
