"""One number of a page with what it is and what stands beside it, in the one form that all pages share."""

from typing import Literal

import streamlit as st


def show_figure(
    label: str,
    value: str,
    note: str = "",
    *,
    help_text: str | None = None,
    height: Literal["content", "stretch"] = "content",
) -> None:
    """Draw a number with a grey note below it, which is no change for the better or the worse and so has no arrow.

    Args:
        label: what it is.
        value: the number with its unit.
        note: what it is to be held against; none where empty.
        help_text: what a person reads who asks.
        height: "stretch" makes it as high as its neighbours.
    """
    st.metric(
        label, value, note or None, delta_color="off", delta_arrow="off", border=True, height=height, help=help_text
    )
