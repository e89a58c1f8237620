"""The queue: who waits for which device, and buttons that let a run go earlier or later, or take it out."""

from collections.abc import Sequence

import streamlit as st

from engine import jobs
from engine.errors import ChhatniError
from engine.runs import upkeep
from engine.runs.run import Run
from engine.runs.upkeep import Waiting
from engine.store import RunStore
from pages.shared.language import say
from pages.shared.studio import attempt, look_after, show_error, show_refusal
from pages.shared.words import escape

WHERE = "queue"
SHOWN = 20
"""Runs that are listed at most; each has three buttons, and a page of hundreds of buttons is slow."""
HIGH = 6
"""Rows above which the list scrolls in itself."""
LOOK_EVERY_S = 3.0


def show_queue(store: RunStore, waits: Sequence[Waiting], *, here: str = "", expanded: bool = False) -> None:
    """Draw the runs that wait, in their order, each with what can be done about it; nothing where none waits.

    Args:
        store: where they are.
        waits: what `upkeep.waiting` returns.
        here: the id of the run that the page shows.
        expanded: whether the list is unfolded to begin with.
    """
    show_refusal(WHERE)
    if not waits:
        return
    title = say("Waiting runs: {count}", count=len(waits))
    with st.expander(title, expanded=expanded, icon=":material/hourglass_empty:", key="queue"):
        several = len({each.run.device for each in waits}) > 1
        with st.container(height=300 if len(waits) > HIGH else "content", border=False):
            for each in waits[:SHOWN]:
                _show_row(store, each, here, device=several)
        if len(waits) > SHOWN:
            st.caption(
                say("The first {few} of {count}. Any other is moved or cancelled on Live.", few=SHOWN, count=len(waits))
            )


def watch_queue(store: RunStore, anyone: bool) -> None:
    """Draw the queue on a page that is not drawn anew by itself, and keep it up to date as long as ``anyone`` waits."""

    def look() -> None:
        try:
            if anyone:
                look_after(store)
            waits = upkeep.waiting(store)
        except ChhatniError as error:
            show_error(error)
            return
        if anyone and not waits:
            st.rerun()  # the timer of the fragment is set by the page: end it
        show_queue(store, waits)

    st.fragment(look, run_every=LOOK_EVERY_S if anyone else None)()


def go_first(store: RunStore, run: Run) -> None:
    """Draw the button that lets a waiting run be the next in turn."""
    st.button(
        say("Go first"),
        icon=":material/vertical_align_top:",
        key="go_first",
        on_click=attempt,
        args=(run.run_id, lambda: store.move(run.run_id, 0)),
        help=say("The next in turn on this device; the others keep their order."),
    )


def _show_row(store: RunStore, each: Waiting, here: str, *, device: bool) -> None:
    """Draw one run of the queue: its place, its name and its buttons."""
    run = each.run
    on = f" · {run.device}" if device else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"queue_{run.run_id}"):
        said = escape(f"{each.place}. {run.title}{on} · {run.run_id}")
        st.markdown(f"**{said}**" if run.run_id == here else said, width="stretch")
        with st.container(horizontal=True, gap="small", width="content"):
            # no link to a page: on Live every one of them would be marked as where one is
            if st.button(
                say("Show"),
                icon=":material/monitoring:",
                type="tertiary",
                key=f"show_{run.run_id}",
                disabled=run.run_id == here,
            ):
                st.switch_page("pages/live.py", query_params={"run": run.run_id})
            for name, label, icon, by, off in (
                ("earlier", say("Earlier"), ":material/arrow_upward:", -1, each.place == 1),
                ("later", say("Later"), ":material/arrow_downward:", 1, each.last),
            ):
                st.button(
                    label,
                    icon=icon,
                    type="tertiary",
                    disabled=off,
                    key=f"{name}_{run.run_id}",
                    on_click=attempt,
                    args=(WHERE, lambda run_id=run.run_id, by=by: upkeep.shift(store, run_id, by)),
                )
            st.button(
                say("Cancelling") if run.stop_requested else say("Cancel"),
                icon=":material/close:",
                type="tertiary",
                disabled=run.stop_requested,
                key=f"cancel_{run.run_id}",
                on_click=attempt,
                args=(WHERE, lambda: jobs.stop(store, run.run_id)),
                help=say("It leaves the queue as a stopped run, which can be resumed or deleted."),
            )
