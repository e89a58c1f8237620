"""Which number format a run computes in, and why; without torch, so that a form can say it at once."""

from functools import cache
from pathlib import Path

from engine.config import Precision
from engine.errors import ConfigError

_CPU_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "bf16": "Arm BF16"}


@cache
def native_bf16() -> str | None:
    """Return the name of this CPU's bf16 instructions, or None where it has none (or does not tell)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            flags = set(value.split())
            return next((words for flag, words in _CPU_FLAGS.items() if flag in flags), None)
    return None


def choose_precision(requested: Precision, device: str) -> tuple[str, str]:
    """Settle the precision of a run.

    Args:
        requested: what the config says.
        device: ``cpu`` or ``cuda...``.

    Returns:
        ``fp16``, ``bf16`` or ``fp32``, and the reason in a few words.

    Raises:
        ConfigError: for fp16 on a CPU, where there is no loss scaling and no speed to be had.
    """
    on_gpu = device.startswith("cuda")
    if requested == "fp16" and not on_gpu:
        raise ConfigError(
            {"training.precision": "Precision is fp16, which needs a GPU, and this run is on a CPU. Try auto."}
        )
    if requested != "auto":
        return requested, "as asked"
    if on_gpu:
        return "fp16", "a GPU: mixed precision with loss scaling, as in the paper"
    instructions = native_bf16()
    if instructions:
        return "bf16", f"no GPU, and this CPU computes bf16 natively ({instructions})"
    return "fp32", "no GPU, and this CPU has no bf16 instructions"
