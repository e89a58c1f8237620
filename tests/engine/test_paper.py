"""The printed table against the arithmetic of the shapes it implies."""

import pytest

from engine.config import RunConfig
from engine.paper import TABLE, TOKENS, PaperRow, find_row, row_of, table_settings
from engine.shapes import MURIL


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.recipe)
def test_parameters_are_those_of_muril_with_a_narrower_ffn(row: PaperRow) -> None:
    assert round(row.shape.parameters / 1e6) == row.parameters_m
    if row.fewer_percent is not None:
        assert 100 * (1 - row.shape.parameters / MURIL.parameters) == pytest.approx(row.fewer_percent, abs=0.12)


@pytest.mark.parametrize("row", [row for row in TABLE if row.less_time_percent], ids=lambda row: row.recipe)
def test_printed_speedup_follows_from_printed_time_but_for_one_row(row: PaperRow) -> None:
    assert row.less_time_percent is not None
    assert row.speedup is not None
    follows = 1 / (1 - row.less_time_percent / 100)
    if row.recipe == "25 % + KD":
        assert follows == pytest.approx(2.44, abs=0.005)
        assert row.speedup == 2.56
    else:
        assert row.speedup == pytest.approx(follows, abs=0.006)


def test_ceilings_stay_below_the_printed_speedups() -> None:
    assert TOKENS == 128
    ceilings = {row.level: round(row.ceiling, 2) for row in TABLE}
    assert ceilings == {0.0: 1.0, 0.25: 1.19, 0.5: 1.48, 0.75: 1.95}
    assert all(row.speedup > row.ceiling for row in TABLE if row.speedup is not None)


def test_settings_make_the_recipes_in_the_order_of_the_table() -> None:
    made = [RunConfig.parse(dict(setting)) for setting in table_settings()]
    assert [config.recipe for config in made] == [row.recipe for row in TABLE]
    assert [row_of(config) for config in made] == list(TABLE)


@pytest.mark.parametrize(("level", "distilled"), [(0.6, False), (0.0, True), (0.2501, False)])
def test_other_settings_have_no_row(level: float, distilled: bool) -> None:
    assert find_row(level, distilled) is None


@pytest.mark.parametrize(
    "pruning",
    [
        {"method": "wanda"},
        {"method": "hybrid"},
        {"method": "magnitude", "unit": "weight"},
        {"drop_layers": 1},
        {"vocabulary": "training"},
        {"method": "layer-dropping"},
    ],
)
def test_the_papers_rows_are_of_its_own_method_alone(pruning: dict[str, object]) -> None:
    assert row_of(RunConfig.parse({"pruning": {"final_density": 0.5} | pruning})) is None


def test_the_table_is_of_its_own_method_whatever_a_form_says() -> None:
    form = {"method": "hybrid", "initial_density": 0.6, "drop_layers": 2, "vocabulary": "training"}
    made = [RunConfig.parse({"pruning": form | setting["pruning"]}) for setting in table_settings()]
    assert {config.recipe for config in made} == {"Baseline", "25 %", "50 %", "75 %"}
    assert {config.pruning.method for config in made} == {"block-movement"}


def test_a_baseline_has_its_row_whatever_method_was_chosen() -> None:
    row = row_of(RunConfig.parse({"pruning": {"method": "wanda"}}))
    assert row is not None
    assert row.recipe == "Baseline"
