"""What can be taken along: pictures, tables, events and whole pages. All of it is made when its button is pressed, not before."""

from collections.abc import Callable
from typing import Literal

import streamlit as st

from engine.runs.retelling import settled
from engine.store import RunStore
from engine.views.export import Table, events_frame, to_csv, to_json_lines
from engine.views.pictures import draws_devanagari, zipped
from engine.views.report_page import run_charts, run_page
from pages.shared.language import say

Make = Callable[[], bytes | str]
Width = Literal["content", "stretch"]


def offer(label: str, make: Make, file_name: str, mime: str, key: str, *, width: Width = "stretch") -> None:
    """Draw a button that makes a file when it is pressed; the page stays as it is."""
    st.download_button(
        label,
        make,
        file_name=file_name,
        mime=mime,
        key=key,
        icon=":material/download:",
        on_click="ignore",
        width=width,
    )


def offer_table(label: str, make: Callable[[], Table], name: str, key: str, *, width: Width = "stretch") -> None:
    """Draw a button that makes a table when it is pressed, as CSV in a file called ``name``."""
    offer(label, lambda: to_csv(make()), f"{name}.csv", "text/csv", key, width=width)


def say_fonts() -> None:
    """Say so where Devanagari in a PNG would come out as boxes."""
    if not draws_devanagari():
        st.caption(
            say(
                "This machine has no font that Devanagari could be drawn with in a PNG; its letters become boxes there. SVG and "
                "HTML are not affected. Installing Noto Sans Devanagari mends it."
            )
        )


def run_menu(store: RunStore, run_id: str) -> None:
    """Offer a run's charts, events and page behind one button."""

    def lines() -> bytes:
        return to_json_lines(store.events(run_id))

    def pictures(kind: str) -> bytes:
        told = settled([stored.event for stored in store.events(run_id)])
        return zipped(run_charts(told, store.get(run_id).config.pruning), "png" if kind == "png" else "svg")

    def page() -> str:
        return run_page(store.get(run_id), [stored.event for stored in store.events(run_id)])

    name = f"chhatni-{run_id}"
    with st.popover(say("Download"), icon=":material/download:", width="stretch"):
        offer(say("Page (HTML)"), page, f"{name}.html", "text/html", "run_html")
        offer(say("Charts (PNG, zip)"), lambda: pictures("png"), f"{name}-png.zip", "application/zip", "run_png")
        offer(say("Charts (SVG, zip)"), lambda: pictures("svg"), f"{name}-svg.zip", "application/zip", "run_svg")
        offer_table(say("Events (CSV)"), lambda: events_frame(store.events(run_id)), f"{name}-events", "run_events")
        offer(say("Events (JSONL)"), lines, f"{name}-events.jsonl", "application/jsonl", "run_lines")
        say_fonts()
