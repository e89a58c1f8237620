"""The charts of what pruning did inside a run: `tables` -> `altair.Chart`, all pure, constant specifications.

What stays is the accent colour and what is gone a faint grey, as in `engine.views.drawing`; what moved since the picture before is
orange or violet. Layers stand from 1 (top) down, in the base's numbering, whatever went.
"""

import altair as alt
import pandas as pd

from engine.charts import ACCENT, HEIGHT, MUTED, ORANGE, PADDING, VIOLET, Chart, axis
from engine.inside.tables import CAME_BACK, GONE, STAYS, WENT

ROW, ROWS = 20, 140
"""Least pixels of a layer, and of all layers together."""
AXIS, LEGEND = 46, 40
"""Pixels that an axis and a legend below it take."""
ACROSS = 64
"""Neurons in a row of the picture of one layer."""
PAINTED = {"embedOptions": {"renderer": "canvas"}}
"""Thousands of squares are painted: as elements of the page they would keep a slow machine from playing the replay."""
FATES = {STAYS: (ACCENT, 1.0), GONE: (MUTED, 0.3), WENT: (ORANGE, 1.0), CAME_BACK: (VIOLET, 1.0)}
"""Colour and opacity of what may become of a unit."""


def neurons_chart(data: pd.DataFrame) -> Chart:
    """Draw each layer's neurons from left to right in the base's order; the stronger the colour, the more of them stay."""
    faint = alt.Opacity(
        "share:Q",
        title="Stay (%)",
        scale=alt.Scale(domain=[0, 100], range=[0.06, 1]),
        legend=alt.Legend(
            orient="bottom",
            titleOrient="left",
            gradientLength=140,
            gradientThickness=8,
            symbolType="square",
            values=[0, 50, 100],
        ),
    )
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("numbers:N", title="FFN neurons"),
        alt.Tooltip("words:N", title="Of these"),
        alt.Tooltip("share:Q", title="Stay (%)", format=".1f"),
    ]
    x = alt.X(
        "start:Q", title="FFN neuron, as numbered in the base", scale=alt.Scale(nice=False), axis=axis(grid=False)
    )
    boxes: alt.Chart = alt.Chart(data).mark_rect(
        color=ACCENT,
        height={"band": 0.86},
        x2Offset=0.5,  # no light seams between neighbours
    )
    return boxes.encode(x, alt.X2("end:Q"), _layers(), faint, tooltip=tooltip).properties(
        height=_height(data, LEGEND), padding=PADDING, usermeta=PAINTED
    )


def heads_chart(data: pd.DataFrame) -> Chart:
    """Draw each layer's attention heads as squares."""
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("head:O", title="Head"),
        alt.Tooltip("state:N", title="State"),
        alt.Tooltip("score:N", title="Score"),
    ]
    x = alt.X("head:O", title="Head", axis=axis(grid=False, ticks=False, domain=False, labelAngle=0))
    colour, faint = _fates(STAYS, GONE)
    squares: alt.Chart = alt.Chart(data).mark_rect(height={"band": 0.8}, width={"band": 0.8})
    return squares.encode(x, _layers(), colour, faint, tooltip=tooltip).properties(
        height=_height(data), padding=PADDING
    )


def widths_chart(data: pd.DataFrame) -> Chart:
    """Draw each layer's FFN width before (grey) and now."""
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("before:Q", title="Neurons before", format=",d"),
        alt.Tooltip("now:Q", title="Neurons now", format=",d"),
        alt.Tooltip("share:Q", title="Stay (%)", format=".2f"),
    ]
    base, y = alt.Chart(data), _layers()
    before = base.mark_bar(color=MUTED, opacity=0.3, height={"band": 0.8})
    now = base.mark_bar(color=ACCENT, height={"band": 0.5})
    x = alt.X("before:Q", title="FFN neurons", axis=axis(tickCount=4))
    return alt.layer(before.encode(x, y, tooltip=tooltip), now.encode(alt.X("now:Q"), y, tooltip=tooltip)).properties(
        height=_height(data), padding=PADDING
    )


def weights_chart(data: pd.DataFrame) -> Chart:
    """Draw the share of each layer's weights that stay."""
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("share:Q", title="Weights that stay (%)", format=".3f"),
    ]
    x = alt.X("share:Q", title="Weights that stay (%)", scale=alt.Scale(domain=[0, 100]), axis=axis())
    bars: alt.Chart = alt.Chart(data).mark_bar(color=ACCENT, height={"band": 0.6})
    return bars.encode(x, _layers(), tooltip=tooltip).properties(height=_height(data), padding=PADDING)


def layer_chart(data: pd.DataFrame) -> Chart:
    """Draw every neuron of one layer as a square, `ACROSS` a row, coloured by what became of it."""
    tooltip = [alt.Tooltip("number:Q", title="Neuron", format=",d"), alt.Tooltip("state:N", title="State")]
    colour, faint = _fates(*FATES, legend=True)
    squares: alt.Chart = alt.Chart(data).mark_rect(height={"band": 0.85}, width={"band": 0.85})
    placed = squares.transform_calculate(
        column=f"(datum.number - 1) % {ACROSS}", row=f"floor((datum.number - 1) / {ACROSS})"
    )
    x, y = alt.X("column:O", axis=None), alt.Y("row:O", axis=None)
    return placed.encode(x, y, colour, faint, tooltip=tooltip).properties(
        height=HEIGHT, padding=PADDING, usermeta=PAINTED
    )


def scores_chart(data: pd.DataFrame, cut_off: pd.DataFrame) -> Chart:
    """Draw how the scores of one layer lie, what goes apart from what stays, with the cut-off between them as a rule."""
    x = alt.X("low:Q", bin="binned", title="Score", scale=alt.Scale(zero=False, nice=False), axis=axis(grid=False))
    y = alt.Y("neurons:Q", title="FFN neurons", axis=axis(), stack="zero")
    tooltip = [
        alt.Tooltip("low:Q", title="Score from", format=".4g"),
        alt.Tooltip("high:Q", title="Score to", format=".4g"),
        alt.Tooltip("state:N", title="State"),
        alt.Tooltip("neurons:Q", title="FFN neurons", format=",d"),
    ]
    colour, faint = _fates(STAYS, GONE, legend=True)
    bars = alt.Chart(data).mark_bar(binSpacing=1).encode(x, alt.X2("high:Q"), y, colour, faint, tooltip=tooltip)
    rule = alt.Chart(cut_off).mark_rule(color=ORANGE, strokeDash=[5, 3], strokeWidth=2)
    fixed = rule.encode(alt.X("cut_off:Q"), tooltip=[alt.Tooltip("cut_off:Q", title="Cut-off", format=".6g")])
    return alt.layer(bars, fixed).properties(height=HEIGHT, padding=PADDING)


def moves_chart(data: pd.DataFrame, step: int) -> Chart:
    """Draw how many neurons moved from one picture to the next, with the step that is shown as a rule."""
    names = [WENT, CAME_BACK]
    colour = alt.Color(
        "series:N",
        title=None,
        scale=alt.Scale(domain=names, range=[ORANGE, VIOLET]),
        legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=2, offset=4),
    )
    dash = alt.StrokeDash("series:N", title=None, scale=alt.Scale(domain=names, range=[[1, 0], [5, 3]]))
    tooltip = [
        alt.Tooltip("step:Q", title="Optimizer step", format=",d"),
        alt.Tooltip("series:N", title="Direction"),
        alt.Tooltip("value:Q", title="FFN neurons", format=",d"),
    ]
    x = alt.X("step:Q", title="Optimizer step", axis=axis(grid=False))
    y = alt.Y("value:Q", title="Neurons moved", axis=axis())
    base = alt.Chart(data)
    here = alt.Chart(pd.DataFrame({"step": [float(step)]})).mark_rule(color=MUTED, strokeWidth=2).encode(x)
    lines = base.mark_line(strokeWidth=2).encode(x, y, colour, dash)
    dots = base.mark_point(filled=True, size=36, opacity=1).encode(x, y, colour, tooltip=tooltip)
    return alt.layer(here, lines, dots).properties(height=HEIGHT, padding=PADDING)


def _height(data: pd.DataFrame, legend: int = 0) -> int:
    """Return the height of a chart with a row a layer in pixels, axis included; no step of a run changes it."""
    layers = max(1, data["layer"].nunique())
    return layers * max(ROW, ROWS // layers) + AXIS + legend


def _layers() -> alt.Y:
    style = alt.Axis(ticks=False, domain=False, titleFontWeight="normal", labelOverlap=False)
    return alt.Y("layer:O", title="Layer", axis=style)


def _fates(*names: str, legend: bool = False) -> tuple[alt.Color, alt.Opacity]:
    """Return colour and opacity of these fates, with one legend for both or none."""
    shown = alt.Legend(orient="top", symbolType="square", symbolStrokeWidth=0, offset=4) if legend else None
    colours, opacities = [FATES[name][0] for name in names], [FATES[name][1] for name in names]
    return (
        alt.Color("state:N", title=None, scale=alt.Scale(domain=list(names), range=colours), legend=shown),
        # an ordinal field, though it is none: Vega warns of opacities of mere names
        alt.Opacity(
            "state:O", title=None, scale=alt.Scale(type="ordinal", domain=list(names), range=opacities), legend=shown
        ),
    )
