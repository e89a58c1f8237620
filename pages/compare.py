"""Compare: finished runs beside the paper's Table I and beside one another."""

import streamlit as st

from engine import comparison, comparison_charts
from engine.emissions import countries, grid_intensity
from engine.errors import ChhatniError
from engine.export import to_csv
from engine.paper import CITATION, SPEED_NOTE
from engine.runs import Run
from engine.sentences import OWN_FORMAT
from engine.store import RunStore
from pages.shared.studio import finished, invite, show_error, store_and_runs
from pages.shared.words import escape

RECORDED = ""  # the choice of the grid switcher that leaves emissions as they were recorded
SHOWN = 8  # runs in the charts when none is selected; more lines than this cannot be told apart

LONG_NAME = 18
"""Letters of a setting's name that the first column of the table holds by itself."""


def choose_grid() -> str | None:
    """Return the country whose grid emissions are computed for, or None for each run's own."""
    names = {RECORDED: "As recorded", **countries()}
    chosen = st.selectbox(
        "Electricity grid",
        list(names),
        format_func=lambda code: names[code] if code == RECORDED else f"{names[code]} ({code})",
        key="grid",
        persist_state="session",
        help="Our emissions are computed again for this country's grid. The paper's stay as printed.",
    )
    if not chosen:
        return None
    st.caption(f"{grid_intensity(chosen):g} g CO₂e per kWh")
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
        f"Paper: {escape(CITATION)}, as printed. Its method is block movement on all tokens and layers; other methods, dropped "
        "layers and smaller vocabularies have rows of their own. Ours (tinted): the newest finished run of each setting on this "
        "base; accuracy on the test split, or on validation where there is no test split. Models, data and machines differ "
        "unless you chose the paper's: compare differences within a column group, not across."
    )


def choose_runs(runs: list[Run], base: str, country: str | None) -> list[Run]:
    """Draw the table of all runs and return those selected in it, or else the newest finished ones on a base model."""
    table = comparison.runs_frame(runs, country)
    picked = st.dataframe(
        table,
        width="stretch",
        height=min(38 + 35 * len(runs), 390),
        hide_index=True,
        key="all_runs",
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="–",
        column_config={
            "Started": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm"),
            "Accuracy (%)": st.column_config.NumberColumn(format="%.2f"),
            "Macro-F1 (%)": st.column_config.NumberColumn(format="%.2f"),
            "SVM accuracy (%)": st.column_config.NumberColumn(
                format="%.2f", help="A linear SVM over character n-grams, trained and tested on the run's own texts."
            ),
            "Parameters (M)": st.column_config.NumberColumn(format="%.2f"),
            "Size (MB)": st.column_config.NumberColumn(format="%.1f"),
            "Latency p50 (ms)": st.column_config.NumberColumn(format="%.2f"),
            "Dense p50 (ms)": st.column_config.NumberColumn(format="%.2f"),
            "Speed-up (x)": st.column_config.NumberColumn(format="%.2f"),
            "Ceiling (x)": st.column_config.NumberColumn(format="%.2f"),
            "Energy (Wh)": st.column_config.NumberColumn(format="%.3f"),
            "Emissions (kg CO2e)": st.column_config.NumberColumn(format="%.6f"),
            "Duration (s)": st.column_config.NumberColumn(format="%.0f"),
            "Maximum steps": st.column_config.NumberColumn(format="%d"),
            "Format": st.column_config.TextColumn(help=escape(OWN_FORMAT) + " RUN"),
        },
    )
    chosen = [runs[row] for row in picked["selection"]["rows"] if row < len(runs)]
    left, right = st.columns([0.75, 0.25], vertical_alignment="center")
    with left:
        if chosen:
            st.caption(f"The charts below show the {len(chosen)} selected runs.")
        else:
            st.caption(
                f"The charts below show the newest {SHOWN} finished runs on {escape(base)}. Select rows to choose others."
            )
    with right:
        st.download_button(
            "Download as CSV",
            to_csv(table),
            file_name="chhatni-runs.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
        )
    return chosen or [run for run, _ in finished(runs) if run.config.model.base == base][:SHOWN]


def show_yardstick(chosen: list[Run]) -> None:
    """Say whether the transformers beat an SVM that was trained on the same texts, and if not, which do not."""
    for sentence, beaten in comparison.svm_notes(chosen):
        if beaten:
            st.caption(escape(sentence))
        else:
            st.warning(escape(sentence), icon=":material/straighten:")


def show_charts(chosen: list[Run], country: str | None) -> None:
    """Draw the trade between accuracy and latency, the speed-ups beside the paper's, and emissions."""
    left, right = st.columns(2)
    with left, st.container(border=True):
        st.markdown("**Accuracy against latency** (ours; dashed: nobody is better in both)")
        trade = comparison.trade_frame(chosen)
        if trade.empty:
            st.caption("None of these runs has a measured accuracy.")
        else:
            st.altair_chart(comparison_charts.trade_chart(trade), width="stretch", key="trade")
    with right, st.container(border=True):
        st.markdown("**Speed-up, the paper's and ours**")
        speeds = comparison_charts.speed_chart(comparison.speed_frame(chosen))
        st.altair_chart(speeds, width="stretch", key="speeds")
    with st.container(border=True):
        st.markdown("**Emissions of each run**")
        bars = comparison_charts.emissions_chart(comparison.emissions_frame(chosen, country))
        st.altair_chart(bars, width="stretch", key="emissions")


def show_curves(store: RunStore, chosen: list[Run]) -> None:
    """Lay validation accuracy and loss of the chosen runs over one another."""
    few = chosen[:SHOWN]
    left, right = st.columns(2)
    for side, kind, title in ((left, "evaluated", "Validation accuracy (%)"), (right, "step_logged", "Loss (nats)")):
        with side, st.container(border=True):
            st.markdown(f"**{title.partition(' (')[0]} over the run**")
            curves = {
                f"{run.config.recipe} · {run.run_id[-4:]}": comparison.curve(store.events(run.run_id, kinds=[kind]))
                for run in few
            }
            data = comparison.curves_frame(curves)
            st.altair_chart(comparison_charts.curves_chart(data, title), width="stretch", key=f"curves_{kind}")
    if len(chosen) > SHOWN:
        st.caption(f"Curves of the first {SHOWN} of {len(chosen)} runs.")


def show_break_even(chosen: list[Run]) -> None:
    """Say after how many texts each pruned model has repaid its own run."""
    st.markdown("#### Break-even")
    st.caption(
        "After how many classified texts has pruning saved the energy its run took? Energy of a text = the run's mean power "
        "x latency of one text. This supposes that serving draws the power that the run drew."
    )
    st.dataframe(
        comparison.break_even_frame(chosen),
        width="stretch",
        hide_index=True,
        key="break_even",
        placeholder="–",
        column_config={"Texts": st.column_config.NumberColumn("Texts until repaid", format="localized")},
    )


def show_speed_note() -> None:
    """Say, folded, why the paper's speed-ups must hold more than structure."""
    with st.expander("Why the printed speed-ups are not structure alone", icon=":material/speed:"):
        st.write(SPEED_NOTE)


st.title("Compare", anchor=False)
store, runs = store_and_runs()
done = [run for run, _ in finished(runs)]
if not done:
    invite("No finished run yet. Until there is one, the table holds the paper's rows alone.")
    empty = comparison.styled(comparison.table_frame([]))
    st.dataframe(empty, width="stretch", height="content", key="table_one", placeholder="–")
    st.caption(f"{escape(CITATION)}, as printed.")
    show_speed_note()
    if runs:
        st.markdown("#### All runs")
        st.dataframe(comparison.runs_frame(runs), hide_index=True, width="stretch", key="all_runs")
    st.stop()
st.markdown("#### The paper's Table I and ours")
left, right = st.columns([0.7, 0.3])
with left:
    bases = comparison.bases_by_settings(done)
    chosen_base = st.selectbox("Base model of ours", bases, key="table_base", persist_state="session")
with right:
    grid = choose_grid()
show_table(done, chosen_base, grid)
show_speed_note()
st.markdown("#### All runs")
picked_runs = choose_runs(runs, chosen_base, grid)
show_yardstick(picked_runs)
show_charts(picked_runs, grid)
try:
    show_curves(store, picked_runs)
except ChhatniError as trouble:
    show_error(trouble)
show_break_even(picked_runs)
