"""Compare in a real browser: what is seen, what a link restores, and a page that is taken along and opened without a network."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from engine.measuring.grids import grid_intensity
from engine.store import RunStore
from tests.e2e.browser import MINUTE, OVERFLOW, faults, listen, serve
from tests.pages.seed import config, seed_run

pytestmark = pytest.mark.browser

HOSTILE = "माझी धाव <img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve a home with a small sweep in it, one run of which has a name that would do harm as HTML; its address and folder."""
    folder: Path = tmp_path_factory.mktemp("home")
    store = RunStore(folder / "runs.db")
    for level in (0.0, 0.25, 0.5, 0.75):
        seed_run(store, config(level, name=HOSTILE if level == 0.5 else ""), "done")
    store.close()
    with serve(folder, folder / "studio.log") as address:
        yield address, folder


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_compare_is_whole_and_can_be_taken_along(
    swept: tuple[str, Path], page: Page, tmp_path: Path, width: int, scheme: str
) -> None:
    studio, home = swept
    noise = listen(page)
    page.set_viewport_size({"width": width, "height": 1000})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    norway = grid_intensity("NOR")
    runs = RunStore(home / "runs.db").runs()
    page.goto(f"{studio}/compare?runs={runs[0].run_id},{runs[1].run_id}&grid=NOR")
    expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text("Runs selected for the charts below: 2.")).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text(f"{norway:g} g CO₂e per kWh")).to_be_visible()
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(10, timeout=MINUTE)
    expect(page.get_by_text("Speed-up against pruning rate")).to_be_attached()
    assert faults(page) == []

    page.get_by_role("button", name="Download").first.click()
    report = _take(page, "Page (HTML)", tmp_path / "report.html")
    pictures = zipfile.ZipFile(_take(page, "Charts (PNG, zip)", tmp_path / "pictures.zip"))
    assert len(pictures.namelist()) == 10
    assert all(pictures.read(name).startswith(b"\x89PNG") for name in pictures.namelist())
    assert noise == []
    _open_alone(page, report, width, scheme)


def _take(page: Page, label: str, target: Path) -> Path:
    with page.expect_download(timeout=MINUTE) as taken:
        page.get_by_role("button", name=label).click()
    taken.value.save_as(target)
    return target


def _open_alone(page: Page, report: Path, width: int, scheme: str) -> None:
    """Open a page that was taken along, with the network off: nothing is asked for, nothing runs, everything is seen."""
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(
        offline=True, viewport={"width": width, "height": 1000}, color_scheme="dark" if scheme == "dark" else "light"
    )
    alone = context.new_page()
    asked: list[str] = []
    noise: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.on("console", lambda said: noise.append(said.text))
    alone.on("dialog", lambda dialog: noise.append(dialog.message))
    alone.goto(report.as_uri())
    assert asked == [report.as_uri()]
    assert noise == []
    assert alone.locator("svg").count() == 10
    expect(alone.get_by_role("cell", name=HOSTILE, exact=True).first).to_be_visible()
    expect(alone.get_by_text("Norway (NOR)")).to_be_visible()
    assert alone.evaluate(OVERFLOW) <= 0, "the page scrolls sideways"
    dark = alone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 22)"
    assert dark == (scheme == "dark")
    context.close()
