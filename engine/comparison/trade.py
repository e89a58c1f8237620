"""The trade between accuracy and latency: who is beaten by nobody in both, and names that do not cover one another."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from engine.charts import ACCENT, MUTED, PADDING, Chart, axis, frame
from engine.comparison.frames import accuracy_of
from engine.runs.run import Run


def trade_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row a measured student: setting, run, accuracy (%), latency (ms), speed-up, front and label.

    On the Pareto front stands who is beaten by nobody in both accuracy and latency. The label is empty where it would be
    written over that of a neighbour, whose label then counts the point.
    """
    found: list[tuple[str, str, float, float, float]] = []
    for run in runs:
        accuracy = None if run.result is None else accuracy_of(run.result)
        if run.result is not None and accuracy is not None:
            result = run.result
            found.append((result.recipe, run.run_id, accuracy, result.student.latency_ms.p50, result.speedup))
    places = [(accuracy, latency) for _, _, accuracy, latency, _ in found]
    front = [not any(_beats(other, place) for other in places) for place in places]
    labels = _labels([name for name, *_ in found], places, front)
    rows = [(*row, ahead, label) for row, ahead, label in zip(found, front, labels, strict=True)]
    numbers = dict.fromkeys(("accuracy", "latency", "speedup"), "float64")
    return frame(rows, setting="object", run="object", **numbers, front="bool", label="object")


def _labels(names: Sequence[str], places: Sequence[tuple[float, float]], front: Sequence[bool]) -> list[str]:
    """Name the points (accuracy, latency) so that no two names overlap; who is on the front is named first.

    A name needs up to two fifths of the chart's width and a twelfth of its height.
    """
    labels = [""] * len(names)
    near: dict[int, list[str]] = {}
    rooms = [room([place[axis] for place in places], least) for axis, least in ((0, 1.0), (1, 0.1))]
    wide, high = rooms[1][1] - rooms[1][0], rooms[0][1] - rooms[0][0]
    for index in sorted(range(len(names)), key=lambda index: not front[index]):
        accuracy, latency = places[index]
        for other, neighbours in near.items():
            if abs(places[other][0] - accuracy) < high / 12 and abs(places[other][1] - latency) < 0.4 * wide:
                neighbours.append(names[index])
                break
        else:
            near[index] = [names[index]]
    for index, neighbours in near.items():
        unique = list(dict.fromkeys(neighbours))
        labels[index] = unique[0] + (f" (+{len(unique) - 1})" if len(unique) > 1 else "")
    return labels


def room(values: Sequence[float], least: float) -> tuple[float, float]:
    """Return the ends of an axis that holds the values with a margin and spans at least ``least``, however few they are."""
    if not len(values):
        return 0.0, least
    low, high = min(values), max(values)
    span = max(least, 1.16 * (high - low))
    middle = (low + high) / 2
    return middle - span / 2, middle + span / 2


def room_frame(data: pd.DataFrame) -> pd.DataFrame:
    """Return the corners of a chart of `trade_frame`: latency and accuracy, at least 1 point high and a tenth of a ms wide."""
    across, up = room(list(data["latency"]), 0.1), room(list(data["accuracy"]), 1.0)
    corners = [(max(0.0, across[0]), up[0]), (across[1], up[1])]
    return frame(corners, latency="float64", accuracy="float64")


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Tell whether ``one`` (accuracy, latency) is at least as good in both and better in one."""
    return one != other and one[0] >= other[0] and one[1] <= other[1]


def trade_chart(data: pd.DataFrame) -> Chart:
    """Draw accuracy against latency, with a line through the runs that no other run beats in both."""
    x = alt.X("latency:Q", title="Student latency, p50 (ms)", scale=alt.Scale(zero=False, padding=40), axis=axis())
    y = alt.Y("accuracy:Q", title="Accuracy (%)", scale=alt.Scale(zero=False, padding=12), axis=axis())
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
    names = base.mark_text(align="right", dx=-8, dy=-7, color=MUTED, fontSize=11, limit=150)
    # unseen: they keep the axes wide enough for few points
    corners = alt.Chart(room_frame(data)).mark_point(opacity=0, size=0).encode(x, y)
    return alt.layer(
        corners,
        front.encode(x, y, order="latency:Q"),
        dots.encode(x, y, tooltip=tooltip),
        names.encode(x, y, text="label:N"),
    ).properties(height=300, padding=PADDING)
