"""The density over the steps of a run, and the steps at which iterative methods prune."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import PruningConfig, ScheduleName
from engine.pruning import DensitySchedule

NAMES: tuple[ScheduleName, ...] = ("cubic", "linear", "exponential", "constant")


def schedule(total: int = 100, **settings: object) -> DensitySchedule:
    values = {"final_density": 0.25, "warmup_share": 0.1, "cooldown_share": 0.3} | settings
    return DensitySchedule.of(PruningConfig.model_validate(values), total)


def never_rises(densities: list[float]) -> bool:
    return all(later <= earlier + 1e-12 for earlier, later in pairwise(densities))


@st.composite
def any_schedules(draw: st.DrawFn) -> tuple[DensitySchedule, int]:
    """Every name, share and length that `RunConfig` lets through."""
    final = draw(st.floats(0.01, 1.0))
    warmup = draw(st.floats(0, 0.9))
    total = draw(st.integers(1, 500))
    config = PruningConfig(
        final_density=final,
        initial_density=draw(st.floats(final, 1.0)),
        warmup_share=warmup,
        cooldown_share=draw(st.floats(0, min(0.9, 1 - warmup))),
        schedule=draw(st.sampled_from(NAMES)),
    )
    return DensitySchedule.of(config, total), total


def test_the_cubic_one_follows_zhu_and_gupta_between_warm_up_and_cool_down() -> None:
    cubic = schedule()
    assert [cubic.at(step) for step in (0, 5, 9, 10)] == [1.0, 1.0, 1.0, 1.0]
    assert cubic.at(40) == pytest.approx(0.25 + 0.75 * (1 - 30 / 60) ** 3)
    assert [cubic.at(step) for step in (70, 85, 99)] == [0.25, 0.25, 0.25]


def test_the_initial_density_is_one_minus_zhu_and_guptas_initial_sparsity() -> None:
    cubic = schedule(initial_density=0.8)
    assert [cubic.at(step) for step in (0, 9, 10)] == [1.0, 1.0, 0.8]
    sparsity = 0.75 + (0.2 - 0.75) * (1 - 30 / 60) ** 3  # equation 1 of the paper, as printed
    assert cubic.at(40) == pytest.approx(1 - sparsity)
    assert schedule(initial_density=0.8, schedule="linear").at(40) == pytest.approx((0.8 + 0.25) / 2)


def test_the_linear_one_takes_away_as_much_at_every_step() -> None:
    linear = schedule(schedule="linear")
    steps = [linear.at(step) - linear.at(step + 1) for step in range(10, 70)]
    assert steps == pytest.approx([0.75 / 60] * 60)


def test_the_exponential_one_takes_away_the_same_share_at_every_step() -> None:
    exponential = schedule(schedule="exponential")
    shares = [exponential.at(step + 1) / exponential.at(step) for step in range(10, 70)]
    assert shares == pytest.approx([0.25 ** (1 / 60)] * 60)
    assert exponential.at(40) == pytest.approx(math.sqrt(0.25))


def test_the_constant_one_falls_at_once_when_the_warm_up_ends() -> None:
    constant = schedule(schedule="constant", initial_density=0.9)
    assert [constant.at(step) for step in (0, 9, 10, 11, 99)] == [1.0, 1.0, 0.25, 0.25, 0.25]
    assert constant.cooldown_start == 10
    assert constant.iterations(10) == {10: 0.25}


@given(made=any_schedules())
def test_the_density_never_rises_stays_in_its_bounds_and_ends_at_the_final_one(
    made: tuple[DensitySchedule, int],
) -> None:
    any_schedule, total = made
    densities = [any_schedule.at(step) for step in range(total)]
    assert never_rises(densities)
    assert densities[-1] == any_schedule.final_density
    assert all(any_schedule.final_density - 1e-12 <= density <= 1.0 for density in densities)
    assert densities[: any_schedule.warmup_steps] == [1.0] * any_schedule.warmup_steps


@given(made=any_schedules(), count=st.integers(1, 1000))
def test_iterations_lie_in_the_fall_and_the_last_reaches_the_final_density(
    made: tuple[DensitySchedule, int], count: int
) -> None:
    any_schedule, total = made
    iterations = any_schedule.iterations(count)
    steps, densities = list(iterations), list(iterations.values())
    assert steps == sorted(steps)
    assert steps[-1] == any_schedule.cooldown_start < total
    assert steps[0] >= any_schedule.warmup_steps
    assert densities[-1] == any_schedule.final_density
    assert never_rises(densities)
    assert len(steps) <= count + 1


def test_iterations_are_evenly_spread_and_as_dense_as_the_schedule_there() -> None:
    cubic = schedule()
    iterations = cubic.iterations(4)
    assert list(iterations) == [25, 40, 55, 70]
    assert iterations == pytest.approx({step: cubic.at(step) for step in iterations})


def test_one_iteration_is_one_shot_at_the_end_of_the_fall() -> None:
    assert schedule().iterations(1) == {70: 0.25}


def test_an_initial_density_is_pruned_to_when_the_warm_up_ends() -> None:
    iterations = schedule(initial_density=0.8).iterations(2)
    assert list(iterations) == [10, 40, 70]
    assert iterations[10] == 0.8


def test_a_fall_shorter_than_its_iterations_keeps_the_last_of_those_at_one_step() -> None:
    short = schedule(total=5, warmup_share=0.0, cooldown_share=0.4, schedule="linear")
    assert set(short.iterations(6)) == {0, 1, 2, 3}
    assert short.iterations(6)[2] == pytest.approx(1 - 0.75 * 5 / 6)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_one_step_is_at_the_final_density(name: ScheduleName) -> None:
    tiny = schedule(total=1, schedule=name)
    assert tiny.at(0) == 0.25
    assert tiny.iterations(10) == {0: 0.25}
