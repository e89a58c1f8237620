"""Try it: texts and files through a stand-in for the model; what is pasted stays plain text."""

import re
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import engine
from engine.errors import CheckpointError, DataError
from engine.measuring.calibration import Calibration, unsure_below
from engine.records import CalibrationReport, Doubt
from engine.store import RunStore
from pages.shared import classify as file_classifying
from pages.shared import topics
from pages.shared.shading import legend, shaded
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
    doubt: Doubt


class Piece(NamedTuple):
    text: str
    contribution: float
    read: bool = True


class Saliency(NamedTuple):
    label: str
    pieces: list[Piece]
    error: float
    steps: int
    whole: bool


class Device(NamedTuple):
    type: str


CALIBRATION = CalibrationReport(
    temperature=1.37,
    ece_before=0.123,
    ece=0.045,
    fitted_on=1234,
    measured_on=2345,
    languages=("mr", "gom"),
    language_margin=6.5,
    strange_within=0.345,
    sure=0.8,
    sure_accuracy=0.91,
)


class Classifier:
    """Answers by the first letter, and remembers what it was given."""

    labels = ("Sports", "<i>Other</i>")
    parameters = 2_000_000
    size_bytes = 8_000_000
    seen: list[str]
    latency_ms = 3.21
    calibration: Calibration | None = None
    device = Device("cpu")
    weighed: list[tuple[str, str | None]]
    error = 0.001
    whole = True

    def __init__(self) -> None:
        self.seen = []
        self.weighed = []

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        self.seen += texts
        return [self._say(text) for text in texts]

    def _say(self, text: str) -> Prediction:
        label = "Sports" if text.startswith("क") else "<i>Other</i>"
        shares = {"Sports": 0.75, "<i>Other</i>": 0.25}
        windows = min(32, -(-len(text) // 512))
        doubt = DOUBTED.get(text, "")
        return Prediction(text, label, 0.75, self.latency_ms, shares, len(text), len(text) > 32 * 512, windows, doubt)


DOUBTED: dict[str, Doubt] = {
    "१२": "no letters",
    "हिन्दी": "other language",
    "आणि आणि आणि आणि": "repetition",
    "झिंबुळ": "unfamiliar",
    "ढढ": "low probability",
}


def explain(model: Classifier, text: str, label: str | None) -> Saliency:
    """Weigh words as `engine.measuring.saliency.explain` would: the first for the label, all others against it."""
    model.weighed.append((text, label))
    if text == "नको":
        raise CheckpointError("It [cannot](x) be weighed.")
    pieces = [Piece(part, 0.5 if not place else -0.125) for place, part in enumerate(re.split("( )", text[:400]))]
    return Saliency(label or "", pieces, model.error, 24, model.whole)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Classifier]]:
    """Put a stand-in where `engine.inference` would be; sources that were loaded, by name."""
    loaded: dict[str, Classifier] = {}

    def load(source: str, home: Path) -> Classifier:
        if source == "starter" and (home / "broken").exists():
            raise CheckpointError("The starter is [broken](x).")
        return loaded.setdefault(source, Classifier())

    for name, what in (("inference", {"load_classifier": load}), ("measuring.saliency", {"explain": explain})):
        fake = types.ModuleType(f"engine.{name}")
        vars(fake).update(what)
        monkeypatch.setitem(sys.modules, f"engine.{name}", fake)
        monkeypatch.setattr(f"engine.{name}", fake, raising=False)
    st.cache_resource.clear()
    yield loaded
    st.cache_resource.clear()


def test_the_page_opens_without_loading_a_model(studio: Open, models: dict[str, Classifier]) -> None:
    app = studio("try_it")
    assert not models
    options = app.selectbox(key="try_sample").options
    assert len(options) == 1 + len(topics.SAMPLES) + 3
    assert len(set(topics.SAMPLES)) == len(topics.MARATHI)
    assert [option for option in options if topics.HINDI in option] == [f"Hindi, not Marathi: {topics.HINDI}"]
    assert [option for option in options if topics.NONSENSE in option] == [f"Nonsense words: {topics.NONSENSE}"]


def test_a_sample_is_classified_in_both_languages(studio: Open, models: dict[str, Classifier]) -> None:
    app = studio("try_it")
    sample = topics.SAMPLES[5]
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
    marked = "".join(str(element.value) for element in [*app.markdown, *app.caption]) + html(app)
    assert text not in marked
    assert "<i>" not in marked
    assert "\\<i\\>Other" in marked


def test_a_million_characters_are_cut_with_a_word(studio: Open, models: dict[str, Classifier]) -> None:
    app = studio("try_it")
    app.text_area(key="try_text").set_value("क" * 1_000_000).run()
    assert app.text_area(key="try_text").value == "क" * 100_000
    app.button(key="classify").click().run()
    assert "1,000,000 characters; only the first 100,000" in app.warning[0].value
    assert {len(text) for text in models["starter"].seen} == {100_000}
    assert "read in 32 windows" in everything(app)
    assert "The end of the text was not read" in everything(app)
    app.text_area(key="try_text").set_value("क" * 100_000).run()
    assert app.warning, "the text is as it was"
    app.selectbox(key="try_sample").set_value(topics.SAMPLES[0]).run()
    assert not app.warning
    app.text_area(key="try_text").set_value("क" * 100_001).run()
    assert "100,001 characters" in app.warning[0].value
    app.text_area(key="try_text").set_value("क" * 99_999).run()
    assert not app.warning


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
    assert [bool(each.proto.deferred_file_id) for each in app.get("download_button")] == [True], "made when pressed"
    app.text_input(key="try_column").set_value("nothing").run()
    app.button(key="classify_file").click().run()
    assert "There is no column" in app.error[0].value
    assert not app.dataframe


def test_a_file_that_is_stopped_keeps_what_is_done_and_goes_on(
    studio: Open, models: dict[str, Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_classifying, "CHUNK", 2)
    monkeypatch.setattr(file_classifying, "LIMIT_TEXTS", 5)
    texts = ["क", "ख", "कप", "खप", "कम", "left out"]
    asked: list[list[str]] = []

    def classify(self: Classifier, part: list[str]) -> list[Prediction]:
        if len(asked) == 1:
            asked.append([])
            st.stop()  # as a press on Stop does, between two parts
        asked.append(part)
        return [self._say(text) for text in part]

    monkeypatch.setattr(Classifier, "classify", classify)
    app = studio("try_it")
    app.file_uploader[0].set_value(("texts.txt", "\n".join(texts).encode(), "text/plain")).run()
    app.button(key="classify_file").click().run()
    assert app.button(key="try_stop").label == "Stop"
    app.run()
    assert "Stopped: 2 of 5 texts are classified." in everything(app)
    assert app.dataframe[0].value["Text"].tolist() == texts[:2]
    app.button(key="try_go_on").click().run()
    assert not app.exception
    assert asked == [texts[:2], [], texts[2:4], texts[4:5]], "no text twice"
    assert app.dataframe[0].value["Text"].tolist() == texts[:5]
    assert "Stopped" not in everything(app)
    assert "1 texts after the first 5 were left out" in everything(app)


def html(app: AppTest) -> str:
    """Return all markup of the page's own making."""
    return "\n".join(each.proto.body for each in app.get("html"))


def classified(app: AppTest, text: str) -> AppTest:
    """Paste a text and press the button."""
    app.text_area(key="try_text").set_value(text).run()
    app.button(key="classify").click().run()
    assert not app.exception
    return app


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("१२", "holds no letters"),
        ("हिन्दी", "does not look like the language"),
        ("आणि आणि आणि आणि", "says the same words again and again"),
        ("झिंबुळ", "unlike any this model was trained on"),
        ("ढढ", "No topic is probable enough"),
    ],
)
def test_a_doubtful_answer_is_no_topic(studio: Open, models: dict[str, Classifier], text: str, reason: str) -> None:
    app = classified(studio("try_it"), text)
    headlines = [element.value for element in app.markdown if element.value.startswith("##")]
    assert headlines == ["## खात्री नाही · Not sure"]
    assert reason in everything(app)
    assert [each.value for each in app.caption if "Best guess" in each.value] == [
        "Best guess: \\<i\\>Other\\</i\\> · \\<i\\>Other\\</i\\>, 75.0 %"
    ]


def test_a_sure_answer_has_no_doubt(studio: Open, models: dict[str, Classifier]) -> None:
    said = everything(classified(studio("try_it"), "क"))
    assert "Not sure" not in said
    assert "Best guess" not in said


def test_the_rule_of_a_calibrated_model_is_told(
    studio: Open, models: dict[str, Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "calibration", Calibration(CALIBRATION, None))
    said = everything(classified(studio("try_it"), "क"))
    assert f"below {100 * unsure_below(2):.0f} %" in said
    for words in (
        "Marathi, Goan Konkani",
        "6.5 nats",
        "more than 34.5 %",
        "Temperature 1.37",
        "4.5 %",
        "12.3 %",
        "1,234",
        "2,345",
    ):
        assert words in said
    assert "sure of 80.0 % of those test texts and right in 91.0 %" in said
    assert "not calibrated" not in said


def test_a_model_without_calibration_says_so(studio: Open, models: dict[str, Classifier]) -> None:
    said = everything(classified(studio("try_it"), "क"))
    assert "This model is not calibrated" in said
    assert "less than 75 %" in said
    assert "Temperature" not in said


def test_words_are_shaded_by_what_they_contributed(studio: Open, models: dict[str, Classifier]) -> None:
    app = classified(studio("try_it"), "क्रिकेट सामना")
    assert models["starter"].weighed == [("क्रिकेट सामना", "Sports")]
    assert ">क्रिकेट</span> <span" in html(app)
    assert 'title="+50.00 points of probability for क्रीडा · Sports"' in html(app)
    assert 'title="\u221212.50 points of probability for क्रीडा · Sports"' in html(app)
    assert "speaks for it" in html(app)
    assert "strongest here: 50.0 points" in html(app)
    app.run()
    assert len(models["starter"].weighed) == 1, "what was computed is kept"
    app.checkbox(key="try_shade").uncheck().run()
    assert "speaks for it" not in html(app)
    classified(app, "क")
    assert len(models["starter"].weighed) == 1, "nobody asked for it"
    app.checkbox(key="try_shade").check().run()
    assert models["starter"].weighed[1:] == [("क", "Sports")]


def test_pasted_words_are_never_html(studio: Open, models: dict[str, Classifier]) -> None:
    app = classified(studio("try_it"), '<img src=x onerror=alert(1)> "><b>')
    assert "&lt;img</span> <span" in html(app)
    assert "&quot;&gt;&lt;b&gt;</span>" in html(app)
    assert not re.search("<(img|b|i)[ >]", html(app))
    assert "&lt;i&gt;Other" in html(app), "nor are labels"


def test_words_that_cannot_be_weighed_say_why(studio: Open, models: dict[str, Classifier]) -> None:
    app = classified(studio("try_it"), "नको")
    assert "It \\[cannot\\]\\(x\\) be weighed" in everything(app)
    assert "75.0 %" in everything(app), "the answer stands nevertheless"


def test_what_was_not_weighed_is_said(
    studio: Open, models: dict[str, Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = everything(classified(studio("try_it"), "क"))
    assert "first window" not in said
    assert "miss their sum" not in said
    monkeypatch.setattr(Classifier, "whole", False)
    monkeypatch.setattr(Classifier, "error", 0.31)
    said = everything(classified(studio("try_it"), "ख"))
    assert "Only the words of the first window are weighed" in said
    assert "miss their sum by 31.0 points" in said


def test_shades_grow_with_contributions_and_leave_out_what_was_not_read() -> None:
    pieces = [Piece("अ", 0.4), Piece(" ", 0.0), Piece("आ", -0.2), Piece("इ", 0.001), Piece("ई", 0.0, read=False)]
    told = shaded(pieces, "क्रीडा")
    tints = re.findall("background-color:(#[0-9a-f]{6})([0-9a-f]{2});border-bottom:2px ([a-z]+)", told)
    assert [(colour, line) for colour, _, line in tints] == [("#17897d", "solid"), ("#cf6d17", "dotted")]
    strong, weak = (int(alpha, 16) for _, alpha, _ in tints)
    assert weak == pytest.approx(strong / 2, abs=1)
    assert ">इ</span> …" in told
    assert "ई" not in told
    assert "…" not in shaded(pieces[:4], "क्रीडा")
    assert "strongest here: 40.0 points" in legend(pieces)
    assert shaded([], "") == shaded([Piece(" ", 0.0)], "").replace(" </div>", "</div>")
    assert len(shaded([Piece("क" * 100_000, 1.0)], "")) < 1000


def test_energy_is_estimated_where_the_power_is_known(
    studio: Open, store: RunStore, models: dict[str, Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seed_run(store, config(0.5), "done")
    app = studio("try_it", model=run.run_id)
    watts = 0.0011 * 3.6e6 / 95
    expected = f"{watts * 3.21e-3 / 3600 * 1e6:.1f} µWh estimated"
    assert expected in everything(classified(app, "क"))
    app.multiselect(key="try_models").set_value(["starter"]).run()
    assert "Wh" not in everything(classified(app, "क"))
    monkeypatch.setattr(Classifier, "device", Device("cuda"))
    app.multiselect(key="try_models").set_value([run.run_id]).run()
    assert "Wh" not in everything(classified(app, "क")), "the run drew its power on another device"


def test_a_link_brings_text_and_models(studio: Open, store: RunStore, models: dict[str, Classifier]) -> None:
    run = seed_run(store, config(0.5), "done")
    app = studio("try_it", model=["starter", run.run_id, "nobody <b>"], text="<b>क</b>")
    assert app.multiselect(key="try_models").value == ["starter", run.run_id]
    assert app.text_area(key="try_text").value == "<b>क</b>"
    assert "no finished model nobody \\<b\\>" in app.warning[0].value
    assert not models, "a link asks nothing by itself"
    app.text_area(key="try_text").set_value("ख").run()
    assert app.text_area(key="try_text").value == "ख", "what is written stays, whatever the address says"


def test_the_address_becomes_a_link_to_what_was_asked(
    studio: Open, store: RunStore, models: dict[str, Classifier]
) -> None:
    run = seed_run(store, config(0.5), "done")
    app = studio("try_it")
    app.multiselect(key="try_models").set_value([run.run_id, "starter"]).run()
    classified(app, " क्रिकेट ")
    assert app.query_params["text"] == "क्रिकेट"
    assert app.query_params["model"] == [run.run_id, "starter"]
    app.multiselect(key="try_models").set_value(["starter"]).run()
    assert app.multiselect(key="try_models").value == ["starter"], "the address does not undo a choice"
    classified(app, "क" * 2001)
    assert "text" not in app.query_params
    assert app.text_area(key="try_text").value == "क" * 2001


def test_a_long_text_in_the_address_is_cut_with_a_word(studio: Open, models: dict[str, Classifier]) -> None:
    app = studio("try_it", text="क" * 5000)
    assert app.text_area(key="try_text").value == "क" * 2000
    assert "cut to its first 2,000 characters" in app.warning[0].value
