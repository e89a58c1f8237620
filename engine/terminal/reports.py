"""What the command line shows: a progress bar while a run goes on, tables, and the same as plain JSON values."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from engine import jobs
from engine.errors import JobError
from engine.events import (
    Compacted,
    Evaluated,
    Event,
    ModelLoaded,
    Notice,
    RunStarted,
    StepLogged,
    SvmMeasured,
    VocabularyTrimmed,
)
from engine.records import Measurement, RunResult
from engine.runs.run import ACTIVE, Run
from engine.store import RunStore
from engine.terminal.visible import visible
from engine.views.sentences import (
    DOUBTS,
    OWN_FORMAT,
    calibration_found,
    svm_found,
    svm_verdict,
    vocabulary_kept,
    what_went,
)

if TYPE_CHECKING:
    from engine.inference import Prediction

_POLL_S = 0.3
_RECONCILE_S = 2.0


def follow(store: RunStore, run: Run) -> Run:
    """Show a run's progress on the standard error until it ends; Ctrl-C asks it to stop, and a second one looks away.

    Returns:
        The run in its ended state, or as it is after the second Ctrl-C.
    """
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    seen, asked, reconciled_at = 0, False, 0.0
    loaded: ModelLoaded | None = None
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(run.state, total=None, eta="")
        while True:
            try:
                for stored in store.events(run.run_id, after=seen):
                    seen = stored.seq
                    loaded = stored.event if isinstance(stored.event, ModelLoaded) else loaded
                    _show_event(progress, task, stored.event, loaded)
                if time.monotonic() - reconciled_at > _RECONCILE_S:
                    jobs.reconcile(store)
                    reconciled_at = time.monotonic()
                run = store.get(run.run_id)
                if run.state not in ACTIVE:
                    return run
                if run.state == "queued":
                    progress.update(task, description=_queued(store, run))
                time.sleep(_POLL_S)
            except KeyboardInterrupt:
                if asked:
                    return store.get(run.run_id)
                asked = True
                console.print("Asking the run to save itself and stop; press Ctrl-C again to leave it alone.")
                with suppress(JobError):  # it has ended at this very moment; the next look tells
                    jobs.stop(store, run.run_id)


def _queued(store: RunStore, run: Run) -> str:
    if jobs.waits_for_another_home(store, run):
        return f"queued: another home of this machine uses {run.device}"
    return f"queued behind {jobs.position(store, run.run_id)}"


def _show_event(progress: Progress, task: Any, event: Event, loaded: ModelLoaded | None) -> None:
    if isinstance(event, RunStarted):
        progress.update(task, description=f"preparing on {event.device_name} in {event.precision}")
        progress.console.print(_shown(f"{event.device_name}, {event.precision}: {event.precision_reason}"))
    elif isinstance(event, ModelLoaded):
        progress.update(task, total=event.total_steps, description="measuring the dense base")
    elif isinstance(event, Notice):
        progress.console.print(_shown(event.message))
    elif isinstance(event, VocabularyTrimmed):
        progress.console.print(_shown(vocabulary_kept(event.report)))
    elif isinstance(event, SvmMeasured):
        progress.console.print(_shown(svm_found(event.report)))
    elif isinstance(event, Compacted):
        progress.console.print(_shown(what_went(event, loaded)))
    elif isinstance(event, StepLogged):
        words = f"loss {event.loss:.3f}, density {event.density:.2f}"
        progress.update(task, completed=event.step, description=words, eta=f"ETA {event.eta_s:,.0f} s")
    elif isinstance(event, Evaluated) and event.measurement.accuracy is not None:
        accuracy, latency = event.measurement.accuracy, event.measurement.latency_ms.p50
        progress.console.print(
            _shown(f"step {event.step}: validation accuracy {accuracy * 100:.1f} %, latency {latency:.2f} ms")
        )


def summary(run: Run) -> dict[str, Any]:
    """Return the facts of a run's row as plain JSON values."""
    return {
        "run_id": run.run_id,
        "state": run.state,
        "name": run.config.name,
        "recipe": run.config.recipe,
        "base": run.config.model.base,
        "data": run.config.data.source,
        "device": run.device,
        "step": run.step,
        "total_steps": run.total_steps,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "test_accuracy": run.result.student.test_accuracy if run.result else None,
        "error": run.error.message if run.error else None,
    }


def outcome(run: Run) -> dict[str, Any]:
    """Return a run's result, or its state and error where there is none."""
    if run.result is not None:
        return run.result.model_dump(mode="json")
    facts = summary(run)
    facts["error"] = run.error.model_dump(mode="json") if run.error else None
    return facts


def print_runs(runs: Sequence[Run]) -> None:
    """Print a table of runs, newest first."""
    if not runs:
        print("There are no runs yet. Start one with: python -m engine train --prune 0.25 --distill")
        return
    table = Table(
        Column("run", no_wrap=True, min_width=len(runs[0].run_id)),  # never cut: it is what one copies
        Column("state", no_wrap=True, min_width=len("interrupted")),
        *("recipe", "base", "steps", "test accuracy", "started", "name"),
    )
    for run in runs:
        accuracy = run.result.student.test_accuracy if run.result else None
        steps = f"{run.step} / {run.total_steps}" if run.total_steps else "-"
        began = datetime.fromtimestamp(run.created_at).strftime("%Y-%m-%d %H:%M")
        cells = (run.run_id, run.state, run.config.recipe, run.config.model.base, steps, percent(accuracy), began)
        table.add_row(*(_shown(cell) for cell in (*cells, run.config.name)))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_run(run: Run, events: Sequence[Event] = ()) -> None:
    """Print one run: its result as a table, dense against pruned, or its state and error; and what was taken out last.

    Args:
        events: what the run has said of its model (`ModelLoaded`) and of making it smaller (`Compacted`), in order.
    """
    console = Console()
    console.print(_shown(f"{run.run_id}  {run.title}: {run.state}"))
    loaded = next((event for event in reversed(events) if isinstance(event, ModelLoaded)), None)
    compacted = next((event for event in reversed(events) if isinstance(event, Compacted)), None)
    if compacted is not None:
        console.print(_shown(what_went(compacted, loaded)), soft_wrap=True)
    if run.result is not None:
        print_result(console, run.result)
        return
    if run.total_steps:
        console.print(f"step {run.step} of {run.total_steps}")
    if run.error is not None:
        console.print(_shown(f"{run.error.message}\n{run.error.next_step}"))


def print_result(console: Console, result: RunResult) -> None:
    """Print dense base against pruned student, and what the run cost."""
    table = Table("", "dense", "student", title=_shown(f"{result.recipe} of {result.base}"))
    for words, dense, student in _rows(result.dense, result.student):
        table.add_row(words, dense, student)
    console.print(table)
    energy = result.energy_kwh * 1000
    basis = ", ".join(f"{part} {how}" for part, how in result.energy_basis.items())
    sizes = result.data.sizes
    console.print(
        _shown(
            f"speed-up {result.speedup:.2f}x (FLOPs ceiling {result.speedup_ceiling:.2f}x) in {result.precision} on "
            f"{result.device_name}\n"
            f"{result.duration_s:.0f} s, {energy:.3g} Wh ({basis}), {result.emissions_kg * 1000:.3g} g CO2eq "
            f"in {result.country} ({result.grid_g_per_kwh:.0f} g/kWh)\n"
            f"texts: {sizes['train']} train, {sizes['validation']} validation, {sizes['test']} test\n"
            f"model: {result.model_path}"
        ),
        soft_wrap=True,
    )
    if result.svm is not None:
        console.print(_shown(f"{svm_found(result.svm)} {svm_verdict(result)}"), soft_wrap=True)
    if result.calibration is not None:
        console.print(_shown(calibration_found(result.calibration)), soft_wrap=True)
    if not result.stock:
        console.print(_shown(f"{OWN_FORMAT} {result.run_id}"), soft_wrap=True)


def _rows(dense: Measurement, student: Measurement) -> list[tuple[str, str, str]]:
    latency = dense.latency_ms
    timed = f"(batch {latency.batch_size}, {latency.sequence_length} tokens)"
    return [
        ("parameters", f"{dense.parameters:,}", f"{student.parameters:,}"),
        ("size", f"{dense.size_bytes / 1e6:.1f} MB", f"{student.size_bytes / 1e6:.1f} MB"),
        ("FLOPs a text", f"{dense.flops / 1e9:.3f} G", f"{student.flops / 1e9:.3f} G"),
        (f"latency p50 {timed}", f"{latency.p50:.2f} ms", f"{student.latency_ms.p50:.2f} ms"),
        ("latency p95", f"{latency.p95:.2f} ms", f"{student.latency_ms.p95:.2f} ms"),
        ("validation accuracy", percent(dense.accuracy), percent(student.accuracy)),
        ("validation macro-F1", percent(dense.macro_f1), percent(student.macro_f1)),
        ("test accuracy", percent(dense.test_accuracy), percent(student.test_accuracy)),
        ("test macro-F1", percent(dense.test_macro_f1), percent(student.test_macro_f1)),
    ]


def percent(share: float | None) -> str:
    """Write a share of 0 to 1 in percent; a dash where nothing was measured."""
    return "-" if share is None else f"{share * 100:.2f} %"


def print_predictions(predictions: "Sequence[Prediction]") -> None:
    """Print one line a text: label, or why there is none, confidence, and the text's beginning."""
    table = Table("topic", "confidence", "ms", "text")
    for prediction in predictions:
        text = " ".join(prediction.text.split())
        shown = text if len(text) <= 100 else text[:99] + "…"
        note = f" (read in {prediction.windows} windows)" if prediction.windows > 1 else ""
        note += " (its end was not read)" if prediction.truncated else ""
        note += f" (not sure: {DOUBTS[prediction.doubt]})" if prediction.doubt else ""
        label = f"not sure ({prediction.label}?)" if prediction.doubt else prediction.label
        table.add_row(
            _shown(label), percent(prediction.confidence), f"{prediction.latency_ms:.2f}", _shown(shown + note)
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _shown(text: str) -> Text:
    """Take a text as it is, without markup, and without what a terminal would obey."""
    return Text(visible(text))
