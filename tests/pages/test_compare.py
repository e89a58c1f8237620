"""Compare: the paper's table beside ours, selection, the grid and the exports."""

import time

import pytest
from streamlit.testing.v1 import AppTest

from engine.measuring.grids import grid_intensity
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
    assert len(app.get("vega_lite_chart")) == 10


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


def selected(app: AppTest) -> str:
    """Return what the page says of the runs in the charts."""
    return next(line for line in everything(app).splitlines() if "charts below" in line)


def address(app: AppTest, name: str) -> str:
    """Return one value of the address; AppTest keeps what a test has set as a list and what the page has set as text."""
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def test_runs_base_and_grid_stand_in_the_address(studio: Open, store: RunStore) -> None:
    runs = [seed_run(store, config(level), "done") for level in (0.25, 0.5, 0.75)]
    seed_run(store, config(0.5, model={"base": "compact"}), "done")
    wanted = f"{runs[0].run_id},{runs[2].run_id}"
    app = studio("compare", runs=wanted, table_base="compact", grid="NOR")
    assert "below: 2." in selected(app)
    assert app.dataframe[-1].value["Run"].tolist() == [runs[2].run_id, runs[0].run_id]
    assert app.selectbox(key="table_base").value == "compact"
    assert app.selectbox(key="grid").value == "NOR"
    app.selectbox(key="grid").set_value("FRA").run()
    assert address(app, "grid") == "FRA"
    assert set(address(app, "runs").split(",")) == set(wanted.split(","))
    app.selectbox(key="grid").set_value("").run()
    assert "grid" not in app.query_params


def test_a_selection_outlives_a_new_run_that_moves_the_rows(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.25), "done")
    seed_run(store, config(0.5), "done")
    app = studio("compare", runs=run.run_id)
    seed_run(store, config(0.75), "done")
    app.run()
    assert app.dataframe[-1].value["Run"].tolist() == [run.run_id]


def test_an_address_with_unknown_runs_or_values_is_not_followed(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.5), "done")
    app = studio("compare", runs="nobody,nothing", table_base="<img src=x>", grid="XXX")
    assert "2 of the runs in the address are not here" in everything(app)
    assert "newest 8 finished runs" in selected(app)
    assert app.selectbox(key="table_base").value == "starter"
    assert app.selectbox(key="grid").value == ""


def test_rates_are_drawn_for_one_dataset_at_a_time(studio: Open, store: RunStore) -> None:
    app = studio("compare")
    seed_run(store, config(0.0), "done")
    app = studio("compare")
    assert "Queue a sweep on Prune" in everything(app)
    for level in (0.25, 0.5):
        seed_run(store, config(level), "done")
    seed_run(store, config(0.5, data={"source": "/data/own.csv"}), "done")
    app = studio("compare")
    assert app.selectbox(key="sweep_data").value == "starter"
    assert "Unpruned model, trained alike" in everything(app)
    app.selectbox(key="sweep_data").set_value("/data/own.csv").run()
    assert address(app, "sweep_data") == "/data/own.csv"
    assert "Dense base, before the run" in everything(app)


def test_everything_can_be_taken_along(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.5), "done")
    app = studio("compare")
    labels = [button.proto.label for button in app.get("download_button")]
    assert labels == [
        "Page (HTML)",
        "Charts (PNG, zip)",
        "Charts (SVG, zip)",
        "All runs (CSV)",
        "Table I (CSV)",
        "Break-even (CSV)",
        "Rates (CSV)",
    ]
    assert all(button.proto.deferred_file_id for button in app.get("download_button")), "made when pressed, not before"


def test_hundreds_of_runs_are_drawn_quickly(studio: Open, store: RunStore) -> None:
    for number in range(300):
        seed_run(store, config(0.25 * (number % 4), number % 2 == 0), "done", total=2)
    app = studio("compare")
    began = time.process_time()
    app.run()
    took = time.process_time() - began
    assert len(app.dataframe[1].value) == 300
    assert took < 1.0, took
