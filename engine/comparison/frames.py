"""Finished runs side by side and beside the paper: runs -> frames, all pure; `charts` draws them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from engine.before.estimates import break_even
from engine.charts import frame, thin
from engine.config import METHODS
from engine.events import Evaluated, StepLogged
from engine.measuring.grids import recompute
from engine.paper import TABLE
from engine.records import RunResult
from engine.runs.run import Run, StoredEvent
from engine.views.sentences import svm_rivals

PAPER, OURS = "Paper", "Ours"


def accuracy_of(result: RunResult) -> float | None:
    """Return the student's accuracy (per cent): on the test split, or on validation where there is no test split."""
    student = result.student
    share = student.accuracy if student.test_accuracy is None else student.test_accuracy
    return None if share is None else 100 * share


def emissions_at(result: RunResult, country: str | None) -> float:
    """Return the run's emissions (kg), as they were or as they would be on another country's grid."""
    return result.emissions_kg if country is None else recompute(result.energy_kwh, country)


def runs_frame(runs: Sequence[Run], country: str | None = None) -> pd.DataFrame:
    """Return one row a run, newest first, every setting and every result; unfinished runs have empty results."""
    rows = []
    for run in runs:
        config, result = run.config, run.result
        row: dict[str, object] = {
            "Run": run.run_id,
            "Title": run.title,
            "State": f"{run.state}, archived" if run.archived else run.state,
            "Setting": config.recipe,
            "Method": METHODS[config.pruning.method] if config.pruning.level else "",
            "Base": config.model.base,
            "Dataset": config.data.source,
            "Started": None if run.started_at is None else datetime.fromtimestamp(run.started_at, UTC),
        }
        row |= _results(result, country) if result is not None else dict.fromkeys(RESULT_COLUMNS)
        row |= {
            "Epochs": config.training.epochs,
            "Maximum steps": config.training.max_steps,
            "Batch size": config.training.batch_size,
            "Maximum length (tokens)": config.data.max_length,
            "Seed": config.training.seed,
        }
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*_SETTING_COLUMNS, *RESULT_COLUMNS, *_LOOP_COLUMNS])
    numbers = {name: "float64" for name in RESULT_COLUMNS if name not in _TEXT_RESULTS}
    return table.astype(numbers | {"Maximum steps": "float64"})


LONGEST_LABEL = 28
"""Letters of a run's own name in a chart, which has little room beside its axis."""
_SETTING_COLUMNS = ("Run", "Title", "State", "Setting", "Method", "Base", "Dataset", "Started")
_LOOP_COLUMNS = ("Epochs", "Maximum steps", "Batch size", "Maximum length (tokens)", "Seed")
_TEXT_RESULTS = ("Device", "Precision", "Grid", "Format")
RESULT_COLUMNS = (
    "Accuracy (%)",
    "Macro-F1 (%)",
    "SVM accuracy (%)",
    "Parameters (M)",
    "Size (MB)",
    "Latency p50 (ms)",
    "Dense p50 (ms)",
    "Speed-up (x)",
    "Ceiling (x)",
    "Energy (Wh)",
    "Emissions (kg CO2e)",
    "Duration (s)",
    "Device",
    "Precision",
    "Grid",
    "Format",
)


def _results(result: RunResult, country: str | None) -> dict[str, object]:
    student = result.student
    f1 = student.macro_f1 if student.test_macro_f1 is None else student.test_macro_f1
    rivals = svm_rivals(result)
    values = (
        accuracy_of(result),
        None if f1 is None else 100 * f1,
        None if rivals is None else 100 * rivals[0],
        student.parameters / 1e6,
        student.size_bytes / 1e6,
        student.latency_ms.p50,
        result.dense.latency_ms.p50,
        result.speedup,
        result.speedup_ceiling,
        1000 * result.energy_kwh,
        emissions_at(result, country),
        result.duration_s,
        result.device_name,
        result.precision,
        country or result.country,
        "stock BERT" if result.stock else "Chhatni's own",
    )
    return dict(zip(RESULT_COLUMNS, values, strict=True))


def setting_of(run: Run, result: RunResult) -> str:
    """Name what was done to the base: method, level, layers, vocabulary, and whether it was really distilled.

    Runs of one name are alike; the paper's rows are named so as well, and only by its own method.
    """
    words = run.config.pruning.words
    return f"{words} + KD" if result.distilled else words


def newest_by_setting(runs: Sequence[Run]) -> dict[str, Run]:
    """Return the newest finished run of each setting; ``runs`` come newest first."""
    found: dict[str, Run] = {}
    for run in runs:
        if run.result is not None:
            found.setdefault(setting_of(run, run.result), run)
    return found


def bases_by_settings(runs: Sequence[Run]) -> list[str]:
    """Return the base models of finished runs: those with the most settings first, the newest first among equals."""
    settings: dict[str, set[str]] = {}
    for run in runs:
        if run.result is not None:
            settings.setdefault(run.config.model.base, set()).add(setting_of(run, run.result))
    return sorted(settings, key=lambda base: -len(settings[base]))


def _order(run: Run) -> tuple[int, float, str]:
    """Put settings that the paper does not have in the order of methods, then of levels."""
    pruning = run.config.pruning
    return (list(METHODS).index(pruning.method) if pruning.level else -1, pruning.level, run.config.recipe)


_QUANTITIES = ("Parameters (M)", "Accuracy (%)", "Speed-up (x)", "Ceiling (x)", "kg CO2e")
_TABLE_COLUMNS = [(whose, quantity) for whose in (PAPER, OURS) for quantity in _QUANTITIES]


def table_frame(runs: Sequence[Run], country: str | None = None) -> pd.DataFrame:
    """Return the paper's Table I with the newest run of each setting beside it; columns are (Paper or Ours, quantity).

    Settings that the paper does not have follow below its seven rows.
    """
    ours, printed = newest_by_setting(runs), {row.recipe: row for row in TABLE}
    others = sorted((name for name in ours if name not in printed), key=lambda name: _order(ours[name]))
    rows: dict[str, dict[tuple[str, str], object]] = {}
    for name in [*printed, *others]:
        row, run = printed.get(name), ours.get(name)
        result = None if run is None else run.result
        rows[name] = {
            (PAPER, "Parameters (M)"): None if row is None else row.parameters_m,
            (PAPER, "Accuracy (%)"): None if row is None else row.accuracy,
            (PAPER, "Speed-up (x)"): None if row is None else row.speedup,
            (PAPER, "Ceiling (x)"): None if row is None or row.speedup is None else row.ceiling,
            (PAPER, "kg CO2e"): None if row is None else row.emissions_kg,
            (OURS, "Parameters (M)"): None if result is None else result.student.parameters / 1e6,
            (OURS, "Accuracy (%)"): None if result is None else accuracy_of(result),
            (OURS, "Speed-up (x)"): None if result is None else result.speedup,
            (OURS, "Ceiling (x)"): None if result is None else result.speedup_ceiling,
            (OURS, "kg CO2e"): None if result is None else emissions_at(result, country),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").astype("float64")
    table.columns = pd.MultiIndex.from_tuples(_TABLE_COLUMNS)
    table.index.name = "Setting"
    return table


def speed_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Return setting, whose and speed-up, with each one's FLOPs ceiling: the paper's rows and the newest of ours."""
    rows: list[tuple[str, str, float, float]] = []
    for row in TABLE:
        if row.speedup is not None:
            rows.append((row.recipe, PAPER, row.speedup, row.ceiling))
    for name, run in newest_by_setting(runs).items():
        if run.result is not None and run.config.pruning.enabled:
            rows.append((name, OURS, run.result.speedup, run.result.speedup_ceiling))
    return frame(rows, setting="object", whose="object", speedup="float64", ceiling="float64")


def emissions_frame(runs: Sequence[Run], country: str | None = None) -> pd.DataFrame:
    """Return label, run, energy (Wh), emissions (grams) and parameters (M, student's and dense) of every finished run given."""
    rows = []
    for run in runs:
        if run.result is not None:
            grams = 1000 * emissions_at(run.result, country)
            sizes = (run.result.student.parameters / 1e6, run.result.dense.parameters / 1e6)
            rows.append((label_of(run), run.run_id, 1000 * run.result.energy_kwh, grams, *sizes))
    numbers = dict.fromkeys(("energy", "grams", "parameters", "dense"), "float64")
    return frame(rows, label="object", run="object", **numbers)


def label_of(run: Run) -> str:
    """Name a run shortly: the name it was given, or else its setting, and the end of its id."""
    name = run.config.name
    short = name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1].rstrip()}…"
    return f"{short or run.config.recipe} · {run.run_id[-4:]}"


def curves_frame(curves: Mapping[str, Sequence[Evaluated | StepLogged]], limit: int = 200) -> pd.DataFrame:
    """Return run, share of the run (per cent), step and value: accuracy (%) of evaluations, or the loss of steps."""
    rows: list[tuple[str, float, float, float]] = []
    for label, events in curves.items():
        last = max((event.step for event in events), default=1)
        for event in thin(events, limit):
            if isinstance(event, StepLogged):
                rows.append((label, 100 * event.step / last, event.step, event.loss))
            elif event.measurement.accuracy is not None:
                rows.append((label, 100 * event.step / last, event.step, 100 * event.measurement.accuracy))
    return frame(rows, run="object", progress="float64", step="float64", value="float64")


def break_even_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Return setting, run, texts until the run's energy is repaid (or none) and how that was computed or why it cannot be."""
    rows = []
    for run in runs:
        if run.result is not None:
            point = break_even(run.result)
            texts = None if point.texts is None else float(point.texts)
            rows.append((run.result.recipe, run.run_id, texts, point.reason))
    return frame(rows, Setting="object", Run="object", Texts="float64", Basis="object")


def svm_notes(runs: Sequence[Run]) -> list[tuple[str, bool]]:
    """Say for each dataset how good an SVM on the same texts is, and which of these runs do not beat it.

    Returns:
        Sentences, plain text, each with whether all runs on that dataset beat the SVM.
    """
    datasets: dict[str, list[tuple[str, tuple[float, float, float]]]] = {}
    for run in runs:
        rivals = None if run.result is None else svm_rivals(run.result)
        if run.result is not None and rivals is not None:
            name = f"{setting_of(run, run.result)} · {run.run_id[-4:]} ({100 * rivals[2]:.2f} %)"
            datasets.setdefault(run.config.data.source, []).append((name, rivals))
    notes = []
    for source, found in datasets.items():
        lowest, highest = (100 * bound(svm for _, (svm, _, _) in found) for bound in (min, max))
        reach = f"{lowest:.2f} %" if lowest == highest else f"{lowest:.2f} to {highest:.2f} % from run to run in"
        beaten = [name for name, (svm, _, student) in found if student <= svm]
        of_all = f"{len(beaten)} of these {len(found)} runs" if len(found) > 1 else "This run"
        verb = "do" if len(found) > 1 and len(beaten) > 1 else "does"
        outcome = f"{of_all} {verb} not beat it: {', '.join(beaten)}." if beaten else "Every run shown here beats it."
        what = f"{Path(source).name}: a linear SVM over character n-grams, trained in seconds on the same texts"
        notes.append((f"{what}, reaches {reach} accuracy. {outcome}", not beaten))
    return notes


def styled(table: pd.DataFrame) -> Styler:
    """Dress the table of `table_frame`: digits by column, dashes for gaps, a tint behind what is ours."""
    digits = {"Parameters (M)": "{:,.1f}", "Accuracy (%)": "{:.2f}", "Speed-up (x)": "{:.2f}", "Ceiling (x)": "{:.2f}"}
    formats = {column: digits.get(column[1], "{:.6f}") for column in _TABLE_COLUMNS}
    formats[(PAPER, "Parameters (M)")] = "{:.0f}"

    def tint(column: pd.Series) -> list[str]:
        return ["background-color: #17897d22" if column.name[0] == OURS else ""] * len(column)  # type: ignore[index]

    return table.style.format(formats, na_rep="–").apply(tint, axis=0)  # type: ignore[arg-type]


def curve(stored: Sequence[StoredEvent]) -> list[Evaluated | StepLogged]:
    """Return a run's evaluations or logged steps in order of step; what a resumed run did twice counts as done last."""
    found: dict[int, Evaluated | StepLogged] = {}
    for item in stored:
        if isinstance(item.event, Evaluated | StepLogged):
            found[item.event.step] = item.event
    return [found[step] for step in sorted(found)]


def thin_curve(stored: Sequence[StoredEvent], limit: int = 200) -> list[Evaluated | StepLogged]:
    """Return as many points of `curve` as a drawing needs."""
    return thin(curve(stored), limit)
