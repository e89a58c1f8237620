"""Speed lab: figures before any press, one real measurement of a tiny shape, and stand-ins for the rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.errors import JobError
from engine.lab import memory as lab_memory
from engine.lab import process as lab_process
from engine.lab.plan import LabResult, LabSettings
from engine.lab.process import Progress
from engine.records import Latency
from engine.store import RunStore
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run

TINY = {
    "dense": "custom",
    "dense_layers": "2",
    "dense_heads": "2",
    "dense_ffn": "32",
    "dense_hidden": "16",
    "dense_vocab": "200",
    "layers": "1",
    "heads": "1",
    "ffn": "16",
    "hidden": "16",
    "vocab": "100",
    "length": "16",
}


def latency(p50: float, spread: float = 1.25) -> Latency:
    return Latency(p50=p50, p95=spread * p50, min=0.8 * p50, batch_size=1, sequence_length=128)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[LabSettings]:
    """Put a stand-in where the measurement would be: twice as fast as dense in every precision; what it was asked for."""
    seen: list[LabSettings] = []

    def measure(settings: LabSettings, home: Path, expected_s: float) -> Iterator[Progress | list[LabResult]]:
        seen.append(settings)
        yield Progress("starting", 1.0, expected_s)
        several = len(settings.precisions) > 1
        yield [
            LabResult(
                settings,
                precision,
                "A test CPU",
                12,
                latency(8.0),
                latency(4.0),
                3.0 if several and not number else None,
            )
            for number, precision in enumerate(settings.precisions)
        ]

    monkeypatch.setattr(lab_process, "measure_apart", _as_generator(measure))
    return seen


def _as_generator(function):  # type: ignore[no-untyped-def]
    def made(*given):  # type: ignore[no-untyped-def]
        yield from function(*given)

    return made


def tile(app: AppTest, label: str) -> str:
    (found,) = [each for each in app.metric if each.label == label]
    return f"{found.value} {found.delta}"


def press(app: AppTest) -> AppTest:
    app.button(key="lab_measure").click().run()
    assert not app.exception, app.exception
    return app


def test_figures_of_both_stand_there_before_any_press(studio: Open) -> None:
    app = studio("speed_lab")
    assert tile(app, "Parameters") == "60.8 M vs 89.1 M"
    assert tile(app, "Size (fp32)") == "243 MB vs 356 MB"
    assert tile(app, "Ceiling") == "1.48x 128 tokens"
    assert "Takes about" in everything(app)
    assert not app.dataframe
    assert len(app.get("vega_lite_chart")) == 1


def test_figures_move_with_the_controls(studio: Open) -> None:
    app = studio("speed_lab")
    app.button(key="lab_half_layers").click().run()
    assert app.number_input(key="layers").value == 6
    assert app.number_input(key="ffn").value == 3072
    assert tile(app, "Ceiling") == "2.00x 128 tokens"
    app.number_input(key="ffn").set_value(768).run()
    assert tile(app, "Ceiling").startswith("3.89x")
    app.selectbox(key="precision").set_value("bf16").run()
    assert tile(app, "Size (bf16)").endswith("vs 178 MB")


def test_a_link_opens_the_shape(studio: Open) -> None:
    app = studio("speed_lab", dense="starter", layers="2", ffn="300", batch="4", length="64", precision="bf16")
    assert app.selectbox(key="dense").value == "starter"
    values = {key: app.number_input(key=key).value for key in ("layers", "heads", "ffn", "hidden", "batch", "length")}
    assert values == {"layers": 2, "heads": 3, "ffn": 300, "hidden": 192, "batch": 4, "length": 64}
    assert app.selectbox(key="precision").value == "bf16"


@pytest.mark.parametrize("value", ["nothing", "<script>", "9" * 400, "inf", "nan", "-1", "", "99"])
def test_a_link_with_nonsense_opens_the_defaults(studio: Open, value: str) -> None:
    app = studio("speed_lab", dense=value, layers=value, batch=value if value != "99" else "0", device=value)
    assert app.selectbox(key="dense").value == "bert-base"
    assert app.number_input(key="layers").value == 12
    assert app.number_input(key="batch").value == 1
    assert app.selectbox(key="device").value == "cpu"


def test_another_dense_shape_brings_its_own_half(studio: Open) -> None:
    app = studio("speed_lab")
    app.number_input(key="layers").set_value(5).run()
    app.selectbox(key="dense").set_value("starter").run()
    assert (app.number_input(key="layers").value, app.number_input(key="ffn").value) == (3, 384)
    assert app.query_params["dense"] == "starter"
    app.selectbox(key="dense").set_value("custom").run()
    assert app.number_input(key="dense_hidden").value == 256
    assert app.number_input(key="ffn").value == 512


def test_impossible_shapes_are_said_and_not_measured(studio: Open) -> None:
    app = studio("speed_lab")
    app.number_input(key="heads").set_value(13).run()
    assert "holds at most 12" in everything(app)
    assert app.button(key="lab_measure").disabled
    assert "come back when both shapes are possible" in everything(app)
    app = studio("speed_lab", dense="custom", dense_hidden="250")
    assert "cannot share evenly" in everything(app)
    assert app.button(key="lab_measure").disabled


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"precision": "fp16"}, "needs a GPU"),
        ({"batch": "200", "length": "512"}, "the lab ends a measurement after 5"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_press(
    studio: Open, parameters: dict[str, str], words: str
) -> None:
    app = studio("speed_lab", **parameters)
    assert words in everything(app).replace("\\", "")
    assert app.button(key="lab_measure").disabled


def test_shapes_that_do_not_fit_into_memory_are_refused(studio: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_memory, "free_bytes", lambda: 10**9)
    app = studio("speed_lab")
    assert "GB of memory (estimated), and 1.0 GB are free" in everything(app).replace("\\", "")
    assert app.button(key="lab_measure").disabled


def test_a_press_measures_and_keeps_every_result(studio: Open, asked: list[LabSettings]) -> None:
    app = press(studio("speed_lab"))
    assert tile(app, "Latency, p50") == "4.00 ms p95 5.00 ms"
    assert tile(app, "Dense, p50") == "8.00 ms p95 10.0 ms"
    assert tile(app, "Speed-up") == "2.00x ceiling 1.48x"
    assert tile(app, "Share of ceiling") == "135 % 12 rounds"
    words = everything(app)
    assert "the gain of structure: both sides ran in fp32 on A test CPU" in words
    assert "It is more than the ceiling" in words
    app.button(key="lab_half_layers").click().run()
    press(app)
    table = app.dataframe[0].value
    assert table["Shape"].tolist() == ["6 layers", "FFN 1,536"]
    assert [each.other.layers for each in asked] == [12, 6]
    assert len(app.get("vega_lite_chart")) == 2
    assert [bool(each.proto.deferred_file_id) for each in app.get("download_button")] == [True], "made when pressed"
    app.button(key="lab_forget").click().run()
    assert not app.dataframe


def test_the_gain_of_precision_stands_apart(studio: Open, asked: list[LabSettings]) -> None:
    app = studio("speed_lab", precision="bf16")
    app.toggle(key="with_fp32").set_value(True).run()
    press(app)
    assert asked[0].precisions == ("bf16", "fp32")
    assert "3.00x as fast in bf16 as in fp32" in everything(app)
    table = app.dataframe[0].value
    assert table["Precision"].tolist() == ["bf16", "fp32"]
    assert table["Precision gain (x)"].tolist()[0] == 3.0


def test_a_training_run_is_warned_of_and_marks_the_figures(
    studio: Open, store: RunStore, asked: list[LabSettings]
) -> None:
    seed_run(store, config(0.5), "queued")
    app = studio("speed_lab")
    assert not app.warning
    seed_run(store, config(0.25, name="[busy](x)"), "training")
    app = studio("speed_lab")
    assert "Run \\[busy\\]\\(x\\) is training on this device" in app.warning[0].value
    press(app)
    assert app.dataframe[0].value["Disturbed"].tolist() == [True]
    assert "these figures are disturbed" in everything(app)


def test_a_measurement_that_fails_says_why_and_another_works(
    studio: Open, asked: list[LabSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    working = lab_process.measure_apart

    def fail(*_):  # type: ignore[no-untyped-def]
        yield Progress("starting", 0.1, 10.0)
        raise JobError("The [process](x) is gone.")

    monkeypatch.setattr(lab_process, "measure_apart", fail)
    app = press(studio("speed_lab"))
    assert app.error[0].value == "The \\[process\\]\\(x\\) is gone\\."
    assert not app.button(key="lab_measure").disabled
    monkeypatch.setattr(lab_process, "measure_apart", working)
    press(app)
    assert not app.error
    assert len(app.dataframe[0].value) == 1


def test_a_real_measurement_of_a_tiny_shape(studio: Open) -> None:
    app = studio("speed_lab", **TINY)
    press(app)
    assert not app.error, app.error
    row = app.dataframe[0].value.iloc[0]
    assert row["Shape"] == "1 layer, 1 head, FFN 16, 100 tokens"
    assert 0 < row["Min (ms)"] <= row["p50 (ms)"] <= row["p95 (ms)"]
    assert row["Speed-up (x)"] == pytest.approx(row["Dense p50 (ms)"] / row["p50 (ms)"])
    assert (row["Precision"], row["Batch (texts)"], row["Length (tokens)"]) == ("fp32", 1, 16)
    assert row["Device"].startswith("cpu: ")
