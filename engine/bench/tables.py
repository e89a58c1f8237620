"""A benchmark's result as tables for a terminal."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Result = dict[str, Any]


def print_bench(result: Result) -> None:
    """Print each section that was measured, under a line that says where and of what."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    settings = result["settings"]
    dirty = ", with changes that are not committed" if result["dirty"] else ""
    console.print(
        Text(
            f"{settings['model']} on {result['device_name']}, commit {(result['commit'] or 'unknown')[:12]}{dirty}, "
            f"torch {result['versions']['torch']}"
        )
    )
    shown = {
        "latency": _latency,
        "step": _step,
        "run": _run,
        "vocabulary": _vocabulary,
        "throughput": _throughput,
    }
    for name, section in result["sections"].items():
        for table in shown[name](section):
            console.print(table)


def _latency(section: Result) -> list[Table]:
    structure = Table(
        *("shape", "precision", "batch", "tokens", "parameters", "MB", "p50 ms", "p95 ms", "min ms"),
        *("speed-up", "FLOPs ceiling", "of it"),
        title="Structure: equal precision, no padding",
    )
    for row in section["rows"]:
        structure.add_row(
            *(row["name"], row["precision"], str(row["batch_size"]), str(row["sequence_length"])),
            *(f"{row['parameters']:,}", f"{row['size_bytes'] / 1e6:.1f}"),
            *_spread(row["latency_ms"]),
            *(f"{row['speedup']:.2f}x", f"{row['speedup_ceiling']:.2f}x", _percent(row["share_of_ceiling"])),
        )
    tables = [structure]
    if section["precision_gains"]:
        precision = Table(
            "shape", "batch", "tokens", "precision", "faster than fp32", title="Precision: the same model"
        )
        for row in section["precision_gains"]:
            sizes = (str(row["batch_size"]), str(row["sequence_length"]))
            precision.add_row(row["name"], *sizes, row["precision"], f"{row['gain']:.2f}x")
        tables.append(precision)
    padding = Table(
        *("precision", "batch", "mean tokens", "padded to", "ms a text", "ms a text padded", "gain", "FLOPs ceiling"),
        title="Padding: real texts, dense model",
    )
    for row in section["padding"]:
        padding.add_row(
            *(row["precision"], str(row["batch_size"]), f"{row['mean_tokens']:.1f}", str(row["sequence_length"])),
            *(f"{row['real_ms_per_text']['p50']:.2f}", f"{row['padded_ms_per_text']['p50']:.2f}"),
            *(f"{row['gain']:.2f}x", f"{row['gain_ceiling']:.2f}x"),
        )
    words = section["tokenization"]
    tokenization = Table("tokens known", "p50 ms a text", "p95", "min", title="Tokenization, on the processor")
    tokenization.add_row(f"{words['tokens']:,}", *(f"{words['ms_per_text'][key]:.3f}" for key in ("p50", "p95", "min")))
    return [*tables, padding, tokenization]


def _step(section: Result) -> list[Table]:
    where = (
        f"{section['shape']['layers']} layers x {section['shape']['hidden_size']}, batch {section['batch_size']}, "
        f"{section['sequence_length']} tokens, {section['precision']}"
    )
    steps = Table(*("step", "density", "p50 ms", "p95 ms", "min ms", "to dense"), title=f"A training step: {where}")
    for row in section["rows"]:
        steps.add_row(row["name"], f"{row['density']:g}", *_spread(row["step_ms"]), f"{row['ratio']:.3f}x")
    use = Table("model", "density", "p50 ms", "p95 ms", "min ms", "to dense", title="The same models in use")
    for row in section["inference"]:
        use.add_row(row["name"], f"{row['density']:g}", *_spread(row["forward_ms"]), f"{row['ratio']:.3f}x")
    return [steps, use]


def _run(section: Result) -> list[Table]:
    seconds = section["duration_s"]
    title = (
        f"A whole run of {section['steps']} steps, {section['method']} to {section['level'] * 100:g} %, "
        f"smaller from step {section['shrunk_at_step']}"
    )
    table = Table("run", "s", "to dense", title=title)
    table.add_row("dense fine-tuning", f"{seconds['dense']:.1f}", "1.000x")
    table.add_row("pruned", f"{seconds['pruned']:.1f}", f"{section['ratio']:.3f}x")
    table.add_row("pruned and distilled", f"{seconds['distilled']:.1f}", f"{section['ratio_distilled']:.3f}x")
    table.add_row("the teacher, once over the data", f"{seconds['teacher']:.1f}", f"{section['ratio_teacher']:.3f}x")
    return [table]


def _vocabulary(section: Result) -> list[Table]:
    table = Table(
        "MuRIL's shape", "tokens", "parameters", title=f"Vocabulary of {section['texts']:,} texts ({section['data']})"
    )
    tokens = f"{section['tokens']:,}"
    table.add_row("dense", tokens, f"{section['parameters']:,}")
    table.add_row(f"density {section['density']:g}", tokens, f"{section['parameters_pruned']:,}")
    table.add_row(
        f"density {section['density']:g}, tokens of {section['tokenizer']}",
        f"{section['tokens_kept']:,}",
        f"{section['parameters_pruned_and_trimmed']:,}",
    )
    return [table]


def _throughput(section: Result) -> list[Table]:
    table = Table(
        *("shape", "precision", "batch", "tokens", "p50 ms a step", "tokens/s", "TFLOP/s", "of the peak"),
        "Wh for 1,000 texts",
        title="Training throughput, and the energy of classifying",
        caption=f"The peak is the maker's figure: {section['peak_source']}" if section["peak_source"] else None,
    )
    for row in section["rows"]:
        energy, step = row["energy_kwh_per_1000_texts"], row["step_ms"]
        table.add_row(
            *(row["name"], row["precision"], str(row["batch_size"]), str(row["sequence_length"])),
            "no memory" if step is None else f"{step['p50']:.2f}",
            "-" if step is None else f"{row['tokens_per_s']:,.0f}",
            "-" if step is None else f"{row['flops_per_s'] / 1e12:.3g}",
            "-" if row["share_of_peak"] is None else _percent(row["share_of_peak"]),
            "-" if energy is None else f"{energy * 1000:.3g}",
        )
    return [table]


def _spread(times: dict[str, float]) -> tuple[str, str, str]:
    return f"{times['p50']:.2f}", f"{times['p95']:.2f}", f"{times['min']:.2f}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
