"""Finished runs side by side as one page of HTML to keep or pass on, and the charts of Compare by title; all pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import pandas as pd

from engine.charts import Chart
from engine.comparison import charts as comparison_charts
from engine.comparison import frames as comparison
from engine.comparison import sweep
from engine.comparison.trade import trade_chart, trade_frame
from engine.events import Evaluated, RunStarted, StepLogged
from engine.measuring.grids import countries, grid_intensity
from engine.paper import CITATION, SPEED_NOTE
from engine.runs.run import Run
from engine.views import html_page
from engine.views.report_page import HOW_MEASURED, last_part, licence_of, settings_of, versions_of

MOST_RUNS = 60
"""Runs that the charts and the page hold at most; more bars than this nobody reads."""
Curves = Mapping[str, Sequence[Evaluated | StepLogged]]
"""Evaluations or logged steps by the label of their run."""


def comparison_drawings(
    chosen: Sequence[Run],
    curves: Mapping[str, Curves],
    country: str | None = None,
    rates: sweep.Rates | None = None,
) -> dict[str, Callable[[], Chart]]:
    """Return how to draw the charts of Compare, by title; those there is nothing for are left out.

    Args:
        chosen: the runs they are about.
        curves: evaluations and logged steps of these runs, by the title of the axis.
        country: whose grid the emissions are computed for; None keeps each run's own.
        rates: what `sweep.sweep_frame` and `sweep.unpruned_frame` return, where it is to be drawn.
    """
    trade, impact = trade_frame(chosen), comparison.emissions_frame(chosen, country)
    drawn: dict[str, Callable[[], Chart]] = {}
    if len(trade):
        drawn["Accuracy against latency"] = lambda: trade_chart(trade)
    drawn["Speed-up, the paper's and ours"] = lambda: comparison_charts.speed_chart(comparison.speed_frame(chosen))
    if len(impact):
        drawn["Emissions of each run"] = lambda: comparison_charts.emissions_chart(impact)
        drawn["Parameters of each run"] = lambda: comparison_charts.parameters_chart(impact)
    for title, lines in curves.items():
        data = comparison.curves_frame(lines)
        if len(data):
            drawn[f"{title.partition(' (')[0]} over the run"] = _curves(data, title)
    if rates is not None and len(rates[0]):
        for quantity, (title, _) in sweep.QUANTITIES.items():
            drawn[f"{re.split('[,(]', title)[0].rstrip()} against pruning rate"] = _rates(rates, quantity)
    return drawn


def _curves(data: pd.DataFrame, title: str) -> Callable[[], Chart]:
    return lambda: comparison_charts.curves_chart(data, title)


def _rates(rates: sweep.Rates, quantity: str) -> Callable[[], Chart]:
    return lambda: sweep.sweep_chart(*rates, quantity)


def comparison_page(
    runs: Sequence[Run],
    chosen: Sequence[Run],
    base: str,
    *,
    curves: Mapping[str, Curves],
    started: Mapping[str, RunStarted],
    country: str | None = None,
    rates: sweep.Rates | None = None,
    written: datetime | None = None,
) -> str:
    """Return a comparison as one self-contained page of HTML, light or dark as its reader's screen, fit for paper.

    Args:
        runs: all runs, newest first; Table I takes its rows from those that are done on ``base``.
        chosen: the runs that the charts and the other tables are about; of more than `MOST_RUNS` the first.
        base: the base model of Table I.
        curves: see `comparison_drawings`.
        started: how each chosen run began, by run id, for device and versions.
        country: whose grid the emissions are computed for; None keeps each run's own.
        rates: see `comparison_drawings`.
        written: the moment that the page names; now where None.
    """
    few = list(chosen[:MOST_RUNS])
    ours = [run for run in runs if run.config.model.base == base]
    drawn = {title: draw() for title, draw in comparison_drawings(few, curves, country, rates).items()}
    parts = [
        _opening(few, len(chosen), base, started, country),
        html_page.heading("The paper's Table I and ours"),
        html_page.table(comparison.table_frame(ours, country)),
        html_page.paragraph(
            f"Paper: {CITATION}, as printed. Ours (tinted): the newest finished run of each setting on this base; accuracy on the "
            "test split, or on validation where there is none. Models, data and machines differ unless the paper's were chosen: "
            "compare differences within a column group, not across.",
            "soft",
        ),
        html_page.paragraph(SPEED_NOTE, "soft"),
        html_page.heading("The runs"),
        html_page.table(_listed(few, country)),
        html_page.paragraph(HOW_MEASURED, "soft"),
        *(html_page.paragraph(said, "" if beaten else "warning") for said, beaten in comparison.svm_notes(few)),
        html_page.heading("Charts"),
        html_page.drawings(drawn),
        html_page.heading("Break-even"),
        html_page.table(comparison.break_even_frame(few).rename(columns={"Texts": "Texts until repaid"})),
        html_page.heading("Settings"),
        *_settings(few),
    ]
    return html_page.document("Pruned Marathi classifiers compared", parts, written or datetime.now().astimezone())


def _listed(runs: Sequence[Run], country: str | None) -> pd.DataFrame:
    """Return the table of runs without its settings, which stand below, and with short names."""
    table = comparison.runs_frame(runs, country)
    table["Run"] = [comparison.label_of(run) for run in runs]
    return table[["Run", "Title", "Method", *comparison.RESULT_COLUMNS]]


def _opening(runs: Sequence[Run], asked: int, base: str, started: Mapping[str, RunStarted], country: str | None) -> str:
    devices = dict.fromkeys(f"{event.device_name} ({event.device}, {event.precision})" for event in _of(runs, started))
    versions = dict.fromkeys(versions_of(event) for event in _of(runs, started))
    bases = {
        f"{part.upper()} {kind}": None for run in runs if run.result for part, kind in run.result.energy_basis.items()
    }
    grid = "as recorded by each run"
    if country is not None:
        grid = f"{countries()[country]} ({country}), {grid_intensity(country):g} g CO₂e per kWh"
    licences = dict.fromkeys(licence_of(run.config) for run in runs)
    left = f", the first {len(runs)} of {asked} chosen" if asked > len(runs) else ""
    return html_page.facts(
        [
            ("Runs", f"{len(runs)}{left}"),
            ("Base model of Table I", last_part(base)),
            ("Datasets", ", ".join(dict.fromkeys(last_part(run.config.data.source) for run in runs))),
            ("Licence of the data", " ".join(filter(None, licences))),
            ("Devices", "; ".join(devices)),
            ("Versions", "; ".join(filter(None, versions))),
            ("Energy", ", ".join(sorted(bases))),
            ("Electricity grid", grid),
        ]
    )


def _of(runs: Sequence[Run], started: Mapping[str, RunStarted]) -> list[RunStarted]:
    return [started[run.run_id] for run in runs if run.run_id in started]


def _settings(runs: Sequence[Run]) -> list[str]:
    """Show settings in which the runs differ as a table of all runs, and what they share as facts."""
    each = {comparison.label_of(run): settings_of(run.config) for run in runs}
    every = next(iter(each.values()), {})
    names = list(dict.fromkeys(name for settings in each.values() for name in settings))
    apart = [name for name in names if len({settings.get(name) for settings in each.values()}) > 1]
    rows = [[label, *(settings.get(name) for name in apart)] for label, settings in each.items()]
    shared = [(name, every[name]) for name in names if name not in apart]
    parts = [html_page.table(pd.DataFrame(rows, columns=["Run", *apart], dtype="object"))] if apart else []
    return [*parts, html_page.paragraph("The same in all of them:", "soft"), html_page.settings(shared)]
