"""Presenter mode: a bar with a path of five steps on every page, larger letters in charts, keys for the main actions."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from engine.runs.run import RunState
from engine.store import RunStore
from pages.shared import presenter
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run

pytestmark = pytest.mark.usefixtures("routed")


def chart_config(app: AppTest) -> dict[str, object]:
    """Return what the first chart of a page is configured with."""
    found: dict[str, object] = json.loads(app.get("vega_lite_chart")[0].proto.spec).get("config", {})
    return found


def keys(app: AppTest) -> dict[str, str]:
    """Return the shortcut of every button that has one."""
    return {each.label: each.proto.shortcut for each in app.button if each.proto.shortcut}


def test_without_it_there_is_no_bar_and_no_key(studio: Open) -> None:
    app = studio()
    assert keys(app) == {}
    assert "1 of 5" not in everything(app)
    assert "axis" not in chart_config(app)


def test_the_bar_says_the_step_and_what_to_show(studio: Open) -> None:
    app = studio(present="1")
    assert "1 of 5 · **Pick a level**" in everything(app)
    assert presenter.steps()[0].script in everything(app)
    assert keys(app) == {"Back": "b", "Next": "n", "मराठी": "m", "End": "x", "Start": "s"}
    assert app.button(key="path_back").disabled
    assert chart_config(app)["axis"] == {"labelFontSize": presenter_size(), "titleFontSize": presenter_size() + 1}


def presenter_size() -> int:
    """Return the size of letters on axes while somebody presents."""
    from pages.shared.chart import LABELS

    return LABELS


@pytest.mark.parametrize(
    ("state", "wanted"),
    [("training", {"Stop": "p"}), ("stopped", {"Resume": "p"}), ("stopping", {}), ("queued", {}), ("done", {})],
)
def test_one_key_stops_a_run_and_resumes_it(
    studio: Open, store: RunStore, state: RunState, wanted: dict[str, str]
) -> None:
    run = seed_run(store, config(0.5), state)
    path = {"Back": "b", "Next": "n", "मराठी": "m", "End": "x"}
    assert keys(studio("live", run=run.run_id, present="1")) == path | wanted
    assert keys(studio("live", run=run.run_id)) == {}


def test_next_and_back_walk_the_path_and_stop_at_its_ends(studio: Open) -> None:
    app = studio(present="1")
    for place, step in enumerate(presenter.steps()):
        assert f"{place + 1} of 5 · **{step.title}**" in everything(app), step
        assert app.query_params["present"] in ("1", ["1"]), "a change of page keeps it"
        if place < 4:
            app.button(key="path_next").click().run()
            assert not app.exception, app.exception
    assert app.button(key="path_next").disabled
    app.button(key="path_back").click().run()
    assert "4 of 5" in everything(app)


def test_a_page_off_the_path_leads_to_its_beginning(studio: Open) -> None:
    app = studio("speed_lab", present="1")
    assert "Off the path" in everything(app)
    assert app.button(key="path_back").disabled
    app.button(key="path_next").click().run()
    assert "1 of 5" in everything(app)


def test_the_switch_and_the_end_button_change_the_address(studio: Open) -> None:
    app = studio()
    app.button(key=presenter.CHOICE).click().run()
    assert app.query_params["present"] in ("1", ["1"])
    assert "1 of 5" in everything(app)
    app.button(key="path_end").click().run()
    assert "present" not in app.query_params
    assert "1 of 5" not in everything(app)
    assert app.button(key=presenter.CHOICE).label == "Presenter mode"


def test_the_bar_changes_the_language(studio: Open) -> None:
    app = studio(present="1")
    app.button(key="path_language").click().run()
    assert app.query_params["lang"] in ("mr", ["mr"])
    assert app.button(key="path_language").label == "English"


@pytest.mark.parametrize("value", ["2", "yes", ""])
def test_other_values_in_the_address_are_none(studio: Open, value: str) -> None:
    app = studio(present=value)
    assert "1 of 5" not in everything(app)
    assert "present" not in app.query_params


def test_the_page_of_every_step_exists() -> None:
    from engine.home import REPOSITORY

    assert [step.page for step in presenter.steps()] == ["prune", "live", "compare", "try_it", "inside"]
    assert all((REPOSITORY / "pages" / f"{step.page}.py").is_file() for step in presenter.steps())
