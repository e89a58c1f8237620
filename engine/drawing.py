"""A drawing of a BERT before and after pruning, and where its parameters lie: `Shape` -> frame -> chart, all pure."""

import altair as alt
import pandas as pd

from engine.charts import ACCENT, MUTED, ORANGE, PADDING, VIOLET, Chart, frame
from engine.shapes import Shape

HEADS_END, FFN_START, FFN_END = 0.30, 0.36, 1.0
"""Where the two halves of a layer lie across the drawing, whose width is 1."""

PARTS = {
    "Embeddings": VIOLET,
    "Attention": ORANGE,
    "FFN kept": ACCENT,
    "FFN removed": MUTED,
    "Head and norms": "#b0568f",
}


def layers_frame(dense: Shape, pruned: Shape) -> pd.DataFrame:
    """Return one row a rectangle: its layer, ends, kind (head, kept, removed) and a tooltip."""
    rows: list[tuple[int, float, float, str, str]] = []
    step = HEADS_END / dense.heads
    gap = min(0.004, step / 5)
    width = FFN_END - FFN_START
    share = pruned.intermediate_size / dense.intermediate_size
    for layer in range(1, dense.layers + 1):
        for head in range(dense.heads):
            end = (head + 1) * step - gap
            rows.append((layer, head * step, end, "Attention head", f"Head {head + 1} of {dense.heads}: stays"))
        text = f"{pruned.intermediate_size:,} of {dense.intermediate_size:,} neurons stay"
        middle = FFN_START + width * share
        rows.append((layer, FFN_START, middle, "FFN kept", text))
        if share < 1:
            rows.append((layer, middle, FFN_END, "FFN removed", text))
    return frame(rows, layer="int64", start="float64", end="float64", kind="object", detail="object")


def headings_frame(dense: Shape, pruned: Shape) -> pd.DataFrame:
    """Return the two headings of the drawing with their places."""
    heads = f"{dense.heads} heads"
    kept, full = pruned.intermediate_size, dense.intermediate_size
    neurons = f"FFN: all {full:,} neurons" if kept == full else f"FFN: {kept:,} of {full:,} neurons"
    return frame([(0.0, heads), (FFN_START, neurons)], place="float64", text="object")


def layers_chart(dense: Shape, pruned: Shape) -> Chart:
    """Draw the layers from 1 (top) down: heads on the left, the FFN's width on the right, what goes in grey."""
    flat = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("start:Q", scale=flat, axis=None)
    y = alt.Y(
        "layer:O", title="Layer", axis=alt.Axis(ticks=False, domain=False, titleFontWeight="normal", labelOverlap=False)
    )
    kinds = {"Attention head": ORANGE, "FFN kept": ACCENT, "FFN removed": MUTED}
    colour = alt.Color("kind:N", scale=alt.Scale(domain=list(kinds), range=list(kinds.values())), legend=None)
    faint = alt.Opacity(
        "kind:N", scale=alt.Scale(type="ordinal", domain=list(kinds), range=[0.6, 1.0, 0.25]), legend=None
    )
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("kind:N", title="Part"),
        alt.Tooltip("detail:N", title="Neurons or heads"),
    ]
    bars = alt.Chart(layers_frame(dense, pruned)).mark_bar(height={"band": 0.72})
    boxes = bars.encode(x, alt.X2("end:Q"), y, colour, faint, tooltip=tooltip)
    words = alt.Chart(headings_frame(dense, pruned)).mark_text(align="left", baseline="bottom", dy=-6, color=MUTED)
    titles = words.encode(alt.X("place:Q", scale=flat, axis=None), alt.Text("text:N"), y=alt.value(0))
    height = max(130, 22 * dense.layers)
    return alt.layer(boxes, titles).properties(height=height, padding=PADDING)


def parts(dense: Shape, pruned: Shape) -> dict[str, int]:
    """Return parameters by part; they add up to the dense model's, ``FFN removed`` being what pruning takes."""
    hidden = dense.hidden_size
    attention = dense.layers * 4 * (hidden * hidden + hidden)
    kept = dense.layers * (2 * hidden * pruned.intermediate_size + pruned.intermediate_size + hidden)
    removed = dense.parameters - pruned.parameters
    embeddings = (dense.vocabulary + dense.positions + dense.token_types) * hidden
    rest = pruned.parameters - embeddings - attention - kept
    return {
        "Embeddings": embeddings,
        "Attention": attention,
        "FFN kept": kept,
        "FFN removed": removed,
        "Head and norms": rest,
    }


def parts_frame(dense: Shape, pruned: Shape) -> pd.DataFrame:
    """Return part, parameters (millions) and share of the dense model (per cent), in drawing order."""
    total = dense.parameters
    rows = [
        (order, name, count / 1e6, 100 * count / total)
        for order, (name, count) in enumerate(parts(dense, pruned).items())
    ]
    return frame(rows, order="int64", part="object", millions="float64", share="float64")


def parts_chart(dense: Shape, pruned: Shape) -> Chart:
    """Draw where the dense model's parameters lie as one stacked bar."""
    colour = alt.Color(
        "part:N",
        title=None,
        scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())),
        legend=alt.Legend(orient="top", columns=3, symbolType="square", symbolStrokeWidth=0, offset=6),
    )
    faint = alt.Opacity(
        "part:N", scale=alt.Scale(domain=list(PARTS), type="ordinal", range=[0.6, 0.6, 1.0, 0.25, 0.6]), legend=None
    )
    axis = alt.Axis(tickCount=6, titleFontWeight="normal", grid=False)
    x = alt.X("millions:Q", title="Parameters of the dense model (millions)", scale=alt.Scale(nice=False), axis=axis)
    tooltip = [
        alt.Tooltip("part:N", title="Part"),
        alt.Tooltip("millions:Q", title="Parameters (M)", format=",.3f"),
        alt.Tooltip("share:Q", title="Share (%)", format=".2f"),
    ]
    bar: alt.Chart = alt.Chart(parts_frame(dense, pruned)).mark_bar(height=22)
    bar = bar.encode(x, colour, faint, order=alt.Order("order:Q"), tooltip=tooltip)
    return bar.properties(height=134, padding=PADDING)
