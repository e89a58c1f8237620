"""The lower half of Live: the newest readings, what was taken out, notices, the data report and the log."""

from collections.abc import Sequence

import streamlit as st

from engine.events import (
    CheckpointSaved,
    Compacted,
    DataPrepared,
    EmissionsSampled,
    ModelLoaded,
    Notice,
    StepLogged,
    SvmMeasured,
    VocabularyTrimmed,
)
from engine.records import DataReport
from engine.runs.run import Run
from engine.views import run_tables
from engine.views.sentences import svm_found, vocabulary_kept, what_went
from pages.shared import words
from pages.shared.language import say
from pages.shared.timeline import Timeline


def show_details(run: Run, timeline: Timeline, log: Sequence[str] | None) -> None:
    """Draw readings, data report, notices and the log's tail; a recording has no log."""
    st.caption(_telemetry(timeline.all(EmissionsSampled), timeline))
    _show_compactions(timeline)
    trimmed = timeline.last(VocabularyTrimmed)
    if trimmed is not None:
        st.info(words.escape(vocabulary_kept(trimmed.report)), icon=":material/dictionary:")
    svm = timeline.last(SvmMeasured)
    if svm is not None:
        st.info(words.escape(svm_found(svm.report)), icon=":material/straighten:")
    for message in dict.fromkeys(notice.message for notice in timeline.all(Notice)):
        st.info(words.escape(message), icon=":material/info:")
    prepared = timeline.last(DataPrepared)
    if prepared is not None:
        _show_report(prepared.report)
    if log is not None:
        with st.expander(say("Log"), expanded=run.state in ("failed", "interrupted"), icon=":material/terminal:"):
            st.code("\n".join(log) or say("The log is still empty."), language=None, height=240)


def _show_report(report: DataReport) -> None:
    """Say what was understood of the data and what cleaning did."""
    with st.expander(say("Data: what cleaning did"), icon=":material/cleaning_services:"):
        said = say(
            "Texts from column {texts!r}, labels from {column!r}; {labels} labels. After cleaning: {sizes}. "
            "Texts with conflicting labels: {conflicts:,}.",
            texts=report.text_column,
            column=report.label_column,
            labels=len(report.labels),
            sizes=", ".join(f"{count:,} {split}" for split, count in report.sizes.items()),
            conflicts=report.conflicting_labels,
        )
        st.caption(words.escape(said))
        st.dataframe(run_tables.report_frame(report), hide_index=True, width="stretch", key="live_report")
        for note in report.notes:
            st.text(note)


def _show_compactions(timeline: Timeline) -> None:
    """Say what was taken out last, and list all where there were several."""
    loaded = timeline.last(ModelLoaded)
    events = list({event.step: event for event in timeline.all(Compacted)}.values())
    if not events:
        return
    st.info(words.escape(f"{what_went(events[-1], loaded)}."), icon=":material/content_cut:")
    if len(events) > 1:
        title = say("All {count} times that units were taken out", count=len(events))
        with st.expander(title, icon=":material/format_list_numbered:"):
            table = run_tables.compaction_frame(events)
            form = {"Largest change of a logit": st.column_config.NumberColumn(format="%.1e")}
            st.dataframe(table, hide_index=True, width="stretch", key="live_compactions", column_config=form)


def _telemetry(samples: Sequence[EmissionsSampled], timeline: Timeline) -> str:
    """Say the newest readings in one line."""
    facts: list[str] = []
    if samples:
        last = samples[-1]
        facts.append(say("Power {watts:.1f} W ({phase})", watts=last.power_w, phase=_phase(last)))
        if last.cpu_percent is not None:
            facts.append(f"CPU {last.cpu_percent:.0f} %")
        if last.gpu_percent is not None:
            facts.append(f"GPU {last.gpu_percent:.0f} %")
        if last.ram_used_bytes is not None:
            facts.append(say("memory in use {size}", size=words.size(last.ram_used_bytes)))
    saved, compacted, step = timeline.last(CheckpointSaved), timeline.last(Compacted), timeline.last(StepLogged)
    if step is not None:
        facts.append(say("learning rate {number:.2e}", number=step.learning_rate))
        if step.grad_norm is not None:
            facts.append(say("gradient norm {number:.3g}", number=step.grad_norm))
        if step.skipped_steps:
            facts.append(say("{count} steps skipped by fp16 loss scaling", count=step.skipped_steps))
    if saved is not None:
        size = words.size(saved.size_bytes)
        facts.append(say("checkpoint at step {step:,} ({size})", step=saved.step, size=size))
    if compacted is not None:
        change = compacted.max_logit_difference
        facts.append(say("compaction changed logits by at most {change:.1e}", change=change))
    return words.escape(" · ".join(facts)) or say("No readings yet.")


def _phase(sample: EmissionsSampled) -> str:
    return say("training") if sample.phase == "training" else say("evaluation")
