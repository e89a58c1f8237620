"""The charts of Compare: the frames of `comparison` -> `altair.Chart`, all pure."""

import altair as alt
import pandas as pd

from engine.charts import ACCENT, MUTED, ORANGE, PADDING, VIOLET, Chart, axis
from engine.comparison import OURS, PAPER


def trade_chart(data: pd.DataFrame) -> Chart:
    """Draw accuracy against latency, with a line through the runs that no other run beats in both."""
    x = alt.X("latency:Q", title="Student latency, p50 (ms)", scale=alt.Scale(zero=False, padding=56), axis=axis())
    y = alt.Y("accuracy:Q", title="Accuracy (%)", scale=alt.Scale(zero=False, padding=16), axis=axis())
    tooltip = [
        alt.Tooltip("setting:N", title="Setting"),
        alt.Tooltip("run:N", title="Run"),
        alt.Tooltip("accuracy:Q", title="Accuracy (%)", format=".2f"),
        alt.Tooltip("latency:Q", title="Latency, p50 (ms)", format=".3f"),
        alt.Tooltip("speedup:Q", title="Speed-up (x)", format=".2f"),
    ]
    base = alt.Chart(data)
    front = base.transform_filter("datum.front").mark_line(color=ACCENT, strokeDash=[4, 3], strokeWidth=1.2)
    dots = base.mark_point(filled=True, size=90, color=ACCENT, opacity=0.85)
    names = base.mark_text(align="right", dx=-8, dy=-7, color=MUTED, fontSize=11, limit=140)
    return alt.layer(
        front.encode(x, y, order="latency:Q"), dots.encode(x, y, tooltip=tooltip), names.encode(x, y, text="setting:N")
    ).properties(height=300, padding=PADDING)


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
    ticks = base.mark_tick(color=ORANGE, thickness=3).encode(alt.X("ceiling:Q"), y, offset, tooltip=tooltip)
    return alt.layer(bars, ticks).properties(height=alt.Step(15), padding=PADDING)


def emissions_chart(data: pd.DataFrame) -> Chart:
    """Draw one bar a run: emissions of the whole run."""
    y = alt.Y("label:N", title=None, sort=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=220))
    x = alt.X("grams:Q", title="Emissions of the run (g CO₂e)", axis=axis())
    tooltip = [
        alt.Tooltip("run:N", title="Run"),
        alt.Tooltip("energy:Q", title="Energy (Wh)", format=".4f"),
        alt.Tooltip("grams:Q", title="Emissions (g CO₂e)", format=".5f"),
    ]
    bars: alt.Chart = alt.Chart(data).mark_bar(color=ACCENT, cornerRadiusEnd=2).encode(x, y, tooltip=tooltip)
    return bars.properties(height=alt.Step(22), padding=PADDING)


def curves_chart(data: pd.DataFrame, title: str) -> Chart:
    """Lay the curves of several runs over one another, along the share of each run that is done."""
    x = alt.X("progress:Q", title="Share of the run (%)", scale=alt.Scale(domain=[0, 100]), axis=axis(grid=False))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=axis())
    colours = [ACCENT, ORANGE, VIOLET, MUTED, "#b0568f", "#4d86c6", "#8f8a2f", "#c2514f"]
    colour = alt.Color(
        "run:N",
        title=None,
        sort=None,
        scale=alt.Scale(range=colours),
        legend=alt.Legend(orient="bottom", columns=2, labelLimit=260),
    )
    tooltip = [
        alt.Tooltip("run:N", title="Run"),
        alt.Tooltip("step:Q", title="Step", format=",d"),
        alt.Tooltip("value:Q", title=title, format=".4f"),
    ]
    base = alt.Chart(data)
    lines = base.mark_line(strokeWidth=2).encode(x, y, colour, alt.StrokeDash("run:N", sort=None, legend=None))
    return alt.layer(lines, base.mark_point(opacity=0, size=90).encode(x, y, tooltip=tooltip)).properties(
        height=360, padding=PADDING
    )
