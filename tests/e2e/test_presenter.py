"""On a stage, in a real browser: Marathi from a link, the path walked by keys, and no trap behind the Back button."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import MINUTE, NARROW, SCHEMES, WIDE, faults, listen, paint

pytestmark = pytest.mark.browser

BAR = ".st-key-presenter_bar"


def test_language_and_path_go_along_from_page_to_page(empty_studio: str, page: Page) -> None:
    noise = listen(page)
    page.goto(f"{empty_studio}/?lang=mr")
    expect(page.get_by_role("heading", name="छाटणी", exact=True)).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text("छाटणीची पातळी")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "mr")

    page.get_by_test_id("stSidebarNavLink").nth(5).click()
    expect(page.get_by_role("heading", name="वेग प्रयोगशाळा", exact=True)).to_be_visible(timeout=MINUTE)
    expect(page).to_have_url(re.compile(r"/speed_lab\?lang=mr$"), timeout=MINUTE)
    page.go_back()
    expect(page.get_by_role("heading", name="छाटणी", exact=True)).to_be_visible(timeout=MINUTE)

    page.get_by_role("radio", name="English").click()
    expect(page.get_by_role("heading", name="Prune", exact=True)).to_be_visible(timeout=MINUTE)
    expect(page).not_to_have_url(re.compile("lang="), timeout=MINUTE)
    expect(page.locator("html")).to_have_attribute("lang", "en")

    page.get_by_role("button", name="Presenter mode").click()
    expect(page.locator(BAR).get_by_text("1 of 5")).to_be_visible(timeout=MINUTE)
    expect(page.get_by_test_id("stSidebar")).not_to_be_in_viewport(timeout=MINUTE)
    page.keyboard.press("n")
    expect(page.locator(BAR).get_by_text("2 of 5")).to_be_visible(timeout=MINUTE)
    expect(page.get_by_role("heading", name="Live", exact=True)).to_be_visible(timeout=MINUTE)
    expect(page).to_have_url(re.compile(r"/live\?present=1"), timeout=MINUTE)
    page.keyboard.press("b")
    expect(page.locator(BAR).get_by_text("1 of 5")).to_be_visible(timeout=MINUTE)
    page.get_by_role("button", name="Keys").click()
    expect(page.get_by_role("cell", name="Next step")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    expect(page.locator(BAR)).to_have_count(0, timeout=MINUTE)
    expect(page.get_by_test_id("stSidebar")).to_be_in_viewport(timeout=MINUTE)
    paint(page, "light")  # the navigation has come back in
    assert faults(page) == []
    assert noise == []


def test_the_first_run_and_the_bar_fit_the_screen(empty_studio: str, window: Callable[..., Page]) -> None:
    for width in (WIDE, NARROW):
        page = window(width)
        page.goto(f"{empty_studio}/?present=1")
        expect(page.get_by_role("button", name="Start a first run")).to_be_visible(timeout=MINUTE)
        expect(page.locator(BAR).get_by_role("button", name="End")).to_be_in_viewport()
        for scheme in SCHEMES:
            paint(page, scheme)
            assert faults(page) == [], f"{width} px, {scheme}"
        buttons = page.locator(BAR).get_by_role("button")
        for place in range(buttons.count()):
            box = buttons.nth(place).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
