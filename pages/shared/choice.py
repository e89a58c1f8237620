"""Choosing the run that a page is about; `?run=ID` in the address names it."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from engine.runs.run import Run
from pages.shared.language import say
from pages.shared.studio import run_label
from pages.shared.words import escape

LAST = "last_run"
"""The run that was looked at last, on whichever page."""


def _remember(key: str) -> None:
    """Put the chosen run into the address, so that it is a link; a step that stood there belongs to another run."""
    st.query_params["run"] = st.session_state[key]
    st.query_params.pop("step", None)


def settle_run(runs: Sequence[Run], key: str) -> str:
    """Return the id of the run to show: the one in the address, else the one shown last, else the newest.

    It is put into the address and into the session; where the address names none of them, the page says so.

    Args:
        runs: all runs, newest first; at least one.
        key: of the widget that `draw_choice` draws.
    """
    ids = {run.run_id for run in runs}
    wanted = st.query_params.get("run")
    if wanted is not None and wanted not in ids:
        warning = say("There is no run {run}. This is the newest one.", run=escape(wanted[:80]))
        st.warning(warning, icon=":material/help:")
    candidates = (wanted, st.session_state.get(LAST), runs[0].run_id)
    shown = next(each for each in candidates if each in ids)
    st.session_state[key] = st.session_state[LAST] = shown
    if wanted != shown:
        st.query_params["run"] = shown
    return shown


def draw_choice(runs: Sequence[Run], key: str) -> None:
    """Draw the choice that `settle_run` has settled."""
    labels = {run.run_id: run_label(run) for run in runs}
    st.selectbox(
        say("Run"),
        list(labels),
        format_func=labels.__getitem__,
        key=key,
        on_change=partial(_remember, key),
        label_visibility="collapsed",
    )


def choose_run(runs: Sequence[Run], key: str) -> str:
    """Settle the run to show, draw the choice and return the run's id; see `settle_run`."""
    shown = settle_run(runs, key)
    draw_choice(runs, key)
    return shown
