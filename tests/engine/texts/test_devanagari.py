"""Devanagari in one spelling: what was decoded wrongly comes back, what looks alike is alike, all else stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.texts.cleaning import Part, clean, normalise
from engine.texts.devanagari import repair, spell

PAGES = ("cp866", "cp1252", "latin-1", "cp437", "cp1251", "mac-roman")
HEADLINE = "TECH : अ\u200dॅपमध्ये नवे फीचर, किंमत ९९९ रुपये"


def misread(text: str, page: str) -> str:
    """Read UTF-8 as a program that takes it for another code page does."""
    shown = []
    for byte in text.encode():
        try:
            shown.append(bytes([byte]).decode(page))
        except UnicodeDecodeError:
            shown.append(chr(byte))
    return "".join(shown)


@pytest.mark.parametrize("page", PAGES)
def test_devanagari_read_in_a_wrong_code_page_is_restored(page: str) -> None:
    wrong = misread(HEADLINE, page)
    assert wrong != HEADLINE
    assert repair(wrong) == HEADLINE


def test_a_letter_cut_in_two_at_the_end_is_dropped_and_the_rest_restored() -> None:
    assert repair(misread("पुणे", "cp866")[:-1]) == "पुण"


@pytest.mark.parametrize(
    "text", ["", "Plain English", "मराठी बातमी", "Новости Москвы сегодня", "café à la carte", "рд 12", "Größe α β γ"]
)
def test_texts_that_were_read_well_stay_as_they_are(text: str) -> None:
    assert repair(text) == text


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("अ\u200dॅप", "ॲप"),
        ("आॅस्कर", "ऑस्कर"),
        ("पेट्राेल", "पेट्रोल"),
        ("चाैकशी", "चौकशी"),
        ("अाे", "ओ"),
        ("तिसºयांदा", "तिसऱ्यांदा"),
        ("तिसर्\u200dयांदा", "तिसऱ्यांदा"),
        ("मरा\u200bठी\ufeff", "मराठी"),
        ("क्\u200dष", "क्\u200dष"),
        ("30 º से", "30 º से"),
    ],
)
def test_what_looks_the_same_is_spelt_the_same(written: str, wanted: str) -> None:
    assert spell(written) == wanted


@given(st.text(st.sampled_from("अआएकर्याॅेैोौॉ\u200d\u200bº \u093c"), max_size=12))
def test_spelling_and_normalising_twice_change_nothing_more(text: str) -> None:
    assert spell(spell(text)) == spell(text)
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(max_size=30), st.sampled_from(PAGES))
def test_repair_never_fails_and_is_idempotent(text: str, page: str) -> None:
    for each in (text, misread(text, page)):
        assert repair(repair(each)) == repair(each)


def test_cleaning_counts_restored_texts_once_and_finds_their_duplicates() -> None:
    wrong = misread(HEADLINE, "cp866")
    cleaned, reports, _ = clean({"all": Part([wrong, HEADLINE, wrong], ["Tech"] * 3, "text", "label")})
    assert cleaned["all"].texts == ["TECH : ॲपमध्ये नवे फीचर, किंमत ९९९ रुपये"]
    assert (reports["all"].repaired, reports["all"].duplicates) == (1, 2)
