"""A run as one page of HTML to keep or pass on: what was done, what came out, how each figure was obtained; all pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TypeVar

from engine.charts import Chart
from engine.config import MAHANEWS, PruningConfig, RunConfig
from engine.events import (
    BaselineMeasured,
    Compacted,
    DataPrepared,
    EmissionsSampled,
    Evaluated,
    Event,
    ModelLoaded,
    Notice,
    RunStarted,
    StepLogged,
    SvmMeasured,
    VocabularyTrimmed,
)
from engine.paper import CITATION, row_of
from engine.records import RunResult
from engine.runs.retelling import settled
from engine.runs.run import Run
from engine.texts.mahanews import LICENCE_NOTE
from engine.views import html_page, run_tables
from engine.views.dotted import dotted
from engine.views.run_charts import draw_run, fixed_cut_off
from engine.views.sentences import OWN_FORMAT, svm_found, svm_verdict, vocabulary_kept, what_went

E = TypeVar("E")

HOW_MEASURED = (
    "Accuracy, macro-F1, sizes and latency are measured, latency with dense model and student in turn on the same device; "
    "speed-up is the ratio of the two medians. FLOPs and the ceiling, the most that structure alone can gain, are computed "
    "from the shapes. Emissions are energy times the mean intensity of a country's grid, and so always estimated."
)


def run_page(run: Run, events: Sequence[Event], written: datetime | None = None) -> str:
    """Return a run as one self-contained page of HTML, light or dark as its reader's screen, fit for paper.

    Args:
        run: the run, in any state.
        events: all its events, oldest first.
        written: the moment that the page names; now where None.
    """
    told = settled(events)
    parts = [
        _opening(run, told),
        *_failure(run),
        *(_outcome(run, run.result) if run.result is not None else ()),
        html_page.heading("The run in charts"),
        html_page.drawings(run_charts(told, run.config.pruning)),
        *_notes(told),
        html_page.heading("Settings"),
        html_page.settings(list(settings_of(run.config).items())),
    ]
    return html_page.document(run.title, parts, written or datetime.now().astimezone())


def run_charts(told: Sequence[Event], pruning: PruningConfig) -> dict[str, Chart]:
    """Return the charts of a run by title; those it has nothing for are left out.

    Args:
        told: its events as `settled` returns them.
        pruning: what it was asked to prune.
    """
    steps, evaluations, samples = _all(told, StepLogged), _all(told, Evaluated), _all(told, EmissionsSampled)
    baseline, svm = _last(told, BaselineMeasured), _last(told, SvmMeasured)
    basis = f" ({basis_words(samples[-1])})" if samples else ""
    titles = {
        "loss": "Loss",
        "accuracy": "Validation accuracy",
        "latency": "Latency, as if compacted now",
        "emissions": f"Emissions and power{basis}",
        "density": "Density" if fixed_cut_off(pruning) else "Density against its schedule",
        "load": "Device load",
    }
    drawn = draw_run(pruning, steps, evaluations, samples, baseline, svm)
    return {titles[name]: chart for name, chart in drawn.items() if chart is not None}


def basis_words(sample: EmissionsSampled) -> str:
    """Say which parts of a sample's energy are measured and which estimated."""
    parts = {"CPU": sample.cpu_basis, "GPU": sample.gpu_basis, "RAM": sample.ram_basis}
    return ", ".join(f"{name} {basis}" for name, basis in parts.items() if basis is not None)


def settings_of(config: RunConfig) -> dict[str, str]:
    """Return every setting by its dotted name; of a file or folder only the last part of its path."""
    return {name: _setting(value) for name, value in dotted(config.model_dump(mode="json")).items()}


def _setting(value: object) -> str:
    if value is None or value == "":
        return "not set"
    return last_part(value) if isinstance(value, str) else str(value)


def versions_of(started: RunStarted | None) -> str:
    """Say the versions of the libraries that a run was made with."""
    return "" if started is None else ", ".join(f"{name} {number}" for name, number in started.versions.items())


def licence_of(config: RunConfig) -> str:
    """Return the terms of the texts, where they are known."""
    return LICENCE_NOTE if config.data.source in MAHANEWS else ""


def last_part(text: str) -> str:
    """Return the name of a file or folder without the way to it, which is the writer's own affair; other texts as they are."""
    absolute = text.startswith(("/", "~", "\\")) or text[1:3] in (":\\", ":/")
    return PurePath(text.replace("\\", "/")).name if absolute else text


def _opening(run: Run, told: Sequence[Event]) -> str:
    started, loaded, result = _last(told, RunStarted), _last(told, ModelLoaded), run.result
    rows = [
        ("Run", run.run_id),
        ("State", run.state),
        ("Recipe", run.config.recipe),
        ("Base model", last_part(run.config.model.base)),
        ("Dataset", last_part(run.config.data.source)),
        ("Licence of the data", licence_of(run.config)),
        ("Started", _moment(run.started_at)),
        ("Ended", _moment(run.ended_at)),
    ]
    if run.total_steps:
        rows.append(("Steps", f"{run.step:,} of {run.total_steps:,}"))
    if loaded is not None:
        shape = (
            f"{loaded.layers} layers of {loaded.hidden_size}, FFN {loaded.intermediate_size:,}, {loaded.heads} heads"
        )
        rows.append(("Shape of the base", shape))
    if started is not None:
        rows += [
            ("Device", f"{started.device_name} ({started.device}, {started.threads} threads)"),
            ("Precision", f"{started.precision}: {started.precision_reason}"),
            ("Versions", versions_of(started)),
        ]
    if result is not None:
        rows.append(("Duration", f"{result.duration_s:,.0f} s"))
    return html_page.facts(rows)


def _failure(run: Run) -> Iterator[str]:
    if run.error is not None and run.state in ("failed", "interrupted"):
        yield html_page.heading(f"Ended by {run.error.error}")
        yield html_page.paragraph(run.error.message, "warning")
        yield html_page.paragraph(f"Next step: {run.error.next_step}")


def _outcome(run: Run, result: RunResult) -> Iterator[str]:
    yield html_page.heading("Dense and student")
    yield html_page.table(run_tables.result_frame(result))
    energy = ", ".join(f"{part.upper()} {kind}" for part, kind in sorted(result.energy_basis.items()))
    yield html_page.paragraph(
        f"Energy {1000 * result.energy_kwh:.4g} Wh ({energy}); emissions {1000 * result.emissions_kg:.4g} g CO₂e (estimated) "
        f"on the grid of {result.country}, {result.grid_g_per_kwh:g} g/kWh."
    )
    yield html_page.paragraph(HOW_MEASURED, "soft")
    verdict = svm_verdict(result)
    if verdict:
        yield html_page.paragraph(f"Beside a linear SVM on the same texts: {verdict}")
    printed = row_of(run.config)
    if printed is not None:
        speed = "" if printed.speedup is None else f", speed-up {printed.speedup:g}x (ceiling {printed.ceiling:.2f}x)"
        yield html_page.paragraph(
            f"The paper prints for this setting: accuracy {printed.accuracy:g} %, {printed.parameters_m} M parameters{speed}, "
            f"{printed.emissions_kg:g} kg CO₂e. {CITATION}. Models, data and machines differ unless they were chosen alike.",
            "soft",
        )
    if not result.stock:
        yield html_page.paragraph(f"{OWN_FORMAT} {run.run_id}")


def _notes(told: Sequence[Event]) -> Iterator[str]:
    loaded, prepared = _last(told, ModelLoaded), _last(told, DataPrepared)
    compactions = list({event.step: event for event in _all(told, Compacted)}.values())
    lines = [f"{what_went(event, loaded)}." for event in compactions]
    trimmed, svm = _last(told, VocabularyTrimmed), _last(told, SvmMeasured)
    lines += [] if trimmed is None else [vocabulary_kept(trimmed.report)]
    lines += [] if svm is None else [svm_found(svm.report)]
    lines += list(dict.fromkeys(notice.message for notice in _all(told, Notice)))
    if lines:
        yield html_page.heading("What the run said")
        yield from map(html_page.paragraph, lines)
    if prepared is not None:
        yield html_page.heading("Data: what cleaning did")
        yield html_page.table(run_tables.report_frame(prepared.report))
        yield from (html_page.paragraph(note, "soft") for note in prepared.report.notes)


def _all(told: Sequence[Event], kind: type[E]) -> list[E]:
    return [event for event in told if isinstance(event, kind)]


def _last(told: Sequence[Event], kind: type[E]) -> E | None:
    found = _all(told, kind)
    return found[-1] if found else None


def _moment(unix_seconds: float | None) -> str:
    return "" if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC).strftime("%d %B %Y, %H:%M UTC")
