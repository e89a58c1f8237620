"""Inside: what pruning did to one run's model, picture by picture; `?run=ID&step=N` in the address names run and step."""

import streamlit as st

from engine import jobs
from engine.config import PruningConfig
from engine.errors import ChhatniError, NoSuchRun
from engine.runs.run import Run
from pages.shared import inside_view, mask_replay, words
from pages.shared.choice import choose_run
from pages.shared.language import say
from pages.shared.mask_replay import Story
from pages.shared.studio import invite, look_after, offer_archived, show_error, store_and_runs

STORY, TIMER = "inside_story", "inside_timer"
FOLLOW_S = 2.0
"""Seconds between two looks at a run that goes on."""


def timer(run: Run) -> float | None:
    """Return how often the page is to be drawn: for the replay, for a run that goes on, or only when somebody asks."""
    if st.session_state.get(mask_replay.PLAYING):
        return mask_replay.TICK_S
    return FOLLOW_S if run.active else None


def read(run_id: str) -> tuple[Run, Story]:
    """Return the run and what it has told about its mask, as they are now."""
    run = store.get(run_id)
    if run.active:
        look_after(store)
        run = store.get(run_id)
    story = st.session_state.get(STORY)
    if story is None or story.run_id != run_id:
        story = st.session_state[STORY] = Story(run_id)
    story.refresh(store)
    return run, story


def draw(run_id: str) -> None:
    """Draw the whole run; as a timed fragment while it is active or replayed."""
    try:
        run, story = read(run_id)
        position = jobs.position(store, run_id) if run.state == "queued" else None
    except NoSuchRun:
        st.rerun()  # somebody else has deleted it: the whole page says so and shows another one
    except ChhatniError as error:
        show_error(error)
        return
    if timer(run) != st.session_state[TIMER]:
        st.rerun()  # the timer of the fragment is set by the page
    show_state(run, position)
    pruning = run.config.pruning
    if not pruning.enabled:
        st.info(baseline_said(pruning), icon=":material/info:")
        return
    note = said_beside(run, story)
    if note:
        st.info(note, icon=":material/info:")
    if not story.frames or (len(story.frames) == 1 and run.state == "done"):
        return
    place = mask_replay.choose_place(story)
    inside_view.show_numbers(story.frames, place, pruning)
    inside_view.show_maps(story.frames[place], pruning)
    if not inside_view.single_weights(pruning) and pruning.method != "layer-dropping":
        inside_view.show_layer(story.frames, place, pruning)
        if story.recorded:
            inside_view.show_moves(story.frames, place)
    inside_view.show_table(story.frames, place, run_id)
    if timer(run) != st.session_state[TIMER]:
        st.rerun()  # the replay has just come to its end


def show_state(run: Run, position: int | None) -> None:
    """Say the run's state in words and its recipe, with the way to Live."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        said = words.state_words(run.state, position)
        st.badge(said, icon=words.STATE_ICONS[run.state], color=words.STATE_COLOURS[run.state])  # type: ignore[arg-type]
        st.markdown(f"**{words.escape(run.title)}**")
        query = {"run": run.run_id}
        st.page_link("pages/live.py", label=say("Live"), icon=":material/monitoring:", query_params=query)
    st.caption(words.escape(f"{run.config.recipe} · {run.config.model.base} · {run.config.data.source}"))


def baseline_said(pruning: PruningConfig) -> str:
    """Say that there is nothing to see, and what a smaller vocabulary takes instead."""
    said = say("Nothing was pruned: this run is a baseline, so all its neurons, heads and layers stay.")
    if pruning.vocabulary == "training":
        said += " " + say("Its smaller vocabulary takes rows from the table of tokens, not from the layers.")
    return said


def said_beside(run: Run, story: Story) -> str:
    """Say why there is nothing, or less than a replay, to see; empty where there is all of it."""
    if not story.frames:
        if run.active:
            return say("The picture begins as soon as the model is loaded.")
        return say("The run ended before its model was loaded, so there is nothing to see inside.")
    if len(story.frames) == 1:
        if run.active:
            return say("Everything still stays. The mask begins to move when the pruning warm-up ends.")
        if run.state == "done":
            return say("This run kept no record of what it pruned: it is older than this page.")
        return say("The run ended before anything was pruned.")
    if run.config.pruning.method == "layer-dropping":
        return say("Whole layers were taken out before the first step, so there is no mask that could move.")
    if not story.recorded:
        return say("This run is older than this page: it recorded its outcome, but not how the mask moved.")
    return ""


st.title(say("Inside"), anchor=False)
store, runs = store_and_runs(linked=st.query_params.get_all("run"))
if not runs:
    invite(
        say(
            "No run yet. A run decides step by step which neurons and heads stay; this page replays how, layer by layer."
        )
    )
    offer_archived(store)
    st.stop()
chosen = choose_run(runs, "inside_run")
offer_archived(store)
st.caption(say("What pruning did to the model: which neurons, heads and layers stayed, and how the mask moved."))
st.session_state[TIMER] = timer(next(run for run in runs if run.run_id == chosen))
st.fragment(draw, run_every=st.session_state[TIMER])(chosen)
