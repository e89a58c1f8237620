"""Inside: what pruning did, in every state of a run; the slider, the replay and the address."""

import json
import time
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from engine.config import RunConfig
from engine.events import MaskMoved, RunStarted
from engine.runs.run import Run, RunState
from engine.store import RunStore
from pages.shared import mask_replay
from tests.engine.mask_events import history, layer_mask
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run

TOTAL = 100
STEPS = [10, 15, 21, 26, 32, 37, 43, 48, 54, 59, 65, 70]
"""Where `history` takes its pictures."""


def seed(store: RunStore, state: RunState, made: RunConfig | None = None, upto: int | None = None) -> Run:
    """Put a run with pictures of its mask into the store."""
    run = seed_run(store, made or config(0.5), state, total=TOTAL)
    reached = TOTAL if state == "done" else 60
    pictures = [event for event in history(TOTAL, upto or reached) if isinstance(event, MaskMoved)]
    store.append(run.run_id, pictures)
    return run


def charts(app: AppTest) -> list[dict[str, Any]]:
    """Return the specifications of all charts, without the names of their datasets."""
    found = []
    for element in app.get("vega_lite_chart"):
        spec = json.loads(element.proto.spec)
        for part in (spec, *spec.get("layer", [])):
            part.pop("data", None)
        found.append(spec)
    return found


def words_of(app: AppTest) -> str:
    return everything(app).replace("\\", "")


def metric(app: AppTest, label: str) -> str:
    return str(next(each.value for each in app.metric if each.label == label))


def table(app: AppTest) -> Any:
    return app.dataframe[0].value.set_index("Layer")


def slider(app: AppTest) -> Any:
    return app.select_slider(key="inside_step")


def test_no_runs_is_an_invitation(studio: Open) -> None:
    app = studio("inside")
    assert "No run yet" in everything(app)
    assert app.get("page_link")
    assert not app.get("vega_lite_chart")
    assert not app.error


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("training", "Training"),
        ("stopping", "Stopping"),
        ("stopped", "Stopped"),
        ("failed", "Failed"),
        ("interrupted", "Interrupted"),
        ("done", "Done"),
    ],
)
def test_each_state_shows_what_the_mask_did_so_far(studio: Open, store: RunStore, state: RunState, said: str) -> None:
    run = seed(store, state)
    app = studio("inside", run=run.run_id)
    assert said in everything(app)
    assert len(charts(app)) == 6
    reached = 70 if state == "done" else 59
    assert f"After {reached} steps" in words_of(app), "the newest picture comes first"
    assert table(app)["Step"].unique().tolist() == [reached]
    assert not app.error
    assert not app.info


def test_numbers_are_those_of_the_picture(studio: Open, store: RunStore) -> None:
    app = studio("inside", run=seed(store, "done").run_id)
    assert metric(app, "FFN neurons") == "2,048"
    assert metric(app, "Attention heads") == "16"
    assert metric(app, "Layers") == "4 of 4"
    rows = table(app)
    assert rows["Neurons now"].tolist() == [512] * 4
    assert rows["Stay (%)"].tolist() == [50.0] * 4
    assert rows["Came back"].tolist() == [0] * 4
    assert "here the model was made smaller to what stays" in words_of(app)
    assert [bool(each.proto.deferred_file_id) for each in app.get("download_button")] == [True], "made when pressed"


@pytest.mark.parametrize("state", ["queued", "starting"])
def test_before_the_model_is_loaded_there_is_only_a_sentence(studio: Open, store: RunStore, state: RunState) -> None:
    app = studio("inside", run=seed_run(store, config(0.5), state).run_id)
    assert "as soon as the model is loaded" in words_of(app)
    assert not charts(app)
    assert not app.select_slider


@pytest.mark.parametrize(
    ("state", "said"), [("training", "Everything still stays"), ("failed", "ended before anything was pruned")]
)
def test_in_the_warm_up_the_whole_base_is_shown(studio: Open, store: RunStore, state: RunState, said: str) -> None:
    run = seed_run(store, config(0.5), state, total=1000)  # its mask would be made smaller at step 700
    app = studio("inside", run=run.run_id)
    assert said in words_of(app)
    assert metric(app, "FFN neurons") == "4,096"
    assert not app.select_slider


def test_a_run_that_failed_before_its_model_has_nothing_inside(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.5), "starting")
    store.set_state(run.run_id, "failed")
    app = studio("inside", run=run.run_id)
    assert "ended before its model was loaded" in words_of(app)
    assert not charts(app)


def test_a_baseline_says_that_nothing_was_pruned(studio: Open, store: RunStore) -> None:
    app = studio("inside", run=seed_run(store, config(0.0), "done").run_id)
    assert "Nothing was pruned" in words_of(app)
    assert "table of tokens" not in words_of(app)
    assert not charts(app)
    small = seed_run(store, config(0.0, pruning={"vocabulary": "training"}), "done")
    assert "table of tokens" in words_of(studio("inside", run=small.run_id))


def test_an_older_run_shows_its_outcome_and_says_so(studio: Open, store: RunStore) -> None:
    app = studio("inside", run=seed_run(store, config(0.5), "done").run_id)
    assert "older than this page" in words_of(app)
    assert slider(app).options == ["base", "70"]
    assert table(app)["Neurons now"].tolist() == [512] * 4
    assert len(charts(app)) == 4, "no scores and no moves were recorded"
    weights = config(0.5, pruning={"method": "magnitude", "unit": "weight"})
    app = studio("inside", run=seed_run(store, weights, "done").run_id)
    assert "kept no record" in words_of(app)
    assert not charts(app)


def test_dropped_layers_are_shown_as_gone(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.5, pruning={"method": "layer-dropping"}), "training")
    app = studio("inside", run=run.run_id)
    assert "no mask that could move" in words_of(app)
    assert table(app)["State"].tolist() == ["stays", "gone", "gone", "stays"]
    assert "dropped: 2, 3" in words_of(app)
    assert len(charts(app)) == 3


def test_single_weights_have_a_share_only_and_the_page_says_so(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.5, pruning={"method": "magnitude", "unit": "weight"}), "training")
    masks = tuple(layer_mask(number, range(1024), range(4), of=(1024, 4), kept_weights=0.625) for number in range(4))
    store.append(run.run_id, [MaskMoved(step=30, density=0.625, layers=masks)])
    app = studio("inside", run=run.run_id)
    assert "Single weights were pruned" in words_of(app)
    assert metric(app, "Weights") == "62.5 %"
    assert table(app)["Weights kept (%)"].tolist() == [62.5] * 4
    assert len(charts(app)) == 1


def test_heads_and_blocks_of_hybrid_pruning_are_shown(studio: Open, store: RunStore) -> None:
    for unit, count in (("head", 6), ("block", 7)):
        run = seed_run(store, config(0.5, pruning={"method": "hybrid", "attention_unit": unit}), "training")
        share = None if unit == "head" else 0.5
        masks = [layer_mask(number, range(512), (0, 3), of=(1024, 4)) for number in range(4)]
        picture = MaskMoved(
            step=30, density=0.5, layers=tuple(mask.model_copy(update={"kept_weights": share}) for mask in masks)
        )
        store.append(run.run_id, [picture])
        app = studio("inside", run=run.run_id)
        assert metric(app, "Attention heads") == "8"
        assert len(charts(app)) == count
        assert ("Blocks of the attention" in words_of(app)) == (unit == "block")


def test_the_slider_replays_and_makes_each_step_a_link(studio: Open, store: RunStore) -> None:
    run = seed(store, "done")
    app = studio("inside", run=run.run_id)
    assert slider(app).options == ["base", *map(str, STEPS)]
    assert slider(app).value == len(STEPS)
    assert "step" not in app.query_params
    slider(app).set_value(4).run()
    assert app.query_params["step"] == "26"
    assert "After 26 steps: the mask that the next step used." in words_of(app)
    again = studio("inside", run=run.run_id, step="26")
    assert slider(again).value == 4
    assert metric(again, "FFN neurons") == metric(app, "FFN neurons")
    slider(again).set_value(0).run()
    assert "before anything was pruned" in words_of(again)
    assert metric(again, "FFN neurons") == "4,096"


@pytest.mark.parametrize(
    ("step", "place"), [("30", 4), ("0", 0), ("99999999999999999999", 12), ("-3", 12), ("<b>", 12)]
)
def test_any_step_in_the_address_leads_somewhere(studio: Open, store: RunStore, step: str, place: int) -> None:
    app = studio("inside", run=seed(store, "done").run_id, step=step)
    assert slider(app).value == place


def test_no_step_changes_a_specification(studio: Open, store: RunStore) -> None:
    app = studio("inside", run=seed(store, "done").run_id)
    wanted = charts(app)
    for place in (0, 3, 8):
        slider(app).set_value(place).run()
        assert charts(app) == wanted, place


def test_play_goes_on_with_the_clock_and_stops_at_the_end(
    studio: Open, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seed(store, "done")
    app = studio("inside", run=run.run_id)
    now = time.monotonic()
    monkeypatch.setattr(mask_replay.time, "monotonic", lambda: now)
    app.button(key="inside_play").click().run()
    assert slider(app).value == 0, "at the end it plays from the beginning"
    assert app.button(key="inside_play").label == "Pause"
    app.run()
    assert slider(app).value == 0, "only the clock moves it"
    for place in range(1, 4):
        now += mask_replay.TICK_S
        app.run()
        assert slider(app).value == place
    app.button(key="inside_play").click().run()
    now += 5 * mask_replay.TICK_S
    app.run()
    assert slider(app).value == 3
    assert app.query_params["step"] == "21"
    assert app.button(key="inside_play").label == "Play"
    app.button(key="inside_play").click().run()
    for _ in range(20):
        now += mask_replay.TICK_S
        app.run()
    assert slider(app).value == len(STEPS)
    assert app.button(key="inside_play").label == "Play"


def test_who_takes_the_slider_ends_the_replay(studio: Open, store: RunStore) -> None:
    app = studio("inside", run=seed(store, "done").run_id, step="15")
    app.button(key="inside_play").click().run()
    slider(app).set_value(7).run()
    assert app.button(key="inside_play").label == "Play"
    assert slider(app).value == 7


def test_a_browser_that_lags_does_not_end_the_replay(
    studio: Open, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = studio("inside", run=seed(store, "done").run_id, step="15")
    now = time.monotonic()
    monkeypatch.setattr(mask_replay.time, "monotonic", lambda: now)
    app.button(key="inside_play").click().run()
    for _ in range(2):
        now += mask_replay.TICK_S
        app.run()
    assert slider(app).value == 4
    slider(app).set_value(3).run()  # what it still showed when its timer asked for the next picture
    assert slider(app).value == 4
    assert app.button(key="inside_play").label == "Pause"
    slider(app).set_value(9).run()
    assert slider(app).value == 9
    assert app.button(key="inside_play").label == "Play"


def test_a_browser_that_lags_goes_on_following_and_a_choice_later_counts(
    studio: Open, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seed(store, "training", upto=30)
    app = studio("inside", run=run.run_id)
    store.append(
        run.run_id, [event for event in history(TOTAL, 45) if isinstance(event, MaskMoved) and event.step > 30]
    )
    app.run()
    assert slider(app).value == 7
    slider(app).set_value(4).run()
    assert slider(app).value == 7
    assert "step" not in app.query_params
    later = time.monotonic() + 2 * mask_replay.ECHO_S
    monkeypatch.setattr(mask_replay.time, "monotonic", lambda: later)
    slider(app).set_value(4).run()
    assert slider(app).value == 4
    assert app.query_params["step"] == "26"


def test_who_looks_at_the_newest_picture_follows_the_run_and_who_looks_back_is_left_alone(
    studio: Open, store: RunStore
) -> None:
    run = seed(store, "training", upto=30)
    app = studio("inside", run=run.run_id)
    assert "After 26 steps" in words_of(app)
    later = [event for event in history(TOTAL, 45) if isinstance(event, MaskMoved) and event.step > 30]
    store.append(run.run_id, later[:2])
    app.run()
    assert "After 37 steps" in words_of(app)
    slider(app).set_value(2).run()
    store.append(run.run_id, later[2:])
    app.run()
    assert "After 15 steps" in words_of(app)
    assert slider(app).options[-1] == "43"


def test_a_resumed_run_takes_back_what_it_does_again(studio: Open, store: RunStore) -> None:
    run = seed(store, "training")
    app = studio("inside", run=run.run_id)
    again = RunStarted(
        device="cpu", device_name="", precision="fp32", precision_reason="", threads=1, resumed_at_step=30
    )
    store.append(run.run_id, [again])
    app.run()
    assert slider(app).options[-1] == "26"
    assert "After 26 steps" in words_of(app)


def test_another_run_begins_at_its_own_newest_picture(studio: Open, store: RunStore) -> None:
    first, second = seed(store, "done"), seed(store, "training")
    app = studio("inside", run=first.run_id, step="21")
    app.selectbox(key="inside_run").set_value(second.run_id).run()
    assert app.query_params["run"] == second.run_id
    assert "step" not in app.query_params
    assert "After 59 steps" in words_of(app)
    app.switch_page("pages/live.py").run()
    assert app.query_params["run"] == second.run_id, "Live shows the same run"


def test_a_link_to_a_run_that_is_gone_shows_the_newest(studio: Open, store: RunStore) -> None:
    run = seed(store, "done")
    app = studio("inside", run="<b>nothing</b>")
    assert "There is no run" in app.warning[0].value
    assert "<b>" not in app.warning[0].value
    assert app.query_params["run"] == run.run_id


def test_each_layer_can_be_looked_at(studio: Open, store: RunStore) -> None:
    app = studio("inside", run=seed(store, "done").run_id)
    assert app.selectbox(key="inside_layer").options == [f"Layer {number}" for number in (1, 2, 3, 4)]
    app.selectbox(key="inside_layer").set_value(3).run()
    assert not app.exception
    assert "the lowest score that stays" in words_of(app)


def test_a_name_is_shown_letter_by_letter(studio: Open, store: RunStore) -> None:
    run = seed(store, "done", config(0.5, name="<img src=x onerror=alert(1)> **bold** :red[x]"))
    app = studio("inside", run=run.run_id)
    shown = [str(each.value) for each in app.markdown]
    assert any("\\<img" in text and "\\*\\*bold" in text and "\\:red" in text for text in shown)
    assert not any("<img" in text.replace("\\<img", "") for text in shown)


def test_hundreds_of_runs_open_in_a_second(studio: Open, store: RunStore) -> None:
    for _ in range(300):
        store.create(config(0.5), "cpu")
    run = seed(store, "done")
    app = studio("inside", run=run.run_id)
    began = time.process_time()
    app.run()
    took = time.process_time() - began
    assert len(app.selectbox(key="inside_run").options) == 301
    assert took < 1.0, took
