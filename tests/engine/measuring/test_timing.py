"""The clock: who is called when, and what becomes of the times."""

import time
from functools import partial

import pytest
import torch

from engine.measuring import timing
from engine.measuring.timing import median_ratio, spread, time_in_turns, time_once

CPU = torch.device("cpu")


def test_rivals_take_turns_forwards_and_backwards_after_a_warm_up() -> None:
    called: list[str] = []
    works = [partial(called.append, name) for name in "abc"]
    times = time_in_turns(works, CPU, min_rounds=3, warm_up=2)
    assert "".join(called) == "abcabc" + "abc" + "cba" + "abc"
    assert [len(values) for values in times] == [3, 3, 3]


def test_each_time_stands_with_the_rival_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "time_once", lambda work, device: work())
    times = time_in_turns([lambda: 1.0, lambda: 2.0, lambda: 3.0], CPU, min_rounds=4, warm_up=0)
    assert times == [[1.0] * 4, [2.0] * 4, [3.0] * 4]


def test_no_round_begins_after_the_budget_but_the_first_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(timing, "time_once", lambda work, device: 0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))  # a second passes at every look
    (times,) = time_in_turns([lambda: None], CPU, min_rounds=2, max_rounds=50, budget_s=3.0)
    assert len(times) == 5, "two without a look, then while 1, 2 and 3 seconds have passed"
    (times,) = time_in_turns([lambda: None], CPU, min_rounds=2, max_rounds=4, budget_s=90.0)
    assert len(times) == 4


def test_a_call_is_timed_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 10.25])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    assert time_once(lambda: None, CPU) == 250.0


def test_what_is_told_of_the_times() -> None:
    assert spread([4.0, 1.0, 2.0]) == {"p50": 2.0, "p95": pytest.approx(3.8), "min": 1.0}
    assert median_ratio([2.0, 30.0, 6.0], [1.0, 10.0, 1.0]) == 3.0, "of each round's ratio, not of the medians"
