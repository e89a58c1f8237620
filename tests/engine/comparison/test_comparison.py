"""Tables and drawings that stand beside the charts of one run: comparison, estimates, answers, CSV."""

import csv
import dataclasses
import io
from typing import NamedTuple

import pandas as pd
import pytest

from engine.before.estimates import break_even, estimate, texts_passed
from engine.before.prediction import predict_shape
from engine.comparison import charts as comparison_charts
from engine.comparison import frames as comparison
from engine.comparison import trade
from engine.config import PruningConfig, RunConfig
from engine.measuring.grids import recompute
from engine.records import DataReport, Doubt, EnergySplit, Latency, Measurement, RunResult
from engine.runs.run import Run
from engine.shapes import COMPACT
from engine.views import answers, drawing
from engine.views.export import to_csv
from tests.engine.fake_training import SVM


def measured(pruning: PruningConfig, accuracy: float | None, p50: float) -> Measurement:
    shape = predict_shape(COMPACT, pruning).shape
    return Measurement(
        parameters=shape.parameters,
        size_bytes=shape.size_bytes(),
        flops=shape.flops(128),
        latency_ms=Latency(p50=p50, p95=2 * p50, min=p50, batch_size=2, sequence_length=128),
        accuracy=accuracy,
    )


def finished(
    level: float,
    distil: bool = False,
    *,
    accuracy: float | None = 0.8,
    speedup: float = 2.0,
    run_id: str = "a",
    pruning: dict[str, object] | None = None,
    **parts: object,
) -> Run:
    values: dict[str, object] = {
        "pruning": {"final_density": 1 - level} | (pruning or {}),
        "distillation": {"enabled": distil},
    }
    config = RunConfig.parse(values | parts)
    result = RunResult(
        run_id=run_id,
        name="",
        recipe=config.recipe,
        base=config.model.base,
        level=level,
        distilled=distil,
        dense=measured(PruningConfig(), accuracy, 4.0 * speedup),
        student=measured(config.pruning, accuracy, 4.0),
        speedup=speedup,
        speedup_ceiling=2.5,
        energy_kwh=0.01,
        energy_training_kwh=EnergySplit(cpu=0.01, gpu=0, ram=0),
        energy_evaluation_kwh=EnergySplit(cpu=0, gpu=0, ram=0),
        energy_basis={"cpu": "estimated"},
        emissions_kg=0.00713,
        country="IND",
        grid_g_per_kwh=713.0,
        duration_s=720.0,
        device="cpu",
        device_name="A test CPU",
        precision="fp32",
        data=DataReport(
            source="starter",
            text_column="text",
            label_column="label",
            labels=("a", "b"),
            splits={},
            sizes={"train": 1000, "validation": 10, "test": 10},
            label_counts={},
        ),
        model_path="/model",
    )
    return Run(
        run_id=run_id,
        config=config,
        state="done",
        device="cpu",
        ticket=1,
        created_at=1.0,
        started_at=2.0,
        ended_at=3.0,
        heartbeat_at=3.0,
        pid=None,
        pid_created=None,
        stop_requested=False,
        step=10,
        total_steps=10,
        error=None,
        result=result,
    )


def test_table_has_the_papers_rows_first_and_the_newest_of_ours_beside_them() -> None:
    runs = [finished(0.5, run_id="new", accuracy=0.9), finished(0.5, run_id="old", accuracy=0.1), finished(0.6)]
    table = comparison.table_frame(runs)
    assert list(table.index)[:7] == ["Baseline", "25 %", "50 %", "75 %", "25 % + KD", "50 % + KD", "75 % + KD"]
    assert list(table.index)[7:] == ["60 %"]
    assert table.loc["50 %", ("Ours", "Accuracy (%)")] == pytest.approx(90.0)
    assert table.loc["50 %", ("Paper", "Accuracy (%)")] == 91.81
    assert pd.isna(table.loc["60 %", ("Paper", "Accuracy (%)")])
    assert pd.isna(table.loc["75 %", ("Ours", "Accuracy (%)")])


OTHERS: list[dict[str, object]] = [
    {"method": "hybrid"},
    {"method": "hybrid", "attention_unit": "block"},
    {"method": "soft-cutoff"},
    {"method": "magnitude"},
    {"method": "magnitude", "unit": "weight"},
    {"method": "wanda"},
    {"method": "layer-dropping"},
    {"drop_layers": 1},
    {"vocabulary": "training"},
]


@pytest.mark.parametrize("pruning", OTHERS, ids=str)
def test_other_methods_never_stand_in_the_papers_rows(pruning: dict[str, object]) -> None:
    other, plain = finished(0.5, pruning=pruning, accuracy=0.1), finished(0.5, accuracy=0.9)
    table = comparison.table_frame([other, plain])
    assert list(table.index)[7:] == [other.config.recipe]
    assert table.loc["50 %", ("Ours", "Accuracy (%)")] == pytest.approx(90.0)
    assert table.loc[other.config.recipe, ("Ours", "Accuracy (%)")] == pytest.approx(10.0)
    assert pd.isna(table.loc[other.config.recipe, ("Paper", "Accuracy (%)")])
    assert pd.isna(comparison.table_frame([other]).loc["50 %", ("Ours", "Accuracy (%)")])


def test_each_method_has_a_row_in_the_order_of_methods() -> None:
    runs = [finished(0.5, pruning=pruning, run_id=str(number)) for number, pruning in enumerate(OTHERS)]
    rows = list(comparison.table_frame(runs).index)[7:]
    assert len(rows) == len(OTHERS) == len(set(rows))
    assert [row.partition(" 50")[0] for row in rows[-6:]] == [
        "Hybrid blocks",
        "Soft cut-off",
        "Magnitude",
        "Magnitude",
        "Wanda",
        "Layer dropping",
    ]
    assert len(comparison.speed_frame(runs)) == 6 + len(OTHERS)
    assert len(comparison.speed_frame([finished(0.0), finished(0.0, pruning={"vocabulary": "training"})])) == 6


def test_a_run_that_could_not_distil_stands_where_it_belongs() -> None:
    run = finished(0.5, True)
    assert run.result is not None
    plain = dataclasses.replace(run, result=run.result.model_copy(update={"distilled": False}))
    table = comparison.table_frame([plain])
    assert table.loc["50 %", ("Ours", "Accuracy (%)")] == pytest.approx(80.0)
    assert pd.isna(table.loc["50 % + KD", ("Ours", "Accuracy (%)")])


def test_runs_say_method_and_format() -> None:
    own = finished(0.5, pruning={"method": "hybrid"})
    assert own.result is not None
    own = dataclasses.replace(own, result=own.result.model_copy(update={"stock": False}))
    table = comparison.runs_frame([own, finished(0.0)])
    assert table["Method"].tolist() == ["Hybrid", ""]
    assert table["Format"].tolist() == ["Chhatni's own", "stock BERT"]


def test_table_without_runs_is_the_papers_alone() -> None:
    table = comparison.table_frame([])
    assert len(table) == 7
    assert table["Ours"].isna().all().all()
    assert "–" in comparison.styled(table).to_html()


def test_another_grid_changes_our_emissions_and_not_the_papers() -> None:
    here, there = comparison.table_frame([finished(0.5)]), comparison.table_frame([finished(0.5)], "NOR")
    assert here.loc["50 %", ("Ours", "kg CO2e")] == pytest.approx(0.00713)
    assert there.loc["50 %", ("Ours", "kg CO2e")] == pytest.approx(recompute(0.01, "NOR"))
    assert there.loc["50 %", ("Ours", "kg CO2e")] < 0.001
    assert (here["Paper"].fillna(-1) == there["Paper"].fillna(-1)).all().all()


def test_random_weights_leave_accuracy_empty() -> None:
    run = finished(0.5, accuracy=None)
    assert pd.isna(comparison.runs_frame([run]).loc[0, "Accuracy (%)"])
    assert trade.trade_frame([run]).empty


def test_front_holds_those_that_nobody_beats() -> None:
    runs = [finished(0.5, run_id=name, accuracy=share) for name, share in (("low", 0.7), ("high", 0.9))]
    table = trade.trade_frame(runs).set_index("run")
    assert table.loc["high", "front"]
    assert not table.loc["low", "front"]


def test_names_of_points_that_coincide_do_not_cover_one_another() -> None:
    same = [finished(level, run_id=f"{level}") for level in (0.25, 0.5, 0.75)]
    far = finished(0.9, run_id="far", accuracy=0.2)
    labels = trade.trade_frame([*same, far]).set_index("run")["label"]
    assert sorted(labels) == ["", "", "25 % (+2)", "90 %"]
    assert labels["far"] == "90 %"


def test_a_single_point_gets_axes_that_are_wide_enough_for_ticks() -> None:
    corners = trade.room_frame(trade.trade_frame([finished(0.5)]))
    assert corners["accuracy"].tolist() == pytest.approx([79.5, 80.5])
    assert corners["latency"].tolist() == pytest.approx([3.95, 4.05])


def test_parameters_stand_beside_those_of_the_dense_base() -> None:
    row = comparison.emissions_frame([finished(0.5)]).iloc[0]
    assert row["dense"] == pytest.approx(COMPACT.parameters / 1e6)
    assert row["parameters"] == pytest.approx(
        predict_shape(COMPACT, finished(0.5).config.pruning).shape.parameters / 1e6
    )
    assert row["label"].startswith("50 %")


def with_svm(run: Run, accuracy: float = SVM.accuracy) -> Run:
    assert run.result is not None
    svm = SVM.model_copy(update={"accuracy": accuracy})
    return dataclasses.replace(run, result=run.result.model_copy(update={"svm": svm}))


def test_runs_that_do_not_beat_an_svm_are_named() -> None:
    better, equal, worse = (
        with_svm(finished(level, accuracy=share, run_id=name))
        for level, share, name in ((0.0, 0.7, "run-good"), (0.5, 0.6, "run-even"), (0.75, 0.5, "run-less"))
    )
    assert comparison.runs_frame([better, finished(0.5)])["SVM accuracy (%)"].fillna(-1).tolist() == [60.0, -1.0]
    (said, beaten), *others = comparison.svm_notes([better, equal, worse, finished(0.5)])
    assert (beaten, others) == (False, [])
    assert said.startswith("starter: a linear SVM")
    assert "reaches 60.00 % accuracy" in said
    assert said.endswith("2 of these 3 runs do not beat it: 50 % · even (60.00 %), 75 % · less (50.00 %).")
    assert comparison.svm_notes([worse])[0][0].endswith("This run does not beat it: 75 % · less (50.00 %).")
    assert comparison.svm_notes([better])[0][0].endswith("Every run shown here beats it.")
    assert comparison.svm_notes([better])[0][1]


def test_each_dataset_has_an_svm_of_its_own() -> None:
    file = {"data": {"source": "/somewhere/else/mine.csv"}}
    runs = [
        with_svm(finished(0.0, run_id="run-good")),
        with_svm(finished(0.0, run_id="run-mine", **file), accuracy=0.9),
        with_svm(finished(0.0, run_id="run-seed", **file), accuracy=0.88),
    ]
    (ours, beaten), (theirs, lost) = comparison.svm_notes(runs)
    assert (beaten, lost) == (True, False)
    assert ours.startswith("starter:")
    assert theirs.startswith("mine.csv:")
    assert "reaches 88.00 to 90.00 % from run to run in accuracy" in theirs
    assert comparison.svm_notes([with_svm(finished(0.5, accuracy=None)), finished(0.5)]) == []


def test_break_even_is_energy_over_what_a_text_saves() -> None:
    result = finished(0.5, speedup=2.0).result
    assert result is not None
    # 0.01 kWh in 720 s are 50 W; a text takes 2 ms pruned and 4 ms dense: 0.1 J saved of 36 kJ spent.
    assert break_even(result).texts == 360_000
    assert "estimated" in break_even(result).reason


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (finished(0.0), "nothing to repay"),
        (finished(0.0, pruning={"vocabulary": "training"}), "nothing to repay"),
        (finished(0.5, speedup=0.9), "not measured faster"),
        (finished(0.5, speedup=1.1, pruning={"method": "magnitude", "unit": "weight"}), "no FLOPs are saved"),
    ],
)
def test_break_even_says_why_there_is_none(run: Run, words: str) -> None:
    assert run.result is not None
    point = break_even(run.result)
    assert point.texts is None
    assert words in point.reason


def test_estimate_scales_a_like_run_by_texts() -> None:
    done = finished(0.5, run_id="like")
    twice = 2 * done.config.training.epochs
    config = RunConfig.parse({"pruning": {"final_density": 0.5}, "training": {"epochs": twice}})
    guess = estimate(config, [done])
    assert guess is not None
    assert guess.basis_run == "like"
    assert guess.duration_s == pytest.approx(2 * 720.0)
    assert guess.energy_kwh == pytest.approx(0.02)


def test_estimate_needs_the_same_base_and_prefers_the_same_distillation() -> None:
    other_base = finished(0.5, model={"base": "compact"})
    assert estimate(RunConfig(), [other_base]) is None
    assert estimate(RunConfig(), []) is None
    wanted = RunConfig.parse({"pruning": {"final_density": 0.5}, "distillation": {"enabled": True}})
    guess = estimate(wanted, [finished(0.5, run_id="plain"), finished(0.25, True, run_id="distilled")])
    assert guess is not None
    assert guess.basis_run == "distilled"


def test_estimate_prefers_the_same_method_and_layers() -> None:
    runs = [
        finished(0.5, run_id="movement"),
        finished(0.25, pruning={"method": "wanda"}, run_id="wanda"),
        finished(0.5, pruning={"drop_layers": 1}, run_id="fewer"),
        finished(0.5, pruning={"method": "magnitude", "unit": "weight"}, run_id="weights"),
    ]
    for pruning, wanted in (
        ({"method": "wanda"}, "wanda"),
        ({"drop_layers": 1}, "fewer"),
        ({"method": "magnitude", "unit": "weight"}, "weights"),
        ({}, "movement"),
    ):
        guess = estimate(RunConfig.parse({"pruning": {"final_density": 0.5} | pruning}), runs)
        assert guess is not None
        assert guess.basis_run == wanted


def test_break_even_of_dropped_layers_needs_no_level() -> None:
    result = finished(0.0, pruning={"drop_layers": 1}, speedup=2.0).result
    assert result is not None
    assert break_even(result).texts == 360_000


def test_texts_passed_counts_whole_batches_up_to_the_step_limit() -> None:
    config = RunConfig.parse({"training": {"epochs": 2, "batch_size": 32, "max_steps": 5}})
    assert texts_passed(config, 100) == 5 * 32
    assert texts_passed(RunConfig.parse({"training": {"epochs": 2}}), 100) == 2 * 4 * 32


def test_charts_of_compare_draw_with_and_without_rows() -> None:
    runs = [finished(0.5), finished(0.25, True, run_id="b")]
    for rows in (runs, []):
        pictures = (
            trade.trade_chart(trade.trade_frame(rows)),
            comparison_charts.speed_chart(comparison.speed_frame(rows)),
            comparison_charts.emissions_chart(comparison.emissions_frame(rows)),
            comparison_charts.parameters_chart(comparison.emissions_frame(rows)),
            comparison_charts.curves_chart(comparison.curves_frame({}), "Loss (nats)"),
            drawing.layers_chart(COMPACT, COMPACT),
            drawing.parts_chart(COMPACT, COMPACT),
        )
        assert all(picture.to_dict()["$schema"].endswith(".json") for picture in pictures)


def test_csv_disarms_formulas_and_keeps_numbers_and_devanagari() -> None:
    cells = ["=1+1", "+1", "-1", "@x", "\tx", "छाटणी", 'a,"b"']
    table = pd.DataFrame({"=Text": cells, "n": range(len(cells)), "x": [-1.5] * len(cells)})
    raw = to_csv(table)
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"))))
    assert rows[0] == ["'=Text", "n", "x"]
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "छाटणी", 'a,"b"']
    assert rows[1][2] == "-1.5"


class Said(NamedTuple):
    text: str
    label: str
    confidence: float
    latency_ms: float
    tokens: int
    truncated: bool
    windows: int
    doubt: Doubt = ""


def test_answers_become_rows_with_both_names_of_a_topic() -> None:
    said = [Said("अ", "Sports", 0.9, 1.0, 5, False, 1), Said("ब", "Other", 0.5, 1.0, 5, True, 3, "other language")]
    table = answers.answers_frame(said, {"Sports": "क्रीडा"})
    assert table["Topic (Marathi)"].tolist() == ["क्रीडा", "Other"]
    assert table["Probability (%)"].tolist() == [90.0, 50.0]
    assert table["Windows"].tolist() == [1, 3]
    assert table["Cut"].tolist() == [False, True]
    assert table["Not sure"].tolist() == ["", "the text does not look like the language of the training texts"]
    counts = answers.topics_frame([*said, said[0]])
    assert counts.to_dict("list") == {"Topic": ["Sports", "(not sure)"], "Texts": [2, 1]}, "an unsure topic is none"


def test_probabilities_are_ranked() -> None:
    table = answers.probability_frame({"a": 0.2, "b": 0.7, "c": 0.1}, {"b": "ब"})
    assert table["label"].tolist() == ["ब", "a", "c"]
    assert answers.probability_chart(table).to_dict()["mark"]["type"] == "bar"


def test_a_chart_names_a_run_by_its_own_name_as_far_as_there_is_room() -> None:
    assert comparison.label_of(finished(0.5, run_id="20260101-000000-abcd")) == "50 % · abcd"
    assert comparison.label_of(finished(0.5, run_id="20260101-000000-abcd", name="धाव")) == "धाव · abcd"
    long = comparison.label_of(finished(0.5, run_id="20260101-000000-abcd", name="x" * 100))
    assert long == "x" * (comparison.LONGEST_LABEL - 1) + "… · abcd"


def test_an_archived_run_is_marked_in_the_table() -> None:
    runs = [finished(0.5), dataclasses.replace(finished(0.5), archived=True)]
    assert comparison.runs_frame(runs)["State"].tolist() == ["done", "done, archived"]
