"""The parts of Compare below its first table: charts, curves, the sweep, the break-even point and the downloads."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import streamlit as st

from engine.charts import Chart
from engine.comparison import frames as comparison
from engine.comparison import sweep
from engine.comparison.page import Curves, comparison_page
from engine.events import Evaluated, RunStarted, StepLogged
from engine.runs.run import Run
from engine.store import RunStore
from engine.views.pictures import zipped
from pages.shared.address import choose, keep
from pages.shared.chart import show_chart
from pages.shared.downloads import offer, offer_table, say_fonts
from pages.shared.language import say
from pages.shared.words import escape

SHOWN = 8
"""Runs whose curves are drawn, and that are shown where none is selected; more lines than this cannot be told apart."""
AXES = {"evaluated": "Validation accuracy (%)", "step_logged": "Loss (nats)"}
SWEEP_DATA = "sweep_data"
TRADE = "Accuracy against latency"
Drawings = Mapping[str, Callable[[], Chart]]
"""What `comparison_drawings` returns: how to draw each chart, by its title."""


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


def _pair(drawings: Drawings, *charts: tuple[str, str, str]) -> None:
    """Draw charts side by side, each given as what `comparison_drawings` calls it, its title as said here and its key."""
    for side, (name, title, key) in zip(st.columns(len(charts)), charts, strict=True):
        with side, st.container(border=True, height="stretch"):
            st.markdown(f"**{title}**")
            if name in drawings:
                show_chart(drawings[name](), key=key, alt_text=title)
            elif name == TRADE:
                st.caption(say("None of these runs has a measured accuracy."))
            else:
                st.caption(say("Nothing to draw yet."))
            if name == TRADE and name in drawings:
                st.caption(
                    say('Dashed: nobody is better in both. "(+2)" after a name: two more points too close to be named.')
                )


def show_charts(drawings: Drawings) -> None:
    """Draw the trade between accuracy and latency, the speed-ups beside the paper's, emissions and parameters."""
    _pair(
        drawings,
        (TRADE, say("Accuracy against latency"), "trade"),
        ("Speed-up, the paper's and ours", say("Speed-up, the paper's and ours"), "speeds"),
    )
    _pair(
        drawings,
        ("Emissions of each run", say("Emissions of each run"), "emissions"),
        ("Parameters of each run", say("Parameters of each run"), "parameters"),
    )


def show_curves(drawings: Drawings, count: int) -> None:
    """Lay validation accuracy and loss of the chosen runs, ``count`` in number, over one another."""
    _pair(
        drawings,
        ("Validation accuracy over the run", say("Validation accuracy over the run"), "curves_accuracy"),
        ("Loss over the run", say("Loss over the run"), "curves_loss"),
    )
    if count > SHOWN:
        st.caption(say("Curves of the first {few} of {count} runs.", few=SHOWN, count=count))


def settle_sweep(runs: Sequence[Run], base: str) -> sweep.Rates | None:
    """Return what is to be drawn against the pruning rate: of the dataset that was chosen; None where there is nothing."""
    sources = sweep.sources(runs, base)
    if not sources:
        return None
    source = keep(SWEEP_DATA, sources, sources[0])
    if source not in sources:  # what was chosen before is gone, or is of another base
        source = sources[0]
        choose(SWEEP_DATA, source, source)
    return sweep.rates(runs, base, source)


def show_sweep(runs: Sequence[Run], base: str, rates: sweep.Rates | None, drawings: Drawings) -> None:
    """Draw accuracy, size, latency and speed-up against the pruning rate, which `settle_sweep` has returned."""
    st.markdown(f"## {say('Pruning rate')}")
    if rates is None:
        st.caption(say("No pruned run on this base yet. Queue a sweep on Prune: one method at many rates."))
        return
    sources = sweep.sources(runs, base)
    source: str = st.session_state[SWEEP_DATA]
    if len(sources) > 1:
        st.selectbox(
            say("Dataset"),
            sources,
            key=SWEEP_DATA,
            persist_state="session",
            on_change=lambda: choose(SWEEP_DATA, st.session_state[SWEEP_DATA], sources[0]),
        )
    _pair(
        drawings,
        ("Accuracy against pruning rate", say("Accuracy against pruning rate"), "sweep_accuracy"),
        ("Size against pruning rate", say("Size against pruning rate"), "sweep_size"),
    )
    _pair(
        drawings,
        ("Latency against pruning rate", say("Latency against pruning rate"), "sweep_latency"),
        ("Speed-up against pruning rate", say("Speed-up against pruning rate"), "sweep_speedup"),
    )
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
    drawings: Drawings,
) -> None:
    """Offer the comparison as one page, as pictures and as tables, behind one button."""

    def page() -> str:
        told = {run.run_id: store.events(run.run_id, kinds=["run_started"]) for run in chosen}
        started = {key: each[-1].event for key, each in told.items() if each}
        began = {key: event for key, event in started.items() if isinstance(event, RunStarted)}
        return comparison_page(runs, chosen, base, curves=curves, started=began, country=country, rates=rates)

    def pictures(kind: str) -> Callable[[], bytes]:
        def make() -> bytes:
            return zipped({title: draw() for title, draw in drawings.items()}, "png" if kind == "png" else "svg")

        return make

    ours = [run for run in runs if run.config.model.base == base]
    with st.popover(say("Download"), icon=":material/download:"):
        offer(say("Page (HTML)"), page, "chhatni-comparison.html", "text/html", "compare_html")
        offer(say("Charts (PNG, zip)"), pictures("png"), "chhatni-comparison-png.zip", "application/zip", "compare_png")
        offer(say("Charts (SVG, zip)"), pictures("svg"), "chhatni-comparison-svg.zip", "application/zip", "compare_svg")
        for label, name, make in (
            (say("All runs (CSV)"), "runs", lambda: comparison.runs_frame(runs, country)),
            (say("Table I (CSV)"), "table", lambda: comparison.table_frame(ours, country)),
            (say("Break-even (CSV)"), "break-even", lambda: comparison.break_even_frame(chosen)),
        ):
            offer_table(label, make, f"chhatni-{name}", f"compare_{name}")
        if rates is not None:
            data = rates[0]
            offer_table(say("Rates (CSV)"), lambda: data, "chhatni-rates", "compare_rates")
        say_fonts()
