"""What the speed lab has measured, as tables and a chart: results -> frame -> `altair.Chart`, all pure."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from engine.charts import ACCENT, MUTED, ORANGE, PADDING, VIOLET, Chart, axis, frame
from engine.lab.plan import LabResult, difference, sizes_of

HEIGHT = 340
PRECISIONS = {"fp32": (ACCENT, "circle"), "bf16": (ORANGE, "square"), "fp16": (VIOLET, "triangle-up")}
_MARGIN = 0.08


def results_frame(results: Sequence[LabResult]) -> pd.DataFrame:
    """Return one row a result, the newest first: the shape, its figures beside the dense one's, and how it was timed."""
    return pd.DataFrame([_row(result) for result in reversed(results)])


def _row(result: LabResult) -> dict[str, object]:
    settings = result.settings
    mine, dense = sizes_of(settings.other), sizes_of(settings.dense)
    return {
        "Shape": difference(settings.dense, settings.other),
        "Speed-up (x)": result.speedup,
        "Ceiling (x)": settings.ceiling,
        "Share of ceiling (%)": 100 * result.share,
        "p50 (ms)": result.other.p50,
        "p95 (ms)": result.other.p95,
        "Min (ms)": result.other.min,
        "Dense p50 (ms)": result.dense.p50,
        "Dense p95 (ms)": result.dense.p95,
        "Dense min (ms)": result.dense.min,
        "Precision gain (x)": result.precision_gain,
        "Precision": result.precision,
        "Batch (texts)": settings.batch_size,
        "Length (tokens)": settings.sequence_length,
        "Device": f"{settings.device}: {result.device_name}",
        "Rounds": result.rounds,
        "Disturbed": result.disturbed,
        "Parameters (M)": settings.other.parameters / 1e6,
        "Dense parameters (M)": settings.dense.parameters / 1e6,
        "Layers, heads, FFN, hidden, tokens": ", ".join(map(str, mine)),
        "Dense": ", ".join(map(str, dense)),
    }


def gain_frame(results: Sequence[LabResult]) -> pd.DataFrame:
    """Return ceiling, speed-up, share (per cent), precision and names of each result; only the newest of a name is labelled."""
    rows: list[tuple[object, ...]] = []
    labelled: set[str] = set()
    for result in reversed(results):
        settings = result.settings
        name = difference(settings.dense, settings.other)
        timed = f"{settings.batch_size} x {settings.sequence_length} tokens, {settings.device}"
        label = "" if name in labelled else name
        labelled.add(name)
        rows.append((settings.ceiling, result.speedup, 100 * result.share, result.precision, name, timed, label))
    return frame(
        rows,
        ceiling="float64",
        speedup="float64",
        share="float64",
        precision="object",
        shape="object",
        timed="object",
        label="object",
    )


def diagonal_frame(data: pd.DataFrame) -> pd.DataFrame:
    """Return the two ends of the rule where speed-up equals ceiling, which both axes reach over."""
    values = [1.0, *data["ceiling"], *data["speedup"]]
    low, high = min(values), max(*values, 2.0)
    margin = _MARGIN * (high - low)
    return frame([(value, value) for value in (low - margin, high + margin)], ceiling="float64", speedup="float64")


def gain_chart(data: pd.DataFrame) -> Chart:
    """Draw measured speed-up against the FLOPs ceiling; on the dashed diagonal all of the ceiling is reached."""
    scale = alt.Scale(zero=False, nice=False)
    x = alt.X("ceiling:Q", title="FLOPs ceiling (x)", scale=scale, axis=axis())
    y = alt.Y("speedup:Q", title="Measured speed-up (x)", scale=scale, axis=axis())
    names = list(PRECISIONS)
    colours, shapes = zip(*PRECISIONS.values(), strict=True)
    legend = alt.Legend(orient="top", symbolType="circle", offset=4)
    colour = alt.Color("precision:N", title=None, scale=alt.Scale(domain=names, range=list(colours)), legend=legend)
    shape = alt.Shape("precision:N", title=None, scale=alt.Scale(domain=names, range=list(shapes)), legend=legend)
    tooltip = [
        alt.Tooltip("shape:N", title="Shape"),
        alt.Tooltip("speedup:Q", title="Measured speed-up (x)", format=".3f"),
        alt.Tooltip("ceiling:Q", title="FLOPs ceiling (x)", format=".3f"),
        alt.Tooltip("share:Q", title="Share of ceiling (%)", format=".1f"),
        alt.Tooltip("precision:N", title="Precision"),
        alt.Tooltip("timed:N", title="Timed"),
    ]
    rule = alt.Chart(diagonal_frame(data)).mark_line(color=MUTED, strokeDash=[6, 4], strokeWidth=1.5).encode(x, y)
    base = alt.Chart(data)
    dots = base.mark_point(filled=True, size=100, opacity=0.9).encode(x, y, colour, shape, tooltip=tooltip)
    words = base.mark_text(align="right", dx=-9, dy=-8, color=MUTED, fontSize=11, limit=200)
    return alt.layer(rule, dots, words.encode(x, y, text="label:N")).properties(height=HEIGHT, padding=PADDING)
