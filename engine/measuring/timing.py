"""One clock for rivals: each in turn, forwards and backwards, after a warm-up; CUDA events on a GPU."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

Work = Callable[[], object]


def time_once(work: Work, device: torch.device) -> float:
    """Return the milliseconds that one call takes on its device."""
    if device.type == "cuda":
        start: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record()
        work()
        end.record()
        torch.cuda.synchronize(device)
        return float(start.elapsed_time(end))
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000.0


def time_in_turns(
    works: Sequence[Work],
    device: torch.device,
    *,
    min_rounds: int,
    max_rounds: int | None = None,
    budget_s: float = 0.0,
    warm_up: int = 2,
) -> list[list[float]]:
    """Time rivals in rounds, every second one backwards, so that what slows the machine for a while slows all of them.

    Args:
        works: what to call; each is called ``warm_up`` times unmeasured, all in turns too.
        device: where they compute.
        min_rounds: calls of each that are measured at least.
        max_rounds: and at most; None takes ``min_rounds``.
        budget_s: seconds after which no new round begins, once ``min_rounds`` are done.

    Returns:
        Milliseconds, for each rival one a round, in the order of the rounds.
    """
    for _ in range(warm_up):
        for work in works:
            work()
    times: list[list[float]] = [[] for _ in works]
    began = time.perf_counter()
    for number in range(max_rounds or min_rounds):
        if number >= min_rounds and time.perf_counter() - began > budget_s:
            break
        order = range(len(works)) if number % 2 == 0 else range(len(works) - 1, -1, -1)
        for index in order:
            times[index].append(time_once(works[index], device))
    return times


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and minimum."""
    return {
        "p50": statistics.median(milliseconds),
        "p95": float(np.percentile(milliseconds, 95)),
        "min": min(milliseconds),
    }


def median_ratio(milliseconds: Sequence[float], reference: Sequence[float]) -> float:
    """Return the median over the rounds of one rival's time over the reference's of the same round."""
    return statistics.median(mine / theirs for mine, theirs in zip(milliseconds, reference, strict=True))
