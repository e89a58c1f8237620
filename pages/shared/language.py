"""The interface in English or Marathi. Texts stand in the code in English; `assets/marathi.json` holds each of them in Marathi.

What the engine says of a run (errors, notices, names of settings) stays in English: it is also what the command line prints
and what a person would search for.
"""

import json
from functools import cache
from pathlib import Path

import streamlit as st

from pages.shared.address import choose, keep

CATALOGUE = Path(__file__).parents[2] / "assets" / "marathi.json"
LANGUAGES = {"en": "English", "mr": "मराठी"}
KEY = "lang"
"""Where the choice lives, in the session and in the address."""
DECLARED = {code: f"<script>document.documentElement.lang = '{code}'</script>" for code in LANGUAGES}
"""Tells the browser the language of the page: a screen reader that takes Marathi for English reads noise."""
CHOICE = "language_choice"
"""The control. It has a key of its own, so that its labels can change with the language without losing the choice."""


@cache
def marathi() -> dict[str, str]:
    """Return the catalogue: English text to Marathi text, both with the same fields in braces."""
    catalogue: dict[str, str] = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    return catalogue


def language() -> str:
    """Return the chosen language: "en" or "mr"."""
    chosen: str = st.session_state.get(KEY, "en")
    return chosen


def say(text: str, **values: object) -> str:
    """Return a text of the interface in the chosen language, its ``{fields}`` filled in.

    Args:
        text: the English text, a literal: a test looks up every one in the catalogue.
        values: what to put into the fields; it is put in as it is, so escape what a person wrote.
    """
    if language() == "mr":
        text = marathi().get(text, text)
    return text.format(**values) if values else text


def settle_language() -> None:
    """Find the language of this run of the studio, before the first text is said."""
    keep(KEY, LANGUAGES, "en")


def speak(code: str) -> None:
    """Change the language, here and in the address."""
    choose(KEY, code, "en")


def choose_language() -> None:
    """Draw the choice; each language stands there in its own words, for those who read only that one."""
    st.session_state[CHOICE] = language()
    st.segmented_control(
        say("Language"),
        list(LANGUAGES),
        format_func=LANGUAGES.__getitem__,
        key=CHOICE,
        required=True,
        on_change=lambda: speak(st.session_state[CHOICE]),
        width="stretch",
    )
    st.html(DECLARED[language()], unsafe_allow_javascript=True)
