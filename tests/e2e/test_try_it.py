"""Try it in a real browser: a link, an answer with shaded words, markup that stays text, and an answer that is not sure."""

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import MINUTE, faults, listen

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror=alert(1)> क्रिकेट"
HEADLINE = "अर्थसंकल्पावरून विधानसभेत गदारोळ; विरोधकांचा सभात्याग"


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_a_linked_text_is_classified_and_its_words_are_shaded(
    empty_studio: str, page: Page, width: int, scheme: str
) -> None:
    noise = listen(page)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]

    page.goto(f"{empty_studio}/try_it?model=starter&text={quote(HEADLINE)}")
    box = page.get_by_label("Marathi text")
    expect(box).to_have_value(HEADLINE, timeout=MINUTE)
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.get_by_text("speaks against it")).to_be_visible(timeout=2 * MINUTE)
    shaded = page.get_by_test_id("stHtml").filter(has=page.locator("span[title]"))
    assert shaded.inner_text().strip() == HEADLINE, "the pieces make up the text"
    word = shaded.get_by_text("विधानसभेत", exact=True)
    assert "points of probability for" in str(word.get_attribute("title"))
    tint = word.evaluate("word => getComputedStyle(word).backgroundColor")
    assert tint.startswith("rgba(23, 137, 125"), tint

    box.fill(MARKUP)
    box.press("Control+Enter")
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(shaded).to_have_text(MARKUP, timeout=MINUTE)
    assert page.locator("img[src=x]").count() == 0
    assert f"text={quote('<img')}" in page.url, "the address follows"

    box.fill("१२,३४५ ₹ ?!")
    box.press("Control+Enter")
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.get_by_role("heading", name="खात्री नाही · Not sure").first).to_be_visible(timeout=MINUTE)
    expect(page.get_by_text("holds no letters, so")).to_be_visible()
    assert faults(page) == []
    assert noise == []
