"""The one way a chart gets onto a page: in the chosen language, and with larger letters while somebody presents.

Charts are drawn by the engine, in English. Titles and the names of series are put into Marathi here, as the specification goes
out: they depend on the language alone, so a specification stays the same from tick to tick and nothing is drawn anew.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

import altair as alt
import streamlit as st

from engine.charts import Chart, frame
from engine.views.run_charts import Drawing
from pages.shared.language import language, marathi
from pages.shared.presenter import presenting

LABELS, TITLES = 14, 15
"""Sizes of letters while somebody presents (pixels); Streamlit's own are 12 and 12."""
_ROWS = "rows"
"""Name of the data in a specification that is kept."""
_KEPT = 64
"""Specifications that are kept: some twenty charts, in two languages and two sizes of letters."""
_NAMED_BY = {
    "Color": "legend",
    "StrokeDash": "legend",
    "Shape": "legend",
    "Opacity": "legend",
    "X": "axis",
    "Y": "axis",
}
"""Channels whose values may be names, and the guide that shows these names."""


def show_chart(chart: Chart, *, key: str, alt_text: str) -> None:
    """Draw a chart as wide as its place.

    Args:
        chart: as the engine made it; it is left as it was.
        key: of the element, so that it is updated and not built anew.
        alt_text: what a screen reader says of it, in the chosen language.
    """
    st.altair_chart(cast(alt.Chart, _Known(prepare(chart))), width="stretch", key=key, alt=alt_text)


class _Known:
    """A chart as Streamlit asks for it, which is once and for its specification.

    What the engine draws is held against the schema by its tests; to do so again takes longer than all the rest of a chart.
    """

    def __init__(self, chart: Chart) -> None:
        self._chart = chart

    def to_dict(self) -> dict[str, Any]:
        """Return the specification without holding it against the schema."""
        spec: dict[str, Any] = self._chart.to_dict(validate=False)
        return spec


def show_moving(drawing: Drawing, *, key: str, alt_text: str) -> None:
    """Draw a chart that comes again at every tick, of which only the data change: its specification is made once and kept.

    Args:
        drawing: what makes the chart, the same function for the same chart, and its data, on which nothing else depends.
        key: see `show_chart`.
        alt_text: see `show_chart`.
    """
    draw, data = drawing
    spec = {**_specification(draw, language(), presenting()), "datasets": {_ROWS: data}}
    st.vega_lite_chart(spec=spec, width="stretch", key=key, alt=alt_text)


@lru_cache(maxsize=_KEPT)
def _specification(draw: Callable[..., Chart], language: str, presenting: bool) -> dict[str, Any]:
    """Return the specification of a chart of `_ROWS`, as sessions with this language and size of letters are to see it."""
    chart = prepare(draw(frame(())))
    chart.data = alt.NamedData(name=_ROWS)
    spec: dict[str, Any] = chart.to_dict()
    spec.get("config", {}).pop(
        "view", None
    )  # a size that Altair's own theme adds, and that Streamlit's charts do without
    return spec


def prepare(chart: Chart) -> Chart:
    """Return a chart as this session is to see it."""
    shown: Chart = translated(chart, marathi()) if language() == "mr" else chart
    if not presenting():
        return shown
    height = shown._kwds.get("height")
    if isinstance(height, int):  # larger letters need room, or the axis loses its title
        shown = shown.properties(height=round(1.1 * height) + 24)
    shown = shown.configure_axis(labelFontSize=LABELS, titleFontSize=TITLES).configure_text(fontSize=LABELS)
    return shown.configure_legend(labelFontSize=LABELS, titleFontSize=TITLES, labelLimit=320)


def translated(part: Any, catalogue: Mapping[str, str]) -> Any:
    """Return a part of a specification with every ``title`` looked up and every guide naming values in Marathi.

    Only what holds such words is copied: the data goes on as it is.
    """
    if isinstance(part, list):
        return [translated(each, catalogue) for each in part]
    if not isinstance(part, alt.SchemaBase):
        return part
    copied = part.copy(deep=False)
    for name, value in part._kwds.items():
        if name == "title" and isinstance(value, str):
            copied[name] = catalogue.get(value, value)
        else:
            copied[name] = translated(value, catalogue)
    guide = _NAMED_BY.get(type(part).__name__)
    if guide is not None and copied._kwds.get(guide, alt.Undefined) is not None:
        _name_values(copied, guide, catalogue)
    return copied


def _name_values(channel: Any, guide: str, catalogue: Mapping[str, str]) -> None:
    """Let a legend or an axis show the values of its scale's domain by their Marathi names, where there are such names."""
    scale = channel._kwds.get("scale")
    domain = getattr(scale, "_kwds", {}).get("domain")
    names = {name: catalogue[name] for name in domain if name in catalogue} if isinstance(domain, list) else {}
    if not names:
        return
    made = channel._kwds.get(guide, alt.Undefined)
    if made is alt.Undefined:
        made = alt.Legend() if guide == "legend" else alt.Axis()
    made = made.copy(deep=False)
    # A Vega expression: a table of names and, where a value is not in it, the value itself.
    made["labelExpr"] = f"{json.dumps(names, ensure_ascii=False)}[datum.label] || datum.label"
    channel[guide] = made
