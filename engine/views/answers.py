"""What classifiers said, as frames and bars: predictions -> `pandas.DataFrame` -> `altair.Chart`, all pure and without torch."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import altair as alt
import pandas as pd

from engine.charts import ACCENT, PADDING, Chart, axis, frame
from engine.records import Doubt
from engine.views.sentences import DOUBTS

UNSURE = "(not sure)"
"""The row of texts without a sure topic."""


class Answer(Protocol):
    """What is needed of `engine.inference.Prediction`."""

    @property
    def text(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def tokens(self) -> int: ...
    @property
    def truncated(self) -> bool: ...
    @property
    def windows(self) -> int: ...
    @property
    def doubt(self) -> Doubt: ...


def answers_frame(answers: Sequence[Answer], marathi: Mapping[str, str]) -> pd.DataFrame:
    """Return one row a text: text, topic, topic in Marathi, probability (%), why unsure, tokens, windows, cut, milliseconds."""
    rows = [
        (
            a.text,
            a.label,
            marathi.get(a.label, a.label),
            100 * a.confidence,
            DOUBTS.get(a.doubt, ""),
            a.tokens,
            a.windows,
            a.truncated,
            a.latency_ms,
        )
        for a in answers
    ]
    columns = [
        "Text",
        "Topic",
        "Topic (Marathi)",
        "Probability (%)",
        "Not sure",
        "Tokens",
        "Windows",
        "Cut",
        "Latency (ms)",
    ]
    return pd.DataFrame(rows, columns=columns)


def topics_frame(answers: Sequence[Answer]) -> pd.DataFrame:
    """Return topics and how many texts were given each for sure, the most frequent first; the unsure have a row of their own."""
    counts: dict[str, int] = {}
    for answer in answers:
        topic = UNSURE if answer.doubt else answer.label
        counts[topic] = counts.get(topic, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return pd.DataFrame(ranked, columns=["Topic", "Texts"])


def probability_frame(probabilities: dict[str, float], names: dict[str, str] | None = None) -> pd.DataFrame:
    """Return label and probability (per cent), the likeliest first; ``names`` translates labels for the screen."""
    names = names or {}
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return frame([(names.get(label, label), 100 * p) for label, p in ranked], label="object", probability="float64")


def probability_chart(data: pd.DataFrame) -> Chart:
    """Draw one bar a label, the likeliest on top, on a scale of 0 to 100 %."""
    y = alt.Y(
        "label:N",
        title=None,
        sort=None,
        axis=alt.Axis(labelLimit=220, labelFlush=False, ticks=False, domain=False, labelPadding=6),
    )
    tooltip = [
        alt.Tooltip("label:N", title="Topic"),
        alt.Tooltip("probability:Q", title="Probability (%)", format=".3f"),
    ]
    x = alt.X("probability:Q", title="Probability (%)", scale=alt.Scale(domain=[0, 100]), axis=axis(tickCount=5))
    bars: alt.Chart = alt.Chart(data).mark_bar(color=ACCENT, cornerRadiusEnd=2).encode(x, y, tooltip=tooltip)
    return bars.properties(height=alt.Step(20), padding=PADDING)
