"""Pictures of every page in its main states: ``make screenshots``, or ``python -m tests.e2e.screenshots --only live``.

Seeds homes, serves the studio on each and writes ``screenshots/PAGE-STATE-WIDTH-SCHEME.png``. Ends with 1 where a page shows an
exception box, a console error or a sideways scroll. Nothing is trained; Try it and Speed lab compute what they show.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, Page, expect, sync_playwright

from engine.home import REPOSITORY
from engine.replay import recordings
from tests.e2e import browser, homes
from tests.e2e.browser import MINUTE, NARROW, SCHEMES, WIDE

TALLEST = 6000
"""Pixels after which a picture is cut."""
HEADLINE = "अर्थसंकल्पावरून विधानसभेत गदारोळ; विरोधकांचा सभात्याग"
TINY = (
    "dense=custom&dense_layers=4&dense_heads=4&dense_ffn=1024&dense_hidden=256&dense_vocab=4000"
    "&layers=2&heads=4&ffn=1024&hidden=256&vocab=4000&length=32"
)
SEEDS: dict[str, Callable[[Path], Mapping[str, str]]] = {
    "empty": lambda home: {},
    "begun": homes.seed_begun,
    "states": homes.seed_states,
    "many": homes.seed_many,
}


@dataclass(frozen=True)
class Shot:
    """One picture: where it is taken, and what is done there before."""

    name: str
    home: str
    path: str
    act: Callable[[Page], None] | None = None


def classify(page: Page) -> None:
    """Have the text in the box classified and its words shaded."""
    page.get_by_role("button", name=re.compile("Classify|वर्गीकरण")).first.click()
    expect(page.locator("h2").first).to_be_visible(timeout=2 * MINUTE)
    browser.settle(page)


def open_advanced(page: Page) -> None:
    """Unfold what Prune folds."""
    page.get_by_text("Advanced", exact=True).click()
    expect(page.get_by_label("Maximum steps", exact=True)).to_be_visible(timeout=MINUTE)


def enter_nonsense(page: Page) -> None:
    """Name a dataset that is not there, and press Start."""
    page.get_by_text("Advanced", exact=True).click()
    field = page.get_by_label("Maximum steps", exact=True)
    field.fill("-5")
    field.press("Enter")
    expect(page.get_by_text("is not possible yet")).to_be_visible(timeout=MINUTE)


def measure(page: Page) -> None:
    """Have the shape of the address measured."""
    page.get_by_role("button", name="Measure", exact=True).click()
    expect(page.get_by_text("Measured last:")).to_be_visible(timeout=2 * MINUTE)
    browser.settle(page)


def open_download(page: Page) -> None:
    """Unfold the downloads."""
    page.get_by_role("button", name="Download").first.click()
    expect(page.get_by_role("button", name="Page (HTML)")).to_be_visible()


def open_manage(page: Page) -> None:
    """Unfold what keeps the list of runs in order."""
    page.get_by_role("button", name="Manage").click()
    expect(page.get_by_role("button", name="Rename")).to_be_visible()


def ask_delete(page: Page) -> None:
    """Open the dialog that asks before a run is deleted."""
    open_manage(page)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("This cannot be undone")).to_be_visible()


def open_queue(page: Page) -> None:
    """Unfold the runs that wait."""
    page.get_by_text("Waiting runs:").click()
    expect(page.get_by_role("button", name="Earlier").first).to_be_visible()


def first_recording() -> str:
    """Return the name of a recording that ships with the studio."""
    return next(iter(recordings()))


def shots() -> list[Shot]:
    """List every picture, home by home, so that each home is served once."""
    text = quote(HEADLINE)
    live = ("queued", "starting", "training", "stopping", "stopped", "failed", "interrupted", "done")
    replay = f"/live?replay={first_recording()}&at=60"
    return [
        Shot("prune-empty", "empty", "/"),
        Shot("prune-advanced", "empty", "/", open_advanced),
        Shot("prune-impossible", "empty", "/", enter_nonsense),
        Shot("live-empty", "empty", "/live"),
        Shot("live-replay", "empty", replay),
        Shot("live-replay-presenter", "empty", replay + "&present=1"),
        Shot("live-replay-marathi", "empty", replay + "&lang=mr"),
        Shot("compare-empty", "empty", "/compare"),
        Shot("try_it-empty", "empty", "/try_it"),
        Shot("try_it-answer", "empty", f"/try_it?model=starter&text={text}", classify),
        Shot("try_it-unsure", "empty", f"/try_it?model=starter&text={quote('१२,३४५ ₹ ?!')}", classify),
        Shot("try_it-presenter", "empty", f"/try_it?present=1&model=starter&text={text}", classify),
        Shot("try_it-marathi", "empty", f"/try_it?lang=mr&model=starter&text={text}", classify),
        Shot("inside-empty", "empty", "/inside"),
        Shot("speed_lab-empty", "empty", "/speed_lab"),
        Shot("speed_lab-measured", "empty", f"/speed_lab?{TINY}", measure),
        Shot("speed_lab-marathi", "empty", "/speed_lab?lang=mr"),
        Shot("compare-running", "begun", "/compare"),
        Shot("prune-runs", "states", "/"),
        Shot("prune-marathi", "states", "/?lang=mr"),
        Shot("prune-presenter", "states", "/?present=1"),
        *(Shot(f"live-{state}", "states", f"/live?run={{{state}}}") for state in live),
        Shot("live-manage", "states", "/live?run={done}", open_manage),
        Shot("live-delete", "states", "/live?run={done}", ask_delete),
        Shot("prune-queue", "states", "/", open_queue),
        Shot("live-marathi", "states", "/live?run={training}&lang=mr"),
        Shot("compare-done", "states", "/compare"),
        Shot("compare-selected", "states", "/compare?runs={done},{soft},{weights}&grid=NOR"),
        Shot("compare-download", "states", "/compare", open_download),
        Shot("compare-marathi", "states", "/compare?lang=mr"),
        Shot("compare-presenter", "states", "/compare?present=1"),
        *(
            Shot(f"inside-{state}", "states", f"/inside?run={{{state}}}")
            for state in ("queued", "training", "failed", "stopped", "done", "baseline", "weights")
        ),
        Shot("inside-marathi", "states", "/inside?run={done}&lang=mr"),
        Shot("inside-presenter", "states", "/inside?run={done}&present=1"),
        Shot("speed_lab-disturbed", "states", "/speed_lab"),
        Shot("live-many", "many", "/live?run={training}"),
        Shot("compare-many", "many", "/compare"),
        Shot("inside-many", "many", "/inside?run={done}"),
    ]


def take(window: Browser, address: str, shot: Shot, ids: Mapping[str, str], folder: Path) -> list[str]:
    """Write the pictures of one state, in both widths and both colour schemes; return what was wrong."""
    found: list[str] = []
    for width in (WIDE, NARROW):
        context = window.new_context(viewport={"width": width, "height": 1000}, color_scheme=SCHEMES[0])
        page = context.new_page()
        noise = browser.listen(page)
        page.goto(address + homes.address(shot.path, ids))
        browser.settle(page)
        if shot.act is not None:
            shot.act(page)
            page.mouse.move(0, 0)
        for scheme in SCHEMES:
            browser.paint(page, scheme)
            _grow(page, width)
            page.screenshot(path=folder / f"{shot.name}-{width}-{scheme}.png", animations="disabled")
            found += [f"{shot.name} at {width} px, {scheme}: {fault}" for fault in browser.faults(page)]
        found += [f"{shot.name} at {width} px: console: {line}" for line in noise]
        context.close()
    return found


def _grow(page: Page, width: int) -> None:
    """Make the window as high as the page is long: it scrolls inside, and a picture of the whole of it would be cut."""
    for _ in range(2):  # a wider table may change how long the page is
        height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": width, "height": max(1000, min(height, TALLEST))})
        page.wait_for_timeout(200)
        browser.settle(page)


def main() -> int:
    """Take the pictures that are asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="take only pictures whose name holds this")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "screenshots")
    asked = parser.parse_args()
    path = browser.chromium()
    if path is None:
        print("Chromium is needed and was not found: install it, or name it in CHHATNI_CHROMIUM.", file=sys.stderr)
        return 2
    asked.output.mkdir(parents=True, exist_ok=True)
    wanted = [shot for shot in shots() if asked.only in shot.name]
    found: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        window = browser.launch(playwright, path)
        for name, seed in SEEDS.items():
            here = [shot for shot in wanted if shot.home == name]
            if not here:
                continue
            home = Path(scratch) / name
            home.mkdir()
            ids = seed(home)
            with browser.serve(home, Path(scratch) / f"{name}.log") as address:
                for shot in here:
                    wrong = take(window, address, shot, ids, asked.output)
                    print(f"{shot.name}: {'; '.join(wrong) or 'fine'}", flush=True)
                    found += wrong
        window.close()
    print(f"{4 * len(wanted)} pictures in {asked.output}; {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
