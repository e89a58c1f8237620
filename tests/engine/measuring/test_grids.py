"""The grid of a country: what a kilowatt-hour emits there."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import EmissionsConfig
from engine.emissions import EmissionsMeter
from engine.errors import ConfigError
from engine.measuring.grids import countries, grid_intensity, recompute


@pytest.mark.parametrize(
    ("code", "grams"), [("IND", 713), ("FRA", 56), ("USA", 369), ("CAN", 170), ("NOR", 30), (" ind ", 713)]
)
def test_bundled_grid_figures(code: str, grams: float) -> None:
    assert grid_intensity(code) == pytest.approx(grams, abs=1)


@pytest.mark.parametrize("code", ["XXX", "IN", "India", "", "ÍND"])
def test_an_unknown_country_is_refused(code: str) -> None:
    with pytest.raises(ConfigError, match="three-letter ISO 3166 code") as caught:
        grid_intensity(code)
    assert list(caught.value.fields) == ["emissions.country"]
    with pytest.raises(ConfigError):
        recompute(1.0, code)


@pytest.mark.parametrize(("code", "name"), [("MCO", "Monaco"), ("CAF", "Central African Republic")])
def test_a_country_without_a_figure_is_refused_by_name(code: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{code} \({name}\); no figure .* Choose") as caught:
        EmissionsMeter(EmissionsConfig(country=code), "cpu")
    assert list(caught.value.fields) == ["emissions.country"]
    assert code not in countries()


def test_countries_are_sorted_and_each_has_a_figure() -> None:
    found = countries()
    assert found["IND"] == "India"
    assert list(found.values()) == sorted(found.values())
    assert len(found) > 200
    assert all(0 < grid_intensity(code) < 2000 for code in found)


def test_recompute_is_linear() -> None:
    assert recompute(1.0, "IND") == pytest.approx(grid_intensity("IND") / 1000)
    assert recompute(3.5, "FRA") == pytest.approx(3.5 * recompute(1.0, "FRA"))
    assert recompute(0.0, "NOR") == 0


def test_grid_figures_load_nothing_heavy() -> None:
    code = (
        "import sys, engine.emissions; from engine.measuring.grids import countries, grid_intensity; countries(); "
        "grid_intensity('IND');"
        "print(sorted({'torch', 'transformers', 'datasets', 'codecarbon', 'pandas', 'pynvml'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.stdout.strip() == "[]", shown.stderr
