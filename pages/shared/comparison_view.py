"""The parts of Compare below its first table: charts, curves, the sweep, the break-even point and the downloads."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import streamlit as st

from engine import comparison, comparison_charts, sweep, trade
from engine.charts import Chart
from engine.comparison_page import Curves, comparison_drawings, comparison_page
from engine.events import Evaluated, RunStarted, StepLogged
from engine.export import to_csv
from engine.pictures import zipped
from engine.runs import Run
from engine.store import RunStore
from pages.shared.address import choose, keep
from pages.shared.chart import show_chart
from pages.shared.downloads import offer, say_fonts
from pages.shared.language import say
from pages.shared.words import escape

SHOWN = 8
"""Runs whose curves are drawn, and that are shown where none is selected; more lines than this cannot be told apart."""
AXES = {"evaluated": "Validation accuracy (%)", "step_logged": "Loss (nats)"}
SWEEP_DATA = "sweep_data"


@st.cache_data(max_entries=512, show_spinner=False)
def _finished_curve(_store: RunStore, home: Path, run_id: str, kind: str) -> list[Evaluated | StepLogged]:
    """Read one curve of a run that is done, and so does not change; ``home`` tells stores apart."""
    return comparison.thin_curve(_store.events(run_id, kinds=[kind]))


def read_curves(store: RunStore, chosen: Sequence[Run]) -> dict[str, Curves]:
    """Return validation accuracy and loss of the first runs, by the title of their axis and the label of the run."""
    found: dict[str, Curves] = {}
    for kind, title in AXES.items():
        lines: dict[str, Sequence[Evaluated | StepLogged]] = {}
        for run in chosen[:SHOWN]:
            if run.state == "done":
                lines[comparison.label_of(run)] = _finished_curve(store, store.home, run.run_id, kind)
            else:
                lines[comparison.label_of(run)] = comparison.thin_curve(store.events(run.run_id, kinds=[kind]))
        found[title] = lines
    return found


def _box(title: str, chart: Chart, key: str) -> None:
    with st.container(border=True):
        st.markdown(f"**{title}**")
        show_chart(chart, key=key, alt_text=title)


def show_charts(chosen: Sequence[Run], country: str | None) -> None:
    """Draw the trade between accuracy and latency, the speed-ups beside the paper's, emissions and parameters."""
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch"):
        st.markdown(f"**{say('Accuracy against latency')}**")
        points = trade.trade_frame(chosen)
        if points.empty:
            st.caption(say("None of these runs has a measured accuracy."))
        else:
            show_chart(trade.trade_chart(points), key="trade", alt_text=say("Accuracy against latency"))
            st.caption(
                say('Dashed: nobody is better in both. "(+2)" after a name: two more points too close to be named.')
            )
    with right:
        speeds = comparison_charts.speed_chart(comparison.speed_frame(chosen))
        _box(say("Speed-up, the paper's and ours"), speeds, "speeds")
    impact = comparison.emissions_frame(chosen, country)
    left, right = st.columns(2)
    with left:
        _box(say("Emissions of each run"), comparison_charts.emissions_chart(impact), "emissions")
    with right:
        _box(say("Parameters of each run"), comparison_charts.parameters_chart(impact), "parameters")


def show_curves(curves: Mapping[str, Curves], count: int) -> None:
    """Lay validation accuracy and loss of the chosen runs over one another.

    Args:
        curves: what `read_curves` returns.
        count: how many runs were chosen.
    """
    names = {
        "Validation accuracy (%)": say("Validation accuracy over the run"),
        "Loss (nats)": say("Loss over the run"),
    }
    for side, (title, lines) in zip(st.columns(2), curves.items(), strict=True):
        with side:
            data = comparison.curves_frame(lines)
            _box(names[title], comparison_charts.curves_chart(data, title), f"curves_{title}")
    if count > SHOWN:
        st.caption(say("Curves of the first {few} of {count} runs.", few=SHOWN, count=count))


def show_sweep(runs: Sequence[Run], base: str) -> sweep.Rates | None:
    """Draw accuracy, size, latency and speed-up against the pruning rate; return what was drawn."""
    st.markdown(f"## {say('Pruning rate')}")
    sources = sweep.sources(runs, base)
    if not sources:
        st.caption(say("No pruned run on this base yet. Queue a sweep on Prune: one method at many rates."))
        return None
    source = keep(SWEEP_DATA, sources, sources[0])
    if len(sources) > 1:
        source = st.selectbox(
            say("Dataset"),
            sources,
            key=SWEEP_DATA,
            persist_state="session",
            on_change=lambda: choose(SWEEP_DATA, st.session_state[SWEEP_DATA], sources[0]),
        )
    rates = sweep.rates(runs, base, source)
    names = {
        "accuracy": say("Accuracy against pruning rate"),
        "size": say("Size against pruning rate"),
        "latency": say("Latency against pruning rate"),
        "speedup": say("Speed-up against pruning rate"),
    }
    for pair in (("accuracy", "size"), ("latency", "speedup")):
        for side, quantity in zip(st.columns(2), pair, strict=True):
            with side:
                _box(names[quantity], sweep.sweep_chart(*rates, quantity), f"sweep_{quantity}")
    st.caption(
        say(
            "Every finished run on the base {base} and the dataset {data} is a point, a line goes through the means of the "
            "seeds, and the grey rule is this: {rule}. Of the speed-up the dotted line is the FLOPs ceiling. Latencies of "
            "different runs were measured at different times; speed-ups compare within one.",
            base=escape(base),
            data=escape(Path(source).name),
            rule=escape(sweep.rule_words(rates)),
        )
    )
    return rates


def show_break_even(chosen: Sequence[Run]) -> None:
    """Say after how many texts each pruned model has repaid its own run."""
    st.markdown(f"## {say('Break-even')}")
    st.caption(
        say(
            "After how many classified texts has pruning saved the energy its run took? Energy of a text = the run's mean power "
            "x latency of one text. This supposes that serving draws the power that the run drew."
        )
    )
    st.dataframe(
        comparison.break_even_frame(chosen),
        width="stretch",
        hide_index=True,
        key="break_even",
        placeholder="–",
        column_config={
            "Setting": say("Setting"),
            "Run": say("Run"),
            "Texts": st.column_config.NumberColumn(say("Texts until repaid"), format="localized"),
            "Basis": st.column_config.TextColumn(say("How it was computed"), width="large"),
        },
    )


def show_downloads(
    store: RunStore,
    runs: Sequence[Run],
    chosen: Sequence[Run],
    base: str,
    *,
    country: str | None,
    curves: Mapping[str, Curves],
    rates: sweep.Rates | None,
) -> None:
    """Offer the comparison as one page, as pictures and as tables, behind one button."""

    def page() -> str:
        told = {run.run_id: store.events(run.run_id, kinds=["run_started"]) for run in chosen}
        started = {key: each[-1].event for key, each in told.items() if each}
        began = {key: event for key, event in started.items() if isinstance(event, RunStarted)}
        return comparison_page(runs, chosen, base, curves=curves, started=began, country=country, rates=rates)

    def pictures(kind: str) -> Callable[[], bytes]:
        def make() -> bytes:
            drawn = comparison_drawings(chosen, curves, country, rates)
            return zipped({title: draw() for title, draw in drawn.items()}, "png" if kind == "png" else "svg")

        return make

    ours = [run for run in runs if run.config.model.base == base]
    with st.popover(say("Download"), icon=":material/download:"):
        offer(say("Page (HTML)"), page, "chhatni-comparison.html", "text/html", "compare_html")
        offer(say("Charts (PNG, zip)"), pictures("png"), "chhatni-comparison-png.zip", "application/zip", "compare_png")
        offer(say("Charts (SVG, zip)"), pictures("svg"), "chhatni-comparison-svg.zip", "application/zip", "compare_svg")
        for label, name, make in (
            (say("All runs (CSV)"), "runs", lambda: to_csv(comparison.runs_frame(runs, country))),
            (say("Table I (CSV)"), "table", lambda: to_csv(comparison.table_frame(ours, country))),
            (say("Break-even (CSV)"), "break-even", lambda: to_csv(comparison.break_even_frame(chosen))),
        ):
            offer(label, make, f"chhatni-{name}.csv", "text/csv", f"compare_{name}")
        if rates is not None:
            data = rates[0]
            offer(say("Rates (CSV)"), lambda: to_csv(data), "chhatni-rates.csv", "text/csv", "compare_rates")
        say_fonts()
