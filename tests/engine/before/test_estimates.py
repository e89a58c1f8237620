"""What one text costs, judged by the run that made the model."""

import pytest

from engine.before.estimates import mean_power_w, text_energy_kwh
from tests.pages.seed import config, result

MADE = result("r", config(0.5)).model_copy(update={"energy_kwh": 0.01, "duration_s": 720.0, "device": "cuda:1"})


def test_a_text_takes_the_mean_power_for_as_long_as_it_takes() -> None:
    assert mean_power_w(MADE) == pytest.approx(50.0)  # 36 kJ in 720 s
    assert text_energy_kwh(MADE, 2.0, "cuda") == pytest.approx(0.1 / 3.6e6)  # 50 W for 2 ms are 0.1 J


@pytest.mark.parametrize("update", [{"energy_kwh": 0.0}, {"duration_s": 0.0}])
def test_without_a_reading_nothing_is_said(update: dict[str, float]) -> None:
    unknown = MADE.model_copy(update=update)
    assert mean_power_w(unknown) is None
    assert text_energy_kwh(unknown, 2.0, "cuda") is None


def test_the_power_of_another_device_says_nothing() -> None:
    assert text_energy_kwh(MADE, 2.0, "cpu") is None
