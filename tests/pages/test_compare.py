"""Compare: the paper's table beside ours, selection, the grid and the exports."""

import time

import pytest

from engine.emissions import grid_intensity
from engine.store import RunStore
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run


def test_no_runs_show_the_paper_and_an_invitation(studio: Open) -> None:
    app = studio("compare")
    assert "No finished run yet" in everything(app)
    table = app.dataframe[0].value
    assert len(table) == 7
    assert "cannot come from structure alone" in everything(app)


@pytest.mark.parametrize("state", ["queued", "training", "failed", "stopped"])
def test_runs_without_a_result_are_listed(studio: Open, store: RunStore, state: str) -> None:
    run = seed_run(store, config(0.5), state)  # type: ignore[arg-type]
    app = studio("compare")
    listed = app.dataframe[1].value
    assert listed["Run"].tolist() == [run.run_id]
    assert listed["State"].tolist() == [state]


def test_ours_stand_beside_the_papers_rows(studio: Open, store: RunStore) -> None:
    for level, distil in ((0.0, False), (0.5, False), (0.75, True)):
        seed_run(store, config(level, distil), "done")
    app = studio("compare")
    table = app.dataframe[0].value
    assert table.loc["50 %", ("Paper", "Accuracy (%)")] == 91.81
    assert table.loc["50 %", ("Ours", "Accuracy (%)")] == pytest.approx(84.0)
    assert len(app.get("vega_lite_chart")) == 5


def test_other_methods_have_rows_of_their_own(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.5), "done", accuracy=0.9)
    for pruning in ({"method": "hybrid"}, {"method": "magnitude", "unit": "weight"}, {"drop_layers": 1}):
        seed_run(store, config(0.5, pruning=pruning), "done")
    app = studio("compare")
    table = app.dataframe[0].value
    assert table.index.tolist()[7:] == ["50 %, 1 layer dropped", "Hybrid 50 %", "Magnitude 50 % of weights"]
    assert table.loc["50 %", ("Ours", "Accuracy (%)")] == pytest.approx(88.0)
    assert table.loc["Magnitude 50 % of weights", ("Ours", "Ceiling (x)")] == 1.0
    runs = app.dataframe[1].value.set_index("Setting")
    assert runs.loc["Hybrid 50 %", "Format"] == "Chhatni's own"
    assert runs.loc["50 %", "Method"] == "Block movement"
    repaid = app.dataframe[-1].value.set_index("Setting")
    assert "no FLOPs are saved" in repaid.loc["Magnitude 50 % of weights", "Basis"]


def test_the_grid_switcher_recomputes_our_emissions(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.5), "done")
    app = studio("compare")
    before = app.dataframe[0].value.loc["50 %", ("Ours", "kg CO2e")]
    app.selectbox(key="grid").set_value("NOR").run()
    after = app.dataframe[0].value.loc["50 %", ("Ours", "kg CO2e")]
    assert before == pytest.approx(0.0011 * 0.713)
    assert after == pytest.approx(0.0011 * grid_intensity("NOR") / 1000)
    assert app.dataframe[0].value.loc["50 %", ("Paper", "kg CO2e")] == 0.002663
    assert f"{grid_intensity('NOR'):g} g CO₂e per kWh" in everything(app)


def test_runs_with_random_weights_alone_have_no_accuracy_chart(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.75, model={"base": "muril-shape"}), "done", accuracy=None)
    app = studio("compare")
    assert "None of these runs has a measured accuracy" in everything(app)
    assert not app.exception


def test_transformers_that_an_svm_beats_are_named_in_plain_words(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.5), "done")
    app = studio("compare")
    assert "Every run shown here beats it" in everything(app).replace("\\", "")
    assert not app.warning
    poor = seed_run(store, config(0.75), "done", accuracy=0.6)
    app = studio("compare")
    said = app.warning[0].value.replace("\\", "")
    assert said.startswith("starter: a linear SVM over character n-grams")
    assert f"1 of these 2 runs does not beat it: 75 % · {poor.run_id[-4:]} (57.00 %)." in said
    listed = app.dataframe[1].value.set_index("Run")
    assert listed.loc[poor.run_id, "SVM accuracy (%)"] == 75.0


def test_break_even_stands_with_its_basis(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.75), "done")
    seed_run(store, config(0.0), "done")
    table = studio("compare").dataframe[-1].value.set_index("Setting")
    # 1.1 Wh are repaid at 3 ms of 41.7 W a text.
    assert table.loc["75 %", "Texts"] == pytest.approx(0.0011 * 3.6e6 / (0.0011 * 3.6e6 / 95 * 0.003), abs=1)
    assert "estimated" in table.loc["75 %", "Basis"]
    assert "nothing to repay" in table.loc["Baseline", "Basis"]


def test_hundreds_of_runs_are_drawn_quickly(studio: Open, store: RunStore) -> None:
    for number in range(300):
        seed_run(store, config(0.25 * (number % 4), number % 2 == 0), "done", total=2)
    app = studio("compare")
    began = time.process_time()
    app.run()
    took = time.process_time() - began
    assert len(app.dataframe[1].value) == 300
    assert took < 1.0, took
