"""The tables of one run: typed events -> `pandas.DataFrame`, text and numbers fit for the screen, all pure."""

from collections.abc import Sequence

import pandas as pd

from engine.charts import SVM
from engine.events import Compacted
from engine.records import DataReport, Measurement, RunResult


def compaction_frame(events: Sequence[Compacted]) -> pd.DataFrame:
    """Return one row a compaction: step, layers, FFN widths, heads removed from them, largest difference of logits."""
    rows = []
    for event in events:
        sizes = sorted(set(event.intermediate_sizes))
        widths = "" if not sizes else f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        rows.append(
            (event.step, len(event.intermediate_sizes), widths, event.heads_removed, event.max_logit_difference)
        )
    columns = ["Step", "Layers", "FFN width", "Heads removed", "Largest change of a logit"]
    return pd.DataFrame(rows, columns=columns).astype({"Step": "Int64"})


def report_frame(report: DataReport) -> pd.DataFrame:
    """Return one row a split: what was read, what cleaning dropped and why, what was kept."""
    names = {
        "rows_read": "Rows read",
        "repeated_headers": "Repeated headers",
        "empty_texts": "Empty texts",
        "empty_labels": "Empty labels",
        "duplicates": "Duplicates",
        "leaked": "In another split",
        "kept": "Kept",
        "repaired": "Encoding repaired",
    }
    rows = [(split, *(getattr(counts, key) for key in names)) for split, counts in report.splits.items()]
    return pd.DataFrame(rows, columns=["Split", *names.values()])


def result_frame(result: RunResult) -> pd.DataFrame:
    """Return the finished run as a table: one row a quantity, dense beside student, text fit for the screen.

    Where the run has measured an SVM on the same texts, it has a column of its own.
    """

    def row(name: str, dense: str, student: str, change: str = "") -> tuple[str, str, str, str]:
        return (name, dense, student, change)

    def percent(value: float | None) -> str:
        return "not measured: random weights" if value is None else f"{100 * value:.2f} %"

    def points(before: float | None, after: float | None) -> str:
        return "" if before is None or after is None else f"{100 * (after - before):+.2f} points"

    dense, student = result.dense, result.student
    shares = {"test_accuracy": "Test accuracy", "test_macro_f1": "Test macro-F1"}
    shares |= {"accuracy": "Validation accuracy", "macro_f1": "Validation macro-F1"}
    rows = []
    for key, name in shares.items():
        before, after = getattr(dense, key), getattr(student, key)
        if key.startswith("test") and before is None and after is None and dense.accuracy is not None:
            continue
        rows.append(row(name, percent(before), percent(after), points(before, after)))
    times = f"{result.speedup:.2f}x, ceiling {result.speedup_ceiling:.2f}x"
    rows.append(
        row(_latency_name(student), f"{dense.latency_ms.p50:.2f} ms", f"{student.latency_ms.p50:.2f} ms", times)
    )
    rows.append(row("Latency, p95", f"{dense.latency_ms.p95:.2f} ms", f"{student.latency_ms.p95:.2f} ms"))
    sizes = (
        ("Parameters", "parameters", 1e6, "M"),
        ("Size", "size_bytes", 1e6, "MB"),
        ("FLOPs a text", "flops", 1e9, "G"),
    )
    for name, key, unit, suffix in sizes:
        before, after = getattr(dense, key), getattr(student, key)
        change = f"{100 * (after - before) / before:+.1f} %" if before else ""
        rows.append(row(name, f"{before / unit:,.3g} {suffix}", f"{after / unit:,.3g} {suffix}", change))
    table = pd.DataFrame(rows, columns=["Quantity", "Dense", "Student", "Change"])
    if result.svm is not None:
        own = {name: percent(getattr(result.svm, key)) for key, name in shares.items()}
        own["Size"] = f"{result.svm.size_bytes / 1e6:,.3g} MB"
        table[SVM] = [own.get(name, "") for name in table["Quantity"]]
    return table


def _latency_name(measurement: Measurement) -> str:
    timing = measurement.latency_ms
    texts = "text" if timing.batch_size == 1 else "texts"
    return f"Latency, p50 ({timing.batch_size} {texts} of {timing.sequence_length} tokens)"
