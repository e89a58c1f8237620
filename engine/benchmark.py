"""Latency of pruned shapes beside the dense one, alternating in one run, with the FLOPs ceiling of each gain."""

import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch

from engine.bases import base_shape, find_base, look_up
from engine.compaction import compact
from engine.config import DEVICE_PATTERN, Precision
from engine.errors import ConfigError
from engine.evaluation import count_bytes, count_flops, count_parameters, measure_latency
from engine.events import Latency
from engine.home import REPOSITORY
from engine.model import random_model
from engine.precision import choose_precision
from engine.preparation import choose_device, device_name
from engine.shapes import kept_neurons
from engine.yardstick import DTYPES


@dataclass(frozen=True)
class BenchSettings:
    """What to measure; the protocol's defaults are those of the paper's shapes at 128 tokens."""

    model: str = "muril-shape"
    levels: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)
    batch_size: int = 8
    sequence_length: int = 128
    precision: str = "fp32"
    device: str = "auto"
    threads: int = 1
    rounds: int = 20


@dataclass(frozen=True)
class BenchRow:
    """One level; ``speedup`` is the dense p50 over this one's."""

    level: float
    intermediate_size: int
    parameters: int
    size_bytes: int
    flops: int
    latency_ms: Latency
    speedup: float
    speedup_ceiling: float


def run_bench(settings: BenchSettings, home: Path) -> dict[str, Any]:
    """Measure all levels in turns.

    Weights are random: they do not change how long a product takes.

    Returns:
        A JSON object with ``device``, ``commit``, ``settings`` and ``rows``.

    Raises:
        ConfigError: for a level or size that cannot be.
        CheckpointError: for a model that is not there.
    """
    _check(settings)
    base = find_base(settings.model, home)
    shape = base_shape(base) or look_up(base.name, home)
    if settings.sequence_length > shape.positions:
        raise ConfigError(
            {
                "sequence_length": f"Sequence length is {settings.sequence_length}; the model reads at most {shape.positions}."
            }
        )
    device = choose_device(settings.device)
    precision, _ = choose_precision(settings.precision, device.type)  # type: ignore[arg-type]
    dtype = DTYPES[precision]
    threads_before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        names = [f"LABEL_{number}" for number in range(shape.labels)]
        dense = random_model(shape, names, seed=0).to(device, dtype)
        models = []
        for level in settings.levels:
            index = torch.arange(kept_neurons(shape.intermediate_size, 1.0 - level), device=device)
            models.append(dense if level == 0 else compact(dense, [index] * shape.layers))
        rivals = models if dense in models else [*models, dense]
        latencies = measure_latency(
            rivals,
            settings.sequence_length,
            batch_size=settings.batch_size,
            budget_s=0.0,
            min_rounds=settings.rounds,
            max_rounds=settings.rounds,
        )
        dense_p50 = latencies[rivals.index(dense)].p50
        dense_flops = count_flops(dense, settings.sequence_length)
        rows = [
            BenchRow(
                level=level,
                intermediate_size=model.config.intermediate_size,
                parameters=count_parameters(model),
                size_bytes=count_bytes(model),
                flops=count_flops(model, settings.sequence_length),
                latency_ms=latency,
                speedup=dense_p50 / latency.p50,
                speedup_ceiling=dense_flops / count_flops(model, settings.sequence_length),
            )
            for level, model, latency in zip(settings.levels, models, latencies, strict=False)
        ]
        return {
            "device": str(device),
            "device_name": device_name(device),
            "precision": precision,
            "commit": commit(),
            "versions": {
                "torch": version("torch"),
                "transformers": version("transformers"),
                "python": platform.python_version(),
            },
            "settings": asdict(settings),
            "rows": [{**asdict(row), "latency_ms": row.latency_ms.model_dump()} for row in rows],
        }
    finally:
        torch.set_num_threads(threads_before)


def commit() -> str | None:
    """Return the commit of this checkout, or None outside one."""
    head = REPOSITORY / ".git" / "HEAD"
    try:
        text = head.read_text(encoding="utf-8").strip()
        if not text.startswith("ref: "):
            return text
        name = text.removeprefix("ref: ")
        reference = REPOSITORY / ".git" / name
        if reference.is_file():
            return reference.read_text(encoding="utf-8").strip()
        packed = (REPOSITORY / ".git" / "packed-refs").read_text(encoding="utf-8")
        return next((line.split()[0] for line in packed.splitlines() if line.endswith(f" {name}")), None)
    except OSError:
        return None


def _check(settings: BenchSettings) -> None:
    wrong: dict[str, str] = {}
    bad = [level for level in settings.levels if not 0 <= level < 1]
    if bad:
        shown = ", ".join(f"{level:g}" for level in bad)
        wrong["levels"] = f"Pruning level is {shown}; it must be at least 0 and below 1. Try 0.25."
    for name in ("batch_size", "sequence_length", "threads", "rounds"):
        value = getattr(settings, name)
        if value < 1:
            wrong[name] = f"{name.replace('_', ' ').capitalize()} is {value}; it must be at least 1."
    if settings.precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        wrong["precision"] = f"Precision is {settings.precision!r}; it must be one of {known}. Try fp32."
    if not re.fullmatch(DEVICE_PATTERN, settings.device):
        wrong["device"] = f"Device is {settings.device!r}; it must be auto, cpu, cuda or cuda:N. Try auto."
    if not settings.levels:
        wrong["levels"] = "No pruning level is given. Try 0,0.25,0.5,0.75."
    if wrong:
        raise ConfigError(wrong)
