"""The tables behind the pictures of what pruning did: `frames` -> `pandas.DataFrame`, all pure.

On the screen layers, neurons and heads count from 1.
"""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd

from engine.charts import frame as typed_frame
from engine.inside.frames import Frame, layer_moves, moves

MAP_BINS = 128
"""Most bins that the neurons of a layer are drawn in."""
STAYS, GONE, WENT, CAME_BACK = "Stays", "Gone", "Just went", "Came back"
_WEIGHTS, _SCORES = ("Weights kept (%)",), ("Lowest score", "Cut-off", "Highest score")


def neurons_frame(frame: Frame) -> pd.DataFrame:
    """Return one row a bin of neurons of a layer: its ends on the axis of neurons, how many there are, how many stay (per cent)."""
    rows = []
    for state in frame.layers:
        bins = min(MAP_BINS, state.neurons)
        edges = [round(place * state.neurons / bins) for place in range(bins + 1)] if bins else []
        for start, end in pairwise(edges):
            kept = (state.kept_neurons >> start & (1 << end - start) - 1).bit_count()
            words = "the layer is gone" if state.dropped else f"{kept} of {end - start} stay"
            rows.append((state.layer + 1, start, end, f"{start + 1:,} to {end:,}", 100 * kept / (end - start), words))
    return typed_frame(
        rows, layer="int64", start="float64", end="float64", numbers="object", share="float64", words="object"
    )


def heads_frame(frame: Frame) -> pd.DataFrame:
    """Return one row a head: layer, number, whether it stays, and its score where heads have one."""
    rows = []
    for state in frame.layers:
        for head in range(state.heads):
            kept = bool(state.kept_heads >> head & 1)
            score = f"{state.head_scores[head]:.4g}" if state.head_scores else "not scored"
            rows.append((state.layer + 1, head + 1, STAYS if kept else GONE, score))
    return typed_frame(rows, layer="int64", head="int64", state="object", score="object")


def widths_frame(frame: Frame) -> pd.DataFrame:
    """Return one row a layer: FFN neurons before and now, and the share that stays (per cent)."""
    rows = [
        (state.layer + 1, state.neurons, state.width, 100 * state.width / max(1, state.neurons))
        for state in frame.layers
    ]
    return typed_frame(rows, layer="int64", before="int64", now="int64", share="float64")


def weights_frame(frame: Frame) -> pd.DataFrame:
    """Return one row a layer: the share of its weights that stay (per cent), where they go one by one or in blocks."""
    rows = [
        (state.layer + 1, 100.0 if state.kept_weights is None else 100 * state.kept_weights) for state in frame.layers
    ]
    return typed_frame(rows, layer="int64", share="float64")


def layer_frame(frame: Frame, before: Frame, layer: int) -> pd.DataFrame:
    """Return one row a neuron of a layer (from 0): its number and what became of it since the frame before."""
    new, old = frame.layers[layer], before.layers[layer]
    names = {(True, True): STAYS, (False, False): GONE, (True, False): WENT, (False, True): CAME_BACK}
    rows = [
        (number + 1, names[bool(old.kept_neurons >> number & 1), bool(new.kept_neurons >> number & 1)])
        for number in range(new.neurons)
    ]
    return typed_frame(rows, number="int64", state="object")


def scores_frame(frame: Frame, layer: int) -> pd.DataFrame:
    """Return one row a bin of scores and fate: its edges and how many neurons of the layer (from 0) have such a score."""
    counts, rows = frame.layers[layer].scores, []
    if counts is not None:
        span = (counts.high - counts.low) or 1.0
        first = counts.low if counts.high > counts.low else counts.low - span / 2
        for fate, numbers in ((STAYS, counts.kept), (GONE, counts.gone)):
            width = span / len(numbers)
            rows += [
                (first + place * width, first + (place + 1) * width, fate, number)
                for place, number in enumerate(numbers)
                if number
            ]
    return typed_frame(rows, low="float64", high="float64", state="object", neurons="int64")


def cut_off_frame(frame: Frame, layer: int) -> pd.DataFrame:
    """Return the cut-off of a layer (from 0) as the one row there is, or no row."""
    counts = frame.layers[layer].scores
    cut_off = None if counts is None else counts.cut_off
    return typed_frame([] if cut_off is None else [(cut_off,)], cut_off="float64")


def moves_frame(frames: Sequence[Frame]) -> pd.DataFrame:
    """Return step, direction and the number of FFN neurons that moved since the frame before."""
    rows = []
    for before, after in pairwise(frames):
        went, came = moves(before, after)
        rows += [(after.step, WENT, went), (after.step, CAME_BACK, came)]
    return typed_frame(rows, step="float64", series="object", value="float64")


def table_frame(frames: Sequence[Frame], place: int) -> pd.DataFrame:
    """Return one row a layer of one frame, with the exact numbers; no columns for what no frame of the run has."""
    now, before = frames[place], frames[max(0, place - 1)]
    rows = []
    for new, old in zip(now.layers, before.layers, strict=True):
        counts = new.scores
        rows.append(
            (
                now.step,
                new.layer + 1,
                "gone" if new.dropped else "stays",
                new.neurons,
                new.width,
                100 * new.width / max(1, new.neurons),
                *layer_moves(old, new),
                new.heads,
                new.heads_left,
                None if new.kept_weights is None else 100 * new.kept_weights,
                None if counts is None else counts.low,
                None if counts is None else counts.cut_off,
                None if counts is None else counts.high,
            )
        )
    columns = ["Step", "Layer", "State", "Neurons before", "Neurons now", "Stay (%)", "Just went", "Came back"]
    columns += ["Heads before", "Heads now", *_WEIGHTS, *_SCORES]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys((*_WEIGHTS, *_SCORES), "float64"))
    states = [state for each in frames for state in each.layers]
    unused = [] if any(state.kept_weights is not None for state in states) else list(_WEIGHTS)
    unused += [] if any(state.scores for state in states) else _SCORES
    return table.drop(columns=unused)


def all_frames(frames: Sequence[Frame]) -> pd.DataFrame:
    """Return the tables of all frames below one another, for the download."""
    return pd.concat([table_frame(frames, place) for place in range(len(frames))], ignore_index=True)
