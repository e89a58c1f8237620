"""The main job in a real browser: start a run, watch it move, see it finish, classify a headline."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from engine.store import RunStore
from tests.e2e.browser import MINUTE, faults, listen

pytestmark = pytest.mark.browser

DONE = re.compile(r"^(check_circle)?\s*Done$")
"""The badge, with or without the name of its icon."""
POINTS = """Array.from(document.querySelector('[aria-label=Loss]').querySelectorAll('.mark-line path'))
    .map(path => path.getAttribute('d').match(/[ML]/g).length).reduce((sum, count) => sum + count, 0)"""
"""How many points the lines of the first chart (loss) have."""
HEADLINE = "भारताने अंतिम सामन्यात ऑस्ट्रेलियाला हरवून क्रिकेट विश्वचषक जिंकला"


def test_prune_watch_and_classify(studio: str, page: Page, tmp_path: Path) -> None:
    noise = listen(page)

    page.goto(studio)
    expect(page.get_by_role("heading", name="Prune")).to_be_visible(timeout=MINUTE)
    page.get_by_role("radio", name="25 %").click()
    page.get_by_test_id("stCheckbox").get_by_text(
        "Distillation", exact=True
    ).click()  # Advanced has a heading of this name
    page.get_by_text("Advanced", exact=True).click()
    _fill(page, "Maximum steps", "40")
    _fill(page, "Evaluations", "2")
    expect(page.get_by_text("FFN: 576 of 768 neurons")).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).click()

    expect(page.get_by_role("heading", name="Live")).to_be_visible(timeout=MINUTE)
    progress = page.get_by_text(re.compile(r"Step [\d,]+ of 40"))
    expect(progress).to_be_visible(timeout=2 * MINUTE)
    chart = page.get_by_label("Loss", exact=True).locator("svg.marks")
    expect(chart).to_be_visible(timeout=MINUTE)
    chart.evaluate("drawing => { drawing.dataset.mark = 'first'; }")
    drawn = _points(page)
    page.wait_for_function(f"before => ({POINTS}) > before", arg=drawn, timeout=MINUTE)
    assert chart.get_attribute("data-mark") == "first", "the chart was rebuilt instead of updated"

    expect(page.get_by_text(DONE)).to_be_visible(timeout=3 * MINUTE)
    expect(page.get_by_text(re.compile(r"Step 40 of 40"))).to_be_visible()
    run = RunStore(tmp_path / "home" / "runs.db").runs()[0]
    assert run.state == "done"
    assert run.result is not None
    assert run.result.distilled
    assert run.result.level == 0.25

    page.get_by_role("button", name="Try it").click()
    expect(page.get_by_role("heading", name="Try it")).to_be_visible(timeout=MINUTE)
    box = page.get_by_label("Marathi text")
    box.fill(HEADLINE)
    box.press("Control+Enter")
    page.get_by_role("button", name="Classify", exact=True).click()
    answer = page.locator("h2").first
    expect(answer).to_be_visible(timeout=2 * MINUTE)
    assert re.search("[\u0900-\u097f]", answer.inner_text()), "the topic stands in Marathi"
    expect(page.get_by_text(re.compile(r"\d+(\.\d+)? %")).first).to_be_visible()

    page.goto(f"{studio}/live?run={run.run_id}")
    expect(page.get_by_text(DONE)).to_be_visible(timeout=MINUTE)
    assert faults(page) == []
    assert noise == []


def _fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")


def _points(page: Page) -> int:
    return int(page.evaluate(POINTS))
