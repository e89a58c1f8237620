"""Every page in a real browser, in both widths and both colour schemes: nothing breaks, nothing is cut, everybody can read it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.browser import MINUTE, NARROW, SCHEMES, WIDE, faults, listen, paint, settle
from tests.e2e.homes import HOSTILE, address

pytestmark = pytest.mark.browser

STREAMLITS_OWN = {
    ("list", 'ul data-testid="stSidebarNavItems"'): "The navigation puts a box between its list and the links.",
    ("listitem", "li "): "The same box, seen from the links: their parent is no list.",
}
"""What axe-core calls serious or critical and Streamlit's own markup causes, by rule and by how the element begins."""
ALWAYS_THERE = 1 + 6
"""How often these are found on a page with the navigation: one list of six links."""
PAGES = {
    "prune": ("/", "Prune", "Pruning level"),
    "live of a run that goes on": ("/live?run={training}", "Live", "बातम्यांचे वर्गीकरण"),
    "live of a failed run": ("/live?run={failed}", "Live", HOSTILE),
    "live of a run that is done": ("/live?run={done}", "Live", "अंतिम चाचणी"),
    "compare": ("/compare", "Compare", "The paper's Table I and ours"),
    "try it": ("/try_it?model=starter&text=मराठी", "Try it", "Marathi text"),
    "inside": ("/inside?run={done}", "Inside", "Exact numbers"),
    "speed lab": ("/speed_lab", "Speed lab", "The other shape"),
    "marathi": ("/live?run={training}&lang=mr", "थेट", "बातम्यांचे वर्गीकरण"),
    "presenter": ("/compare?present=1", "Compare", "3 of 5"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_accessible(
    seeded: tuple[str, Mapping[str, str]], window: Callable[..., Page], name: str
) -> None:
    served, ids = seeded
    path, title, words = PAGES[name]
    for width in (WIDE, NARROW):
        page = window(width)
        noise = listen(page)
        page.goto(served + address(path, ids))
        expect(page.get_by_role("heading", level=1)).to_contain_text(title, timeout=MINUTE)
        settle(page)
        expect(page.get_by_text(words).first).to_be_attached()
        for scheme in SCHEMES:
            paint(page, scheme)
            assert faults(page) == [], f"{width} px, {scheme}"
            if width == WIDE:
                assert violations(page) == [], scheme
        assert noise == [], f"{width} px"
        page.close()


def violations(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical and is not Streamlit's own."""
    # the drawings are left out: axe-core cannot tell the colour behind their letters, and takes seconds to find that out
    answer: dict[str, Any] = Axe().run(page, context={"exclude": [["svg.marks"]]}).response
    ours, own = [], 0
    for found in answer["violations"]:
        if found["impact"] not in ("serious", "critical") and found["id"] != "heading-order":
            continue
        for node in found["nodes"]:
            if any(found["id"] == rule and node["html"].startswith(f"<{start}") for rule, start in STREAMLITS_OWN):
                own += 1
            else:
                ours.append(f"{found['id']}: {node['html'][:160]} {node['failureSummary'][:240]}")
    assert own <= ALWAYS_THERE, f"{own} of what Streamlit causes, where {ALWAYS_THERE} are known"
    return ours


def test_an_empty_studio_invites_on_every_page(empty_studio: str, window: Callable[..., Page]) -> None:
    invitations = {
        "/": "New here? See it work",
        "/live": "No run yet",
        "/compare": "No finished run yet",
        "/try_it": "Marathi text",
        "/inside": "No run yet",
        "/speed_lab": "The other shape",
    }
    for width, scheme in zip((WIDE, NARROW), SCHEMES, strict=True):
        page = window(width, scheme)
        noise = listen(page)
        for path, words in invitations.items():
            page.goto(empty_studio + path)
            expect(page.get_by_text(words).first).to_be_visible(timeout=MINUTE)
            settle(page)
            assert faults(page) == [], f"{path} at {width} px, {scheme}"
        assert noise == []


def test_a_page_whose_script_fails_is_found_out(empty_studio: str, page: Page) -> None:
    """Look with the eyes of the tests above at a page that is wrong in every way they know."""
    noise = listen(page)
    page.goto(empty_studio)
    settle(page)
    page.evaluate(
        """() => {
            const main = document.querySelector('[data-testid=stMainBlockContainer]');
            main.insertAdjacentHTML('beforeend', '<div data-testid="stException">Traceback</div><p style="color:#bbb">faint</p>'
                + '<div style="width: 3000px">wide</div><button></button>');
            console.error('said aloud');
        }"""
    )
    found = faults(page)
    assert "exception box: Traceback" in found
    assert any("wider than the window" in each for each in found)
    assert any("said aloud" in line for line in noise)
    assert {each.split(":")[0] for each in violations(page)} == {"color-contrast", "button-name"}
