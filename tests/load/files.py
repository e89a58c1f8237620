"""A file of 100,000 texts: understood on Prune, prepared by a run, classified on Try it."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import Page, expect, sync_playwright

from engine.config import RunConfig
from engine.home import REPOSITORY
from engine.runs.run import Run
from engine.store import RunStore
from tests.e2e import browser
from tests.load.bare import Session, hold
from tests.load.machine import Figure, busy, peak_memory, server_of, tell
from tests.load.material import write_table

PART = "a file of 100,000 texts"
ROWS = 100_000
LONG_WORDS = 75
"""Words of each text in the long file, which then is almost as large as an upload may be (200 MB)."""
PATIENCE_S = 150.0
"""How long a run may prepare itself here."""
CLASSIFIED_S = 15.0
"""How long the file is classified before somebody stops it."""


def measure(rows: int = ROWS) -> list[Figure]:
    """Load all three pages with a table of so many rows."""
    with tempfile.TemporaryDirectory(prefix="chhatni-load-") as folder:
        place = Path(folder)
        tell(f"{PART}: writing them")
        short = write_table(place / "headlines.csv", rows)
        found = _preview(place / "short", short, "headlines")
        found += _prepare(place / "run", short)
        found += _classify(place / "try", short, rows)
        long = write_table(place / "articles.csv", rows, LONG_WORDS)
        return found + _preview(place / "long", long, "articles")


def _cloneable(home: Path, data: Path) -> Run:
    """Put a run into a home whose settings, in the form of Prune, name a file."""
    home.mkdir()
    store = RunStore(home / "runs.db")
    run = store.create(RunConfig.parse({"data": {"source": str(data)}}), "cpu")
    store.set_state(run.run_id, "stopped")
    store.close()
    return run


def _preview(place: Path, data: Path, what: str) -> list[Figure]:
    """Open Prune with a file as its dataset, which is then read, cleaned, split and measured."""
    tell(f"{PART}: preview of {data.stat().st_size / 1e6:.0f} MB")
    run = _cloneable(place, data)
    with browser.serve(place, place.with_suffix(".log")) as address:
        server = server_of()
        warm, session = Session(address, ""), Session(address, "", f"clone={run.run_id}")
        asyncio.run(hold([warm], 0.0))
        with peak_memory(server) as memory:
            asyncio.run(hold([session], 0.0))
    size = f"{data.stat().st_size / 1e6:.0f} MB"
    return [
        Figure(PART, f"Prune: preview of {what} shown after", session.opened_s, "s", f"{size}; {busy()}"),
        Figure(PART, f"Prune: preview of {what}, server's memory", memory[1], "MB", f"{memory[0]:.0f} MB before"),
    ]


def _prepare(home: Path, data: Path) -> list[Figure]:
    """Start a run on a file and follow it until its first step, or as far as it comes."""
    tell(f"{PART}: a run prepares itself, at most {PATIENCE_S:g} s")
    home.mkdir()
    command = [sys.executable, "-m", "engine", "train", "--data", str(data), "--prune", "0.5", "--max-steps", "20"]
    began, wall = time.time(), time.perf_counter()
    with home.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "CHHATNI_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        peak = 0.0
        times: dict[str, float] = {}
        try:
            while process.poll() is None and "step_logged" not in times and time.perf_counter() - wall < PATIENCE_S:
                time.sleep(0.2)
                peak = max(peak, _memory_of(psutil.Process(process.pid)))
                times = _told(home, began)
        finally:
            for each in _family(process.pid):
                each.kill()
            process.wait()
    stages = {
        "data_prepared": "read, cleaned and split",
        "baseline_measured": "dense baseline measured",
        "step_logged": "first steps done",
    }
    late = f"not within {PATIENCE_S:g} s"
    return [
        *(
            Figure(PART, f"run: {said} after", times.get(kind), "s", "" if kind in times else late)
            for kind, said in stages.items()
        ),
        Figure(PART, "run: peak memory of its processes", peak, "MB", busy()),
    ]


def _told(home: Path, began: float) -> dict[str, float]:
    """Return when a run first told an event of each kind, in seconds since it was started."""
    if not (home / "runs.db").is_file():
        return {}
    store = RunStore(home / "runs.db")
    times: dict[str, float] = {}
    for run in store.runs():
        for stored in store.events(run.run_id):
            times.setdefault(stored.event.kind, stored.at - began)
    store.close()
    return times


def _family(pid: int) -> list[psutil.Process]:
    try:
        head = psutil.Process(pid)
        return [*head.children(recursive=True), head]
    except psutil.NoSuchProcess:
        return []


def _memory_of(head: psutil.Process) -> float:
    """Return what a process and its children have in memory, in MB."""
    total = 0.0
    for each in _family(head.pid):
        try:
            total += each.memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            continue
    return total


def _classify(home: Path, data: Path, rows: int) -> list[Figure]:
    """Upload a file on Try it, watch it being classified, look at another page meanwhile, and stop it."""
    path = browser.chromium()
    if path is None:
        return [Figure(PART, "Try it", None, "", "needs Chromium, which was not found")]
    tell(f"{PART}: classified in a browser")
    home.mkdir()
    with browser.serve(home, home.with_suffix(".log")) as address, sync_playwright() as playwright:
        server = server_of()
        window = browser.launch(playwright, path)
        page, other = window.new_page(), window.new_page()
        page.goto(f"{address}/try_it")
        browser.settle(page)
        page.get_by_role("tab", name="A file").click()
        with peak_memory(server) as memory:
            page.locator("input[type=file]").set_input_files(data)
            button = page.get_by_role("button", name="Classify the file")
            expect(button).to_be_enabled(timeout=browser.MINUTE)
            began = time.perf_counter()
            button.click()
            progress = page.get_by_text(f"of {rows:,} texts")
            progress.first.wait_for(timeout=2 * browser.MINUTE)
            shown = time.perf_counter() - began
            first, watched = _done(page, rows), time.perf_counter()
            other.goto(f"{address}/live")
            browser.settle(other)
            opened = time.perf_counter() - watched
            page.wait_for_timeout(1000 * CLASSIFIED_S)
            rate = (_done(page, rows) - first) / (time.perf_counter() - watched)
            began = time.perf_counter()
            page.get_by_role("button", name="Stop", exact=True).click()
            page.get_by_text("Stopped:").wait_for(timeout=browser.MINUTE)
            page.get_by_test_id("stDataFrame").first.wait_for(timeout=browser.MINUTE)
            browser.settle(page)
            stopped = time.perf_counter() - began
        faults = browser.faults(page)
        window.close()
    return [
        Figure(PART, "Try it: progress shown after the press", shown, "s", "file read, model loaded"),
        Figure(PART, "Try it: texts classified", rate, "a second", busy()),
        Figure(PART, "Try it: another page opened meanwhile", opened, "s"),
        Figure(PART, "Try it: table of what is done after Stop", stopped, "s", "; ".join(faults)[:200]),
        Figure(PART, "Try it: server's memory", memory[1], "MB", f"{memory[0]:.0f} MB before"),
    ]


def _done(page: Page, rows: int) -> int:
    """Read how many texts the progress bar says are done."""
    said = page.get_by_text(f"of {rows:,} texts").first.inner_text()
    return int(said.split(" of ")[0].replace(",", ""))
