"""Single fields of the recipe form: the widget of one setting with its complaint below it."""

from collections.abc import Mapping

import streamlit as st

from pages.shared.studio import complain


def whole(
    field: str,
    label: str,
    errors: Mapping[str, str],
    placeholder: str | None = None,
    help_text: str | None = None,
) -> None:
    """Draw a whole number; the placeholder stands where there is none."""
    st.number_input(label, step=1, key=field, persist_state="session", placeholder=placeholder, help=help_text)
    complain(errors, field)


def number(field: str, label: str, errors: Mapping[str, str], step: float, placeholder: str | None = None) -> None:
    """Draw a number that its buttons change by ``step``."""
    st.number_input(label, step=step, format="%g", key=field, persist_state="session", placeholder=placeholder)
    complain(errors, field)


def text(field: str, label: str, errors: Mapping[str, str], placeholder: str) -> None:
    """Draw a line of text."""
    st.text_input(label, key=field, persist_state="session", placeholder=placeholder)
    complain(errors, field)
