"""What is asked for on the command line, as the settings of a run."""

from pathlib import Path
from typing import Any

import pytest

from engine.cli import build_parser
from engine.config import METHODS
from engine.errors import ConfigError
from engine.store import RunStore
from engine.terminal.train_options import config_from, density_of_level


def options(*arguments: str, store: RunStore) -> Any:
    return config_from(build_parser().parse_args(["train", *arguments]), store)


def test_every_wrong_setting_is_said_at_once(store: RunStore) -> None:
    with pytest.raises(ConfigError) as caught:
        options("--prune", "2", "--epochs", "0", "--learning-rate", "fast", "--country", "XX", store=store)
    assert set(caught.value.fields) == {
        "pruning.final_density",
        "training.epochs",
        "training.learning_rate",
        "emissions.country",
    }


def test_a_level_is_one_minus_the_density(store: RunStore) -> None:
    config = options("--prune", "0.25", "--distill", "--temperature", "3", store=store)
    assert config.pruning.final_density == 0.75
    assert config.distillation.enabled
    assert config.distillation.temperature == 3
    assert config.recipe == "25 % + KD"
    assert options("--no-distill", store=store).distillation.enabled is False
    assert density_of_level("0") == 1.0
    assert density_of_level("0.9") == 0.1


def test_every_pruning_option_reaches_the_config(store: RunStore) -> None:
    flags = {
        "--method": ("method", "soft-cutoff"),
        "--schedule": ("schedule", "exponential"),
        "--initial-density": ("initial_density", 0.9),
        "--pruning-warmup": ("warmup_share", 0.2),
        "--pruning-cooldown": ("cooldown_share", 0.4),
        "--mask-learning-rate": ("mask_learning_rate", 0.02),
        "--attention-unit": ("attention_unit", "block"),
        "--lambda": ("regularization_lambda", 3.0),
        "--cut-off": ("cut_off", 0.3),
        "--unit": ("unit", "weight"),
        "--iterations": ("iterations", 4),
        "--drop-layers": ("drop_layers", 2),
        "--vocabulary": ("vocabulary", "training"),
        "--width-multiple": ("width_multiple", 8),
    }
    given = [word for flag, (_, value) in flags.items() for word in (flag, str(value))]
    pruning = options("--prune", "0.5", *given, store=store).pruning
    assert pruning.model_dump() == dict(flags.values()) | {"final_density": 0.5}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_asked_for(store: RunStore, method: str) -> None:
    config = options("--method", method, "--prune", "0.25", store=store)
    assert (config.pruning.method, config.pruning.final_density) == (method, 0.75)


def test_a_method_without_a_level_is_refused_where_nothing_would_go(store: RunStore) -> None:
    with pytest.raises(ConfigError, match="Method is wanda and no pruning level is given"):
        options("--method", "wanda", store=store)
    assert options("--method", "wanda", "--prune", "0", store=store).recipe == "Baseline"
    assert options("--method", "wanda", "--drop-layers", "1", store=store).recipe == "1 layer dropped"


def test_wrong_pruning_options_are_said_at_once(store: RunStore) -> None:
    with pytest.raises(ConfigError) as caught:
        options("--prune", "0.5", "--method", "best", "--unit", "3", "--lambda", "x", store=store)
    assert set(caught.value.fields) == {"pruning.method", "pruning.unit", "pruning.regularization_lambda"}
    assert "'layer-dropping'" in caught.value.fields["pruning.method"]


def test_file_names_become_absolute_because_the_worker_runs_elsewhere(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = options("--data", "a.csv", "--test-data", "b.csv", store=store)
    assert config.data.source == str(tmp_path / "a.csv")
    assert config.data.test_path == str(tmp_path / "b.csv")
