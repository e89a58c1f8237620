"""What every page needs first: the home folder, its store, and the runs in it."""

from collections.abc import Collection, Mapping
from pathlib import Path

import streamlit as st

from engine import jobs
from engine.errors import ChhatniError, JobError
from engine.events import RunResult
from engine.home import default_home
from engine.runs import Run, RunState
from engine.store import RunStore
from pages.shared.language import say
from pages.shared.words import escape, moment


@st.cache_resource(max_entries=4, show_spinner=False)
def _open(home: Path) -> RunStore:
    return RunStore(home / "runs.db")


def open_store() -> RunStore:
    """Return the store of the home folder that the environment names now."""
    return _open(default_home())


def store_and_runs(states: Collection[RunState] | None = None) -> tuple[RunStore, list[Run]]:
    """Return the store and its runs, newest first and without those put away; of dead processes it says so first.

    Where the store cannot be read, the page says why and ends.
    """
    try:
        store = open_store()
        look_after(store)
        return store, store.runs(states=states, archived=False)
    except ChhatniError as error:
        show_error(error)
        st.stop()


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
    state = "active" if run.active else run.state
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
