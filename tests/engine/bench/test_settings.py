"""What a benchmark may be told."""

from dataclasses import fields
from typing import Any

import pytest

from engine.bench.settings import SECTIONS, BenchSettings
from engine.errors import ConfigError
from engine.shapes import MURIL


def wrong(**words: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        BenchSettings.parse(words)
    return caught.value.fields


def test_the_defaults_are_fine_and_measure_latency() -> None:
    settings = BenchSettings()
    assert settings.complaints() == {}
    assert settings.complaints_about(MURIL) == {}
    assert settings.sections == ("latency",)
    assert BenchSettings.parse({}) == settings


def test_lists_are_words_between_commas() -> None:
    settings = BenchSettings.parse(
        {
            "sections": "step, run",
            "levels": "0,0.5,0.5",
            "shapes": "6x768,1x64",
            "batch_sizes": "1,8",
            "sequence_lengths": "32,512",
            "precisions": "fp32,auto",
            "densities": "1,0.25",
            "methods": "hybrid",
            "threads": 2,
            "something": "else",
        }
    )
    assert settings.sections == ("step", "run")
    assert settings.levels == (0.0, 0.5), "each once"
    assert settings.shapes == ((6, 768), (1, 64))
    assert (settings.batch_sizes, settings.sequence_lengths) == ((1, 8), (32, 512))
    assert (settings.precisions, settings.methods) == (("fp32", "auto"), ("hybrid",))
    assert (settings.densities, settings.threads) == ((1.0, 0.25), 2)


def test_all_wrong_settings_come_at_once() -> None:
    found = wrong(
        sections="latency,speed",
        layers=0,
        levels="0.5,1,-0.1,nan",
        shapes="0x5",
        batch_sizes="0",
        sequence_lengths="8,-1",
        precisions="fp8",
        device="gpu",
        threads=0,
        rounds=0,
        methods="wanda",
        densities="0,1.5",
        step_rounds=0,
        run_steps=4,
    )
    assert found == {
        "sections": f"Section is 'speed'; it must be of {', '.join(SECTIONS)}. Try latency.",
        "layers": "Number of layers is 0; it must be at least 1. Try 12.",
        "levels": "Pruning level is 1, -0.1, nan; it must be at least 0 and below 1. Try 0.25.",
        "shapes": "Shape is 0x5; it must be at least one head and one FFN neuron. Try 6x768.",
        "batch_sizes": "Batch size is 0; it must be at least 1. Try 8.",
        "sequence_lengths": "Sequence length is -1; it must be at least 1. Try 128.",
        "precisions": "Precision is 'fp8'; it must be of auto, fp16, bf16, fp32. Try fp32.",
        "device": "Device is 'gpu'; it must be auto, cpu, cuda or cuda:N. Try auto.",
        "threads": "Number of threads is 0; it must be at least 1. Try 1.",
        "rounds": "Number of rounds is 0; it must be at least 1. Try 20.",
        "methods": "Method is 'wanda'; it must be of block-movement, hybrid, soft-cutoff, whose masks learn. "
        "Try block-movement.",
        "densities": "Density is 0, 1.5; it must be above 0 and at most 1. Try 0.5.",
        "step_rounds": "Number of rounds of steps is 0; it must be at least 1. Try 5.",
        "run_steps": "Number of steps of a run is 4; it must be at least 5. Try 20.",
    }


def test_words_that_are_no_numbers_stand_beside_other_faults() -> None:
    found = wrong(levels="a quarter", shapes="6", batch_sizes="8.5", densities=",", threads=-1)
    assert set(found) == {"threads", "densities", "levels", "shapes", "batch_sizes"}
    assert found["levels"] == "Levels are 'a quarter'; give words between commas such as 0,0.25,0.5,0.75."
    assert found["densities"] == "Density is empty; it must be above 0 and at most 1. Try 0.5."
    assert "6x768" in found["shapes"]


def test_a_run_needs_a_level_to_prune_to() -> None:
    assert list(wrong(sections="run", levels="0")) == ["levels"]
    assert BenchSettings.parse({"sections": "latency", "levels": ""}).levels == (), "the dense shape alone"


def test_what_does_not_fit_the_model() -> None:
    settings = BenchSettings(sequence_lengths=(128, 513), shapes=((13, 768), (12, 3072), (1, 3073)))
    assert settings.complaints_about(MURIL) == {
        "sequence_lengths": "Sequence length is 513; the model reads at most 512. Try 512.",
        "shapes": "Shape is 13x768, 1x3073; the model has only 12 heads and 3072 FFN neurons a layer. Try 6x768.",
    }


def test_every_setting_is_an_option() -> None:
    import argparse

    from engine.bench.options import add_bench_options

    parser = argparse.ArgumentParser()
    add_bench_options(parser, "anything")
    options = vars(parser.parse_args([]))
    assert {field.name for field in fields(BenchSettings)} == set(options) - {"output"}
    assert BenchSettings.parse(options) == BenchSettings()
