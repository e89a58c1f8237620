"""What keeps a studio quick while many watch one run: kept specifications, drawing in turns, no needless garbage collection."""

import threading
import tomllib
from collections.abc import Iterator

import altair as alt
import pandas as pd
import pytest
import streamlit as st

from engine import charts
from engine.events import EmissionsSampled, Evaluated, StepLogged
from engine.home import REPOSITORY
from engine.views.run_charts import Drawing, run_drawings
from pages.shared import chart as charting
from pages.shared import turns
from tests.pages.seed import config, steps

NAMES = ("loss", "accuracy", "latency", "emissions", "density", "load")


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Forget specifications of other tests."""
    charting._specification.cache_clear()
    yield
    charting._specification.cache_clear()


def drawings(upto: int) -> dict[str, Drawing]:
    """Return how to draw the charts of a run that has come so far."""
    told = list(steps(config(0.5, True), 40, upto))
    logged = [event for event in told if isinstance(event, StepLogged)]
    evaluated = [event for event in told if isinstance(event, Evaluated)]
    samples = [event for event in told if isinstance(event, EmissionsSampled)]
    return run_drawings(config(0.5).pruning, logged, evaluated, samples, None, None)


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_specification_is_that_of_the_chart_itself(name: str) -> None:
    draw, data = drawings(40)[name]
    with alt.theme.enable("none"):
        whole = draw(data).to_dict()
    del whole["datasets"], whole["data"]
    kept = dict(charting._specification(draw, "en", presenting=False))
    assert kept.pop("data") == {"name": charting._ROWS}
    assert not kept.pop("config", None), "no size of Altair's own theme"
    assert kept == whole


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_that_moves_is_drawn_once(name: str) -> None:
    sent: list[tuple[object, pd.DataFrame]] = []

    def take(*, spec: dict[str, object], **_: object) -> None:
        datasets = spec.pop("datasets")
        assert isinstance(datasets, dict)
        sent.append((spec, datasets[charting._ROWS]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(st, "vega_lite_chart", take)
        for upto in (20, 40):
            charting.show_moving(drawings(upto)[name], key="key", alt_text="text")
    assert sent[0][0] == sent[1][0]
    assert len(sent[0][1]) < len(sent[1][1])
    assert charting._specification.cache_info().misses == 1


def test_charts_reach_streamlit_without_being_held_against_the_schema_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    kept = alt.LayerChart.validate

    def validate(instance: dict[str, object], schema: dict[str, object] | None = None) -> None:
        asked.append(True)
        kept(instance, schema)

    draw, data = drawings(40)["loss"]
    drawn = draw(data)
    monkeypatch.setattr(alt.LayerChart, "validate", validate)
    drawn.to_dict()
    assert asked, "Altair would"
    asked.clear()
    monkeypatch.setattr(st, "altair_chart", lambda shown, **_: shown.to_dict())
    charting.show_chart(drawn, key="key", alt_text="text")
    assert not asked


def test_one_session_draws_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    inside, most = 0, 0
    pause = threading.Event()

    def draw() -> None:
        nonlocal inside, most
        with turns.turn():
            inside += 1
            most = max(most, inside)
            pause.wait(0.01)
            inside -= 1

    drawing = [threading.Thread(target=draw) for _ in range(8)]
    for thread in drawing:
        thread.start()
    for thread in drawing:
        thread.join()
    assert most == 1


def test_a_drawing_that_fails_gives_its_turn_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    with pytest.raises(ValueError, match="odd"), turns.turn():
        raise ValueError("odd")
    assert turns._DRAWING.acquire(timeout=1)
    turns._DRAWING.release()


def test_a_session_rests_as_long_as_it_has_drawn_and_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = 100.0, []
    monkeypatch.setattr(st, "session_state", {})
    monkeypatch.setattr(turns.time, "monotonic", lambda: now)
    monkeypatch.setattr(turns.time, "sleep", slept.append)
    for took in (0.125, 60.0, 0.0):
        with turns.turn():
            now += took
    assert slept == [0.0, 0.125, turns.LONGEST_REST_S]


def test_no_garbage_is_looked_for_after_every_tick() -> None:
    settings = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert settings["runner"]["postScriptGC"] is False
    assert st.get_option("runner.postScriptGC") in (True, False), "Streamlit knows it by this name"


def test_the_same_chart_is_always_drawn_by_the_same_function() -> None:
    first, second = drawings(20), drawings(40)
    assert [draw for draw, _ in first.values()] == [draw for draw, _ in second.values()]
    assert first["loss"][0] is charts.loss_chart
