"""How much CO2 a kilowatt-hour causes in each country.

The figures are the yearly averages that come with CodeCarbon (Our World in Data). They are read from its folder without
importing it, which would take longer and reach for NVML, and without the network.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pycountry

from engine.errors import ConfigError


class Grid(NamedTuple):
    """A country's name and its yearly average of CO2 equivalent, in g/kWh."""

    name: str
    g_per_kwh: float


@lru_cache(maxsize=1)
def _grids() -> Mapping[str, Grid]:
    """Read CodeCarbon's table by alpha-3 code, without importing CodeCarbon (which would reach for NVML)."""
    package = find_spec("codecarbon")
    if package is None or not package.submodule_search_locations:
        raise ConfigError(
            {"emissions.country": "The grid figures are missing with CodeCarbon. Install requirements.txt."}
        )
    table = Path(package.submodule_search_locations[0]) / "data" / "private_infra" / "global_energy_mix.json"
    try:
        rows = json.loads(table.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"The grid figures at {table} cannot be read ({error}). Install requirements.txt again."
        raise ConfigError({"emissions.country": message}) from error
    # A figure of 0 is a gap in the source (a kWh of hydropower has some 20 g), not a grid without emissions.
    return {
        code: Grid(row["country_name"], row["carbon_intensity"])
        for code, row in rows.items()
        if row["carbon_intensity"]
    }


def countries() -> dict[str, str]:
    """Return the names of all countries with a grid figure by ISO 3166 alpha-3 code, in the order of the names."""
    return {code: grid.name for code, grid in sorted(_grids().items(), key=lambda item: item[1].name)}


def grid_intensity(country: str) -> float:
    """Return the grid figure of a country (ISO 3166 alpha-3 code) in g of CO2 equivalent per kWh.

    Raises:
        ConfigError: for an unknown code, and for a country without a figure.
    """
    code = country.strip().upper()
    grid = _grids().get(code)
    if grid is not None:
        return grid.g_per_kwh
    known = pycountry.countries.get(alpha_3=code) if len(code) == 3 else None
    if known is None:
        message = f"Country is {country!r}; it must be a three-letter ISO 3166 code. Try IND."
    else:
        message = (
            f"Country is {code} ({known.name}); no figure for its grid comes with CodeCarbon. "
            "Choose the country that supplies it, or a neighbour with a like mix of power stations."
        )
    raise ConfigError({"emissions.country": message})


def recompute(energy_kwh: float, country: str) -> float:
    """Return the emissions in kg of CO2 equivalent that an energy in kWh has on a country's grid.

    Raises:
        ConfigError: as `grid_intensity`.
    """
    return emissions_kg(energy_kwh, grid_intensity(country))


def emissions_kg(energy_kwh: float, g_per_kwh: float) -> float:
    """Return energy times grid, in kg."""
    return energy_kwh * g_per_kwh / 1000
