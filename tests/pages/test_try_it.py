"""Try it: texts and files through a stand-in for the model; what is pasted stays plain text."""

import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import streamlit as st

import engine
from engine.errors import CheckpointError, DataError
from engine.store import RunStore
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run


class Prediction(NamedTuple):
    text: str
    label: str
    confidence: float
    latency_ms: float
    probabilities: dict[str, float]
    tokens: int
    truncated: bool
    windows: int


class Classifier:
    """Answers by the first letter, and remembers what it was given."""

    labels = ("Sports", "<i>Other</i>")
    parameters = 2_000_000
    size_bytes = 8_000_000
    seen: list[str]
    latency_ms = 3.21

    def __init__(self) -> None:
        self.seen = []

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        self.seen += texts
        return [self._say(text) for text in texts]

    def _say(self, text: str) -> Prediction:
        label = "Sports" if text.startswith("क") else "<i>Other</i>"
        shares = {"Sports": 0.75, "<i>Other</i>": 0.25}
        windows = min(32, -(-len(text) // 512))
        return Prediction(text, label, 0.75, self.latency_ms, shares, len(text), len(text) > 32 * 512, windows)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Classifier]]:
    """Put a stand-in where `engine.inference` would be; sources that were loaded, by name."""
    loaded: dict[str, Classifier] = {}

    def load(source: str, home: Path) -> Classifier:
        if source == "starter" and (home / "broken").exists():
            raise CheckpointError("The starter is [broken](x).")
        return loaded.setdefault(source, Classifier())

    fake = types.ModuleType("engine.inference")
    fake.load_classifier = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine.inference", fake)
    monkeypatch.setattr(engine, "inference", fake, raising=False)
    st.cache_resource.clear()
    yield loaded
    st.cache_resource.clear()


def test_the_page_opens_without_loading_a_model(studio: Open, models: dict[str, Classifier]) -> None:
    app = studio("try_it")
    assert not models
    assert len(app.selectbox(key="try_sample").options) == 7


def test_a_sample_is_classified_in_both_languages(studio: Open, models: dict[str, Classifier]) -> None:
    app = studio("try_it")
    sample = app.selectbox(key="try_sample").options[6]
    app.selectbox(key="try_sample").set_value(sample).run()
    assert app.text_area(key="try_text").value == sample
    app.button(key="classify").click().run()
    words = everything(app)
    assert "क्रीडा" in words
    assert "Sports" in words
    assert "75.0 %" in words
    assert "3.21 ms" in words
    assert len(app.get("vega_lite_chart")) == 1


def test_several_models_answer_side_by_side(studio: Open, store: RunStore, models: dict[str, Classifier]) -> None:
    run = seed_run(store, config(0.5), "done")
    app = studio("try_it", model=run.run_id)
    assert app.multiselect(key="try_models").value == [run.run_id]
    app.multiselect(key="try_models").set_value(["starter", run.run_id]).run()
    app.text_area(key="try_text").set_value("क").run()
    app.button(key="classify").click().run()
    assert set(models) == {"starter", run.run_id}
    assert len(app.get("vega_lite_chart")) == 2


def test_runs_that_cannot_know_a_topic_are_not_offered(studio: Open, store: RunStore) -> None:
    random = seed_run(store, config(0.5, model={"base": "muril-shape"}), "done", accuracy=None)
    failed = seed_run(store, config(0.5), "failed")
    options = " ".join(studio("try_it").multiselect(key="try_models").options)
    assert random.run_id not in options
    assert failed.run_id not in options


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "**x** [a](http://b) $x$ :red[y]"])
def test_pasted_text_and_labels_are_never_markup(studio: Open, models: dict[str, Classifier], text: str) -> None:
    app = studio("try_it")
    app.text_area(key="try_text").set_value(text).run()
    app.button(key="classify").click().run()
    app.text_area(key="try_text").set_value("something else").run()
    assert text in [element.value for element in app.text]
    marked = "".join(str(element.value) for element in [*app.markdown, *app.caption])
    assert text not in marked
    assert "<i>" not in marked
    assert "\\<i\\>Other" in marked


def test_a_million_characters_are_cut_with_a_word(studio: Open, models: dict[str, Classifier]) -> None:
    app = studio("try_it")
    app.text_area(key="try_text").set_value("क" * 1_000_000).run()
    app.button(key="classify").click().run()
    assert "1,000,000 characters; only the first 100,000" in app.warning[0].value
    assert {len(text) for text in models["starter"].seen} == {100_000}
    assert "read in 32 windows" in everything(app)
    assert "The end of the text was not read" in everything(app)


@pytest.mark.parametrize(("length", "windows"), [(512, 0), (513, 2), (1500, 3)])
def test_a_long_text_says_its_windows(studio: Open, models: dict[str, Classifier], length: int, windows: int) -> None:
    app = studio("try_it")
    app.text_area(key="try_text").set_value("क" * length).run()
    app.button(key="classify").click().run()
    assert (f"read in {windows} windows" in everything(app)) == (windows > 1)
    assert ("windows" in everything(app)) == (windows > 1)
    assert "was not read" not in everything(app)


@pytest.mark.parametrize(("latency_ms", "passes", "said"), [(3.21, 6, "median of 5 passes"), (1500.0, 2, "one pass")])
def test_a_slow_text_is_not_read_over_and_over(
    studio: Open,
    models: dict[str, Classifier],
    monkeypatch: pytest.MonkeyPatch,
    latency_ms: float,
    passes: int,
    said: str,
) -> None:
    monkeypatch.setattr(Classifier, "latency_ms", latency_ms)
    app = studio("try_it")
    app.text_area(key="try_text").set_value("क").run()
    app.button(key="classify").click().run()
    assert said in everything(app)
    assert len(models["starter"].seen) == passes


def test_no_text_is_asked_for(studio: Open, models: dict[str, Classifier]) -> None:
    app = studio("try_it")
    app.text_area(key="try_text").set_value("   ").run()
    app.button(key="classify").click().run()
    assert "There is no text yet" in app.info[0].value
    assert not models


def test_a_model_that_cannot_be_loaded_says_so(studio: Open, home: Path, models: dict[str, Classifier]) -> None:
    (home / "broken").touch()
    app = studio("try_it")
    app.text_area(key="try_text").set_value("क").run()
    app.button(key="classify").click().run()
    assert app.error[0].value == "The starter is \\[broken\\]\\(x\\)\\."


def test_a_file_becomes_a_table(
    studio: Open, home: Path, models: dict[str, Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, bytes, str | None]] = []

    def read_texts(path: Path, column: str | None) -> tuple[list[str], tuple[str, ...]]:
        given.append((path.suffix, path.read_bytes(), column))
        if column == "nothing":
            raise DataError("There is no column 'nothing'.")
        return path.read_text(encoding="utf-8").splitlines(), ("Read from [here](x).",)

    fake = types.ModuleType("engine.data")
    fake.read_texts = read_texts  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine.data", fake)
    monkeypatch.setattr(engine, "data", fake, raising=False)
    app = studio("try_it")
    lines = "\n".join(["क्रिकेट", "=1+1"] * 300)
    app.file_uploader[0].set_value(("../../मजकूर.txt", lines.encode(), "text/plain")).run()
    app.button(key="classify_file").click().run()
    assert not app.exception
    table = app.dataframe[0].value
    assert len(table) == 600
    assert table["Topic (Marathi)"].tolist()[:2] == ["क्रीडा", "<i>Other</i>"]
    assert given == [(".txt", lines.encode(), None)]
    assert not (home / "uploads").exists()
    assert "Read from [here](x)." in [element.value for element in app.text], "as plain text"
    app.text_input(key="try_column").set_value("nothing").run()
    app.button(key="classify_file").click().run()
    assert "There is no column" in app.error[0].value
    assert not app.dataframe
