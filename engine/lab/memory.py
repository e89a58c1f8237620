"""Whether two shapes fit into memory beside each other: an estimate of the need against what is free; without torch."""

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pynvml  # type: ignore[import-untyped]

from engine.errors import ConfigError
from engine.lab.plan import LabSettings
from engine.runs.devices import driver
from engine.shapes import Shape

LIBRARIES_BYTES = 800_000_000
"""A process with torch and transformers in it."""
CONTEXT_BYTES = 700_000_000
"""What CUDA and its libraries take of a GPU."""
_CGROUP = Path("/sys/fs/cgroup")


def needed_bytes(settings: LabSettings) -> tuple[int, int]:
    """Estimate the memory that a measurement takes at its peak, of the machine and of the GPU (0 on a CPU)."""
    weights = _weight_bytes(settings)
    activations = max(_activation_bytes(settings, shape) for shape in (settings.dense, settings.other))
    if settings.device == "cpu":
        return LIBRARIES_BYTES + weights + activations, 0
    return LIBRARIES_BYTES + weights, CONTEXT_BYTES + weights + activations


def _weight_bytes(settings: LabSettings) -> int:
    """Count both models in fp32, as they are made, and their copies in half precision."""
    other = settings.other
    if other.head_size is not None:  # it is made with all heads, which then go
        other = other.with_sizes([(other.hidden_size // other.head_size, other.intermediate_size)] * other.layers)
    each = 4 if settings.precision == "fp32" else 6
    return each * (settings.dense.parameters + other.parameters)


def _activation_bytes(settings: LabSettings, shape: Shape) -> int:
    """Count what one layer holds at a time, attention scores included: not every kernel does without them."""
    tokens = settings.batch_size * settings.sequence_length
    values = tokens * (6 * shape.hidden_size + 3 * shape.attention_size + 2 * shape.intermediate_size)
    scores = tokens * settings.sequence_length * shape.heads
    return 4 * (values + scores)


def free_bytes() -> int:
    """Return the memory that this machine, or the container this runs in, can still give."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such container
        return free
    return min(free, max(0, int(limit) - used)) if limit.isdigit() else free


def free_gpu_bytes(device: str) -> int | None:
    """Return the free memory of ``cuda:N``, or None where the driver does not tell or gives out other numbers than torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return None
    with suppress(pynvml.NVMLError), driver():
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
    return None


def check_memory(settings: LabSettings) -> None:
    """Make sure that the measurement fits into the memory that is free.

    Raises:
        ConfigError: under the field ``memory``.
    """
    on_machine, on_gpu = needed_bytes(settings)
    given = free_gpu_bytes(settings.device) if on_gpu else None
    for needed, free, place in ((on_machine, free_bytes(), "memory"), (on_gpu, given, "GPU memory")):
        if free is not None and needed > free:
            raise ConfigError(
                {
                    "memory": f"The two shapes need about {needed / 1e9:.1f} GB of {place} (estimated), and {free / 1e9:.1f} GB "
                    "are free. Try a smaller vocabulary, fewer layers or a smaller batch, or close other programs."
                }
            )
