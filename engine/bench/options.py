"""The options of ``python -m engine bench``, with the defaults of `BenchSettings`; without torch."""

import argparse
from dataclasses import fields
from typing import Any

from engine.bench.settings import SCORED, SECTIONS, BenchSettings

_OPTIONS = (
    ("--sections", "sections", "LIST", f"what to measure: {', '.join(SECTIONS)}"),
    ("--layers", "layers", "N", "layers of the model, for a quick look; its own number if not given"),
    ("--levels", "levels", "LIST", "pruning levels"),
    ("--shapes", "shapes", "LIST", "further shapes, heads x FFN neurons of every layer, such as 6x768"),
    ("--batch-size", "batch_sizes", "LIST", "texts in a batch; step and run take the first"),
    ("--sequence-length", "sequence_lengths", "LIST", "tokens in each text; step and run take the first"),
    ("--precision", "precisions", "LIST", "auto, fp16 (GPU), bf16 or fp32; step and run take the first"),
    ("--device", "device", "D", "auto, cpu, cuda or cuda:N"),
    ("--threads", "threads", "N", "CPU threads"),
    ("--rounds", "rounds", "N", "forward passes of each shape; in throughput training steps"),
    ("--methods", "methods", "LIST", f"whose masks are timed: {', '.join(SCORED)}; run takes the first"),
    ("--densities", "densities", "LIST", "densities at which a step with masks is timed"),
    ("--step-rounds", "step_rounds", "N", "training steps of each kind"),
    ("--run-steps", "run_steps", "N", "steps of the whole run"),
    ("--data", "data", "DATA", "whose texts give real lengths and the vocabulary: starter, a dataset or a file"),
    ("--tokenizer", "tokenizer", "T", "whose vocabulary is made smaller: a folder, run or hub id; else a stand-in"),
)


def add_bench_options(parser: argparse.ArgumentParser, bases: str) -> None:
    """Add the options; lists are words between commas.

    Args:
        bases: what may be given as a model, in words.
    """
    defaults = {field.name: field.default for field in fields(BenchSettings)}
    parser.add_argument("--model", metavar="MODEL", default=defaults["model"], help=f"{bases} (default: %(default)s)")
    for flag, name, metavar, words in _OPTIONS:
        default: Any = defaults[name]
        kind = int if isinstance(default, int) or name == "layers" else str
        if isinstance(default, tuple):
            default = ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in default)
        shown = f"{words} (default: {default})" if default else words
        parser.add_argument(flag, dest=name, metavar=metavar, type=kind, default=default, help=shown)
    parser.add_argument("--output", metavar="FILE", help="also write the JSON to this file")
