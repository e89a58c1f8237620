"""Inside in a real browser: a link opens a step, the slider and Play move the mask, and no chart is built anew."""

import re
from collections.abc import Mapping

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import MINUTE, faults, listen, settle
from tests.e2e.homes import address

pytestmark = pytest.mark.browser

NAME = "अंतिम चाचणी"


def test_the_mask_moves_step_by_step(seeded: tuple[str, Mapping[str, str]], page: Page) -> None:
    served, ids = seeded
    noise = listen(page)
    page.goto(served + address("/inside?run={done}&step=10", ids))
    expect(page.get_by_text(NAME).first).to_be_visible(timeout=MINUTE)
    settle(page)
    slider = page.get_by_role("slider").first
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"\b10\b"))
    kept = page.get_by_test_id("stMetricValue").first
    before = kept.inner_text()
    assert before == "4,096", "at the first picture nothing has gone"
    chart = page.get_by_test_id("stVegaLiteChart").first.locator("svg.marks")
    chart.evaluate("drawing => { drawing.dataset.mark = 'first'; }")

    slider.press("End")
    expect(kept).not_to_have_text(before, timeout=MINUTE)
    expect(page.get_by_text("here the model was made smaller to what stays")).to_be_visible(timeout=MINUTE)
    expect(page).not_to_have_url(re.compile("step=10"), timeout=MINUTE)

    page.get_by_role("button", name="Play").click()  # from the beginning, since it stands at the end
    expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=MINUTE)
    expect(kept).to_have_text(before, timeout=MINUTE)
    expect(kept).not_to_have_text(before, timeout=MINUTE)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible(timeout=MINUTE)
    assert chart.get_attribute("data-mark") == "first", "the chart was rebuilt instead of updated"
    assert faults(page) == []
    assert noise == []


def test_a_baseline_and_a_run_that_waits_say_so(seeded: tuple[str, Mapping[str, str]], page: Page) -> None:
    served, ids = seeded
    page.goto(served + address("/inside?run={baseline}", ids))
    expect(page.get_by_text("Nothing was pruned: this run is a baseline")).to_be_visible(timeout=MINUTE)
    page.goto(served + address("/inside?run={queued}", ids))
    expect(page.get_by_text("The picture begins as soon as the model is loaded.")).to_be_visible(timeout=MINUTE)
    assert page.get_by_test_id("stVegaLiteChart").count() == 0
    assert faults(page) == []
