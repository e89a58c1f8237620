"""What a run is told: defaults, ranges, complaints and recipes."""

import json
from typing import Any

import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.config import (
    METHODS,
    DataConfig,
    DistillationConfig,
    EmissionsConfig,
    ModelConfig,
    PruningConfig,
    RunConfig,
    TrainingConfig,
)
from engine.errors import ConfigError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SHARES = st.floats(0, 0.5)
CONFIGS = st.builds(
    RunConfig,
    name=NAMES,
    data=st.builds(
        DataConfig,
        source=NAMES.map(lambda text: f"d{text}d"),
        test_path=st.none() | NAMES,
        text_column=st.none() | NAMES,
        label_column=st.none() | NAMES,
        max_length=st.integers(8, 512),
    ),
    model=st.builds(ModelConfig, base=NAMES.map(lambda text: f"m{text}m")),
    pruning=st.builds(
        PruningConfig,
        final_density=st.floats(0, 1, exclude_min=True),
        method=st.sampled_from(list(METHODS)),
        schedule=st.sampled_from(["cubic", "linear", "exponential", "constant"]),
        warmup_share=SHARES,
        cooldown_share=SHARES,
        mask_learning_rate=st.floats(0, 1, exclude_min=True),
        attention_unit=st.sampled_from(["head", "block"]),
        regularization_lambda=st.floats(0, 1e4),
        cut_off=st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
        unit=st.sampled_from(["neuron", "weight"]),
        iterations=st.integers(1, 1000),
        drop_layers=st.integers(0, 1000),
        vocabulary=st.sampled_from(["full", "training"]),
        width_multiple=st.integers(1, 1024),
    ),
    distillation=st.builds(
        DistillationConfig,
        enabled=st.booleans(),
        temperature=st.floats(0, 100, exclude_min=True),
        distillation_weight=st.floats(0, 1),
    ),
    training=st.builds(
        TrainingConfig,
        epochs=st.integers(1, 1000),
        max_steps=st.none() | st.integers(1, 10_000_000),
        batch_size=st.integers(1, 4096),
        learning_rate=st.none() | st.floats(0, 1, exclude_min=True),
        precision=st.sampled_from(["auto", "fp16", "bf16", "fp32"]),
        device=st.sampled_from(["auto", "cpu", "cuda", "cuda:0", "cuda:12"]),
        seed=st.integers(0, 2**32 - 1),
        checkpoint_every_s=st.floats(0, 86_400),
    ),
    emissions=st.builds(
        EmissionsConfig,
        country=st.sampled_from([country.alpha_3 for country in pycountry.countries]),
        sample_every_s=st.floats(0.5, 60),
    ),
)


def complaints(values: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(values)
    assert str(caught.value) == "\n".join(caught.value.fields.values())
    return caught.value.fields


def test_nothing_told_is_a_whole_config() -> None:
    config = RunConfig.parse({})
    assert config == RunConfig()
    assert (config.data.source, config.model.base, config.recipe) == ("starter", "starter", "Baseline")
    assert (config.training.precision, config.training.device) == ("auto", "auto")
    assert config.emissions.country == "IND"
    assert not config.pruning.enabled
    assert not config.distillation.enabled


def test_a_complaint_names_field_value_range_and_a_way_out() -> None:
    found = complaints({"pruning": {"final_density": 1.4}})
    assert found == {
        "pruning.final_density": "Final density is 1.4; it must be above 0 and at most 1. Try 1.",
    }


def test_all_complaints_come_at_once() -> None:
    found = complaints(
        {
            "name": "x" * 121,
            "data": {"max_length": 7},
            "model": {"base": "  "},
            "pruning": {
                "method": "random",
                "schedule": "steep",
                "initial_density": 0,
                "mask_learning_rate": 0,
                "attention_unit": "row",
                "regularization_lambda": -1,
                "cut_off": 1,
                "unit": "layer",
                "iterations": 0,
                "drop_layers": -1,
                "vocabulary": "small",
                "width_multiple": 0.5,
            },
            "distillation": {"enabled": "perhaps", "temperature": -1},
            "training": {"epochs": 2.5, "batch_size": "many", "device": "gpu", "precision": "fp8", "max_steps": 0},
            "emissions": {"country": "XXX", "sample_every_s": 61},
        }
    )
    assert found == {
        "name": f"Name is {'x' * 77}...; it must have at most 120 characters.",
        "data.max_length": "Maximum length in tokens is 7; it must be at least 8 and at most 512. Try 128.",
        "model.base": "Base model is empty; it must have at least 1 character. Try starter.",
        "pruning.method": "Method is random; it must be one of 'block-movement', 'hybrid', 'soft-cutoff', 'magnitude', 'wanda' "
        "or 'layer-dropping'. Try block-movement.",
        "pruning.schedule": "Schedule is steep; it must be one of 'cubic', 'linear', 'exponential' or 'constant'. Try cubic.",
        "pruning.initial_density": "Initial density is 0; it must be above 0 and at most 1. Try 1.",
        "pruning.mask_learning_rate": "Mask learning rate is 0; it must be above 0 and at most 1. Try 0.01.",
        "pruning.attention_unit": "Attention unit is row; it must be one of 'head' or 'block'. Try head.",
        "pruning.regularization_lambda": "Regularisation lambda is -1; it must be at least 0 and at most 10000. Try 1.",
        "pruning.cut_off": "Cut-off is 1; it must be above 0 and below 1.",
        "pruning.unit": "Magnitude unit is layer; it must be one of 'neuron' or 'weight'. Try neuron.",
        "pruning.iterations": "Pruning iterations is 0; it must be at least 1 and at most 1000. Try 10.",
        "pruning.drop_layers": "Layers to drop is -1; it must be at least 0 and at most 1000. Try 0.",
        "pruning.vocabulary": "Vocabulary is small; it must be one of 'full' or 'training'. Try full.",
        "pruning.width_multiple": "Width multiple is 0.5; it must be a whole number, at least 1 and at most 1024. Try 64.",
        "distillation.enabled": "Enabled is perhaps; it must be a valid boolean, unable to interpret input. Try False.",
        "distillation.temperature": "Temperature is -1; it must be above 0 and at most 100. Try 2.",
        "training.epochs": "Epochs is 2.5; it must be a whole number, at least 1 and at most 1000. "
        f"Try {RunConfig().training.epochs}.",
        "training.batch_size": "Batch size is many; it must be a whole number, at least 1 and at most 4096. Try 32.",
        "training.device": "Device is gpu; it must be auto, cpu, cuda or cuda:N. Try auto.",
        "training.precision": "Precision is fp8; it must be one of 'auto', 'fp16', 'bf16' or 'fp32'. Try auto.",
        "training.max_steps": "Maximum steps is 0; it must be at least 1 and at most 10000000.",
        "emissions.country": "Country is XXX; it must be a three-letter ISO 3166 code. Try IND.",
        "emissions.sample_every_s": "Sampling interval in seconds is 61; it must be at least 0.5 and at most 60. Try 1.",
    }


@pytest.mark.parametrize("part", ["", "data", "model", "pruning", "distillation", "training", "emissions"])
def test_unknown_keys_are_refused(part: str) -> None:
    found = complaints({part: {"sparsity": 3}} if part else {"sparsity": 3})
    name = f"{part}.sparsity" if part else "sparsity"
    assert found == {name: f"There is no setting {name!r} (its value was 3). Remove it."}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "nan", "inf"])
def test_numbers_that_are_none_are_refused(value: object) -> None:
    found = complaints({"pruning": {"final_density": value}, "training": {"epochs": value, "learning_rate": value}})
    assert set(found) == {"pruning.final_density", "training.epochs", "training.learning_rate"}
    assert all("number" in text for text in found.values())


@pytest.mark.parametrize("values", [[], "text", 3, None])
def test_something_that_is_no_group_of_settings_is_refused(values: object) -> None:
    assert "group of settings" in complaints(values)["Settings"]
    assert complaints({"data": values})["data"].startswith("Data is ")


def test_a_complaint_can_always_be_printed() -> None:
    for text in complaints({"name": "\ud800", "x\ud800": 1, "data": {"source": "\udcff" * 3}}).values():
        text.encode("utf-8")


def test_shares_that_fill_more_than_the_run_are_refused() -> None:
    found = complaints({"pruning": {"final_density": 0.5, "warmup_share": 0.6, "cooldown_share": 0.5}})
    assert list(found) == ["pruning.cooldown_share"]
    assert "(0.6)" in found["pruning.cooldown_share"]
    assert "(0.5)" in found["pruning.cooldown_share"]
    unpruned = {"pruning": {"warmup_share": 0.6, "cooldown_share": 0.5}}
    assert RunConfig.parse(unpruned).recipe == "Baseline", "without pruning they mean nothing"


def test_a_schedule_that_would_have_to_add_is_refused() -> None:
    found = complaints({"pruning": {"final_density": 0.5, "initial_density": 0.4}})
    assert list(found) == ["pruning.initial_density"]
    assert "0.4" in found["pruning.initial_density"]
    assert "0.5" in found["pruning.initial_density"]
    for first in (0.5, 0.6, 1.0):
        assert RunConfig.parse({"pruning": {"final_density": 0.5, "initial_density": first}})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Baseline"),
        ({"final_density": 0.5}, "50 %"),
        ({"final_density": 0.5, "unit": "weight", "attention_unit": "block"}, "50 %"),
        ({"final_density": 0.5, "method": "hybrid"}, "Hybrid 50 %"),
        ({"final_density": 0.5, "method": "hybrid", "attention_unit": "block"}, "Hybrid blocks 50 %"),
        ({"final_density": 0.25, "method": "soft-cutoff"}, "Soft cut-off 75 %"),
        ({"final_density": 0.1, "method": "magnitude"}, "Magnitude 90 %"),
        ({"final_density": 0.1, "method": "magnitude", "unit": "weight"}, "Magnitude 90 % of weights"),
        ({"final_density": 0.5, "method": "wanda"}, "Wanda 50 %"),
        ({"final_density": 0.5, "method": "layer-dropping"}, "Layer dropping 50 %"),
        ({"method": "wanda"}, "Baseline"),
        ({"drop_layers": 1}, "1 layer dropped"),
        ({"vocabulary": "training"}, "small vocabulary"),
        (
            {"final_density": 0.5, "method": "wanda", "drop_layers": 2, "vocabulary": "training"},
            "Wanda 50 %, 2 layers dropped, small vocabulary",
        ),
    ],
)
def test_words_say_what_is_removed(values: dict[str, Any], words: str) -> None:
    config = RunConfig.parse({"pruning": values, "distillation": {"enabled": True}})
    assert config.pruning.words == words
    assert config.recipe == f"{words} + KD"


def test_a_vocabulary_alone_prunes_no_layer() -> None:
    assert not PruningConfig(vocabulary="training").enabled
    assert PruningConfig(drop_layers=1).enabled
    assert PruningConfig(final_density=0.9, method="layer-dropping").enabled


def test_a_config_cannot_be_changed() -> None:
    config = RunConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 3
    assert hash(config) == hash(RunConfig())


@pytest.mark.parametrize("given_code", ["ind", "IND", " Ind "])
def test_country_codes_are_read_in_any_case(given_code: str) -> None:
    assert RunConfig.parse({"emissions": {"country": given_code}}).emissions.country == "IND"


@pytest.mark.parametrize("given_code", ["IN", "India", "", "XKX ", "ÍND", 356, None])
def test_other_country_codes_are_refused(given_code: object) -> None:
    assert list(complaints({"emissions": {"country": given_code}})) == ["emissions.country"]


def test_titles() -> None:
    assert RunConfig.parse({"name": "  mine "}).title == "mine"
    assert RunConfig.parse({"model": {"base": "owner/some-model"}}).title == "Baseline, some-model"
    assert RunConfig.parse({"pruning": {"final_density": 1 / 3}}).title == "66.6667 %, starter"


@given(CONFIGS)
def test_json_gives_the_same_config_back(config: RunConfig) -> None:
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert RunConfig.parse(json.loads(config.model_dump_json())) == config


@given(CONFIGS)
def test_level_and_density_add_up(config: RunConfig) -> None:
    assert config.pruning.level + config.pruning.final_density == pytest.approx(1, abs=1e-6)
    assert config.pruning.enabled == (config.pruning.final_density < 1 or config.pruning.drop_layers > 0)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*RunConfig.model_fields, *TrainingConfig.model_fields, *PruningConfig.model_fields]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_plain_value_is_a_config_or_a_complaint(values: Any) -> None:
    fields: dict[str, str] = {}
    try:
        config = RunConfig.parse(values)
    except ConfigError as error:
        fields = error.fields
    else:
        assert RunConfig.parse(config.model_dump()) == config
        return
    assert fields
    assert all(text.endswith(".") for text in fields.values())
