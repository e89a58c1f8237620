"""The charts of one run, each made in one place for the page that follows it and for the page that is taken along; pure."""

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from engine import charts
from engine.charts import Chart
from engine.config import PruningConfig
from engine.events import BaselineMeasured, EmissionsSampled, Evaluated, StepLogged, SvmMeasured

Drawing = tuple[Callable[[pd.DataFrame], Chart], pd.DataFrame]
"""What draws a chart, and the data to be drawn. The same chart is always drawn by the same function: as its specification does not
depend on the data, a page may keep that and send the data alone."""

_DENSITY = {scheduled: partial(charts.density_chart, scheduled=scheduled) for scheduled in (True, False)}


def draw_run(
    pruning: PruningConfig,
    steps: Sequence[StepLogged],
    evaluations: Sequence[Evaluated],
    samples: Sequence[EmissionsSampled],
    baseline: BaselineMeasured | None,
    svm: SvmMeasured | None,
) -> dict[str, Chart | None]:
    """Return all charts of a run, by name, in their order; None where there is nothing to draw, as axes alone mislead.

    The arguments are those of `run_drawings`.
    """
    drawings = run_drawings(pruning, steps, evaluations, samples, baseline, svm)
    return {name: draw(data) if len(data) else None for name, (draw, data) in drawings.items()}


def run_drawings(
    pruning: PruningConfig,
    steps: Sequence[StepLogged],
    evaluations: Sequence[Evaluated],
    samples: Sequence[EmissionsSampled],
    baseline: BaselineMeasured | None,
    svm: SvmMeasured | None,
) -> dict[str, Drawing]:
    """Return how to draw all charts of a run, by name, in their order; where the data are empty, there is nothing to draw.

    Args:
        pruning: what the run was asked to prune.
        steps: its logged steps, without those that were done twice; so the other events.
        evaluations: see ``steps``.
        samples: of energy and load.
        baseline: what the dense model reaches, once that is known.
        svm: what an SVM on the same texts reaches, once that is known.
    """
    scheduled = not fixed_cut_off(pruning)
    return {
        "loss": (charts.loss_chart, charts.loss_frame(steps)),
        "accuracy": (charts.accuracy_chart, charts.accuracy_frame(evaluations, baseline, svm)),
        "latency": (charts.latency_chart, charts.latency_frame(evaluations)),
        "emissions": (charts.emissions_chart, charts.emissions_frame(samples)),
        "density": (_DENSITY[scheduled], charts.density_frame(steps, scheduled=scheduled)),
        "load": (charts.telemetry_chart, charts.telemetry_frame(samples)),
    }


def fixed_cut_off(pruning: PruningConfig) -> bool:
    """Tell whether a cut-off decides what stays, so that the density is found and not asked for."""
    return pruning.method == "soft-cutoff" and pruning.cut_off is not None
