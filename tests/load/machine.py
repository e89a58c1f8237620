"""What every part of the load test needs: figures, quantiles, the server's process, and how busy the machine is."""

import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psutil


class Figure(NamedTuple):
    """One row of the table."""

    part: str
    what: str
    value: float | None
    """None where it cannot be told."""
    unit: str
    note: str = ""

    def row(self) -> str:
        """Return the figure as a row of a table."""
        number = "–" if self.value is None else f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3g}"
        return f"| {self.part} | {self.what} | {number} {self.unit} | {self.note} |"


def middle_and_p95(part: str, what: str, values: Sequence[float], unit: str = "s") -> list[Figure]:
    """Return median and 95th percentile of measured values."""
    ranked = sorted(values)
    if not ranked:
        return [Figure(part, what, None, unit, "nothing was measured")]
    high = ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))]
    count = f"of {len(ranked):,}"
    return [
        Figure(part, f"{what}, p50", statistics.median(ranked), unit, count),
        Figure(part, f"{what}, p95", high, unit, count),
    ]


def server_of(parent: psutil.Process | None = None) -> psutil.Process:
    """Return the process of the studio that this process has started.

    Raises:
        RuntimeError: if it has started none.
    """
    for child in (parent or psutil.Process()).children():
        if "streamlit" in child.cmdline():
            return child
    raise RuntimeError("no studio was started from here")


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process has used, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def busy() -> str:
    """Say how busy the machine is: load average of one minute over its cores."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def tell(text: str) -> None:
    """Say on the screen, and not in the table, what goes on."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@contextmanager
def peak_memory(process: psutil.Process, every_s: float = 0.05) -> Iterator[list[float]]:
    """Watch a process while the block runs; the list then holds its memory before and at its highest, in MB."""
    found = [process.memory_info().rss / 1e6] * 2
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            found[1] = max(found[1], process.memory_info().rss / 1e6)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield found
    finally:
        over.set()
        watching.join()
