"""Speed lab: any shape against the dense one on this machine; what was measured beside what FLOPs allow."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import streamlit as st

from engine.errors import CheckpointError, ChhatniError, ConfigError
from engine.lab import memory as lab_memory
from engine.lab import plan as lab
from engine.lab import process as lab_process
from engine.lab.plan import LabResult, LabSettings
from pages.shared import lab_form, lab_view, words
from pages.shared.language import say
from pages.shared.studio import complain, show_error, store_and_runs

RESULTS, FAILED = "lab_results", "lab_failed"
KEPT = 200
"""Results of a session that are kept."""


def stage_words(step: lab_process.Progress) -> str:
    """Say what a measurement is doing."""
    told = {
        "waiting": say("Another measurement has its turn. This one waits."),
        "starting": say("Starting a process of its own"),
        "building": say("Making both models and timing a first round"),
        "timing": say("Timing both in turns"),
    }[step.stage]
    seconds = f"{step.elapsed_s:.0f} s"
    if step.expected_s <= 0:
        return f"{told} · {seconds}"
    return f"{told} · " + say("{done} of about {total}", done=seconds, total=f"{step.expected_s:.0f} s")


def problems(settings: LabSettings, results: Sequence[LabResult]) -> dict[str, str]:
    """Return what speaks against a measurement, by field."""
    found: dict[str, str] = {}
    for check in (lab.check_precision, partial(lab.check_time, results=results), lab_memory.check_memory):
        try:
            check(settings)
        except ConfigError as error:
            found |= error.fields
        if "precision" in found:  # of what cannot be computed nobody knows how long it takes
            break
    return found


def measure(settings: LabSettings, results: list[LabResult]) -> None:
    """Have both shapes timed and keep the results; any touch of a control meanwhile ends the measurement."""
    bar = st.progress(0.0, text=say("Starting a process of its own"))
    st.button(say("Cancel"), icon=":material/close:", key="lab_cancel", help=say("So does a change of any control."))
    st.session_state.pop(FAILED, None)
    busy = bool(lab.busy_runs(store.runs(), settings.device))
    try:
        with closing(lab_process.measure_apart(settings, store.home, lab.expected_s(settings, results))) as steps:
            for step in steps:
                if isinstance(step, list):
                    busy = busy or bool(lab.busy_runs(store.runs(), settings.device))
                    new = [replace(result, disturbed=busy) for result in reversed(step)]
                    st.session_state[RESULTS] = [*results, *new][-KEPT:]
                else:
                    bar.progress(step.share, text=stage_words(step))
    except ChhatniError as error:
        st.session_state[FAILED] = str(error)
    st.rerun()


def forget() -> None:
    """Begin the session's table anew."""
    st.session_state.pop(RESULTS, None)
    st.session_state.pop(FAILED, None)


def show_press(settings: LabSettings | None, results: list[LabResult]) -> bool:
    """Draw the button with what is to be known before it is pressed; tell whether it was pressed."""
    wrong = {} if settings is None else problems(settings, results)
    pressed = st.button(
        say("Measure"),
        type="primary",
        icon=":material/speed:",
        key="lab_measure",
        disabled=settings is None or bool(wrong),
    )
    complain(wrong, *wrong)
    if settings is not None and not wrong:
        seconds = words.duration(lab.expected_s(settings, results))
        st.caption(
            say(
                "Takes about {seconds} (estimated), in a process of its own. Both shapes are warmed up and timed in turns.",
                seconds=seconds,
            )
        )
    for run in [] if settings is None else lab.busy_runs(runs, settings.device):
        st.warning(
            say("Run {run} is training on this device: it will disturb what is measured.", run=words.escape(run.title)),
            icon=":material/warning:",
        )
    return pressed


store, runs = store_and_runs()
st.title(say("Speed lab"), anchor=False)
st.caption(
    say(
        "Is half of the layers as fast as half of the FFN? Set any shape, see at once what its FLOPs allow, then measure it "
        "beside the dense one on this machine."
    )
)
found: list[LabResult] = st.session_state.setdefault(RESULTS, [])
chosen: LabSettings | None = None
left, right = st.columns([0.42, 0.58], gap="large")
with left:
    try:
        dense_shape = lab_form.choose_dense()
        other_shape = lab_form.choose_other(dense_shape)
    except ConfigError:
        st.markdown(":small[:red[:material/error: " + say("Something above is not possible yet.") + "]]")
    except CheckpointError as trouble:
        show_error(trouble)
    else:
        chosen = lab_form.choose_timing(dense_shape, other_shape)
    go = show_press(chosen, found)
    if FAILED in st.session_state:
        st.error(words.escape(st.session_state[FAILED]), icon=":material/error:")
    progress = st.container()
with right:
    if chosen is not None:
        lab_view.show_numbers(chosen)
    else:
        st.info(say("The figures come back when both shapes are possible."), icon=":material/help:")
    if found:
        lab_view.show_newest(found[-1])
    if chosen is not None:
        lab_view.show_drawing(chosen.dense, chosen.other)
if found:
    lab_view.show_results(found)
    st.button(say("Forget these"), icon=":material/delete:", on_click=forget, type="tertiary", key="lab_forget")
if go and chosen is not None:
    with progress:
        measure(chosen, found)
