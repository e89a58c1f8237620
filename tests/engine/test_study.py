"""The study of methods: which runs it makes, and how it sums them up."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config import METHODS, RunConfig
from engine.events import RunFinished
from engine.study import (
    DENSE,
    RULES,
    WEIGHTS,
    Case,
    Plan,
    case_config,
    cases,
    main,
    read_rows,
    row_case,
    run_base,
    run_case,
    summarise,
    table,
)
from tests.engine.fake_training import run_finished

PLAN = Plan("starter", "compact", 20, 5, "fp32", "work")


def row(method: str, level: float, distilled: bool, seed: int, accuracy: float) -> dict[str, object]:
    return {
        "method": method,
        "level": level,
        "distilled": distilled,
        "seed": seed,
        "test_accuracy": accuracy,
        "duration_s": 10.0,
        "speedup_ceiling": 1.5,
    }


def test_every_method_is_run_at_every_level_both_ways_and_the_base_is_trained_on_beside_them() -> None:
    found = cases(RULES, [0.25, 0.5], [0, 1])
    assert len(found) == 2 * 2 * (1 + len(RULES) * 2)
    assert len({case.key for case in found}) == len(found)
    assert {case.method for case in found} == {DENSE, *METHODS, WEIGHTS}
    assert [case.seed for case in found] == sorted(case.seed for case in found)


@pytest.mark.parametrize("method", [DENSE, *RULES])
def test_a_case_becomes_the_settings_it_names(method: str) -> None:
    level = 0.0 if method == DENSE else 0.75
    config = case_config(PLAN, Case(method, level, True, 7))
    assert config.pruning.level == level
    assert config.pruning.enabled == (method != DENSE)
    assert config.distillation.enabled
    assert config.training.seed == 7
    assert config.model.base == "study-base-7"
    assert config.pruning.method == {WEIGHTS: "magnitude", DENSE: "block-movement"}.get(method, method)
    assert (config.pruning.unit == "weight") == (method == WEIGHTS)


def test_means_and_differences_are_taken_within_a_seed_and_a_loss() -> None:
    rows = [
        row(DENSE, 0, False, 0, 0.70),
        row(DENSE, 0, False, 1, 0.80),
        row(DENSE, 0, True, 0, 0.90),
        row("wanda", 0.5, False, 0, 0.68),
        row("wanda", 0.5, False, 1, 0.74),
        row("wanda", 0.5, True, 0, 0.89),
    ]
    found = {(each["method"], each["distilled"]): each for each in summarise(rows)}
    plain = found["wanda", False]
    assert plain["accuracy"] == pytest.approx(71)
    assert plain["accuracy_sd"] == pytest.approx(4.2426, abs=1e-3)
    assert plain["difference"] == pytest.approx(-4)
    assert plain["difference_sd"] == pytest.approx(2.8284, abs=1e-3)
    distilled = found["wanda", True]
    assert distilled["difference"] == pytest.approx(-1)
    assert distilled["accuracy_sd"] is None
    lines = table(rows).splitlines()
    assert lines[0] == "| method | 50 % |"
    assert "| Wanda | 71.0 ± 4.2 |" in lines
    assert "| Wanda + KD | 89.0 |" in lines
    assert "| not pruned | 75.0 ± 7.1 |" in lines


def test_rows_are_read_back_and_an_unknown_method_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    path.write_text(json.dumps(row("hybrid", 0.25, True, 2, 0.5)) + "\n", encoding="utf-8")
    assert [row_case(found) for found in read_rows(path)] == [Case("hybrid", 0.25, True, 2)]
    assert main(["starter", "--methods", "hybrid,nonsense", "--output", str(path)]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert main(["starter", "--table", "--output", str(path)]) == 0
    assert "| Hybrid + KD | 50.0 |" in capsys.readouterr().out


def test_a_base_is_trained_once_and_nothing_of_a_case_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    def train(config: RunConfig, *, run_id: str, home: Path) -> Iterator[RunFinished]:
        (home / "runs" / run_id).mkdir(parents=True)
        yield run_finished(run_id)
        ended.append(run_id)  # what a run does behind its last event

    monkeypatch.setattr("engine.training.train", train)
    plan = replace(PLAN, work=str(tmp_path))
    first, again = run_base(plan, 3), run_base(plan, 3)
    assert first == again
    assert ended == ["study-base-3"]
    row = run_case(plan, Case("wanda", 0.5, True, 3))
    assert row_case(row) == Case("wanda", 0.5, True, 3)
    assert row["test_accuracy"] == run_finished("x").result.student.test_accuracy
    assert len(ended) == 2
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["study-base-3"]
