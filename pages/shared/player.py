"""A recorded run played back on Live, drawn as a run is; `?replay=NAME&speed=4` in the address names it.

What is played belongs to no store: it can be watched and its settings cloned, and nothing else.
"""

import time
from pathlib import Path

import streamlit as st

from engine import replay
from engine.errors import ChhatniError
from engine.replay import Recording
from pages.shared import details, monitor, words
from pages.shared.language import say
from pages.shared.playback import SPEEDS, Playback, from_address
from pages.shared.presenter import shortcut
from pages.shared.timeline import Timeline

NAME = "replay"
"""Where the recording's name stands in the address."""
PLACED, LAST, CHOICE, SLIDER, SPEED, TIMER = (
    f"replay_{name}" for name in ("placed", "last", "choice", "place", "speed", "timer")
)
TICK_S = 1.0
"""Seconds between two drawings while it plays, as for a run."""


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(path: Path, changed_ns: int) -> Recording:
    """Read a recording once, and again where the file has changed since (``changed_ns`` is only part of the cache's key)."""
    return replay.read_recording(path)


def load(name: str) -> Recording | str:
    """Return a recording by its name, or the sentence that says why there is none to be had, fit for markdown."""
    path = replay.recordings(replay.SHIPPED).get(name)
    if path is None:
        return say("There is no recording {name}.", name=words.escape(name[:80]))
    try:
        return _read(path, path.stat().st_mtime_ns)
    except ChhatniError as error:
        return words.escape(str(error))


def asked() -> str | None:
    """Return the name of the recording to show: that in the address, or the last one where the address names no run."""
    named = st.query_params.get(NAME)
    if named is None and "run" not in st.query_params:
        named = st.session_state.get(LAST)
    return named


def there_are() -> bool:
    """Tell whether there is any recording to offer."""
    return bool(replay.recordings(replay.SHIPPED))


def show_title(recording: Recording) -> None:
    """Draw the page's head, which says that this is a replay, and where and when the run was recorded."""
    st.title(f"{say('Live')} {monitor.replay_mark()}", anchor=False)
    st.caption(recorded_said(recording))


def watch(name: str) -> None:
    """Show a recording from its beginning."""
    for key in ("run", "at", "since"):
        st.query_params.pop(key, None)
    st.query_params[NAME] = name
    st.session_state.pop(PLACED, None)


def leave() -> None:
    """Go back to the runs."""
    for key in (NAME, "speed", "at", "since"):
        st.query_params.pop(key, None)
    for key in (LAST, PLACED):
        st.session_state.pop(key, None)


def offer() -> None:
    """Draw a button for each recording that there is."""
    for name in replay.recordings(replay.SHIPPED):
        recording = load(name)
        if isinstance(recording, str):
            st.error(recording, icon=":material/error:")
        else:
            st.button(
                words.escape(recording.title),
                icon=":material/replay:",
                key=f"watch_{name}",
                on_click=watch,
                args=(name,),
            )
            st.caption(f"{words.duration(recording.duration_s)} · {recorded_said(recording)}")


def recorded_said(recording: Recording) -> str:
    """Say where and when a recording was made."""
    device, date = words.escape(recording.device_name), words.moment(recording.header.recorded_at)
    return say("recorded on {device}, {date}", device=device, date=date)


def choose(recording: Recording) -> None:
    """Draw the choice of recordings and the way back to the runs."""
    names = list(replay.recordings(replay.SHIPPED))
    st.session_state[CHOICE] = recording.name
    choice, back = st.columns([0.85, 0.15], vertical_alignment="bottom")
    with choice:
        st.selectbox(
            say("Recorded runs"),
            names,
            format_func=_label,
            key=CHOICE,
            on_change=lambda: watch(st.session_state[CHOICE]),
            label_visibility="collapsed",
        )
    with back:
        st.button(
            say("Back to runs"), icon=":material/arrow_back:", on_click=leave, key="replay_leave", width="stretch"
        )


def _label(name: str) -> str:
    recording = load(name)
    return name if isinstance(recording, str) else f"{say('Replay')} · {recording.title} · {recording.device_name}"


def show(recording: Recording) -> None:
    """Draw a recording at the place where its replay is, and go on while it plays."""
    st.session_state[LAST] = recording.name
    if st.query_params.get(NAME) != recording.name:
        st.query_params[NAME] = recording.name
    playback = _placed(recording)
    _keep(recording, playback)  # going to another page has emptied the address
    st.session_state[TIMER] = _timer(playback, time.time())
    st.fragment(_draw, run_every=st.session_state[TIMER])(recording)


def _placed(recording: Recording) -> Playback:
    """Return where the replay is: as this session left it, else as the address says."""
    placed: tuple[str, Playback] | None = st.session_state.get(PLACED)
    if placed is not None and placed[0] == recording.name:
        return placed[1]
    playback = from_address(recording.duration_s, st.query_params, time.time())
    st.session_state[PLACED] = (recording.name, playback)
    return playback


def _keep(recording: Recording, playback: Playback) -> None:
    """Put where the replay is into the session, and into the address, where a reload of the page finds it."""
    st.session_state[PLACED] = (recording.name, playback)
    said = playback.address()
    for key in ("speed", "at", "since"):
        if key not in said:
            st.query_params.pop(key, None)
        elif st.query_params.get(key) != said[key]:
            st.query_params[key] = said[key]


def _timer(playback: Playback, now: float) -> float | None:
    return TICK_S if playback.plays(now) else None


def _draw(recording: Recording) -> None:
    playback, now = _placed(recording), time.time()  # one moment for the whole page: at 60x a blink is a second
    if _timer(playback, now) != st.session_state[TIMER]:
        st.rerun()  # the timer of the fragment is set by the page: start or end it
    place = playback.place(now)
    run = replay.run_at(recording, place)
    timeline = Timeline(run.run_id, recorded=True)
    timeline.take(replay.events_until(recording, place))
    head, actions = st.columns([0.7, 0.3], vertical_alignment="center")
    with head:
        monitor.show_state(run, None, timeline)
    with actions, st.container(horizontal=True, horizontal_alignment="right"):
        clone_help = say("Open Prune with this run's settings.")
        if st.button(say("Clone"), icon=":material/content_copy:", key="replay_clone", help=clone_help):
            st.switch_page("pages/prune.py", query_params={"clone_replay": recording.name})
    _show_controls(recording, playback, now)
    monitor.show_result(run, timeline)
    monitor.show_metrics(run, timeline)
    monitor.show_charts(run, timeline)
    details.show_details(run, timeline, None)


def _show_controls(recording: Recording, playback: Playback, now: float) -> None:
    """Draw Play or Pause, the speed, and the place as a slider."""
    plays, place = playback.plays(now), playback.place(now)
    last = int(recording.duration_s) + 1
    if st.session_state.get(SPEED) != playback.speed:  # else a press that is on its way would be taken back
        st.session_state[SPEED] = playback.speed
    st.session_state[SLIDER] = int(place) if place < recording.duration_s else last
    with st.container(border=True, key="replay_controls"):
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.button(
                say("Pause") if plays else say("Play"),
                icon=":material/pause:" if plays else ":material/play_arrow:",
                type="primary",
                key="replay_play",
                shortcut=shortcut("P"),
                on_click=_toggle,
                args=(recording,),
            )
            st.segmented_control(
                say("Speed"),
                SPEEDS,
                format_func=lambda speed: f"{speed}x",
                key=SPEED,
                required=True,
                label_visibility="collapsed",
                on_change=_change_speed,
                args=(recording,),
            )
            times = {"place": words.duration(place), "length": words.duration(recording.duration_s)}
            st.markdown(say("{place} of {length}", **times), width="content")
        st.slider(
            say("Seconds since the run began"),
            0,
            last,
            step=1,
            format="%d s",
            key=SLIDER,
            label_visibility="collapsed",
            on_change=_move,
            args=(recording,),
        )


def _toggle(recording: Recording) -> None:
    playback, now = _placed(recording), time.time()
    _keep(recording, playback.pause(now) if playback.plays(now) else playback.play(now))


def _change_speed(recording: Recording) -> None:
    _keep(recording, _placed(recording).change_speed(st.session_state[SPEED], time.time()))


def _move(recording: Recording) -> None:
    _keep(recording, _placed(recording).move(float(st.session_state[SLIDER]), time.time()))
