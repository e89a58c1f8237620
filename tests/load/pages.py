"""How long pages take with 300 runs of 5,000 events: until the script has run and every chart is drawn."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from streamlit.testing.v1 import AppTest

from engine.home import REPOSITORY
from tests.e2e import browser, homes
from tests.load.machine import Figure, busy, middle_and_p95, tell

PART = "300 runs"
RUNS, EVENTS = 300, 5000
PAGES = {
    "Prune": "/",
    "Live, done": "/live?run={done}",
    "Live, running": "/live?run={training}",
    "Compare": "/compare",
    "Try it": "/try_it",
    "Inside": "/inside?run={done}",
    "Speed lab": "/speed_lab",
}
LINKS = {"Prune": 0, "Live, done": 1, "Compare": 2, "Try it": 3, "Inside": 4, "Speed lab": 5}
"""Places in the navigation."""
TITLES = {name: name.split(",")[0] for name in PAGES}


def seconds(act: Callable[[], object]) -> float:
    """Return how long something takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def by_address(page: Page, address: str) -> float:
    """Open an address in a window that has the studio's scripts in its cache."""

    def go() -> None:
        page.goto(address)
        browser.settle(page)

    return seconds(go)


def by_click(page: Page, name: str) -> float:
    """Go to a page through the navigation."""

    def go() -> None:
        page.get_by_test_id("stSidebarNavLink").nth(LINKS[name]).click()
        page.get_by_role("heading", level=1, name=TITLES[name]).wait_for()
        browser.settle(page)

    return seconds(go)


def by_script(home: Path, name: str, path: str, ids: Mapping[str, str], times: int) -> list[float]:
    """Run a page again and again without a browser."""
    os.environ["CHHATNI_HOME"] = str(home)
    app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
    place = homes.address(path, ids).removeprefix("/")
    file, _, query = place.partition("?")
    app.run()
    if file:
        app.switch_page(f"pages/{file}.py")
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        app.query_params[key] = value
    app.run()
    return [seconds(app.run) for _ in range(times)]


def measure(times: int = 5) -> list[Figure]:
    """Open every page in a browser, by its address and through the navigation, and run its script alone."""
    path = browser.chromium()
    if path is None:
        return [Figure(PART, "pages", None, "", "needs Chromium, which was not found")]
    tell(f"{PART}: writing {RUNS} runs of about {EVENTS:,} events")
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="chhatni-load-") as scratch, sync_playwright() as playwright:
        home = Path(scratch) / "home"
        ids = homes.seed_many(home, RUNS, EVENTS)
        size = (home / "runs.db").stat().st_size / 1e6
        window = browser.launch(playwright, path)
        page = window.new_page()
        page.goto("about:blank")
        begun = time.perf_counter()
        with browser.serve(home, Path(scratch) / "log") as address:
            healthy = time.perf_counter() - begun
            first = by_address(page, address)
            found.append(Figure(PART, "server answers after", healthy, "s", f"{size:.0f} MB; {busy()}"))
            found.append(Figure(PART, "first page drawn after the server's start", healthy + first, "s"))
            for name, where in PAGES.items():
                tell(f"{PART}: {name}")
                target = address + homes.address(where, ids)
                by_address(page, target)
                found += middle_and_p95(PART, f"{name}: by address", [by_address(page, target) for _ in range(times)])
                clicked = []
                for _ in range(times if name in LINKS else 0):
                    by_click(page, "Speed lab" if name != "Speed lab" else "Prune")
                    clicked.append(by_click(page, name))
                if clicked:
                    found += middle_and_p95(PART, f"{name}: by navigation", clicked)
                found += middle_and_p95(PART, f"{name}: script alone", by_script(home, name, where, ids, times))
        window.close()
    return [*found, Figure(PART, "load at the end", os.getloadavg()[0], "", busy())]
