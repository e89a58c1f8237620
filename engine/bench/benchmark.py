"""The benchmark: every figure of speed that Chhatni claims, measured in one run on one machine, with how it came about.

    BenchSettings -> run_bench -> vocabulary   vocabulary_demo.py   parameters with a smaller vocabulary
                                  latency      latency.py           structure, precision, padding, tokenization
                                  step         steps.py             a training step with masks, nn_pruning's beside it
                                  run          run.py               a whole pruning run
                                  throughput   throughput.py        tokens per second, share of the peak, energy

The protocol: rivals on one device, in one precision, with the same threads, attention kernel and padding; warmed up; timed in
turns (measuring/timing.py); median, 95th percentile and minimum; ratios within the run; the FLOPs ceiling beside each structural
gain.
"""

import platform
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.bench.latency import measure_latencies
from engine.bench.models import bench_shape
from engine.bench.run import measure_run
from engine.bench.settings import SECTIONS, BenchSettings
from engine.bench.steps import measure_steps
from engine.bench.throughput import measure_throughput
from engine.bench.vocabulary_demo import vocabulary_report
from engine.config import DataConfig
from engine.data import load_data
from engine.errors import ConfigError
from engine.home import REPOSITORY
from engine.loop.preparation import choose_device, device_name
from engine.precision import choose_precision

GIT_WITHIN_S = 10.0


def run_bench(settings: BenchSettings, home: Path, say: Callable[[str], None] = lambda words: None) -> dict[str, Any]:
    """Measure what is asked for.

    Args:
        settings: sections and sizes.
        home: where runs and downloads are.
        say: hears what is being measured.

    Returns:
        A JSON object: ``device``, ``device_name``, ``precisions``, ``threads``, ``commit``, ``dirty``, ``versions``,
        ``settings``, and in ``sections`` one object for each that was asked for.

    Raises:
        ConfigError: with all settings that cannot be.
        CheckpointError, DataError: for a model or texts that are not there.
    """
    wrong = settings.complaints()
    if not wrong:
        wrong = settings.complaints_about(bench_shape(settings, home))
    if wrong:
        raise ConfigError(wrong)
    device = choose_device(settings.device)
    precisions = _precisions(settings, device)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        facts = {
            "device": str(device),
            "device_name": device_name(device),
            "precisions": precisions,
            "threads": torch.get_num_threads(),
            "commit": commit(),
            "dirty": is_dirty(),
            "versions": {
                **{name: version(name) for name in ("torch", "transformers", "nn_pruning")},
                "python": platform.python_version(),
            },
            "settings": asdict(settings),
        }
        sections = {}
        for name, words in SECTIONS.items():
            if name in settings.sections:
                say(f"{name}: {words}")
                sections[name] = _measure(name, settings, home, device, precisions)
        return {**facts, "sections": sections}
    finally:
        torch.set_num_threads(threads_before)


def _measure(
    name: str, settings: BenchSettings, home: Path, device: torch.device, precisions: list[str]
) -> dict[str, Any]:
    if name == "latency":
        return measure_latencies(settings, home, device, precisions)
    if name == "step":
        return measure_steps(settings, home, device, precisions[0])
    if name == "run":
        return measure_run(settings, home, device, precisions[0])
    if name == "throughput":
        return measure_throughput(settings, home, device, precisions)
    texts = load_data(DataConfig(source=settings.data), 0, home).train.texts
    return {"data": settings.data, **vocabulary_report(settings.tokenizer, texts, home)}


def _precisions(settings: BenchSettings, device: torch.device) -> list[str]:
    """Return the precisions as they are on this device, each once."""
    chosen = (choose_precision(wanted, device.type)[0] for wanted in settings.precisions)  # type: ignore[arg-type]
    return list(dict.fromkeys(chosen))


def commit() -> str | None:
    """Return the commit of this checkout, or None outside one."""
    found = _git("rev-parse", "HEAD")
    return found.strip() if found else None


def is_dirty() -> bool | None:
    """Tell whether the code differs from that commit, or None outside a checkout."""
    found = _git("status", "--porcelain")
    return None if found is None else bool(found.strip())


def _git(*arguments: str) -> str | None:
    """Return what git says about the folder of this package, or None where there is no git or no checkout."""
    if not (REPOSITORY / ".git").exists():  # else git would look in the folders above
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(REPOSITORY), *arguments],  # noqa: S607  # wherever the person has it
            capture_output=True,
            text=True,
            timeout=GIT_WITHIN_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
