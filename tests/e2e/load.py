"""How long pages take with 300 runs of 5,000 events, and with 20 people on one run: ``python -m tests.e2e.load``.

Server and browser share the machine. "Settled" is from the request until the script has run and every chart is drawn.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from streamlit.testing.v1 import AppTest

from engine.home import REPOSITORY
from tests.e2e import browser, homes

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


def row(name: str, *figures: list[float]) -> str:
    """Write the medians and the worst of each list as a row of a table, in seconds."""
    cells = [f"{statistics.median(each):.2f} ({max(each):.2f})" if each else "" for each in figures]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Measure and print two tables: median and worst, in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    path = browser.chromium()
    if path is None:
        raise SystemExit("Chromium is needed and was not found: install it, or name it in CHHATNI_CHROMIUM.")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        home = Path(scratch) / "home"
        ids = homes.seed_many(home, asked.runs, asked.events)
        size = (home / "runs.db").stat().st_size / 1e6
        print(f"{asked.runs} runs of about {asked.events} events ({size:.0f} MB), load average {os.getloadavg()}")
        window = browser.launch(playwright, path)
        page = window.new_page()
        page.goto("about:blank")
        begun = time.perf_counter()
        with browser.serve(home, Path(scratch) / "log") as address:
            healthy = time.perf_counter() - begun
            first = by_address(page, address)
            print(f"server answers after {healthy:.2f} s, first page settled {healthy + first:.2f} s after its start")
            print("| Page | settled, by address | settled, by navigation | script alone |\n|---|---|---|---|")
            for name, where in PAGES.items():
                target = address + homes.address(where, ids)
                by_address(page, target)
                opened = [by_address(page, target) for _ in range(asked.times)]
                clicked = []
                for _ in range(asked.times if name in LINKS else 0):
                    by_click(page, "Speed lab" if name != "Speed lab" else "Prune")
                    clicked.append(by_click(page, name))
                alone = by_script(home, name, where, ids, asked.times)
                print(row(name, opened, clicked, alone), flush=True)
            print(f"load average {os.getloadavg()}; now {asked.windows} windows on the run that goes on")
            for _ in range(asked.windows):
                window.new_context().new_page().goto(address + homes.address(PAGES["Live, running"], ids))
            print(f"| Page | settled, by address, {asked.windows} windows on one run |\n|---|---|")
            for name, where in PAGES.items():
                target = address + homes.address(where, ids)
                print(row(name, [by_address(page, target) for _ in range(asked.times)]), flush=True)
            print(f"load average {os.getloadavg()}")
        window.close()


if __name__ == "__main__":
    main()
