"""Live: one run as it goes, or as it went; `?run=ID` in the address names it, `?replay=NAME&speed=4` a recorded one."""

from collections.abc import Sequence

import streamlit as st

from engine import jobs
from engine.errors import ChhatniError, NoSuchRun
from engine.replay import Recording
from engine.runs import upkeep
from engine.runs.run import ACTIVE, RESUMABLE, Run
from engine.runs.upkeep import Waiting
from pages.shared import details, downloads, manage, monitor, player, queue
from pages.shared.choice import draw_choice, settle_run
from pages.shared.language import say
from pages.shared.presenter import shortcut
from pages.shared.studio import (
    attempt,
    invite,
    look_after,
    offer_archived,
    show_error,
    show_refusal,
    store_and_runs,
)
from pages.shared.timeline import Timeline
from pages.shared.turns import turn

CHOSEN, TIMELINE = "live_run", "live_timeline"


def choose(runs: list[Run]) -> Run:
    """Draw the choice of runs, with replays, upkeep and downloads beside it, and return the run to show."""
    shown = settle_run(runs, CHOSEN)
    st.session_state.pop(player.LAST, None)  # who comes back to this page wants this run again, and no replay
    choice, menus = st.columns([0.6, 0.4], vertical_alignment="bottom")
    with choice:
        draw_choice(runs, CHOSEN)
    run = next(run for run in runs if run.run_id == shown)
    with menus, st.container(horizontal=True, gap="xsmall"):  # in one row on a telephone too
        if player.there_are():
            with st.popover(say("Replay"), icon=":material/replay:", width="stretch"):
                st.markdown(f"**{say('Recorded runs')}**")
                player.offer()
        manage.show_menu(store, run)
        downloads.run_menu(store, shown)
    manage.show_archived(store, run)
    return run


def show_actions(run: Run, waits: Sequence[Waiting]) -> None:
    """Draw the buttons that make sense in the run's state and in the queue, if it waits there."""
    run_id = run.run_id
    with st.container(horizontal=True, horizontal_alignment="right"):
        if any(each.run.run_id == run_id and each.place > 1 for each in waits) and not run.stop_requested:
            queue.go_first(store, run)
        if run.state in ACTIVE and not run.stop_requested:
            queued = run.state == "queued"
            st.button(
                say("Cancel") if queued else say("Stop"),
                icon=":material/close:" if queued else ":material/stop:",
                on_click=attempt,
                args=(run_id, lambda: jobs.stop(store, run_id)),
                key="stop",
                # A run that was stopped is resumed with the same key; one that is resumed goes to the end of the queue.
                shortcut=None if queued else shortcut("P"),
                help=say("It leaves the queue as a stopped run, which can be resumed or deleted.") if queued else None,
            )
        elif run.state in ACTIVE:
            st.button(
                say("End it now"),
                icon=":material/power_off:",
                on_click=attempt,
                args=(run_id, lambda: jobs.stop(store, run_id, force=True)),
                key="force",
                help=say("Ends the process. Steps after the last checkpoint are lost."),
            )
        if run.state in RESUMABLE:
            st.button(
                say("Resume"),
                icon=":material/play_arrow:",
                type="primary",
                on_click=attempt,
                args=(run_id, lambda: jobs.resume(store, run_id)),
                key="resume",
                shortcut=shortcut("P"),
            )
        # These two act on the run that is shown when they are heard of, so they are known by the run they were drawn for.
        try_help, clone_help = say("Classify texts with this model."), say("Open Prune with this run's settings.")
        if run.state == "done" and st.button(
            say("Try it"), icon=":material/chat:", type="primary", key=f"try_{run_id}", help=try_help
        ):
            st.switch_page("pages/try_it.py", query_params={"model": run.run_id})
        if st.button(say("Clone"), icon=":material/content_copy:", key=f"clone_{run_id}", help=clone_help):
            st.switch_page("pages/prune.py", query_params={"clone": run.run_id})


def draw(run_id: str) -> None:
    """Draw the whole run; as a timed fragment while it is active."""
    try:
        look_after(store)
        run = store.get(run_id)
        timeline = st.session_state.get(TIMELINE)
        if timeline is None or timeline.run_id != run_id:
            timeline = st.session_state[TIMELINE] = Timeline(run_id)
        timeline.refresh(store)
        position = jobs.position(store, run_id) if run.state == "queued" else None
        waits = upkeep.waiting(store) if run.active else []
        elsewhere = jobs.waits_for_another_home(store, run)
        log = jobs.log_tail(store.home, run_id, 60)
    except NoSuchRun:
        st.rerun()  # somebody else has deleted it: the whole page says so and shows another one
    except ChhatniError as error:
        show_error(error)
        return
    if run.active != (st.session_state.get("live_active") == run_id):
        st.rerun()  # the timer of the fragment is set by the page: start or end it
    head, actions = st.columns([0.6, 0.4], vertical_alignment="center")
    with head:
        monitor.show_state(run, position, timeline)
        if elsewhere:
            other = say(
                "A run of another home on this machine uses the device. This one starts when that one has ended."
            )
            st.caption(other)
    with actions:
        show_actions(run, waits)
    show_refusal(run_id)
    queue.show_queue(store, waits, here=run_id, expanded=run.state == "queued")
    monitor.show_failure(run)
    monitor.show_result(run, timeline)
    with turn():
        monitor.show_metrics(run, timeline)
        monitor.show_charts(run, timeline)
        details.show_details(run, timeline, log)


named = player.asked()
recording = None if named is None else player.load(named)
if isinstance(recording, Recording):
    player.show_title(recording)
    player.choose(recording)
    player.show(recording)
    st.stop()
st.title(say("Live"), anchor=False)
store, runs = store_and_runs(linked=st.query_params.get_all("run"))
manage.show_said()
if recording is not None:
    st.warning(recording, icon=":material/help:")
    player.leave()
if not runs:
    invite(
        say(
            "No run yet. A run prunes a model while it learns; it shows here, step by step, and goes on when the page closes."
        )
    )
    if player.there_are():
        with st.container(border=True):
            st.write(say("Or watch a recorded run. It is played back, faster if you like, and nothing is trained."))
            player.offer()
    offer_archived(store)
    st.stop()
chosen = choose(runs)
st.session_state["live_active"] = chosen.run_id if chosen.active else None
st.fragment(draw, run_every=1.0 if chosen.active else None)(chosen.run_id)
