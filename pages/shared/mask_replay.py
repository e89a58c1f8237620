"""The replay of one run's mask: its frames as far as they were read, and the place that is shown of them."""

import time

import streamlit as st

from engine.events import Event, MaskMoved
from engine.inside.frames import KINDS, Frame, frame_at, replay
from engine.store import RunStore
from pages.shared.language import say

TICK_S = 0.8
"""Seconds that a frame stays while the replay plays."""
ECHO_S, ECHOES_KEPT = 5.0, 4
"""How long, and of how many places, a browser that lags may still say that the slider stands where it was moved away from."""
SLIDER, PLAYING, TICKED, SHOWN, ECHOES = (f"inside_{name}" for name in ("step", "playing", "ticked", "shown", "echoes"))


class Story:
    """What a run has told about its mask; each refresh reads only what is new."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.frames: list[Frame] = []
        self.recorded = False
        """Whether the run took pictures of its mask; older runs have only their outcome."""
        self._after = 0
        self._events: list[Event] = []

    def refresh(self, store: RunStore) -> None:
        """Read the events since the last call."""
        new = store.events(self.run_id, after=self._after, kinds=KINDS)
        if new:
            self._after = new[-1].seq
            self._events += [stored.event for stored in new]
            self.frames = replay(self._events)
            self.recorded = any(isinstance(event, MaskMoved) for event in self._events)


def choose_place(story: Story) -> int:
    """Draw Play and the slider over the frames, and return the place of the frame to show.

    It is the one asked for in the address, else the newest; who looks at the newest follows the run.
    """
    frames, last = story.frames, len(story.frames) - 1
    place = _next_place(story, last)
    _leave(st.session_state.get(SLIDER, place), place)
    st.session_state[SHOWN] = (story.run_id, place, last)
    if last == 0:
        return 0
    st.session_state[SLIDER] = place
    playing = st.session_state.get(PLAYING, False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.button(
            say("Pause") if playing else say("Play"),
            icon=":material/pause:" if playing else ":material/play_arrow:",
            key="inside_play",
            on_click=_toggle,
            args=(story,),
            help=say("Replays how the mask moved, picture by picture."),
        )
        st.select_slider(
            say("Optimizer steps done"),
            range(last + 1),
            key=SLIDER,
            format_func=lambda at: f"{frames[at].step:,}" if at else say("base"),
            on_change=_moved_by_hand,
            args=(story,),
        )
    return place


def _next_place(story: Story, last: int) -> int:
    """Say which frame is next: by the address, by the slider, by the clock, or the newest."""
    shown: tuple[str, int, int] = st.session_state.get(SHOWN, ("", 0, 0))
    of_run, place, former_last = shown
    if (
        of_run != story.run_id
    ):  # the address counts once: while a replay plays, the browser's may be older than what is shown
        asked = st.query_params.get("step", "")
        st.session_state[PLAYING] = False
        for key in (SLIDER, ECHOES):  # they speak of another run
            st.session_state.pop(key, None)
        return frame_at(story.frames, int(asked)) if asked.isdecimal() else last
    said = int(st.session_state.get(SLIDER, place))
    place = min(place if _is_echo(said) else said, last)
    if st.session_state.get(PLAYING):
        # a widget that is used meanwhile also draws the page: only the clock moves the replay on
        if time.monotonic() - st.session_state[TICKED] >= 0.6 * TICK_S:
            st.session_state[TICKED] = time.monotonic()
            place = min(place + 1, last)
        st.session_state[PLAYING] = place < last
        return place
    return last if place >= former_last else place


def _toggle(story: Story) -> None:
    """Play, from the beginning where the end is shown, or pause."""
    playing = not st.session_state.get(PLAYING, False)
    st.session_state[PLAYING], st.session_state[TICKED] = playing, time.monotonic()
    run_id, place, last = st.session_state[SHOWN]
    if not playing:
        _name_step(story, place)
    elif place == last:
        _leave(place, 0)
        st.session_state[SLIDER] = 0
        st.session_state[SHOWN] = (run_id, 0, last)


def _moved_by_hand(story: Story) -> None:
    """Stop playing where somebody takes the slider, and make that step a link."""
    if _is_echo(st.session_state[SLIDER]):
        return
    st.session_state[PLAYING] = False
    _name_step(story, st.session_state[SLIDER])


def _leave(said: int, place: int) -> None:
    """Note that the slider was moved by the page, from where the browser has it."""
    if said == place:
        return
    at, places = st.session_state.get(ECHOES, (0.0, ()))
    recent = places if time.monotonic() - at < ECHO_S else ()
    former = (said, *(each for each in recent if each not in (said, place)))
    st.session_state[ECHOES] = (time.monotonic(), former[:ECHOES_KEPT])


def _is_echo(said: int) -> bool:
    """Tell whether the slider's place is one that the page has just moved it away from, and nobody's wish."""
    at, places = st.session_state.get(ECHOES, (0.0, ()))
    return said in places and time.monotonic() - at < ECHO_S


def _name_step(story: Story, place: int) -> None:
    st.query_params["step"] = str(story.frames[min(place, len(story.frames) - 1)].step)
