"""The charts of one run: typed events -> `pandas.DataFrame` -> `altair.Chart`, all pure.

A chart's specification never depends on its data: titles, domains of names and layers are constants, so that a redraw moves the
marks and nothing else. What varies, such as the dense baseline's rule, is data. Colours keep at least 3:1 against both the light
and the dark background, and every pair also differs in dash or shape for eyes that do not tell them apart.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import altair as alt
import pandas as pd

from engine.events import (
    BaselineMeasured,
    EmissionsSampled,
    Evaluated,
    StepLogged,
    SvmMeasured,
)

ACCENT = "#17897d"
"""The student, the pruned model, ours."""
MUTED = "#858d8b"
"""The dense model, the paper, what is only for reference."""
ORANGE = "#cf6d17"
VIOLET = "#7f6cc7"

POINTS = 500
"""Points a series is thinned to."""
HEIGHT = 230
"""Height of a chart in pixels."""

PADDING = {"bottom": 2}
"""Pixels below a chart; the screen would leave 20."""

STUDENT, DENSE, SVM = "Student", "Dense baseline", "SVM, same texts"
T = TypeVar("T")
Chart = alt.Chart | alt.LayerChart | alt.FacetChart


def thin(items: Sequence[T], limit: int = POINTS) -> list[T]:
    """Keep at most ``limit`` items, always the first and the last.

    The stride is a power of two, so a point that is drawn stays drawn while a series grows, until the stride doubles.
    """
    if len(items) <= limit:
        return list(items)
    stride = 1
    while (len(items) - 1) // stride + 2 > limit:
        stride *= 2
    kept = list(items[::stride])
    return kept if (len(items) - 1) % stride == 0 else [*kept, items[-1]]


def frame(rows: Iterable[Sequence[object]], **columns: str) -> pd.DataFrame:
    """Build a frame whose columns have fixed types even when there are no rows; ``columns`` maps name to dtype."""
    table = pd.DataFrame(list(rows), columns=list(columns))
    return table.astype(dict(columns))


def loss_frame(steps: Sequence[StepLogged]) -> pd.DataFrame:
    """Return step, part and loss (nats); the distillation part has rows only where a teacher is used."""
    rows: list[tuple[int, str, float]] = []
    for event in thin(steps):
        rows.append((event.step, "Total", event.loss))
        rows.append((event.step, "Cross-entropy", event.cross_entropy))
        if event.distillation_loss is not None:
            rows.append((event.step, "Distillation", event.distillation_loss))
    return frame(rows, step="float64", series="object", value="float64")


def loss_chart(data: pd.DataFrame) -> Chart:
    """Draw the loss and its parts against the optimizer step."""
    return _lines(
        data,
        x=("step", "Optimizer step", ",d"),
        y=("Loss (nats)", ".4f"),
        series={"Total": (ACCENT, []), "Cross-entropy": (ORANGE, [5, 3]), "Distillation": (VIOLET, [2, 2])},
        zero=False,
    )


def accuracy_frame(
    evaluations: Sequence[Evaluated], baseline: BaselineMeasured | None, svm: SvmMeasured | None = None
) -> pd.DataFrame:
    """Return step, series and validation accuracy (per cent); models with random weights give no rows."""
    rows: list[tuple[int, str, float]] = []
    for event in thin(evaluations):
        if event.measurement.accuracy is not None:
            rows.append((event.step, STUDENT, 100 * event.measurement.accuracy))
    if baseline is not None and baseline.measurement.accuracy is not None:
        rows.append((0, DENSE, 100 * baseline.measurement.accuracy))
    if svm is not None:
        rows.append((0, SVM, 100 * svm.report.accuracy))
    return frame(rows, step="float64", series="object", value="float64")


def accuracy_chart(data: pd.DataFrame) -> Chart:
    """Draw the student's validation accuracy, with the dense baseline and the SVM as rules across."""
    return _lines(
        data,
        x=("step", "Optimizer step", ",d"),
        y=("Validation accuracy (%)", ".2f"),
        series={STUDENT: (ACCENT, []), DENSE: (MUTED, [6, 4]), SVM: (VIOLET, [2, 3])},
        zero=False,
        rules=(DENSE, SVM),
        points=True,
    )


def latency_frame(evaluations: Sequence[Evaluated]) -> pd.DataFrame:
    """Return step, series and p50 latency (ms) of the student as if compacted, and of the dense base timed beside it."""
    rows: list[tuple[int, str, float]] = []
    for event in thin(evaluations):
        rows.append((event.step, STUDENT, event.measurement.latency_ms.p50))
        rows.append((event.step, DENSE, event.dense_latency_ms.p50))
    return frame(rows, step="float64", series="object", value="float64")


def latency_chart(data: pd.DataFrame) -> Chart:
    """Draw both latencies against the optimizer step, from zero."""
    return _lines(
        data,
        x=("step", "Optimizer step", ",d"),
        y=("Latency, p50 (ms)", ".2f"),
        series={STUDENT: (ACCENT, []), DENSE: (MUTED, [6, 4])},
        points=True,
    )


def density_frame(steps: Sequence[StepLogged], *, scheduled: bool = True) -> pd.DataFrame:
    """Return step, series and the share of what the method prunes that is kept (per cent): what stays and what is asked for.

    A fixed cut-off asks for no share, so that there is nothing to hold against the schedule: ``scheduled`` leaves it out.
    """
    rows: list[tuple[int, str, float]] = []
    for event in thin(steps):
        rows.append((event.step, "Kept", 100 * event.density))
        if scheduled:
            rows.append((event.step, "Schedule", 100 * event.density_target))
    return frame(rows, step="float64", series="object", value="float64")


def density_chart(data: pd.DataFrame, *, scheduled: bool = True) -> Chart:
    """Draw density, against its schedule where there is one."""
    schedule: dict[str, tuple[str, list[int]]] = {"Schedule": (MUTED, [6, 4])} if scheduled else {}
    return _lines(
        data,
        x=("step", "Optimizer step", ",d"),
        y=("Kept (%)", ".2f"),
        series={"Kept": (ACCENT, []), **schedule},
    )


def emissions_frame(samples: Sequence[EmissionsSampled]) -> pd.DataFrame:
    """Return minutes, cumulative emissions (grams of CO2 equivalent), cumulative energy (Wh) and power (watts)."""
    rows = [
        (item.duration_s / 60, 1000 * item.emissions_kg, 1000 * item.energy_kwh, item.power_w) for item in thin(samples)
    ]
    return frame(rows, minutes="float64", emissions="float64", energy="float64", power="float64")


def emissions_chart(data: pd.DataFrame) -> Chart:
    """Draw cumulative emissions (left axis, area) and power (right axis, thin line) against time."""
    tooltip = [
        alt.Tooltip("minutes:Q", title="Minutes", format=".2f"),
        alt.Tooltip("emissions:Q", title="Emissions (g CO₂e)", format=".5f"),
        alt.Tooltip("energy:Q", title="Energy (Wh)", format=".4f"),
        alt.Tooltip("power:Q", title="Power (W)", format=".1f"),
    ]
    x = alt.X("minutes:Q", title="Time metered (minutes)", axis=axis(grid=False))
    left = alt.Y("emissions:Q", title="Emissions (g CO₂e)", axis=axis(titleColor=ACCENT, format=PLAIN))
    right = alt.Y("power:Q", title="Power (W)", axis=axis(titleColor=ORANGE, orient="right", grid=False))
    base = alt.Chart(data)
    area = base.mark_area(color=ACCENT, opacity=0.25, line={"color": ACCENT, "strokeWidth": 2}).encode(x, left)
    power = base.mark_line(color=ORANGE, strokeWidth=1.2, strokeDash=[4, 2]).encode(x, right)
    hover = base.mark_point(opacity=0, size=120).encode(x, left, tooltip=tooltip)
    both: Chart = (
        alt.layer(alt.layer(area, hover), power)
        .resolve_scale(y="independent")
        .properties(height=HEIGHT, padding=PADDING)
    )
    return both


def telemetry_frame(samples: Sequence[EmissionsSampled]) -> pd.DataFrame:
    """Return minutes, device and its load (per cent), where it was read."""
    rows: list[tuple[float, str, float]] = []
    for item in thin(samples):
        for name, load in (("CPU", item.cpu_percent), ("GPU", item.gpu_percent)):
            if load is not None:
                rows.append((item.duration_s / 60, name, load))
    return frame(rows, minutes="float64", series="object", value="float64")


def telemetry_chart(data: pd.DataFrame) -> Chart:
    """Draw the load of CPU and GPU against time, 0 to 100 %."""
    return _lines(
        data,
        x=("minutes", "Time metered (minutes)", ".2f"),
        y=("Load (%)", ".0f"),
        series={"CPU": (ACCENT, []), "GPU": (ORANGE, [5, 3])},
        domain=(0, 100),
    )


PLAIN = ",~f"
"""Format of numbers on an axis without trailing zeros: before there is any data, its only number would be 0.000000."""


def axis(**settings: Any) -> alt.Axis:
    """Return the axis style that all charts share, changed by ``settings``."""
    shared: dict[str, Any] = {"tickCount": 6, "labelOverlap": True, "titlePadding": 8, "titleFontWeight": "normal"}
    return alt.Axis(**(shared | settings))


def _lines(
    data: pd.DataFrame,
    *,
    x: tuple[str, str, str],
    y: tuple[str, str],
    series: dict[str, tuple[str, list[int]]],
    zero: bool = True,
    rules: Sequence[str] = (),
    points: bool = False,
    domain: tuple[float, float] | None = None,
) -> Chart:
    """Draw the columns ``x``, ``series`` and ``value`` as lines; the series named by ``rules`` go straight across."""
    field, x_title, x_format = x
    y_title, y_format = y
    names = list(series)
    colour = alt.Color(
        "series:N",
        title=None,
        scale=alt.Scale(domain=names, range=[colour for colour, _ in series.values()]),
        legend=alt.Legend(
            orient="top",
            columns=alt.ExprRef(expr="width < 340 ? 2 : 0"),  # on a telephone three names do not fit beside one another
            symbolType="stroke",
            symbolStrokeWidth=2,
            offset=4,
        ),
    )
    dash = alt.StrokeDash(
        "series:N", title=None, scale=alt.Scale(domain=names, range=[dash or [1, 0] for _, dash in series.values()])
    )
    scale = alt.Scale(domain=list(domain)) if domain else alt.Scale(zero=zero, nice=True)
    across = alt.X(f"{field}:Q", title=x_title, axis=axis(grid=False))
    up = alt.Y("value:Q", title=y_title, scale=scale, axis=axis(format=PLAIN))
    tooltip = [
        alt.Tooltip(f"{field}:Q", title=x_title, format=x_format),
        alt.Tooltip("series:N", title="Series"),
        alt.Tooltip("value:Q", title=y_title, format=y_format),
    ]
    base = alt.Chart(data)
    layers: list[alt.Chart] = []
    moving = base
    if rules:
        moving = base.transform_filter(alt.FieldOneOfPredicate("series", [name for name in names if name not in rules]))
        fixed = base.transform_filter(alt.FieldOneOfPredicate("series", list(rules)))
        layers.append(fixed.mark_rule(strokeWidth=1.8).encode(up, colour, dash, tooltip=tooltip[1:]))
    layers.append(moving.mark_line(strokeWidth=2).encode(across, up, colour, dash))
    dots = moving.mark_point(filled=True, size=40, opacity=1) if points else moving.mark_point(opacity=0, size=100)
    layers.append(dots.encode(across, up, colour, tooltip=tooltip))
    return alt.layer(*layers).properties(height=HEIGHT, padding=PADDING)
