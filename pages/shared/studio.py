"""What every page needs first: the home folder, its store, and the runs in it."""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import streamlit as st

from engine import jobs
from engine.errors import ChhatniError, JobError
from engine.home import default_home
from engine.records import RunResult
from engine.runs.run import Run, RunState
from engine.store import RunStore
from pages.shared.address import choose, keep
from pages.shared.language import say
from pages.shared.words import escape, moment

ARCHIVED, ARCHIVED_BOX = "archived", "archived_box"
"""Where it stands whether archived runs are among the choices, in the address and in the session; and the box for it."""
REFUSED = "refused_action"
REFUSED_SHOWN_S = 20.0


@st.cache_resource(max_entries=4, show_spinner=False)
def _open(home: Path) -> RunStore:
    return RunStore(home / "runs.db")


def open_store() -> RunStore:
    """Return the store of the home folder that the environment names now."""
    return _open(default_home())


def store_and_runs(
    states: Collection[RunState] | None = None, linked: Collection[str] = ()
) -> tuple[RunStore, list[Run]]:
    """Return the store and its runs, newest first, see `listed`; of dead processes it says so first.

    Where the store cannot be read, the page says why and ends.
    """
    keep(ARCHIVED, ("0", "1"), "0")
    try:
        store = open_store()
        look_after(store)
        return store, listed(store, states, linked)
    except ChhatniError as error:
        show_error(error)
        st.stop()


def listed(store: RunStore, states: Collection[RunState] | None = None, linked: Collection[str] = ()) -> list[Run]:
    """Return the runs to choose from, newest first.

    Args:
        store: where they are.
        states: only runs in one of these; all where None.
        linked: ids that the address names; these are there though they are archived.
    """
    everything = st.session_state.get(ARCHIVED) == "1"
    return [run for run in store.runs(states=states) if everything or not run.archived or run.run_id in linked]


def offer_archived(store: RunStore) -> None:
    """Draw the box that brings archived runs into the choices of all pages, where there are such runs."""
    try:
        count = len(store.runs(archived=True))
    except ChhatniError as error:
        show_error(error)
        return
    if count:
        st.session_state[ARCHIVED_BOX] = st.session_state.get(ARCHIVED) == "1"
        st.checkbox(
            say("Show archived runs ({count})", count=count),
            key=ARCHIVED_BOX,
            on_change=lambda: choose(ARCHIVED, "1" if st.session_state[ARCHIVED_BOX] else "0", "0"),
        )


def attempt(where: str, action: Callable[[], object]) -> bool:
    """Do what a button asks; where it is refused, keep the reason for `show_refusal` and return False.

    Args:
        where: names the place that will show it.
        action: what may raise one of the engine's errors.
    """
    st.session_state.pop(REFUSED, None)
    try:
        action()
    except ChhatniError as error:
        st.session_state[REFUSED] = (where, str(error), time.monotonic())
        return False
    return True


def show_refusal(where: str) -> None:
    """Show why the last action of a place was refused, for a while: pages of active runs are drawn anew every second."""
    of_place, complaint, at = st.session_state.get(REFUSED, ("", "", 0.0))
    if of_place == where and time.monotonic() - at < REFUSED_SHOWN_S:
        st.error(escape(complaint), icon=":material/error:")


def look_after(store: RunStore) -> None:
    """Mark runs whose process is gone; where that cannot be written down, as on a full disk, say so and go on reading."""
    try:
        jobs.reconcile(store)
    except JobError as error:
        st.warning(escape(str(error)), icon=":material/warning:")


def finished(runs: list[Run]) -> list[tuple[Run, RunResult]]:
    """Return the runs that have a result, with it."""
    return [(run, run.result) for run in runs if run.result is not None]


def run_label(run: Run) -> str:
    """Return one line that tells a run from its neighbours; it does not change while the run is active."""
    state = "active" if run.active else f"{run.state}, archived" if run.archived else run.state
    return f"{run.title} · {state} · {moment(run.created_at)} · {run.run_id}"


def show_error(error: ChhatniError) -> None:
    """Show an error of the engine as it words itself."""
    st.error(escape(str(error)), icon=":material/error:")


def complain(errors: Mapping[str, str], *fields: str) -> None:
    """Show what is wrong with a field right below it."""
    for field in fields:
        if field in errors:
            st.markdown(f":small[:red[:material/error: {escape(errors[field])}]]")


def invite(text: str) -> None:
    """Fill a page that has nothing to show yet with the way to the first run."""
    with st.container(border=True):
        st.write(text)
        st.page_link("pages/prune.py", label=say("Set up the first run"), icon=":material/content_cut:")
