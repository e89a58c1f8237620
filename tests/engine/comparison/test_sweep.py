"""The sweep over pruning rates: which runs it makes, which finished runs make a line, and what the rule is."""

import dataclasses

import pytest

from engine.before import sweep_plan
from engine.comparison import sweep
from engine.config import RunConfig
from engine.errors import ConfigError
from engine.runs.run import Run
from tests.engine.comparison.test_comparison import finished

Pruning = dict[str, object]
USUAL = RunConfig().training.epochs


def configs(config: RunConfig, rates: list[int], seeds: int = 1) -> list[RunConfig]:
    made = []
    for setting in sweep_plan.sweep_settings(config, rates, seeds):
        values = config.model_dump()
        for part, changes in setting.items():
            values[part] = values[part] | changes
        made.append(RunConfig.parse(values))
    return made


def test_a_sweep_changes_the_rate_and_the_seed_and_nothing_else() -> None:
    values = {"pruning": {"method": "magnitude", "final_density": 0.5, "iterations": 3}, "training": {"seed": 7}}
    config = RunConfig.parse(values)
    made = configs(config, [50, 0, 90, 50], seeds=2)
    assert [(each.training.seed, round(100 * each.pruning.level)) for each in made] == [
        (7, 0),
        (7, 50),
        (7, 90),
        (8, 0),
        (8, 50),
        (8, 90),
    ]
    for each in made:
        back = each.model_dump()
        back["pruning"]["final_density"], back["training"]["seed"] = 0.5, 7
        assert RunConfig.parse(back) == config


def test_a_sweep_frees_what_would_fix_or_forbid_a_rate() -> None:
    config = RunConfig.parse(
        {"pruning": {"method": "soft-cutoff", "final_density": 0.3, "initial_density": 0.4, "cut_off": 0.5}}
    )
    none, much = configs(config, [0, 75])
    assert (none.pruning.initial_density, much.pruning.initial_density) == (1.0, 0.4)
    assert (none.pruning.cut_off, much.pruning.cut_off) == (None, None)


@pytest.mark.parametrize(
    ("rates", "seeds", "words"), [([], 1, "there is none"), ([100], 1, "100 %"), ([7], 1, "7 %"), ([50], 6, "is 6")]
)
def test_impossible_sweeps_are_refused(rates: list[int], seeds: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sweep_plan.sweep_settings(RunConfig(), rates, seeds)


def seeded(level: float, seed: int, accuracy: float, **parts: object) -> Run:
    return finished(level, accuracy=accuracy, run_id=f"{level}-{seed}-{len(parts)}", training={"seed": seed}, **parts)  # type: ignore[arg-type]


def test_seeds_are_points_of_one_line_and_methods_lines_of_their_own() -> None:
    magnitude: Pruning = {"method": "magnitude"}
    runs = [
        seeded(0.5, 0, 0.8),
        seeded(0.5, 1, 0.9),
        seeded(0.0, 0, 0.95),
        seeded(0.5, 0, 0.7, pruning=magnitude),
        finished(0.5, run_id="elsewhere", data={"source": "/data/own.csv"}),
        dataclasses.replace(finished(0.25, run_id="unfinished"), result=None),
    ]
    data = sweep.sweep_frame(runs, "starter", "starter")
    assert sorted(set(data["series"])) == ["Block movement", "Magnitude"]
    block = data[data["series"] == "Block movement"]
    assert list(zip(block["rate"], block["seed"], strict=True)) == [(0.0, 0), (50.0, 0), (50.0, 1)]
    assert block["accuracy"].tolist() == pytest.approx([95.0, 80.0, 90.0])
    assert {"elsewhere", "unfinished"}.isdisjoint(data["run"])
    assert sweep.sources(runs, "starter") == ["starter", "/data/own.csv"]
    assert sweep.sweep_frame(runs, "starter", "starter", most=1)["series"].unique().tolist() == ["Block movement"]


def test_lines_of_one_method_are_told_apart_by_what_differs() -> None:
    runs = [
        finished(0.5, run_id="long"),
        finished(0.5, run_id="short", training={"epochs": 7}),
        finished(0.5, True, run_id="kd"),
    ]
    data = sweep.sweep_frame(runs, "starter", "starter").set_index("run")
    assert data.loc["long", "series"] == f"Block movement, epochs {USUAL}"
    assert data.loc["short", "series"] == "Block movement, epochs 7"
    assert data.loc["kd", "series"] == "Block movement + KD"


def test_an_unpruned_run_belongs_to_the_lines_that_were_trained_like_it() -> None:
    runs = [finished(0.5, run_id="a"), finished(0.5, run_id="b", training={"epochs": 7}), finished(0.0, run_id="base")]
    data = sweep.sweep_frame(runs, "starter", "starter")
    assert data[data["run"] == "base"]["series"].tolist() == [f"Block movement, epochs {USUAL}"]


def test_the_rule_is_the_unpruned_runs_or_else_the_dense_base() -> None:
    pruned = [seeded(0.5, 0, 0.8)]
    alone = sweep.rates(pruned, "starter", "starter")[1].set_index("quantity")
    assert alone.loc["accuracy", "what"] == "Dense base, before the run"
    assert alone.loc["latency", "value"] == pytest.approx(8.0)
    alike = sweep.rates([*pruned, seeded(0.0, 0, 0.9), seeded(0.0, 1, 0.96)], "starter", "starter")[1].set_index(
        "quantity"
    )
    assert alike.loc["accuracy", "value"] == pytest.approx(93.0)
    assert alike.loc["accuracy", "what"] == "Unpruned model, trained alike"
    assert alike.loc["speedup", "value"] == 1.0


def test_charts_by_rate_have_one_specification_whatever_the_runs() -> None:
    def specification(runs: list[Run], quantity: str) -> dict[str, object]:
        spec: dict[str, object] = sweep.sweep_chart(*sweep.rates(runs, "starter", "starter"), quantity).to_dict()
        spec.pop("datasets")
        return {key: value for key, value in spec.items() if key != "layer"} | {"layer": _without_data(spec["layer"])}

    many = [
        seeded(0.5, 0, 0.8),
        seeded(0.75, 1, 0.7),
        seeded(0.0, 0, 0.9),
        seeded(0.5, 3, 0.6, pruning={"method": "wanda"}),
    ]
    for quantity, (title, _) in sweep.QUANTITIES.items():
        assert specification(many, quantity) == specification([seeded(0.25, 0, 0.8)], quantity)
        assert title in str(specification(many, quantity))
    assert "mean(ceiling)" not in str(specification(many, "latency"))
    ceiling = sweep.sweep_chart(*sweep.rates(many, "starter", "starter"), "speedup").to_dict()
    assert any(layer["encoding"]["y"].get("field") == "ceiling" for layer in ceiling["layer"])


def _without_data(layers: object) -> object:
    assert isinstance(layers, list)
    return [{key: value for key, value in layer.items() if key != "data"} for layer in layers]
