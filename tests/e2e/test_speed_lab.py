"""Speed lab in a real browser: a link opens a shape, a press measures it in a process of its own, and a touch ends it."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import MINUTE, faults, listen

pytestmark = pytest.mark.browser

TINY = "dense=custom&dense_layers=2&dense_heads=2&dense_ffn=32&dense_hidden=16&dense_vocab=200&layers=1&heads=2&ffn=32"
LARGE = "dense=bert-base&batch=4&length=256"


def test_measure_a_shape_from_a_link(empty_studio: str, page: Page) -> None:
    noise = listen(page)

    page.goto(empty_studio)
    expect(page.get_by_role("heading", name="Prune")).to_be_visible(timeout=MINUTE)
    page.goto(f"{empty_studio}/speed_lab?{TINY}&hidden=16&vocab=200&length=16")
    measure = page.get_by_role("button", name="Measure", exact=True)
    expect(measure).to_be_enabled(timeout=MINUTE)
    expect(page.get_by_text("1 of 2 layers")).to_be_visible()
    measure.click()
    expect(page.get_by_text(re.compile(r"\d+ s of about \d+ s"))).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text("Measured last: 1 layer")).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text(re.compile(r"^ceiling \d\.\d\dx$"))).to_be_visible()

    page.get_by_role("button", name="½ FFN").click()
    page.wait_for_url(re.compile(r"ffn=16"))
    assert "layers=1" not in page.url
    measure.click()
    points = page.locator("[data-testid=stVegaLiteChart] path[aria-roledescription=point]")
    expect(points).to_have_count(2, timeout=MINUTE)
    names = " ".join(point.get_attribute("aria-label") or "" for point in points.all())
    assert "Shape: FFN 16" in names
    assert "Shape: 1 layer" in names
    assert faults(page) == []
    assert noise == []


def test_a_measurement_can_be_cancelled(empty_studio: str, page: Page) -> None:
    page.goto(empty_studio)
    expect(page.get_by_role("heading", name="Prune")).to_be_visible(timeout=MINUTE)
    page.goto(f"{empty_studio}/speed_lab?{LARGE}")
    page.get_by_role("button", name="Measure", exact=True).click(timeout=MINUTE)
    cancel = page.get_by_role("button", name="Cancel")
    expect(page.get_by_text(re.compile("Making both models|Timing both in turns"))).to_be_visible(timeout=MINUTE)
    cancel.click()
    expect(cancel).to_have_count(0)
    expect(page.get_by_role("button", name="Measure", exact=True)).to_be_enabled()
    assert page.get_by_text("Measured in this session").count() == 0
    assert faults(page) == []
