"""Many pruning rates for one method: the runs to start. Everything else stays as it is, so that only the rate can matter.

After tables 3 and 4 of Gholami & Omar, "Can pruning make Large Language Models more efficient?". Light, for the start page.
"""

from collections.abc import Sequence

from engine.config import RunConfig
from engine.errors import ConfigError

RATES = tuple(range(0, 100, 5))
"""Pruning rates to choose from (per cent)."""
USUAL = tuple(range(0, 100, 10))
SEEDS = 5
"""Most seeds a sweep may repeat its rates with."""


def sweep_settings(config: RunConfig, rates: Sequence[int], seeds: int = 1) -> list[dict[str, dict[str, object]]]:
    """Return one partial config for each rate and seed, by seed and then by rate, everything else being as in ``config``.

    A fixed cut-off is left out: with it the method, not the rate, says how much goes.

    Raises:
        ConfigError: if there is no rate, or a rate or the number of seeds is not among those allowed.
    """
    odd = sorted({rate for rate in rates if rate not in RATES})
    wrong = {}
    if odd or not rates:
        given = "there is none" if not rates else f"{odd[0]} % is not one of them"
        wrong["rates"] = f"A sweep takes pruning rates of 0 to 95 % in steps of 5; {given}. Try 0, 25, 50 and 75 %."
    if not 1 <= seeds <= SEEDS:
        wrong["seeds"] = f"Number of seeds is {seeds}; it must be at least 1 and at most {SEEDS}. Try 1."
    if wrong:
        raise ConfigError(wrong)
    settings: list[dict[str, dict[str, object]]] = []
    for seed in range(config.training.seed, config.training.seed + seeds):
        for rate in sorted(set(rates)):
            density = round(1 - rate / 100, 4)
            initial = max(config.pruning.initial_density, density)
            pruning: dict[str, object] = {"final_density": density, "initial_density": initial, "cut_off": None}
            settings.append({"pruning": pruning, "training": {"seed": seed}})
    return settings
