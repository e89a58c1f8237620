"""A benchmark of moments on a tiny model, and a clock that says what a test wants to hear."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from engine.bench.benchmark import run_bench
from engine.bench.settings import BenchSettings
from engine.shapes import Shape

CPU = torch.device("cpu")
SHAPE = Shape(2, 32, 4, 64, vocabulary=50, labels=3, positions=32)


def settings_of(model: Path | str, **changes: Any) -> BenchSettings:
    """Return settings that measure as little as they can."""
    values = {"batch_sizes": (2,), "sequence_lengths": (16,), "rounds": 2, "step_rounds": 1, "run_steps": 10}
    return BenchSettings(**{"model": str(model), "device": "cpu", **values, **changes})


def bench(model: Path | str, home: Path, **changes: Any) -> dict[str, Any]:
    """Measure by `settings_of`."""
    return run_bench(settings_of(model, **changes), home)


class FakeClock:
    """Calls each work once and says that the n-th took n + 1 ms in every round."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(
        self, works: Sequence[Callable[[], object]], device: torch.device, **options: Any
    ) -> list[list[float]]:
        for work in works:
            work()
        self.seen.append(len(works))
        return [[number + 1.0] * options["min_rounds"] for number in range(len(works))]
