"""A recorded run in a real browser: a link opens it on a fresh server, it plays without flicker, and it is marked all the while."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from engine.replay import recordings
from tests.e2e.browser import MINUTE, NARROW, SCHEMES, WIDE, faults, listen, paint, settle

pytestmark = pytest.mark.browser

NAME = next(iter(recordings()))
PAGES = ["Prune", "Live", "Compare", "Try it", "Inside", "Speed lab"]
MARKED = 8
"""Places that say "Replay": the page's head, the state, and each of the six charts."""


def step_shown(page: Page) -> int:
    words = page.get_by_text(re.compile(r"^Step [\d,]+ of ")).inner_text()
    return int(words.split()[1].replace(",", ""))


def test_a_link_to_a_replay_on_a_fresh_server(studio: str, page: Page) -> None:
    noise = listen(page)
    page.goto(f"{studio}/live?replay={NAME}&speed=4&at=40")
    expect(page.get_by_role("heading", name="Live")).to_be_visible(timeout=MINUTE)

    # the first visitor of a server gets the studio's own menu, not the one that Streamlit makes of a folder named pages
    links = page.get_by_test_id("stSidebarNavLink")
    expect(links).to_have_count(len(PAGES))
    for place, title in enumerate(PAGES):
        expect(links.nth(place)).to_contain_text(title)

    chart = page.get_by_test_id("stVegaLiteChart").first.locator("svg.marks")
    expect(chart).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text("40 s of")).to_be_visible()
    chart.evaluate("drawing => { drawing.dataset.mark = 'first'; }")
    begun = step_shown(page)
    page.get_by_text("1x", exact=True).click()
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_function(
        """begun => [...document.querySelectorAll('p')].some(
            each => Number((each.innerText.match(/^Step ([\\d,]+) of/) || ['', '0'])[1].replaceAll(',', '')) > begun)""",
        arg=begun,
        timeout=MINUTE,
    )
    assert chart.get_attribute("data-mark") == "first", "the chart was rebuilt instead of updated"
    expect(page.locator(".stMarkdownBadge", has_text="Replay")).to_have_count(MARKED)

    reached = step_shown(page)
    page.reload()  # the address finds speed and place again
    expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=MINUTE)
    assert "speed=1&" in f"{page.url}&"
    assert step_shown(page) >= reached

    page.get_by_text("60x", exact=True).click()
    expect(page.get_by_role("button", name="Play")).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text("Dense and student")).to_be_visible(timeout=MINUTE)
    expect(page.locator(".stMarkdownBadge", has_text="Replay")).to_have_count(MARKED)
    assert faults(page) == []
    assert noise == []


def test_a_replay_fits_every_screen(empty_studio: str, window: Callable[..., Page]) -> None:
    for width in (WIDE, NARROW):
        page = window(width)
        page.goto(f"{empty_studio}/live?replay={NAME}&at=120")
        expect(page.locator(".stMarkdownBadge", has_text="Replay")).to_have_count(MARKED, timeout=MINUTE)
        settle(page)
        for scheme in SCHEMES:
            paint(page, scheme)
            assert faults(page) == [], f"{width} px, {scheme}"
        for control in (
            page.get_by_role("button", name="Play"),
            page.get_by_test_id("stSlider"),
            page.get_by_text("60x"),
        ):
            box = control.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
