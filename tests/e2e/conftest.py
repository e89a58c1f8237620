"""A studio and a browser window for every test; what a page is looked at for stands in `browser`."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.browser import WIDE, Scheme, chromium, launch, serve
from tests.e2e.homes import seed_states


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[str]:
    """Serve the studio on a home of its own; returns its address."""
    with serve(tmp_path / "home", tmp_path / "studio.log") as address:
        yield address


@pytest.fixture(scope="module")
def empty_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the studio once for a module, on a home where nothing is and which no test of it changes; returns its address."""
    folder = tmp_path_factory.mktemp("empty")
    with serve(folder / "home", folder / "studio.log") as address:
        yield address


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Serve a home with runs in every state; returns the address and the runs' ids by name."""
    folder: Path = tmp_path_factory.mktemp("states")
    ids = seed_states(folder / "home")
    with serve(folder / "home", folder / "studio.log") as served:
        yield served, ids


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the browser; skipped, or failed where it is required, with a reason where there is none."""
    path = chromium()
    if path is None:
        if os.environ.get("CHHATNI_REQUIRE_BROWSER"):
            pytest.fail("Chromium is required here and was not found")
        pytest.skip("needs Chromium: install it, or name it in CHHATNI_CHROMIUM")
    with sync_playwright() as playwright:
        started = launch(playwright, path)
        yield started
        started.close()


@pytest.fixture
def window(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a window of its own, without cookies or session, of a width and a colour scheme."""
    opened = []

    def open_window(width: int = WIDE, scheme: Scheme = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        opened.append(context)
        return context.new_page()

    yield open_window
    for context in opened:
        context.close()


@pytest.fixture
def page(window: Callable[..., Page]) -> Page:
    """Open a light window of 1440 px."""
    return window()
