"""What finished runs say of quality, size and speed by pruning rate; `engine.before.sweep_plan` says which runs those are.

After tables 3 and 4 of Gholami & Omar, "Can pruning make Large Language Models more efficient?", which set quality against the
pruning rate beside the unpruned model. Everything else stays as it is, so that only the rate can make the difference.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import altair as alt
import pandas as pd

from engine.charts import ACCENT, MUTED, ORANGE, PADDING, VIOLET, Chart, axis, frame
from engine.comparison.frames import accuracy_of
from engine.config import METHODS, RunConfig
from engine.records import RunResult
from engine.runs.run import Run
from engine.views.dotted import dotted

QUANTITIES = {
    "accuracy": ("Accuracy (%)", ".2f"),
    "size": ("Size (MB)", ",.2f"),
    "latency": ("Latency, p50 (ms)", ".3f"),
    "speedup": ("Speed-up (x)", ".2f"),
}
"""What is drawn against the rate: title of the axis, and digits of the exact value."""

Rates = tuple[pd.DataFrame, pd.DataFrame]
"""What finished runs say by rate, and what the unpruned model reaches: `sweep_frame` and `unpruned_frame`."""

_FREE = ("name", "pruning.final_density", "pruning.initial_density", "training.seed", "training.device", "emissions")
"""Settings in which the runs of one line may differ."""
_COLOURS = (ACCENT, ORANGE, VIOLET, "#b0568f", "#4d86c6", "#8f8a2f", "#c2514f", MUTED)


def sweep_frame(runs: Sequence[Run], base: str, source: str, most: int = len(_COLOURS)) -> pd.DataFrame:
    """Return one row a finished run on one base model and dataset, by line and rate.

    Columns: series (method and what else tells lines apart), rate (%), run, seed, accuracy (%), size (MB), latency (p50, ms),
    speedup, ceiling and parameters (M). Unpruned runs stand in every line that was trained like them; lines without a pruned
    run are left out, and so are all but the ``most`` lines with the newest runs; ``runs`` come newest first.
    """
    done = [(run, run.result) for run in runs if run.result is not None]
    done = [(run, result) for run, result in done if run.config.model.base == base and run.config.data.source == source]
    lines: dict[tuple[tuple[str, str], ...], list[tuple[Run, RunResult]]] = {}
    for run, result in done:
        if run.config.pruning.level:
            lines.setdefault(_line(run.config), []).append((run, result))
    lines = dict(list(lines.items())[:most])
    names = _names(lines)
    rows = []
    for key, members in lines.items():
        trained = _training(key)
        unpruned = [
            item for item in done if not item[0].config.pruning.level and _training(_line(item[0].config)) == trained
        ]
        for run, result in [*unpruned, *members]:
            rows.append((names[key], *_values(run, result)))
    numbers = dict.fromkeys(("accuracy", "size", "latency", "speedup", "ceiling", "parameters"), "float64")
    table = frame(rows, series="object", rate="float64", run="object", seed="int64", **numbers)
    return table.sort_values(["series", "rate", "seed"], kind="stable", ignore_index=True)


def _values(run: Run, result: RunResult) -> tuple[object, ...]:
    student = result.student
    return (
        round(100 * run.config.pruning.level, 4),
        run.run_id,
        run.config.training.seed,
        accuracy_of(result),
        student.size_bytes / 1e6,
        student.latency_ms.p50,
        result.speedup,
        result.speedup_ceiling,
        student.parameters / 1e6,
    )


def unpruned_frame(data: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Return what the unpruned model reaches, one row a quantity: quantity, value, and in words what it is.

    That is the mean of the unpruned runs in ``data`` (`sweep_frame`), which were trained like the pruned ones; without any, the
    mean of the dense base as the pruned runs measured it before their first step. Its speed-up is 1 by definition.
    """
    alike = data[data["rate"] == 0].drop_duplicates("run")
    values: dict[str, float | None] = {"speedup": 1.0}
    if len(alike):
        what = "Unpruned model, trained alike"
        values |= {name: float(alike[name].mean()) for name in ("accuracy", "size", "latency")}
    else:
        what = "Dense base, before the run"
        wanted = set(data["run"])
        dense = [run.result.dense for run in runs if run.result is not None and run.run_id in wanted]
        if not dense:
            return frame([], quantity="object", value="float64", what="object")
        shares = [one.accuracy if one.test_accuracy is None else one.test_accuracy for one in dense]
        known = [100 * share for share in shares if share is not None]
        values["accuracy"] = fmean(known) if known else None
        values["size"] = fmean(one.size_bytes / 1e6 for one in dense)
        values["latency"] = fmean(one.latency_ms.p50 for one in dense)
    return frame(
        [(name, value, what) for name, value in values.items()], quantity="object", value="float64", what="object"
    )


def sources(runs: Sequence[Run], base: str) -> list[str]:
    """Return the datasets on which a base has pruned runs that are done: those with the most first."""
    counts: dict[str, int] = {}
    for run in runs:
        if run.result is not None and run.config.model.base == base and run.config.pruning.level:
            counts[run.config.data.source] = counts.get(run.config.data.source, 0) + 1
    return sorted(counts, key=lambda source: -counts[source])


def rates(runs: Sequence[Run], base: str, source: str) -> Rates:
    """Return all that is drawn against the rate on one base and dataset: `sweep_frame` and `unpruned_frame`."""
    data = sweep_frame(runs, base, source)
    return data, unpruned_frame(data, runs)


def rule_words(found: Rates) -> str:
    """Say what the rule of the unpruned model is."""
    words = list(found[1]["what"])
    return words[0] if words else ""


def sweep_chart(data: pd.DataFrame, unpruned: pd.DataFrame, quantity: str) -> Chart:
    """Draw one of `QUANTITIES` against the pruning rate: every run a point, a line through the means, the unpruned as a rule.

    The speed-up has its FLOPs ceiling beside it, as a thin dashed line of the same colour.
    """
    title, digits = QUANTITIES[quantity]
    x = alt.X("rate:Q", title="Pruning rate (%)", scale=alt.Scale(domain=[0, 100]), axis=axis(grid=False))
    scale = alt.Scale(zero=quantity in ("size", "latency"), nice=True)
    y = alt.Y(f"mean({quantity}):Q", title=title, scale=scale, axis=axis())
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=260, offset=4, symbolSize=50, rowPadding=1)
    colour = alt.Color("series:N", title=None, scale=alt.Scale(range=list(_COLOURS)), legend=legend)
    shape = alt.Shape("series:N", title=None, legend=legend)
    tooltip = [
        alt.Tooltip("series:N", title="Method"),
        alt.Tooltip("rate:Q", title="Pruning rate (%)", format=".4~g"),
        alt.Tooltip(f"{quantity}:Q", title=title, format=digits),
        alt.Tooltip("parameters:Q", title="Parameters (M)", format=",.2f"),
        alt.Tooltip("seed:Q", title="Seed"),
        alt.Tooltip("run:N", title="Run"),
    ]
    base, fixed = alt.Chart(data), alt.Chart(unpruned[unpruned["quantity"] == quantity])
    across = [alt.Tooltip("what:N", title="Rule"), alt.Tooltip("value:Q", title=title, format=digits)]
    rule = fixed.mark_rule(color=MUTED, strokeWidth=1.6, strokeDash=[6, 4]).encode(
        alt.Y("value:Q", title=title, scale=scale), tooltip=across
    )
    layers: list[alt.Chart] = [rule, base.mark_line(strokeWidth=2).encode(x, y, colour)]
    if quantity == "speedup":
        layers.append(
            base.mark_line(strokeWidth=1.4, strokeDash=[2, 3]).encode(x, alt.Y("mean(ceiling):Q", title=title), colour)
        )
        tooltip.insert(3, alt.Tooltip("ceiling:Q", title="FLOPs ceiling (x)", format=".2f"))
    dots = base.mark_point(filled=True, size=55, opacity=0.75).encode(
        x, alt.Y(f"{quantity}:Q", title=title), colour, shape, tooltip=tooltip
    )
    return alt.layer(*layers, dots).properties(height=340, padding=PADDING)


def _line(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Return what all runs of one line have in common."""
    flat = {name: str(value) for name, value in dotted(config.model_dump()).items()}
    if not config.distillation.enabled:
        flat = {name: value for name, value in flat.items() if not name.startswith("distillation.")} | {
            "distillation.enabled": "False"
        }
    return tuple(sorted((name, value) for name, value in flat.items() if not name.startswith(_FREE)))


def _training(line: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return the part of a line that also says something of an unpruned run."""
    shared = ("pruning.drop_layers", "pruning.vocabulary")
    return tuple(item for item in line if not item[0].startswith("pruning.") or item[0] in shared)


def _names(lines: Mapping[tuple[tuple[str, str], ...], Sequence[tuple[Run, RunResult]]]) -> dict[Any, str]:
    """Name each line by its method; where two would have one name, add the settings in which they differ."""
    short = {key: _method(members[0][0].config) for key, members in lines.items()}
    named = {}
    for key, name in short.items():
        rivals = [dict(other) for other, its in short.items() if its == name and other != key]
        own = dict(key)
        apart = sorted({field for rival in rivals for field in own if own[field] != rival.get(field)})
        words = [f"{field.rpartition('.')[2].replace('_', ' ')} {own[field]}" for field in apart]
        named[key] = ", ".join([name, *words])
    return named


def _method(config: RunConfig) -> str:
    """Name what was done at whatever rate: method, unit, layers, vocabulary and distillation."""
    pruning = config.pruning
    parts = [METHODS[pruning.method]]
    if pruning.method == "magnitude" and pruning.unit == "weight":
        parts[0] += " of weights"
    if pruning.method == "hybrid" and pruning.attention_unit == "block":
        parts[0] += " with blocks"
    if pruning.drop_layers:
        parts.append(f"{pruning.drop_layers} layer{'s' if pruning.drop_layers > 1 else ''} dropped")
    if pruning.vocabulary == "training":
        parts.append("small vocabulary")
    return ", ".join(parts) + (" + KD" if config.distillation.enabled else "")
