"""Replaying what pruning did: frames of events, their tables and charts, without torch."""

import subprocess
import sys
from typing import Any

import altair as alt
import pytest

from engine.charts import Chart
from engine.events import Event, MaskMoved
from engine.inside import charts as inside_charts
from engine.inside import frames as inside
from engine.inside import tables as inside_tables
from engine.inside.frames import Frame, replay
from tests.engine.fake_training import model_loaded, run_started
from tests.engine.mask_events import compacted, history, layer_mask, moved

BEGIN: list[Event] = [run_started(), model_loaded(40)]  # 2 layers of 16 neurons and 2 heads
ALL = range(16)


def frames_of(*events: Event) -> list[Frame]:
    return replay([*BEGIN, *events])


def widths(frame: Frame) -> list[int]:
    return [state.width for state in frame.layers]


STORY = (
    moved(4, {0: ALL, 1: ALL}),
    moved(10, {0: range(4, 16), 1: range(15)}),
    moved(20, {0: [2, *range(5, 16)], 1: range(8)}),
    compacted(20, {0: [2, *range(5, 16)], 1: range(8)}),
)


def test_nothing_is_shown_before_the_model_is_loaded() -> None:
    assert replay([]) == []
    assert replay([run_started()]) == []


def test_a_replay_begins_with_the_whole_base_and_ends_with_what_stays() -> None:
    frames = frames_of(*STORY)
    assert [frame.step for frame in frames] == [0, 4, 10, 20]
    assert [widths(frame) for frame in frames] == [[16, 16], [16, 16], [12, 15], [12, 8]]
    assert [frame.compacted for frame in frames] == [False, False, False, True]
    assert frames[0].density == 1.0
    assert frames[3].density == 20 / 32
    assert frames[3].layers[1].kept_neurons == 0b11111111
    assert inside.totals(frames[3]) == (20, 32, 4, 4, 2)


def test_moves_are_counted_in_both_directions() -> None:
    frames = frames_of(*STORY)
    assert inside.moves(frames[1], frames[2]) == (4 + 1, 0)
    assert inside.moves(frames[2], frames[3]) == (1 + 7, 1)
    table = inside_tables.moves_frame(frames)
    assert table[table["series"] == inside_tables.CAME_BACK]["value"].tolist() == [0, 0, 1]
    assert table[table["series"] == inside_tables.WENT]["value"].tolist() == [0, 5, 8]


def test_a_resumed_run_is_not_shown_twice() -> None:
    redone = moved(20, {0: range(3), 1: range(3)})
    frames = frames_of(*STORY, run_started(resumed_at_step=15), redone)
    assert [frame.step for frame in frames] == [0, 4, 10, 20]
    assert widths(frames[-1]) == [3, 3]
    assert not frames[-1].compacted, "it has not happened yet"
    again = frames_of(*STORY, run_started(resumed_at_step=20))
    assert [frame.step for frame in again] == [0, 4, 10], "the picture before step 21 is about to be taken again"
    again = frames_of(*STORY, run_started(resumed_at_step=21))
    assert [frame.step for frame in again] == [0, 4, 10, 20]


def test_a_run_that_starts_over_forgets_everything_and_a_stop_before_the_first_step_nothing() -> None:
    dropped = compacted(0, {0: ALL})
    assert len(frames_of(dropped, *STORY[1:], run_started())) == 1
    kept = frames_of(dropped, run_started(resumed_at_step=0))
    assert [frame.layers[1].dropped for frame in kept] == [False, True], "what went at the start is not said again"


def test_an_older_run_shows_its_outcome() -> None:
    frames = frames_of(compacted(30, {0: range(8), 1: range(9)}))
    assert [frame.step for frame in frames] == [0, 30]
    assert widths(frames[1]) == [8, 9]
    assert frames[1].compacted
    assert frames[1].density == 17 / 32
    assert frames[1].layers[0].heads_left == 2
    without_step = frames_of(compacted(None, {0: range(8), 1: range(9)}))
    assert without_step[-1].step == 40, "the oldest ones do not say when"
    unnamed = frames_of(compacted(10, {0: range(8), 1: range(8)}, named=False), compacted(30, {0: [1], 1: [2]}))
    assert [frame.step for frame in unnamed] == [0, 30], "which neurons stayed at step 10 is not known"


def test_dropped_layers_stay_in_the_picture_as_gone() -> None:
    frames = frames_of(compacted(0, {1: ALL}), moved(10, {1: range(8)}))
    assert [frame.step for frame in frames] == [0, 0, 10]
    for frame in frames[1:]:
        assert frame.layers[0].dropped
        assert not frame.layers[1].dropped
    assert widths(frames[2]) == [0, 8]
    assert inside.moves(frames[0], frames[1]) == (0, 0), "a layer that goes is no neuron that moved"
    assert inside.moves(frames[1], frames[2]) == (8, 0)
    assert inside.totals(frames[2])[-1] == 1
    rows = inside_tables.neurons_frame(frames[2])
    assert set(rows[rows["layer"] == 1]["words"]) == {"the layer is gone"}


def test_real_sizes_of_a_base_whose_layers_differ_come_from_the_pictures() -> None:
    narrow = MaskMoved(step=3, density=0.5, layers=(layer_mask(0, range(4), of=(8, 2)), layer_mask(1, range(16))))
    assert widths(frames_of(narrow)[0]) == [8, 16]


@pytest.mark.parametrize(("step", "place"), [(0, 0), (3, 0), (4, 1), (19, 2), (20, 3), (10**9, 3), (-5, 0)])
def test_a_step_leads_to_the_last_picture_at_or_before_it(step: int, place: int) -> None:
    assert inside.frame_at(frames_of(*STORY), step) == place


def test_the_map_counts_every_neuron_once() -> None:
    frame = replay([BEGIN[0], model_loaded(40).model_copy(update={"intermediate_size": 1000}),
                    moved(9, {0: range(0, 1000, 3), 1: ()}, (1000, 2))])[1]  # fmt: skip
    rows = inside_tables.neurons_frame(frame)
    first = rows[rows["layer"] == 1]
    assert len(first) == inside_tables.MAP_BINS
    assert first["start"].tolist()[1:] == first["end"].tolist()[:-1]
    assert (first["start"].iloc[0], first["end"].iloc[-1]) == (0, 1000)
    sizes = first["end"] - first["start"]
    assert (first["share"] * sizes / 100).sum() == pytest.approx(334)
    for row in first.itertuples():
        real = sum(unit % 3 == 0 for unit in range(int(row.start), int(row.end)))
        assert row.share == pytest.approx(100 * real / (row.end - row.start))
    assert set(rows[rows["layer"] == 2]["share"]) == {0.0}
    assert rows["share"].max() < 60
    spec = inside_charts.neurons_chart(rows).to_dict()
    assert spec["encoding"]["opacity"]["scale"]["domain"] == [0, 100], (
        "the same colour means the same share at every step"
    )


def test_every_neuron_of_a_layer_has_one_of_four_fates() -> None:
    frames = frames_of(*STORY)
    fates = inside_tables.layer_frame(frames[3], frames[2], 0).set_index("number")["state"]
    assert fates[1] == inside_tables.GONE
    assert fates[3] == inside_tables.CAME_BACK
    assert fates[5] == inside_tables.WENT
    assert fates[6] == inside_tables.STAYS
    assert len(fates) == 16


def test_heads_and_widths_are_told_by_layer() -> None:
    masks = (layer_mask(0, range(4), (1,)), layer_mask(1, range(16), ()))
    frame = frames_of(MaskMoved(step=5, density=0.5, layers=masks))[1]
    heads = inside_tables.heads_frame(frame)
    assert heads["state"].tolist() == [inside_tables.GONE, inside_tables.STAYS, inside_tables.GONE, inside_tables.GONE]
    assert heads["score"].tolist() == ["0", "0.5", "0", "0.5"]
    assert inside_tables.widths_frame(frame)[["before", "now"]].to_numpy().tolist() == [[16, 4], [16, 16]]
    assert inside_tables.heads_frame(frames_of(*STORY)[0])["score"].unique().tolist() == ["not scored"]


def test_scores_have_edges_and_a_cut_off() -> None:
    frames = frames_of(*STORY)
    scores = inside_tables.scores_frame(frames[2], 0)
    stays = scores[scores["state"] == inside_tables.STAYS]
    assert stays[["low", "high", "neurons"]].to_numpy().tolist() == [[4, 8, 4], [8, 12, 4], [12, 16, 4]]
    assert scores[scores["state"] == inside_tables.GONE]["neurons"].tolist() == [4]
    assert inside_tables.cut_off_frame(frames[2], 0)["cut_off"].tolist() == [4.0]
    assert inside_tables.cut_off_frame(frames[1], 0).empty, "nothing goes yet"
    assert inside_tables.scores_frame(frames[0], 0).empty, "the base has no scores"
    flat = layer_mask(0, ALL)
    assert flat.scores is not None
    flat = flat.model_copy(update={"scores": flat.scores.model_copy(update={"low": 0.0, "high": 0.0})})
    same = frames_of(MaskMoved(step=1, density=1.0, layers=(flat, layer_mask(1, ALL))))
    rows = inside_tables.scores_frame(same[1], 0)
    assert (rows["high"] - rows["low"]).min() > 0, "equal scores still have a bar"


def test_the_table_holds_exact_numbers_and_no_empty_columns() -> None:
    frames = frames_of(*STORY)
    table = inside_tables.table_frame(frames, 3).set_index("Layer")
    assert table.loc[2, ["Step", "Neurons before", "Neurons now", "Stay (%)", "Just went"]].tolist() == [
        20,
        16,
        8,
        50,
        7,
    ]
    assert table.loc[1, "Came back"] == 1
    assert table.loc[1, "Cut-off"] == 2.0
    assert "Weights kept (%)" not in table
    assert list(inside_tables.table_frame(frames, 0)) == list(inside_tables.table_frame(frames, 3)), "nothing jumps"
    masks = (layer_mask(0, ALL, kept_weights=0.25), layer_mask(1, ALL, kept_weights=0.25))
    weights = frames_of(MaskMoved(step=5, density=0.25, layers=masks))
    table = inside_tables.table_frame(weights, 1)
    assert table["Weights kept (%)"].tolist() == [25, 25]
    assert "Cut-off" not in table
    assert inside_tables.weights_frame(weights[0])["share"].tolist() == [100, 100]
    assert len(inside_tables.all_frames(frames)) == 4 * 2


def without_rows(chart: Chart) -> dict[str, Any]:
    """Return a chart's specification without its rows and without the name that their content gives them."""

    def strip(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: strip(value) for key, value in part.items() if key not in ("data", "datasets")}
        return [strip(item) for item in part] if isinstance(part, list) else part

    stripped: dict[str, Any] = strip(chart.to_dict())
    return stripped


def charts_of(frames: list[Frame], place: int) -> dict[str, Chart]:
    now, before = frames[place], frames[max(0, place - 1)]
    scores, cut_off = inside_tables.scores_frame(now, 0), inside_tables.cut_off_frame(now, 0)
    return {
        "neurons": inside_charts.neurons_chart(inside_tables.neurons_frame(now)),
        "heads": inside_charts.heads_chart(inside_tables.heads_frame(now)),
        "widths": inside_charts.widths_chart(inside_tables.widths_frame(now)),
        "weights": inside_charts.weights_chart(inside_tables.weights_frame(now)),
        "layer": inside_charts.layer_chart(inside_tables.layer_frame(now, before, 0)),
        "scores": inside_charts.scores_chart(scores, cut_off),
        "moves": inside_charts.moves_chart(inside_tables.moves_frame(frames), now.step),
    }


def test_no_step_changes_a_specification() -> None:
    frames = frames_of(*STORY)
    wanted = {name: without_rows(chart) for name, chart in charts_of(frames, 0).items()}
    for place in range(1, len(frames)):
        for name, chart in charts_of(frames, place).items():
            assert without_rows(chart) == wanted[name], (name, place)


def axes(part: Any) -> list[Any]:
    """Return every x and y encoding of a specification."""
    if isinstance(part, list):
        return [found for item in part for found in axes(item)]
    if not isinstance(part, dict):
        return []
    here = [part[name] for name in ("x", "y") if isinstance(part.get(name), dict)]
    return here + [found for value in part.values() for found in axes(value)]


@pytest.mark.parametrize("name", ["neurons", "heads", "widths", "weights", "layer", "scores", "moves"])
def test_every_chart_names_its_axes_and_tells_exact_values(name: str) -> None:
    chart = charts_of(frames_of(*STORY), 2)[name]
    assert isinstance(chart, alt.Chart | alt.LayerChart)
    spec = without_rows(chart)
    assert "tooltip" in str(spec)
    if name != "layer":  # a layer's neurons are laid out in rows that mean nothing
        assert any(axis.get("title") for axis in axes(spec))


def test_a_replay_of_forty_pictures_of_bert_base_is_quick() -> None:
    import time

    loaded = model_loaded(5000).model_copy(update={"layers": 12, "heads": 12, "intermediate_size": 3072})
    events = [run_started(), loaded, *history(5000, 5000, layers=12, of=(3072, 12), pictures=40)]
    began = time.process_time()
    frames = replay(events)
    inside_tables.moves_frame(frames)
    for place in (0, 20):
        for chart in charts_of(frames, place).values():
            chart.to_dict()
    took = time.process_time() - began
    assert len(frames) == 41
    assert took < 3.0, took


def test_replaying_needs_no_torch() -> None:
    program = "import sys, engine.inside.charts, engine.inside.frames; print('torch' in sys.modules, 'streamlit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
