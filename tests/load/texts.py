"""A text of 100,000 characters, and one of a million, in the box of Try it."""

import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e import browser
from tests.load.machine import Figure, busy, peak_memory, server_of, tell
from tests.load.material import long_text

PART = "a long text"
LENGTHS = (1_000, 100_000, 1_000_000)
"""Characters; the first is for comparison, the last more than is kept."""
PASTE = """(box, text) => {
    const value = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value');
    value.set.call(box, text);
    box.dispatchEvent(new Event('input', {bubbles: true}));
}"""
"""Puts a text into a box as a whole; letter by letter a browser needs minutes for a million of them."""


def measure() -> list[Figure]:
    """Paste texts on Try it, have them classified and their words weighed, and go on typing."""
    path = browser.chromium()
    if path is None:
        return [Figure(PART, "Try it", None, "", "needs Chromium, which was not found")]
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="chhatni-load-") as folder, sync_playwright() as playwright:
        home = Path(folder) / "home"
        home.mkdir()
        with browser.serve(home, Path(folder) / "log") as address:
            server = server_of()
            window = browser.launch(playwright, path)
            page = window.new_page()
            page.goto(f"{address}/try_it")
            browser.settle(page)
            _ask(page, "खेळ")  # loads the model
            with peak_memory(server) as memory:
                for length in LENGTHS:
                    tell(f"{PART}: {length:,} characters")
                    found += _paste(page, length)
            faults = browser.faults(page)
            window.close()
    note = f"{memory[0]:.0f} MB before"
    return [*found, Figure(PART, "server's memory", memory[1], "MB", "; ".join([note, *faults])[:200])]


def _ask(page: Page, text: str) -> tuple[float, float]:
    """Paste a text and press the button; return the seconds until the page has taken it, and those until the answer."""
    box = page.get_by_label("Marathi text")
    began = time.perf_counter()
    box.evaluate(PASTE, text)
    box.press("Control+Enter")
    page.wait_for_timeout(200)  # the script begins
    browser.settle(page)
    taken = time.perf_counter() - began
    began = time.perf_counter()
    page.get_by_role("button", name="Classify", exact=True).click()
    page.wait_for_timeout(200)
    browser.settle(page)
    return taken, time.perf_counter() - began


def _paste(page: Page, length: int) -> list[Figure]:
    """Paste a text of a length; the words are weighed as well, which is what takes longest."""
    text = long_text(length)
    taken, answered = _ask(page, text)
    expect(page.get_by_text("speaks against it").first).to_be_visible(timeout=browser.MINUTE)
    kept = len(page.get_by_label("Marathi text").input_value())
    box = page.get_by_label("Marathi text")
    began = time.perf_counter()
    box.press("End")
    box.press_sequentially("खेळ", delay=0)
    typed = (time.perf_counter() - began) / 4
    said = page.get_by_text("windows").count() > 0
    what = f"{length:,} characters"
    return [
        Figure(PART, f"{what}: taken by the page", taken, "s", f"{kept:,} kept"),
        Figure(PART, f"{what}: answer and words weighed", answered, "s", busy()),
        Figure(PART, f"{what}: a key typed afterwards", 1000 * typed, "ms"),
        Figure(PART, f"{what}: page tells of windows", float(said), "", "1: yes"),
    ]
