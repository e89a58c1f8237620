"""Replays on Live: always marked, at the right moment, and never a run."""

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine import replay
from engine.events import CheckpointSaved
from engine.replay import Recording, record, write_recording
from engine.runs.run import StoredEvent
from engine.store import RunStore
from pages.shared.playback import SPEEDS, USUAL, Playback, from_address
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run

LENGTH_S = 200.0


@pytest.fixture
def shipped(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Ship one recording of 200 s, named ``half``, of a run that is in no store."""
    elsewhere = RunStore(tmp_path / "elsewhere" / "runs.db")
    run = seed_run(elsewhere, config(0.75, True, name="A <b>bold</b> run", training={"seed": 7}), "done")
    events = elsewhere.events(run.run_id)
    pace = LENGTH_S / (len(events) - 1)
    spread = [StoredEvent(each.seq, 1.7e9 + place * pace, each.event) for place, each in enumerate(events)]
    made = record(run, spread, elsewhere.home)
    folder = tmp_path / "recorded"
    write_recording(made, folder / "half.jsonl.gz")
    monkeypatch.setattr(replay, "SHIPPED", folder)
    return made


def press(app: AppTest, key: str) -> AppTest:
    return app.button(key=key).click().run()


def badges(app: AppTest) -> int:
    """Count the places that say that this is a replay."""
    return sum(str(each.value).count("Replay]") for each in [*app.title, *app.markdown])


def test_the_place_follows_the_clock_and_stays_when_it_rests() -> None:
    going = Playback(LENGTH_S, speed=16, at_s=10.0, since=1000.0)
    assert [going.place(now) for now in (999.0, 1000.0, 1002.0, 2000.0)] == [10.0, 10.0, 42.0, LENGTH_S]
    assert [going.plays(now) for now in (1000.0, 1011.8, 1011.9)] == [True, True, False]
    resting = going.pause(1002.0)
    assert (resting.place(9999.0), resting.plays(9999.0)) == (42.0, False)
    assert resting.play(5000.0).place(5001.0) == 58.0
    assert going.play(3000.0).place(3000.0) == 0.0  # it was at its end


def test_speed_and_place_change_without_a_jump() -> None:
    going = Playback(LENGTH_S, speed=16, at_s=10.0, since=1000.0)
    faster = going.change_speed(60, 1001.0)
    assert (faster.place(1001.0), faster.place(1002.0)) == (26.0, 86.0)
    moved = going.move(100.0, 1001.0)
    assert (moved.place(1001.0), moved.plays(1001.0)) == (100.0, True)
    assert not going.pause(1001.0).move(5.0, 1002.0).plays(1003.0)
    assert going.move(-3.0, 1001.0).place(1001.0) == 0.0
    assert going.move(1e9, 1001.0).place(1001.0) == LENGTH_S


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_reload_of_the_page_finds_the_place_again(speed: int) -> None:
    for before in (Playback(LENGTH_S, speed, 30.0, 1000.0), Playback(LENGTH_S, speed, 30.0)):
        after = from_address(LENGTH_S, before.address(), 1001.0)
        assert after.place(1001.0) == pytest.approx(before.place(1001.0), abs=0.06 * speed)
        assert (after.plays(1001.0), after.speed) == (before.plays(1001.0), speed)


@pytest.mark.parametrize(
    ("address", "speed", "place"),
    [
        ({}, USUAL, 0.0),
        ({"speed": "16"}, 16, 0.0),
        ({"speed": "17", "at": "20"}, USUAL, 20.0),
        ({"speed": "-4", "at": "1e9"}, USUAL, 0.0),
        ({"speed": "nan", "at": "nan", "since": "<b>"}, USUAL, 0.0),
        ({"at": "99999999999"}, USUAL, LENGTH_S),
        ({"at": "٣"}, USUAL, 0.0),
        ({"since": "500"}, USUAL, 0.0),
        ({"since": "2000"}, USUAL, 0.0),
    ],
)
def test_an_address_is_taken_with_care(address: dict[str, str], speed: int, place: float) -> None:
    found = from_address(LENGTH_S, address, 1000.0)
    assert (found.speed, found.place(1000.0)) == (speed, place)


def test_an_empty_studio_offers_the_first_run_or_a_replay(studio: Open, shipped: Recording) -> None:
    app = studio("live")
    assert "No run yet" in everything(app)
    assert app.get("page_link")
    assert badges(app) == 0
    press(app, "watch_half")
    assert not app.exception
    assert app.query_params["replay"] == "half"
    assert app.query_params["speed"] == str(USUAL)
    assert badges(app) == 8


def test_a_replay_is_marked_wherever_one_looks(studio: Open, shipped: Recording, store: RunStore) -> None:
    for at in ("0", "100", "200"):
        app = studio("live", replay="half", at=at)
        words = everything(app).replace("\\", "")
        assert badges(app) == 8  # the page's head, the state, and each of the six charts
        assert "recorded on A test CPU, " in words
        assert "<b>" not in "".join(str(each.value) for each in app.markdown).replace("\\<b\\>", "")
        assert {button.label for button in app.button} == {"Back to runs", "Clone", "Play"}
        assert not app.code
    assert "Saved in" not in words
    assert store.runs() == []


def test_the_page_is_as_it_was_at_that_moment(studio: Open, shipped: Recording) -> None:
    half = replay.run_at(shipped, 100.0)
    app = studio("live", replay="half", speed="16", at="100")
    words = everything(app)
    assert f"Step {half.step} of 100 · " in app.get("progress")[0].proto.text
    assert " left" in app.get("progress")[0].proto.text
    assert "Training" in words
    assert "1 min 40 s of 3 min 20 s" in words
    assert not app.dataframe[0].value.columns.isin(["Dense"]).any()
    app.slider(key="replay_place").set_value(LENGTH_S).run()
    words = everything(app)
    assert "Step 100 of 100 · 50 s of training" in app.get("progress")[0].proto.text
    assert "Done" in words
    assert app.dataframe[0].value.columns.isin(["Dense"]).any()
    assert app.query_params["at"] == "200"
    app.slider(key="replay_place").set_value(0).run()
    assert "Starting" in everything(app)
    assert app.get("progress")[0].proto.text == "Reading and cleaning the data"


def test_play_goes_on_with_the_clock_and_pause_stays(
    studio: Open, shipped: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr("pages.shared.player.time.time", lambda: now)
    app = studio("live", replay="half", speed="16")
    assert app.button(key="replay_play").label == "Pause"
    assert app.slider(key="replay_place").value == 0
    since = app.query_params["since"]
    now += 5
    app.run()
    assert app.slider(key="replay_place").value == 80
    assert app.query_params["since"] == since
    press(app, "replay_play")
    assert (app.button(key="replay_play").label, app.query_params["at"]) == ("Play", "80")
    assert "since" not in app.query_params
    now += 50
    app.run()
    assert app.slider(key="replay_place").value == 80
    app.segmented_control(key="replay_speed").set_value(60).run()
    assert app.query_params["speed"] == "60"
    press(app, "replay_play")
    now += 1
    app.run()
    assert app.slider(key="replay_place").value == 140
    now += 1
    app.run()
    assert (app.button(key="replay_play").label, app.slider(key="replay_place").value) == ("Play", 201)
    press(app, "replay_play")
    assert app.slider(key="replay_place").value == 0


def test_a_chart_keeps_its_specification_while_the_replay_goes_on(studio: Open, shipped: Recording) -> None:
    from tests.pages.test_live import specification

    app = studio("live", replay="half", at="60")
    before = [specification(app, number) for number in range(6)]
    metric = app.metric[0].value
    app.slider(key="replay_place").set_value(150).run()
    assert [specification(app, number) for number in range(6)] == before
    assert app.metric[0].value != metric


def test_a_replay_is_never_a_run(studio: Open, shipped: Recording, store: RunStore) -> None:
    run = seed_run(store, config(0.25), "done")
    app = studio("live")
    assert app.query_params["run"] == run.run_id
    assert not [label for label in app.selectbox(key="live_run").options if "bold" in label]
    press(app, "watch_half")
    assert "run" not in app.query_params
    app.switch_page("pages/compare.py").run()
    assert "bold" not in everything(app)
    app.switch_page("pages/live.py").run()
    assert app.query_params["replay"] == "half", "who comes back sees the replay again"
    assert [each.run_id for each in store.runs()] == [run.run_id]
    press(app, "replay_leave")
    assert badges(app) == 0
    assert dict(app.query_params) == {"run": run.run_id}
    app.switch_page("pages/compare.py").run()
    app.switch_page("pages/live.py").run()
    assert "replay" not in app.query_params


def test_a_clone_of_a_replay_fills_the_form_of_prune(studio: Open, shipped: Recording, store: RunStore) -> None:
    app = studio("live", replay="half", at="50")
    press(app, "replay_clone")
    assert not app.exception
    assert not app.warning
    assert app.title[0].value == "Prune"
    assert app.session_state["level"] == "75 %"
    assert app.session_state["training.seed"] == 7
    assert "clone_replay" not in app.query_params
    assert store.runs() == []


def test_a_name_that_is_none_is_said_and_shown_as_text(studio: Open, shipped: Recording) -> None:
    app = studio("live", replay="../<img src=x>")
    assert "There is no recording" in app.warning[0].value
    assert "<img" not in app.warning[0].value.replace("\\<", "")
    assert "replay" not in app.query_params
    assert "No run yet" in everything(app)


def test_a_torn_recording_is_said_and_the_page_goes_on(studio: Open, shipped: Recording, store: RunStore) -> None:
    path = replay.SHIPPED / "half.jsonl.gz"
    assert badges(studio("live", replay="half")) == 8
    path.write_bytes(path.read_bytes()[:-40])
    app = studio("live", replay="half")
    assert "is torn" in app.warning[0].value
    assert "No run yet" in everything(app)
    assert "is torn" in studio("live").error[0].value


def test_without_recordings_nothing_is_offered(studio: Open, shipped: Recording, store: RunStore) -> None:
    (replay.SHIPPED / "half.jsonl.gz").unlink()
    assert "recorded run" not in everything(studio("live"))
    seed_run(store, config(0.25), "done")
    assert not [button for button in studio("live").button if (button.key or "").startswith("watch_")]


def test_a_long_recording_is_drawn_in_a_second(
    studio: Open, shipped: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *said, end = [moment.event for moment in shipped.moments]
    said += [CheckpointSaved(step=step, size_bytes=1) for step in range(5000)]
    stored = [StoredEvent(place, 1e9 + place, event) for place, event in enumerate([*said, end], start=1)]
    made = record(replay.run_at(shipped, LENGTH_S), stored, tmp_path)
    write_recording(made, replay.SHIPPED / "long.jsonl.gz")
    app = studio("live", replay="long", at="5000")
    began = time.process_time()
    app.run()
    assert time.process_time() - began < 1.0
