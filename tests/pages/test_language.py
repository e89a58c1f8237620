"""Marathi or English: chosen in the sidebar or the address, kept from page to page, in texts and in charts."""

import json
import re
from collections.abc import Mapping
from string import Formatter

import altair as alt
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from engine.charts import density_chart, density_frame
from engine.shapes import COMPACT
from engine.store import RunStore
from engine.views.drawing import layers_chart
from pages.shared import chart as charting
from pages.shared import language
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run

pytestmark = pytest.mark.usefixtures("routed")

CATALOGUE = {
    "Prune": "छाटणी",
    "Pruning level": "छाटणीची पातळी",
    "{tokens} tokens": "{tokens} टोकन",
    "Kept": "राखलेले",
    "Kept (%)": "राखलेले (%)",
    "Layer": "स्तर",
}


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a small catalogue in the place of the one that ships, so that its wording can change without these tests."""
    language.marathi.cache_clear()
    monkeypatch.setattr(language, "marathi", lambda: CATALOGUE)
    monkeypatch.setattr(charting, "marathi", lambda: CATALOGUE)


def specification(app: AppTest, place: int = 0) -> str:
    """Return the specification of a chart of the page."""
    return str(app.get("vega_lite_chart")[place].proto.spec)


def test_a_link_opens_the_page_in_marathi(studio: Open) -> None:
    app = studio(lang="mr")
    assert app.title[0].value == "छाटणी"
    assert "128 टोकन" in everything(app)
    assert "Prune" not in [each.value for each in app.title]


def test_an_unknown_language_is_english_and_leaves_the_address(studio: Open) -> None:
    app = studio(lang="<b>")
    assert app.title[0].value == "Prune"
    assert "lang" not in app.query_params


def test_switching_keeps_the_form_and_the_address(studio: Open) -> None:
    app = studio()
    app.selectbox(key="base").select("compact").run()
    app.button_group(key="level").set_value("25 %").run()
    app.button_group(key=language.CHOICE).set_value("mr").run()
    assert not app.exception
    assert app.title[0].value == "छाटणी"
    assert app.query_params["lang"] in ("mr", ["mr"])
    assert app.selectbox(key="base").value == "compact"
    assert app.session_state["level"] == "25 %"
    app.button_group(key=language.CHOICE).set_value("en").run()
    assert app.title[0].value == "Prune"
    assert "lang" not in app.query_params


def test_the_language_outlives_a_page_that_drops_the_query(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.5), "done")
    app = studio(lang="mr")
    app.switch_page("pages/live.py")
    app.query_params.clear()
    app.query_params["run"] = run.run_id
    app.run()
    assert not app.exception
    assert app.query_params["lang"] in ("mr", ["mr"])
    assert app.query_params["run"] in (run.run_id, [run.run_id])
    assert app.session_state[language.KEY] == "mr"


def test_charts_speak_marathi_on_the_page(studio: Open) -> None:
    assert '"Layer"' in specification(studio())
    marathi = specification(studio(lang="mr"))
    assert '"Layer"' not in marathi
    assert '"स्तर"' in json.dumps(json.loads(marathi), ensure_ascii=False)


def test_titles_tooltips_and_series_aretranslated_and_the_chart_is_left_alone() -> None:
    chart = density_chart(density_frame([]))
    before = chart.to_dict()
    titles, labels = words_of(charting.translated(chart, CATALOGUE).to_dict())
    assert "राखलेले (%)" in titles
    assert "Kept (%)" not in titles
    assert "Optimizer step" in titles, "what the catalogue lacks stays English"
    assert labels
    assert all("राखलेले" in label for label in labels)
    assert chart.to_dict() == before


def test_numbers_and_charts_without_names_get_no_expression() -> None:
    data = pd.DataFrame({"a": [1.0], "b": [2.0]})
    chart = alt.Chart(data).mark_point().encode(alt.X("a:Q", scale=alt.Scale(domain=[0, 1])), alt.Y("b:Q", axis=None))
    made = charting.translated(chart, CATALOGUE).to_dict()
    assert words_of(made) == ([], [])
    assert made["encoding"]["y"]["axis"] is None


def test_a_chart_is_the_same_at_every_tick() -> None:
    chart = layers_chart(COMPACT, COMPACT)
    first, second = (charting.translated(chart, CATALOGUE).to_json() for _ in range(2))
    assert first == second


def test_fields_are_filled_in() -> None:
    assert language.say("{tokens} tokens", tokens=7) == "7 tokens"
    assert [name for _, name, _, _ in Formatter().parse("{a} of {b}") if name] == ["a", "b"]


def words_of(spec: object) -> tuple[list[str], list[str]]:
    """Return the titles of a specification, and the expressions that name values."""
    titles: list[str] = []
    labels: list[str] = []
    if isinstance(spec, Mapping):
        for name, value in spec.items():
            if name == "title" and isinstance(value, str):
                titles.append(value)
            elif name == "labelExpr" and isinstance(value, str):
                assert re.search(r"\|\| datum\.label$", value), "a value without a name of its own is shown as it is"
                labels.append(value)
            else:
                more = words_of(value)
                titles += more[0]
                labels += more[1]
    elif isinstance(spec, list):
        for each in spec:
            more = words_of(each)
            titles += more[0]
            labels += more[1]
    return titles, labels
