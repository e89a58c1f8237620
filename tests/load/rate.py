"""5,000 events a second from a worker into the store, while five readers in processes of their own poll as Live does."""

import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Event as Signal
from pathlib import Path

from engine.events import StepLogged
from engine.runs.event_writer import EventWriter
from engine.store import RunStore
from tests.load.machine import Figure, busy, middle_and_p95, tell
from tests.pages.seed import config, steps

PART = "events into the store"
PER_S = 5000
READERS = 5
POLL_S = 1.0
"""As Live does."""
BURST = 50
"""Events that are handed over at once, so that 5,000 a second need no sleep shorter than a computer can."""
_Read = tuple[list[float], list[float], int, bool]
"""What a reader found: seconds of each poll, age of the newest event in each, events in all, whether all were in order."""


def measure(seconds: float = 10.0, per_s: int = PER_S) -> list[Figure]:
    """Write at a rate through the worker's own `EventWriter` and look whether the store keeps up, and what readers see.

    Args:
        seconds: how long.
        per_s: events a second.
    """
    tell(f"{PART}: {per_s:,} a second for {seconds:g} s, {READERS} readers")
    count = int(per_s * seconds)
    made = config(0.5, True)
    events = [event for event in steps(made, count, count) if isinstance(event, StepLogged)]
    with tempfile.TemporaryDirectory(prefix="chhatni-load-") as folder:
        path = Path(folder) / "runs.db"
        store = RunStore(path)
        run = store.create(made, "cpu")
        store.set_state(run.run_id, "starting")
        spawning = multiprocessing.get_context("spawn")
        ready, over = [spawning.Event() for _ in range(READERS)], spawning.Event()
        said: multiprocessing.Queue[_Read] = spawning.Queue()
        readers = [
            spawning.Process(target=_poll, args=(path, run.run_id, number / READERS, signal, over, said))
            for number, signal in enumerate(ready)
        ]
        for reader in readers:
            reader.start()
        for signal in ready:
            signal.wait(60)
        written_s = _write(store, run.run_id, events, per_s)
        largest = path.with_name(path.name + "-wal").stat().st_size
        over.set()
        reads = [said.get(timeout=120) for _ in readers]
        for reader in readers:
            reader.join()
        stored = [each.event for each in store.events(run.run_id)]
        store.close()
    whole = sum(read[2] == count and read[3] for read in reads)
    return [
        Figure(
            PART, f"rate kept, of {per_s:,} asked for", count / written_s, "events/s", f"{count:,} events; {busy()}"
        ),
        Figure(PART, "lost or out of order in the store (0: none)", 0 if stored == events else 1, "", "all compared"),
        Figure(PART, "readers that saw every event once and in order", whole, f"of {READERS}"),
        *middle_and_p95(PART, "a poll (rows read and parsed)", [each for read in reads for each in read[0]]),
        *middle_and_p95(
            PART, "age of the newest event when a poll has read it", [each for read in reads for each in read[1]]
        ),
        Figure(PART, "write-ahead log afterwards", largest / 1e6, "MB"),
    ]


def _write(store: RunStore, run_id: str, events: list[StepLogged], per_s: int) -> float:
    """Hand events over at a rate; return the seconds until the last one was in the store."""
    began = time.perf_counter()
    with EventWriter(store, run_id) as writer:
        for place in range(0, len(events), BURST):
            for event in events[place : place + BURST]:
                writer.put(event)
            time.sleep(max(0.0, began + (place + BURST) / per_s - time.perf_counter()))
    return time.perf_counter() - began


def _poll(
    path: Path, run_id: str, late_s: float, ready: Signal, over: Signal, said: "multiprocessing.Queue[_Read]"
) -> None:
    """Read what is new once a second, as `pages.shared.timeline` does, until the writer has ended and nothing is new."""
    store = RunStore(path)
    took: list[float] = []
    ages: list[float] = []
    seen: list[int] = []
    after, last = 0, False
    ready.set()
    time.sleep(late_s * POLL_S)
    while True:
        last = over.is_set()
        began, now = time.perf_counter(), time.time()
        found = store.events(run_id, after=after)
        store.get(run_id)
        took.append(time.perf_counter() - began)
        if found:
            after = found[-1].seq
            if not last:
                ages.append(now - found[-1].at + took[-1])
        seen += [each.event.step for each in found if isinstance(each.event, StepLogged)]
        if last:
            break
        time.sleep(POLL_S)
    said.put((took, ages, len(seen), seen == sorted(set(seen))))
