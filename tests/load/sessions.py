"""Twenty sessions on one run that goes on: a few real browser windows, the others bare (`tests.load.bare`)."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from engine.events import Event, StepLogged
from engine.runs.event_writer import EventWriter
from engine.store import RunStore
from tests.e2e import browser
from tests.load.bare import Session, hold
from tests.load.machine import Figure, busy, cpu_seconds, middle_and_p95, server_of, tell
from tests.pages.seed import config, seed_run, steps

PART = "sessions on a live run"
EVENTS = 5000
"""Events that the run has told before anybody looks."""
HELD_S = 20.0
WRITES_PER_S = 2.0
"""Steps that the run logs a second while it is looked at."""


def measure(bare: int = 18, windows: int = 2) -> list[Figure]:
    """Open sessions on Live, each of which asks once a second, and follow how fast the server and its pages are.

    Args:
        bare: sessions without a browser.
        windows: windows of Chromium; 0 where there is no browser.
    """
    found: list[Figure] = []
    for label, count, shown in (("1 bare session", 1, 0), (f"{bare} bare sessions, {windows} windows", bare, windows)):
        tell(f"{PART}: {label}")
        with tempfile.TemporaryDirectory(prefix="chhatni-load-") as folder:
            found += _follow(Path(folder), label, count, shown)
    return found


def _follow(folder: Path, label: str, bare: int, windows: int) -> list[Figure]:
    home = folder / "home"
    home.mkdir()
    store = RunStore(home / "runs.db")
    made = config(0.5, True)
    half = EVENTS // 2
    run = seed_run(store, made, "training", total=10)
    told = list(steps(made, 2 * half, half + 200))
    store.append(run.run_id, told[:EVENTS])
    with browser.serve(home, folder / "log") as address:
        server = server_of()
        sessions = [Session(address, "live", f"run={run.run_id}") for _ in range(bare)]
        written: dict[int, float] = {}
        settled: list[float] = []
        shown = f"{address}/live?run={run.run_id}"
        with (
            _windows(shown, windows, settled) as failures,
            _training(store, run.run_id, told[EVENTS:], written),
            ThreadPoolExecutor(1) as pool,  # Playwright has a loop of its own in this thread
        ):
            before, began = cpu_seconds(server), time.perf_counter()
            pool.submit(asyncio.run, hold(sessions, HELD_S)).result()
            lasted = time.perf_counter() - began
            cpu = (cpu_seconds(server) - before) / lasted
        memory = server.memory_info().rss / 1e6
    store.close()
    arrivals = [seen - written[step] for each in sessions for step, seen in each.steps.items() if step in written]
    failures += [failure for each in sessions for failure in each.failures]
    opened = [each.opened_s for each in sessions if each.opened_s is not None]
    rate = sum(each.runs for each in sessions) / lasted / len(sessions)
    what = f"{label}: "
    return [
        *middle_and_p95(PART, what + "page's script done after", opened),
        *middle_and_p95(PART, what + "event in the store to its session", arrivals),
        Figure(PART, what + "page drawn anew", rate, "a second", "of 1 asked for, each session"),
        Figure(PART, what + "sent to a session", sum(e.received_bytes for e in sessions) / lasted / bare / 1e3, "kB/s"),
        *(middle_and_p95(PART, what + "window opened and drawn", settled)[:1] if windows else []),
        Figure(PART, what + "server's processor time", 100 * cpu, "% of a core", busy()),
        Figure(PART, what + "server's memory", memory, "MB"),
        Figure(PART, what + "errors on a page", len(failures), "", "; ".join(failures)[:200]),
    ]


@contextmanager
def _training(store: RunStore, run_id: str, events: list[Event], written: dict[int, float]) -> Iterator[None]:
    """Let the run go on while the block runs; ``written`` fills with the time at which a step was handed to the store."""
    over = threading.Event()

    def write() -> None:
        with EventWriter(store, run_id) as writer:
            for event in events:
                writer.put(event)
                if isinstance(event, StepLogged):
                    written[event.step] = time.perf_counter()
                    if over.wait(1 / WRITES_PER_S):
                        return

    writing = threading.Thread(target=write)
    writing.start()
    try:
        yield
    finally:
        over.set()
        writing.join()


@contextmanager
def _windows(address: str, count: int, settled: list[float]) -> Iterator[list[str]]:
    """Keep windows of a real browser open on an address; yields what goes wrong in them."""
    path = browser.chromium() if count else None
    failures: list[str] = []
    if path is None:
        yield failures
        return
    with sync_playwright() as playwright:
        started = browser.launch(playwright, path)
        pages: list[Page] = []
        for _ in range(count):
            page = started.new_context().new_page()
            began = time.perf_counter()
            page.goto(address)
            browser.settle(page)
            settled.append(time.perf_counter() - began)
            pages.append(page)
        yield failures
        for page in pages:
            failures += browser.faults(page)
        started.close()
