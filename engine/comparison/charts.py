"""The charts of Compare: `frames` -> `altair.Chart`, all pure."""

import altair as alt
import pandas as pd

from engine.charts import ACCENT, MUTED, ORANGE, PADDING, VIOLET, Chart, axis
from engine.comparison.frames import OURS, PAPER


def speed_chart(data: pd.DataFrame) -> Chart:
    """Draw speed-ups as bars, the paper's grey and ours in the accent colour, each with its ceiling as a tick."""
    y = alt.Y("setting:N", title=None, sort=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=160))
    offset = alt.YOffset("whose:N", sort=[PAPER, OURS], scale=alt.Scale(domain=[PAPER, OURS]))
    x = alt.X("speedup:Q", title="Speed-up (x); tick: FLOPs ceiling", axis=axis())
    colour = alt.Color(
        "whose:N",
        title=None,
        scale=alt.Scale(domain=[PAPER, OURS], range=[MUTED, ACCENT]),
        legend=alt.Legend(orient="top", symbolType="square"),
    )
    tooltip = [
        alt.Tooltip("setting:N", title="Setting"),
        alt.Tooltip("whose:N", title="Whose"),
        alt.Tooltip("speedup:Q", title="Speed-up (x)", format=".2f"),
        alt.Tooltip("ceiling:Q", title="FLOPs ceiling (x)", format=".2f"),
    ]
    base = alt.Chart(data)
    bars = base.mark_bar(cornerRadiusEnd=2).encode(x, y, offset, colour, tooltip=tooltip)
    ticks = base.mark_tick(color=ORANGE, thickness=3).encode(
        alt.X("ceiling:Q", title="Speed-up (x); tick: FLOPs ceiling"), y, offset, tooltip=tooltip
    )
    return alt.layer(bars, ticks).properties(height=alt.Step(15), padding=PADDING)


def emissions_chart(data: pd.DataFrame) -> Chart:
    """Draw one bar a run: emissions of the whole run."""
    x = alt.X("grams:Q", title="Emissions of the run (g CO₂e)", axis=axis())
    tooltip = [
        alt.Tooltip("run:N", title="Run"),
        alt.Tooltip("energy:Q", title="Energy (Wh)", format=".4f"),
        alt.Tooltip("grams:Q", title="Emissions (g CO₂e)", format=".5f"),
    ]
    bars: alt.Chart = alt.Chart(data).mark_bar(color=ACCENT, cornerRadiusEnd=2).encode(x, _runs_down(), tooltip=tooltip)
    return bars.properties(height=alt.Step(22), padding=PADDING)


def parameters_chart(data: pd.DataFrame) -> Chart:
    """Draw one bar a run: the student's parameters, with the dense model's as a tick."""
    x = alt.X("parameters:Q", title="Parameters (millions); tick: dense model", axis=axis())
    tooltip = [
        alt.Tooltip("run:N", title="Run"),
        alt.Tooltip("parameters:Q", title="Parameters (M)", format=",.3f"),
        alt.Tooltip("dense:Q", title="Dense model (M)", format=",.3f"),
    ]
    base = alt.Chart(data)
    y = _runs_down()
    bars = base.mark_bar(color=ACCENT, cornerRadiusEnd=2).encode(x, y, tooltip=tooltip)
    ticks = base.mark_tick(color=MUTED, thickness=3).encode(
        alt.X("dense:Q", title="Parameters (millions); tick: dense model"), y, tooltip=tooltip
    )
    return alt.layer(bars, ticks).properties(height=alt.Step(22), padding=PADDING)


def _runs_down() -> alt.Y:
    """Return the axis of charts with one bar a run, in the order of the data."""
    return alt.Y("label:N", title=None, sort=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=220))


def curves_chart(data: pd.DataFrame, title: str) -> Chart:
    """Lay the curves of several runs over one another, along the share of each run that is done."""
    x = alt.X("progress:Q", title="Share of the run (%)", scale=alt.Scale(domain=[0, 100]), axis=axis(grid=False))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=axis())
    colours = [ACCENT, ORANGE, VIOLET, MUTED, "#b0568f", "#4d86c6", "#8f8a2f", "#c2514f"]
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=260, symbolType="stroke", symbolStrokeWidth=2)
    colour = alt.Color("run:N", title=None, sort=None, scale=alt.Scale(range=colours), legend=legend)
    dash = alt.StrokeDash("run:N", title=None, sort=None, legend=legend)
    tooltip = [
        alt.Tooltip("run:N", title="Run"),
        alt.Tooltip("step:Q", title="Step", format=",d"),
        alt.Tooltip("value:Q", title=title, format=".4f"),
    ]
    # a run that was looked at once has no line, only its point
    base = alt.Chart(data).transform_joinaggregate(points="count()", groupby=["run"])
    lines = base.mark_line(strokeWidth=2).encode(x, y, colour, dash)
    seen = alt.condition("datum.points == 1", alt.value(1), alt.value(0))
    dots = base.mark_point(filled=True, size=60).encode(x, y, colour, opacity=seen, tooltip=tooltip)
    return alt.layer(lines, dots).properties(height=440, padding=PADDING)
