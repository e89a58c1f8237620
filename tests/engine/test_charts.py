"""Frames and charts of one run: pure, thinned, and of one specification whatever the data."""

from typing import Any

import altair as alt
import pandas as pd
import pytest

from engine import charts
from engine.events import BaselineMeasured, EmissionsSampled, Evaluated, StepLogged, SvmMeasured
from engine.records import Latency, Measurement
from engine.views import run_tables
from tests.engine.fake_training import SVM, run_finished


def step(number: int, distilling: bool = False) -> StepLogged:
    return StepLogged(
        step=number,
        epoch=number / 10,
        loss=2.0 / number,
        cross_entropy=1.0 / number,
        distillation_loss=0.5 if distilling else None,
        learning_rate=1e-4,
        density=0.75,
        density_target=0.7,
        grad_norm=None,
        texts_per_s=10,
        tokens_per_s=100,
        elapsed_s=number,
        eta_s=0,
    )


def measured(accuracy: float | None) -> Measurement:
    timing = Latency(p50=5.0, p95=6.0, min=4.0, batch_size=1, sequence_length=128)
    return Measurement(parameters=10, size_bytes=40, flops=100, latency_ms=timing, accuracy=accuracy)


def evaluated(number: int, accuracy: float | None = 0.8) -> Evaluated:
    return Evaluated(
        step=number,
        measurement=measured(accuracy),
        dense_latency_ms=Latency(p50=9.0, p95=9.5, min=8.0, batch_size=1, sequence_length=128),
    )


def sample(number: int, gpu: float | None = None) -> EmissionsSampled:
    return EmissionsSampled(
        duration_s=60.0 * number,
        energy_kwh=0.002 * number,
        cpu_energy_kwh=0.002 * number,
        gpu_energy_kwh=0,
        ram_energy_kwh=0,
        emissions_kg=0.001 * number,
        power_w=50,
        phase="training",
        country="IND",
        grid_g_per_kwh=713,
        cpu_basis="estimated",
        gpu_basis=None if gpu is None else "measured",
        ram_basis="estimated",
        cpu_percent=70,
        gpu_percent=gpu,
    )


def without_data(chart: charts.Chart) -> dict[str, Any]:
    """Return a chart's specification without its rows and without the name that their content gives them."""

    def strip(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: strip(value) for key, value in part.items() if key not in ("data", "datasets")}
        return [strip(each) for each in part] if isinstance(part, list) else part

    stripped: dict[str, Any] = strip(chart.to_dict())
    return stripped


@pytest.mark.parametrize("length", [0, 1, 2, 499, 500, 501, 1000, 1001, 12_345])
def test_thinning_keeps_the_first_the_last_and_the_limit(length: int) -> None:
    kept = charts.thin(range(length))
    assert len(kept) <= charts.POINTS
    assert kept == sorted(set(kept))
    if length:
        assert (kept[0], kept[-1]) == (0, length - 1)
    if length <= charts.POINTS:
        assert kept == list(range(length))
    else:
        assert len(kept) > charts.POINTS // 2 - 2


def test_a_drawn_point_stays_drawn_while_a_series_grows() -> None:
    before, after = charts.thin(range(2000)), charts.thin(range(2050))
    assert set(before[:-1]) <= set(after)


CASES = {
    "loss": (charts.loss_chart, lambda n: charts.loss_frame([step(i + 1, n > 5) for i in range(n)])),
    "density": (charts.density_chart, lambda n: charts.density_frame([step(i + 1) for i in range(n)])),
    "latency": (charts.latency_chart, lambda n: charts.latency_frame([evaluated(i + 1) for i in range(n)])),
    "accuracy": (
        charts.accuracy_chart,
        lambda n: charts.accuracy_frame(
            [evaluated(i + 1) for i in range(n)],
            BaselineMeasured(measurement=measured(0.9)) if n else None,
            SvmMeasured(report=SVM) if n > 5 else None,
        ),
    ),
    "emissions": (charts.emissions_chart, lambda n: charts.emissions_frame([sample(i + 1) for i in range(n)])),
    "telemetry": (charts.telemetry_chart, lambda n: charts.telemetry_frame([sample(i + 1, 40.0) for i in range(n)])),
}


def test_the_schedule_is_left_out_where_it_is_no_goal() -> None:
    steps = [step(number) for number in (1, 2)]
    assert charts.density_frame(steps)["series"].tolist() == ["Kept", "Schedule"] * 2
    assert charts.density_frame(steps, scheduled=False)["series"].tolist() == ["Kept", "Kept"]


@pytest.mark.parametrize("name", CASES)
def test_the_specification_is_constant_while_data_changes(name: str) -> None:
    draw, build = CASES[name]
    empty, few, many = (draw(build(count)) for count in (0, 3, 2000))
    assert without_data(empty) == without_data(few) == without_data(many)
    assert "encoding" in str(without_data(few))


@pytest.mark.parametrize("name", CASES)
def test_column_types_do_not_depend_on_the_rows(name: str) -> None:
    _, build = CASES[name]
    empty, full = build(0), build(7)
    assert empty.empty
    assert not full.empty
    assert list(empty.dtypes) == list(full.dtypes)


@pytest.mark.parametrize("name", CASES)
def test_every_axis_has_a_title_with_its_unit(name: str) -> None:
    draw, build = CASES[name]
    titles = set()

    def collect(part: Any) -> None:
        if isinstance(part, dict):
            for channel in ("x", "y"):
                if isinstance(part.get(channel), dict) and "title" in part[channel]:
                    titles.add(part[channel]["title"])
            for value in part.values():
                collect(value)
        elif isinstance(part, list):
            for value in part:
                collect(value)

    collect(without_data(draw(build(3))))
    assert len(titles) >= 2
    assert all("(" in title or title == "Optimizer step" for title in titles)


def test_values_are_in_the_units_of_the_axes() -> None:
    accuracy = charts.accuracy_frame([evaluated(5, 0.8)], BaselineMeasured(measurement=measured(0.9)))
    assert accuracy.to_dict("list") == {
        "step": [5.0, 0.0],
        "series": [charts.STUDENT, charts.DENSE],
        "value": [pytest.approx(80.0), pytest.approx(90.0)],
    }
    emissions = charts.emissions_frame([sample(2)])
    assert emissions.iloc[0].to_list() == [2.0, 2.0, 4.0, 50.0]  # minutes, grams, Wh, watts


def test_random_weights_give_no_accuracy_points() -> None:
    assert charts.accuracy_frame([evaluated(1, None)], BaselineMeasured(measurement=measured(None))).empty


def test_distillation_has_rows_only_where_there_is_a_teacher() -> None:
    assert set(charts.loss_frame([step(1)])["series"]) == {"Total", "Cross-entropy"}
    assert set(charts.loss_frame([step(1, True)])["series"]) == {"Total", "Cross-entropy", "Distillation"}


def test_a_load_that_nobody_reads_is_not_drawn_as_zero() -> None:
    assert set(charts.telemetry_frame([sample(1)])["series"]) == {"CPU"}
    assert set(charts.telemetry_frame([sample(1, 30.0)])["series"]) == {"CPU", "GPU"}


def test_charts_carry_exact_values_in_tooltips() -> None:
    chart = charts.loss_chart(charts.loss_frame([step(1)]))
    assert isinstance(chart, alt.LayerChart)
    assert ".4f" in str(without_data(chart))


def test_the_svm_is_a_rule_of_its_own_and_never_a_line() -> None:
    measured = SvmMeasured(report=SVM)
    data = charts.accuracy_frame([evaluated(5), evaluated(9)], None, measured)
    assert data[data["series"] == charts.SVM]["value"].tolist() == [60.0]
    spec = charts.accuracy_chart(data).to_dict()
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["rule", "line", "point"]
    chosen = [layer["transform"][0]["filter"]["oneOf"] for layer in spec["layer"]]
    assert chosen == [[charts.DENSE, charts.SVM], [charts.STUDENT], [charts.STUDENT]]
    assert len(charts.accuracy_frame([evaluated(5)], None)) == 1


def test_a_result_has_a_column_for_the_svm_where_there_is_one() -> None:
    plain = run_finished("a").result
    assert "SVM, same texts" not in run_tables.result_frame(plain)
    table = run_tables.result_frame(plain.model_copy(update={"svm": SVM})).set_index("Quantity")["SVM, same texts"]
    assert (table["Test accuracy"], table["Validation accuracy"]) == ("62.50 %", "60.00 %")
    assert table["Size"] == "0.02 MB"
    assert table["FLOPs a text"] == ""


def test_frames_are_not_shared_between_calls() -> None:
    first = charts.loss_frame([step(1)])
    first.loc[0, "value"] = -1.0
    assert isinstance(first, pd.DataFrame)
    assert charts.loss_frame([step(1)]).loc[0, "value"] == 2.0
