"""The parts of Inside: the numbers, maps and tables of one frame, each with a sentence on what is seen."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from engine.charts import Chart
from engine.config import PruningConfig
from engine.inside import charts as inside_charts
from engine.inside import frames as inside
from engine.inside import tables as inside_tables
from engine.inside.frames import Frame
from pages.shared import words
from pages.shared.chart import show_chart
from pages.shared.downloads import offer_table
from pages.shared.figure import show_figure
from pages.shared.language import say

LAYER = "inside_layer"
_figure = partial(show_figure, height="stretch")


def single_weights(pruning: PruningConfig) -> bool:
    """Tell whether weights go one by one, so that no unit goes as a whole."""
    return pruning.method == "magnitude" and pruning.unit == "weight"


def show_numbers(frames: Sequence[Frame], place: int, pruning: PruningConfig) -> None:
    """Draw the row of numbers of one frame, and when it is."""
    now, before = frames[place], frames[max(0, place - 1)]
    neurons, all_neurons, heads, all_heads, layers = inside.totals(now)
    went, came = inside.moves(before, now)
    with st.grid(4, min_column_width=150, key="inside_numbers"):
        if single_weights(pruning):
            _figure(say("Weights"), words.percent(now.density), say("stay"))
        share = words.percent(neurons / max(1, all_neurons))
        rest = say("of {before} ({share})", before=f"{all_neurons:,}", share=share)
        _figure(say("FFN neurons"), f"{neurons:,}", rest)
        share = words.percent(heads / max(1, all_heads))
        rest = say("of {before} ({share})", before=all_heads, share=share)
        _figure(say("Attention heads"), f"{heads:,}", rest, help_text=_heads_said(pruning))
        _figure(say("Layers"), say("{now} of {before}", now=layers, before=len(now.layers)), _dropped_said(now))
        if not single_weights(pruning) and pruning.method != "layer-dropping":
            _figure(say("Neurons just moved"), f"{went:,} · {came:,}", say("went · came back"))
    st.caption(_when(now, place))


def _dropped_said(now: Frame) -> str:
    """Name the layers that are gone."""
    gone = [str(state.layer + 1) for state in now.layers if state.dropped]
    return say("dropped: {layers}", layers=", ".join(gone)) if gone else say("none dropped")


def _heads_said(pruning: PruningConfig) -> str:
    if pruning.method != "hybrid":
        return say("This method leaves heads alone.")
    return (
        say("Heads have scores of their own, by which the highest stay.")
        if pruning.attention_unit == "head"
        else say("A head goes where none of its blocks is left.")
    )


def _when(now: Frame, place: int) -> str:
    if place == 0:
        return say("The base model, before anything was pruned.")
    if now.compacted and not now.step:
        return say("Before the first step: the model was made smaller to this.")
    if now.compacted:
        return say("After {step} steps: here the model was made smaller to what stays.", step=f"{now.step:,}")
    return say("After {step} steps: the mask that the next step used.", step=f"{now.step:,}")


def show_maps(now: Frame, pruning: PruningConfig) -> None:
    """Draw heads, neurons and widths of all layers side by side."""
    if single_weights(pruning):
        chart = inside_charts.weights_chart(inside_tables.weights_frame(now))
        note = say(
            "Single weights were pruned: they become zero wherever they stand, so no neuron and no head goes as a whole. "
            "Only the share that stays is known of each layer."
        )
        _panel(say("Weights that stay"), chart, "weights", note)
        return
    left, middle, right = st.columns([0.22, 0.5, 0.28])
    with left:
        note = say("Each square is one attention head of a layer; a grey one is gone.")
        _panel(say("Heads"), inside_charts.heads_chart(inside_tables.heads_frame(now)), "heads", note)
    with middle:
        note = say(
            "Each row is a layer, each stripe a few neighbouring neurons: the stronger its colour, the more of them stay. "
            "Neurons have no order, so the pattern looks like noise; what counts is how it changes."
        )
        _panel(say("FFN neurons"), inside_charts.neurons_chart(inside_tables.neurons_frame(now)), "neurons", note)
    with right:
        note = say("How wide each layer's FFN was (grey) and is: the narrower, the less there is to compute.")
        _panel(say("Widths"), inside_charts.widths_chart(inside_tables.widths_frame(now)), "widths", note)
    if pruning.method == "hybrid" and pruning.attention_unit == "block":
        note = say(
            "Blocks of the attention's matrices that stay. A head goes only where none of its blocks is left to compute with."
        )
        _panel(say("Attention blocks"), inside_charts.weights_chart(inside_tables.weights_frame(now)), "blocks", note)


def show_layer(frames: Sequence[Frame], place: int, pruning: PruningConfig) -> None:
    """Draw every neuron of one layer, and how the scores of the layer lie."""
    now, before = frames[place], frames[max(0, place - 1)]
    numbers = range(len(now.layers))
    st.session_state.setdefault(LAYER, 0)
    if st.session_state[LAYER] not in numbers:
        st.session_state[LAYER] = 0
    layer = st.selectbox(
        say("Look closely at"),
        numbers,
        format_func=lambda number: say("Layer {number}", number=number + 1),
        key=LAYER,
        persist_state="session",
        width=220,
    )
    left, right = st.columns(2)
    with left:
        note = say(
            "Every square is one neuron of this layer. Orange ones went since the picture before, violet ones came back."
        )
        chart = inside_charts.layer_chart(inside_tables.layer_frame(now, before, layer))
        _panel(say("Every neuron of the layer"), chart, "layer", note)
    with right:
        if not any(state.scores for each in frames for state in each.layers):
            return
        scores, cut_off = inside_tables.scores_frame(now, layer), inside_tables.cut_off_frame(now, layer)
        note = f"{_scores_said(pruning)} {_cut_off_said(now, layer)}"
        _panel(say("Scores of the layer's neurons"), inside_charts.scores_chart(scores, cut_off), "scores", note)


def _scores_said(pruning: PruningConfig) -> str:
    """Say what the scores of a method are."""
    if pruning.method == "magnitude":
        return say("A neuron's score is the length of its weights taken together: the smallest go.")
    if pruning.method == "wanda":
        return say("A neuron's score is what it passes on, its activations times its weights: the smallest go.")
    return say("A score rises where training makes a neuron's weights larger and falls where it shrinks them.")


def _cut_off_said(now: Frame, layer: int) -> str:
    counts = now.layers[layer].scores
    if counts is None:
        return say("There are no scores at this step.")
    if counts.cut_off is None:
        return say("There is no cut-off now: the layer's neurons share one fate.")
    return say("The dashed line is the cut-off, {value}: the lowest score that stays.", value=f"{counts.cut_off:.4g}")


def show_moves(frames: Sequence[Frame], place: int) -> None:
    """Draw how many neurons moved between two pictures, over the steps."""
    chart = inside_charts.moves_chart(inside_tables.moves_frame(frames), frames[place].step)
    note = say(
        "How many neurons changed sides from one picture to the next: the mask has settled where both lines are near zero. "
        "The grey line is the step shown above."
    )
    _panel(say("How the mask settles"), chart, "moves", note)


def show_table(frames: Sequence[Frame], place: int, run_id: str) -> None:
    """Draw the exact numbers of the frame, and offer those of all frames as CSV."""
    st.markdown(f"## {say('Exact numbers')}")
    columns = {"Stay (%)": "%.2f", "Weights kept (%)": "%.3f"}
    columns |= dict.fromkeys(("Lowest score", "Cut-off", "Highest score"), "%.4g")
    st.dataframe(
        inside_tables.table_frame(frames, place),
        hide_index=True,
        width="stretch",
        height="content",
        key="inside_table",
        placeholder="–",
        column_config={name: st.column_config.NumberColumn(format=form) for name, form in columns.items()},
    )
    name = f"chhatni-inside-{run_id}"
    offer_table(
        say("Download all steps as CSV"), partial(inside_tables.all_frames, frames), name, "inside_csv", width="content"
    )


def _panel(title: str, chart: Chart, key: str, note: str) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{title}**")
        show_chart(chart, key=f"inside_chart_{key}", alt_text=f"{title}. {note}")
        st.caption(note)
