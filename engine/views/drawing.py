"""A drawing of a BERT before and after pruning, and where its parameters lie: `Shape` -> frame -> chart, all pure."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from engine.charts import ACCENT, MUTED, ORANGE, PADDING, VIOLET, Chart, frame
from engine.shapes import Shape

HEADS_END, FFN_START, FFN_END = 0.30, 0.36, 1.0
"""Where the two halves of a layer lie across the drawing, whose width is 1."""

PARTS = {
    "Embeddings": VIOLET,
    "Attention": ORANGE,
    "FFN": ACCENT,
    "Head and norms": "#b0568f",
    "Removed": MUTED,
}
KINDS = {"Attention head": ORANGE, "FFN kept": ACCENT, "Removed": MUTED}


def layers_frame(dense: Shape, pruned: Shape, kept_layers: Sequence[int] | None = None) -> pd.DataFrame:
    """Return one row a rectangle: its layer, ends, kind (head, FFN kept, removed) and a tooltip.

    Args:
        dense: the shape before.
        pruned: the shape after.
        kept_layers: which layers of the dense model stay, from 0; all where None.
    """
    rows: list[tuple[int, float, float, str, str]] = []
    step = HEADS_END / max(1, dense.heads)
    gap = min(0.004, step / 5)
    full = (FFN_END - FFN_START) / max(1, dense.intermediate_size)
    stays = dict(zip(range(dense.layers) if kept_layers is None else kept_layers, pruned.sizes, strict=True))
    for layer, (heads, width) in enumerate(dense.sizes):
        kept_heads, kept_width = stays.get(layer, (0, 0))
        gone = "" if layer in stays else "The layer goes"
        words = gone or ("All heads stay" if kept_heads == heads else f"{kept_heads} of {heads} heads stay")
        for head in range(heads):
            kind = "Attention head" if head < kept_heads else "Removed"
            rows.append((layer + 1, head * step, (head + 1) * step - gap, kind, words))
        words = gone or f"{kept_width:,} of {width:,} neurons stay"
        if kept_width:
            rows.append((layer + 1, FFN_START, FFN_START + full * kept_width, "FFN kept", words))
        if kept_width < width:
            rows.append((layer + 1, FFN_START + full * kept_width, FFN_START + full * width, "Removed", words))
    return frame(rows, layer="int64", start="float64", end="float64", kind="object", detail="object")


def headings_frame(dense: Shape, pruned: Shape) -> pd.DataFrame:
    """Return the two headings of the drawing with their places; where layers differ, they count all layers together."""
    alike = dense.layer_sizes is None and pruned.layer_sizes is None
    before = (dense.heads, dense.intermediate_size) if alike else tuple(map(sum, zip(*dense.sizes, strict=True)))
    after = (pruned.heads, pruned.intermediate_size) if alike else tuple(map(sum, zip(*pruned.sizes, strict=True)))
    heads = f"{before[0]} heads" if after[0] == before[0] else f"{after[0]} of {before[0]} heads"
    neurons = f"FFN: all {before[1]:,} neurons"
    if after[1] < before[1]:
        neurons = f"FFN: {after[1]:,} of {before[1]:,} neurons"
    if pruned.layers < dense.layers:
        neurons += f", {pruned.layers} of {dense.layers} layers"
    return frame([(0.0, heads), (FFN_START, neurons)], place="float64", text="object")


def layers_chart(dense: Shape, pruned: Shape, kept_layers: Sequence[int] | None = None) -> Chart:
    """Draw the layers from 1 (top) down: heads on the left, the FFN's width on the right, what goes in grey."""
    flat = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("start:Q", scale=flat, axis=None)
    y = alt.Y(
        "layer:O", title="Layer", axis=alt.Axis(ticks=False, domain=False, titleFontWeight="normal", labelOverlap=False)
    )
    colour = alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS), range=list(KINDS.values())), legend=None)
    faint = alt.Opacity(
        "kind:N", scale=alt.Scale(type="ordinal", domain=list(KINDS), range=[0.6, 1.0, 0.25]), legend=None
    )
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("kind:N", title="Part"),
        alt.Tooltip("detail:N", title="Neurons or heads"),
    ]
    bars = alt.Chart(layers_frame(dense, pruned, kept_layers)).mark_bar(height={"band": 0.72})
    boxes = bars.encode(x, alt.X2("end:Q"), y, colour, faint, tooltip=tooltip)
    words = alt.Chart(headings_frame(dense, pruned)).mark_text(align="left", baseline="bottom", dy=-6, color=MUTED)
    titles = words.encode(alt.X("place:Q", scale=flat, axis=None), alt.Text("text:N"), y=alt.value(0))
    height = max(130, 22 * dense.layers)
    return alt.layer(boxes, titles).properties(height=height, padding=PADDING)


def parts(dense: Shape, pruned: Shape) -> dict[str, int]:
    """Return parameters by part; they add up to the dense model's, ``Removed`` being what pruning takes."""
    attention, feed_forward = pruned.attention_parameters, pruned.feed_forward_parameters
    return {
        "Embeddings": pruned.embedding_parameters,
        "Attention": attention,
        "FFN": feed_forward,
        "Head and norms": pruned.parameters - pruned.embedding_parameters - attention - feed_forward,
        "Removed": dense.parameters - pruned.parameters,
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
        "part:N", scale=alt.Scale(domain=list(PARTS), type="ordinal", range=[0.6, 0.6, 1.0, 0.6, 0.25]), legend=None
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
