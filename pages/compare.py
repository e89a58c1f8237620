"""Compare: finished runs beside the paper's Table I and beside one another; base, grid and runs stand in the address."""

import streamlit as st

from engine.comparison import frames as comparison
from engine.comparison.page import MOST_RUNS, Curves, comparison_drawings
from engine.errors import ChhatniError
from engine.measuring.grids import countries, grid_intensity
from engine.paper import CITATION, SPEED_NOTE
from engine.runs.run import Run
from engine.store import RunStore
from engine.views.sentences import OWN_FORMAT
from pages.shared import comparison_view as view
from pages.shared.address import choose, keep
from pages.shared.language import say
from pages.shared.studio import finished, invite, listed, offer_archived, show_error, store_and_runs
from pages.shared.words import escape

RECORDED = ""  # the choice of the grid switcher that leaves emissions as they were recorded
BASE, GRID, RUNS = "table_base", "grid", "runs"  # in the address and in the session
LOOK_EVERY_S = 3.0
FIRST = (
    "Run",
    "State",
    "Setting",
    "Accuracy (%)",
    "Parameters (M)",
    "Latency p50 (ms)",
    "Speed-up (x)",
    "Ceiling (x)",
    "Title",
)
"""Columns of the table of all runs that stand where they are seen."""

LONG_NAME = 18
"""Letters of a setting's name that the first column of the table holds by itself."""


def choose_base(done: list[Run]) -> str:
    """Return the base model whose runs fill Table I."""
    bases = comparison.bases_by_settings(done)
    keep(BASE, bases, bases[0])
    if st.session_state[BASE] not in bases:  # what was chosen before is gone
        choose(BASE, bases[0], bases[0])
    return st.selectbox(
        say("Base model of ours"),
        bases,
        key=BASE,
        persist_state="session",
        on_change=lambda: choose(BASE, st.session_state[BASE], bases[0]),
    )


def choose_grid() -> str | None:
    """Return the country whose grid emissions are computed for, or None for each run's own."""
    names = {RECORDED: say("As recorded"), **countries()}
    keep(GRID, names, RECORDED)
    chosen = st.selectbox(
        say("Electricity grid"),
        list(names),
        format_func=lambda code: names[code] if code == RECORDED else f"{names[code]} ({code})",
        key=GRID,
        persist_state="session",
        on_change=lambda: choose(GRID, st.session_state[GRID], RECORDED),
        help=say("Our emissions are computed again for this country's grid. The paper's stay as printed."),
    )
    if not chosen:
        return None
    st.caption(say("{grams} g CO₂e per kWh", grams=f"{grid_intensity(chosen):g}"))
    return chosen


def show_table(done: list[Run], base: str, country: str | None) -> None:
    """Draw Table I with ours beside it, for one base model."""
    ours = [run for run in done if run.config.model.base == base]
    table = comparison.table_frame(ours, country)
    # room for "Magnitude 50 % of weights", but not where it would only push the last columns out of sight
    wide = max(map(len, table.index)) > LONG_NAME
    st.dataframe(
        comparison.styled(table),
        width="stretch",
        height="content",
        key="table_one",
        placeholder="–",
        column_config={"_index": st.column_config.TextColumn(width="medium")} if wide else None,
    )
    st.caption(
        say(
            "Paper: {citation}, as printed. Its method is block movement on all tokens and layers; other methods, dropped "
            "layers and smaller vocabularies have rows of their own. Ours (tinted): the newest finished run of each setting on "
            "this base; accuracy on the test split, or on validation where there is no test split. Models, data and machines "
            "differ unless you chose the paper's: compare differences within a column group, not across.",
            citation=escape(CITATION),
        )
    )


def asked_runs(runs: list[Run]) -> list[int]:
    """Return the rows of the runs that the address names, or that were selected before; say how many are not here."""
    rows = {run.run_id: row for row, run in enumerate(runs)}
    wanted = st.query_params.get(RUNS)
    ids = wanted.split(",")[:MOST_RUNS] if wanted else st.session_state.get(RUNS, [])
    missing = [run_id for run_id in ids if run_id not in rows]
    if wanted and missing:
        st.warning(say("{count} of the runs in the address are not here.", count=len(missing)), icon=":material/help:")
    return [rows[run_id] for run_id in ids if run_id in rows]


def choose_runs(runs: list[Run], base: str, country: str | None) -> list[Run]:
    """Draw the table of all runs and return those selected in it, or else the newest finished ones on a base model."""
    number = st.column_config.NumberColumn
    table = comparison.runs_frame(runs, country)
    picked = st.dataframe(
        table,
        width="stretch",
        height=min(38 + 35 * len(runs), 390),
        hide_index=True,
        key=f"all_runs_{runs[0].run_id}_{len(runs)}",  # rows are known by their place: other runs make another table
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": asked_runs(runs), "columns": [], "cells": []}},
        placeholder="–",
        column_order=[*FIRST, *(name for name in table.columns if name not in FIRST)],
        column_config={
            "Started": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm"),
            "Accuracy (%)": number(format="%.2f"),
            "Macro-F1 (%)": number(format="%.2f"),
            "SVM accuracy (%)": number(
                format="%.2f",
                help=say("A linear SVM over character n-grams, trained and tested on the run's own texts."),
            ),
            "Parameters (M)": number(format="%.2f"),
            "Size (MB)": number(format="%.1f"),
            "Latency p50 (ms)": number(format="%.2f"),
            "Dense p50 (ms)": number(format="%.2f"),
            "Speed-up (x)": number(format="%.2f"),
            "Ceiling (x)": number(format="%.2f"),
            "Energy (Wh)": number(format="%.3f"),
            "Emissions (kg CO2e)": number(format="%.6f"),
            "Duration (s)": number(format="%.0f"),
            "Maximum steps": number(format="%d"),
            "Format": st.column_config.TextColumn(help=escape(OWN_FORMAT) + " RUN"),
        },
    )
    chosen = [runs[row] for row in sorted(picked["selection"]["rows"]) if row < len(runs)]
    st.session_state[RUNS] = [run.run_id for run in chosen[:MOST_RUNS]]
    if chosen:
        st.query_params[RUNS] = ",".join(st.session_state[RUNS])
        st.caption(say("Runs selected for the charts below: {count}.", count=min(len(chosen), MOST_RUNS)))
        return chosen[:MOST_RUNS]
    st.query_params.pop(RUNS, None)
    st.caption(
        say(
            "The charts below show the newest {count} finished runs on {base}. Select rows to choose others.",
            count=view.SHOWN,
            base=escape(base),
        )
    )
    return [run for run, _ in finished(runs) if run.config.model.base == base][: view.SHOWN]


def show_yardstick(chosen: list[Run]) -> None:
    """Say whether the transformers beat an SVM that was trained on the same texts, and if not, which do not."""
    for sentence, beaten in comparison.svm_notes(chosen):
        if beaten:
            st.caption(escape(sentence))
        else:
            st.warning(escape(sentence), icon=":material/straighten:")


def show_speed_note() -> None:
    """Say, folded, why the paper's speed-ups must hold more than structure."""
    with st.expander(say("Why the printed speed-ups are not structure alone"), icon=":material/speed:"):
        st.write(SPEED_NOTE)


def linked() -> list[str]:
    """Return the ids of runs that the address names: they are there though they are archived."""
    return st.query_params.get(RUNS, "").split(",")


def watch(store: RunStore, known: int) -> None:
    """Draw the page anew when another run is done, so that Table I fills by itself."""
    try:
        found = len(listed(store, ["done"], linked()))
    except ChhatniError as error:
        show_error(error)
        return
    if found != known:
        st.rerun()


def show_nothing_done(runs: list[Run]) -> None:
    """Draw the page as it is before the first run is done: the paper's figures, and the runs there are."""
    invite(say("No finished run yet. Until there is one, the table holds the paper's rows alone."))
    empty = comparison.styled(comparison.table_frame([]))
    st.dataframe(empty, width="stretch", height="content", key="table_one", placeholder="–")
    st.caption(say("{citation}, as printed.", citation=escape(CITATION)))
    show_speed_note()
    if runs:
        st.markdown(f"## {say('All runs')}")
        st.dataframe(comparison.runs_frame(runs), hide_index=True, width="stretch", key="all_runs")


def show_all(store: RunStore, runs: list[Run], done: list[Run]) -> None:
    """Draw the page."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        title = say("The paper's Table I and ours")
        st.markdown(f"## {title}")
        menu = st.container(width="content")
    left, right = st.columns([0.7, 0.3])
    with left:
        base = choose_base(done)
    with right:
        grid = choose_grid()
    show_table(done, base, grid)
    show_speed_note()
    st.markdown(f"## {say('All runs')}")
    offer_archived(store)
    chosen = choose_runs(runs, base, grid)
    show_yardstick(chosen)
    curves: dict[str, Curves] = {}
    try:
        curves = view.read_curves(store, chosen)
    except ChhatniError as trouble:
        show_error(trouble)
    rates = view.settle_sweep(runs, base)
    drawings = comparison_drawings(chosen, curves, grid, rates)
    view.show_charts(drawings)
    view.show_curves(drawings, len(chosen))
    view.show_sweep(runs, base, rates, drawings)
    view.show_break_even(chosen)
    with menu:
        view.show_downloads(store, runs, chosen, base, country=grid, curves=curves, rates=rates, drawings=drawings)


st.title(say("Compare"), anchor=False)
store, runs = store_and_runs(linked=linked())
done = [run for run, _ in finished(runs)]
if done:
    show_all(store, runs, done)
else:
    show_nothing_done(runs)
    offer_archived(store)
if any(run.active for run in runs):
    finished_now = sum(run.state == "done" for run in runs)
    st.fragment(watch, run_every=LOOK_EVERY_S)(store, finished_now)
