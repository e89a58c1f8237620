"""What the speed lab shows: figures of both shapes, the newest result, and all results of the session."""

from collections.abc import Sequence

import streamlit as st

from engine.lab import charts as lab_charts
from engine.lab import plan as lab
from engine.lab.plan import LabResult, LabSettings
from engine.methods.dropping import outer_layers
from engine.shapes import Shape
from engine.views.drawing import layers_chart
from pages.shared import words
from pages.shared.chart import show_chart
from pages.shared.downloads import offer_table
from pages.shared.figure import show_figure
from pages.shared.language import say

OVER = 1.05
"""Share of the ceiling above which a figure asks for an explanation."""


def show_numbers(settings: LabSettings) -> None:
    """Draw what follows from the two shapes alone."""
    dense, other, length = settings.dense, settings.other, settings.sequence_length
    each = 4 if settings.precision == "fp32" else 2
    rows = (
        (say("Parameters"), words.count(other.parameters), words.count(dense.parameters)),
        (
            say("Size ({precision})", precision=settings.precision),
            words.size(other.size_bytes(each)),
            words.size(dense.size_bytes(each)),
        ),
        (say("FLOPs a text"), words.count(other.flops(length)), words.count(dense.flops(length))),
    )
    with st.grid(4, min_column_width=125):
        for label, mine, theirs in rows:
            show_figure(label, mine, say("vs {value}", value=theirs))
        show_figure(
            say("Ceiling"),
            f"{settings.ceiling:.2f}x",
            say("{count} tokens", count=length),
            help_text=say(
                "Dense FLOPs over the other shape's: the speed-up if every operation took the same time. The vocabulary has no "
                "part in it: looking up a token costs next to nothing, however many there are."
            ),
        )


def fits_inside(dense: Shape, other: Shape) -> bool:
    """Tell whether the other shape is what could be left of the dense one."""
    mine, theirs = lab.sizes_of(other), lab.sizes_of(dense)
    return mine.hidden_size == theirs.hidden_size and all(
        small <= large for small, large in zip(mine[:3], theirs[:3], strict=True)
    )


def show_drawing(dense: Shape, other: Shape) -> None:
    """Draw the layers where the other shape is a part of the dense one."""
    if fits_inside(dense, other):
        kept = outer_layers(dense.layers, dense.layers - other.layers)
        show_chart(
            layers_chart(dense, other, kept),
            key="lab_layers",
            alt_text=say("The layers with the heads and FFN neurons that stay"),
        )
    else:
        st.caption(say("No drawing: the other shape is not a part of the dense one."))


def show_newest(result: LabResult) -> None:
    """Draw the newest result: both latencies, the gain of the structure and, where timed, of the precision."""
    name = words.escape(lab.difference(result.settings.dense, result.settings.other))
    st.markdown(f"**{say('Measured last: {name}', name=name)}**")
    with st.grid(4, min_column_width=125):
        for label, latency in ((say("Latency, p50"), result.other), (say("Dense, p50"), result.dense)):
            spread = f"p95 {words.milliseconds(latency.p95)}"
            show_figure(label, words.milliseconds(latency.p50), spread)
        show_figure(
            say("Speed-up"),
            f"{result.speedup:.2f}x",
            say("ceiling {ceiling}", ceiling=f"{result.settings.ceiling:.2f}x"),
            help_text=say(
                "Median over median, at equal precision, batch, length and threads, without padding on both sides."
            ),
        )
        show_figure(
            say("Share of ceiling"), words.percent(result.share, 0), say("{rounds} rounds", rounds=result.rounds)
        )
    st.caption(gain_words(result))
    if result.disturbed:
        st.warning(
            say("A run was training on this device meanwhile: these figures are disturbed."), icon=":material/warning:"
        )


def gain_words(result: LabResult) -> str:
    """Say which of the three gains the figures hold."""
    said = [
        say(
            "Fastest passes: {other}, dense {dense}.",
            other=words.milliseconds(result.other.min),
            dense=words.milliseconds(result.dense.min),
        ),
        say(
            "This is the gain of structure: both sides ran in {precision} on {device} with full texts.",
            precision=result.precision,
            device=words.escape(result.device_name),
        ),
    ]
    if result.precision_gain is not None:
        said.append(
            say(
                "The gain of precision stands apart: the same shape was {gain} as fast in {precision} as in fp32.",
                gain=f"{result.precision_gain:.2f}x",
                precision=result.precision,
            )
        )
    said.append(say("The gain of leaving padding out is not in it: nothing was padded."))
    if result.unsteady:
        said.append(
            say(
                "The slowest passes took more than {factor} times the median: something else keeps this machine busy. Measure "
                "again when it is idle.",
                factor=f"{lab.UNSTEADY:g}",
            )
        )
    elif result.share > OVER:
        said.append(say("It is more than the ceiling: smaller matrices can fit the processor's caches better."))
    return " ".join(said)


def show_results(results: Sequence[LabResult]) -> None:
    """Draw all results of the session: chart, table and download."""
    st.markdown(f"## {say('Measured in this session')}")
    left, right = st.columns([0.42, 0.58], gap="large")
    with left, st.container(border=True):
        st.markdown(f"**{say('Speed-up against the FLOPs ceiling')}** ({say('dashed: all of it reached')})")
        show_chart(
            lab_charts.gain_chart(lab_charts.gain_frame(results)),
            key="lab_gains",
            alt_text=say("Speed-up against the FLOPs ceiling"),
        )
    with right:
        table = lab_charts.results_frame(results)
        figures = ("p50 (ms)", "p95 (ms)", "Min (ms)", "Dense p50 (ms)", "Dense p95 (ms)", "Dense min (ms)")
        ratios = ("Speed-up (x)", "Ceiling (x)", "Precision gain (x)", "Parameters (M)", "Dense parameters (M)")
        number = st.column_config.NumberColumn
        st.dataframe(
            table,
            width="stretch",
            height=min(38 + 35 * len(table), 340),
            hide_index=True,
            key="lab_table",
            placeholder="–",
            column_config={
                **{name: number(format="%.2f") for name in (*figures, *ratios)},
                "Share of ceiling (%)": number(format="%.0f"),
                "Shape": st.column_config.TextColumn(width=150),
                "Disturbed": st.column_config.CheckboxColumn(
                    help=say("A run was training on the same device while this was measured.")
                ),
            },
        )
        offer_table(say("Download as CSV"), lambda: table, "chhatni-speed-lab", "lab_csv", width="content")
