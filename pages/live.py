"""Live: one run as it goes, or as it went; `?run=ID` in the address names it, `?replay=NAME&speed=4` a recorded one."""

import time

import streamlit as st

from engine import jobs
from engine.errors import ChhatniError
from engine.replay import Recording
from engine.runs import ACTIVE, RESUMABLE, Run
from pages.shared import details, downloads, monitor, player, words
from pages.shared.language import say
from pages.shared.studio import invite, look_after, run_label, show_error, store_and_runs
from pages.shared.timeline import Timeline

CHOSEN, TIMELINE, REFUSED = "live_run", "live_timeline", "live_refused"
REFUSED_SHOWN_S = 20.0
"""How long the refusal of a button stays: the page of an active run is drawn anew every second."""


def remember() -> None:
    """Put the chosen run into the address, so that it is a link."""
    st.query_params["run"] = st.session_state[CHOSEN]


def choose(runs: list[Run]) -> str:
    """Return the id of the run to show: the one in the address, else the one shown last, else the newest."""
    labels = {run.run_id: run_label(run) for run in runs}
    wanted = st.query_params.get("run")
    if wanted is not None and wanted not in labels:
        warning = say("There is no run {run}. This is the newest one.", run=words.escape(wanted[:80]))
        st.warning(warning, icon=":material/help:")
    last = st.session_state.get("last_run")
    shown = next(each for each in (wanted, last, runs[0].run_id) if each in labels)
    st.session_state[CHOSEN] = shown
    st.session_state["last_run"] = shown
    if wanted != shown:
        st.query_params["run"] = shown
    st.session_state.pop(player.LAST, None)  # who comes back to this page wants this run again, and no replay
    choice, replays, files = st.columns([0.7, 0.14, 0.16], vertical_alignment="bottom")
    with choice:
        st.selectbox(
            say("Run"),
            list(labels),
            format_func=labels.__getitem__,
            key=CHOSEN,
            on_change=remember,
            label_visibility="collapsed",
        )
    if player.there_are():
        with replays, st.popover(say("Replay"), icon=":material/replay:", width="stretch"):
            st.markdown(f"**{say('Recorded runs')}**")
            player.offer()
    with files:
        downloads.run_menu(store, shown)
    return shown


def act(action: str, run_id: str) -> None:
    """Do what a button asks, before the page is drawn again."""
    st.session_state.pop(REFUSED, None)
    try:
        if action == "stop":
            jobs.stop(store, run_id)
        elif action == "force":
            jobs.stop(store, run_id, force=True)
        else:
            jobs.resume(store, run_id)
    except ChhatniError as error:
        st.session_state[REFUSED] = (run_id, str(error), time.monotonic())


def show_actions(run: Run) -> None:
    """Draw the buttons that make sense in the run's state."""
    with st.container(horizontal=True, horizontal_alignment="right"):
        if run.state in ACTIVE and not run.stop_requested:
            st.button(say("Stop"), icon=":material/stop:", on_click=act, args=("stop", run.run_id), key="stop")
        elif run.state in ACTIVE:
            st.button(
                say("End it now"),
                icon=":material/power_off:",
                on_click=act,
                args=("force", run.run_id),
                key="force",
                help=say("Ends the process. Steps after the last checkpoint are lost."),
            )
        if run.state in RESUMABLE:
            st.button(
                say("Resume"),
                icon=":material/play_arrow:",
                type="primary",
                on_click=act,
                args=("resume", run.run_id),
                key="resume",
            )
        try_help, clone_help = say("Classify texts with this model."), say("Open Prune with this run's settings.")
        if run.state == "done" and st.button(
            say("Try it"), icon=":material/chat:", type="primary", key="try", help=try_help
        ):
            st.switch_page("pages/try_it.py", query_params={"model": run.run_id})
        if st.button(say("Clone"), icon=":material/content_copy:", key="clone", help=clone_help):
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
        log = jobs.log_tail(store.home, run_id, 60)
    except ChhatniError as error:
        show_error(error)
        return
    if run.active != (st.session_state.get("live_active") == run_id):
        st.rerun()  # the timer of the fragment is set by the page: start or end it
    head, actions = st.columns([0.6, 0.4], vertical_alignment="center")
    with head:
        monitor.show_state(run, position, timeline)
    with actions:
        show_actions(run)
    of_run, complaint, at = st.session_state.get(REFUSED, ("", "", 0.0))
    if of_run == run_id and time.monotonic() - at < REFUSED_SHOWN_S:
        st.error(words.escape(complaint), icon=":material/error:")
    monitor.show_failure(run)
    monitor.show_result(run, timeline)
    monitor.show_metrics(run, timeline)
    monitor.show_charts(timeline)
    details.show_details(run, timeline, log)


named = player.asked()
recording = None if named is None else player.load(named)
if isinstance(recording, Recording):
    player.show_title(recording)
    player.choose(recording)
    player.show(recording)
    st.stop()
st.title(say("Live"), anchor=False)
store, runs = store_and_runs()
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
    st.stop()
chosen = choose(runs)
active = store.get(chosen).active
st.session_state["live_active"] = chosen if active else None
st.fragment(draw, run_every=1.0 if active else None)(chosen)
