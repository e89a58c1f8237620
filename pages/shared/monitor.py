"""The parts of Live: state, numbers, charts and details of one run, drawn from its timeline."""

from collections.abc import Sequence

import streamlit as st

from engine import charts
from engine.events import (
    BaselineMeasured,
    CheckpointSaved,
    Compacted,
    DataPrepared,
    EmissionsSampled,
    Evaluated,
    ModelLoaded,
    Notice,
    RunStarted,
    StepLogged,
    SvmMeasured,
    TeacherReady,
    VocabularyTrimmed,
)
from engine.runs import Run
from engine.sentences import OWN_FORMAT, pruned_unit, svm_found, svm_verdict, vocabulary_kept, what_went
from pages.shared import words
from pages.shared.timeline import Timeline


def show_state(run: Run, position: int | None, timeline: Timeline) -> None:
    """Say the state in words, the recipe, the device, and how far the run is."""
    said = words.state_words(run.state, position)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(said, icon=words.STATE_ICONS[run.state], color=words.STATE_COLOURS[run.state])  # type: ignore[arg-type]
        st.markdown(f"**{words.escape(run.title)}**")
    started, loaded = timeline.last(RunStarted), timeline.last(ModelLoaded)
    facts = [run.config.recipe, f"base {run.config.model.base}", f"data {run.config.data.source}"]
    if started is not None:
        facts += [started.device_name, f"{started.precision} ({started.precision_reason})"]
    if loaded is not None:
        facts.append(f"{loaded.layers} layers of {loaded.hidden_size}, FFN {loaded.intermediate_size}")
    st.caption(words.escape(" · ".join(facts)))
    total = run.total_steps
    if total:
        share = min(1.0, run.step / total)
        st.progress(share, text=f"Step {run.step:,} of {total:,}{_time_left(run, timeline)}")
    elif run.active:
        st.progress(0.0, text=_preparing(run, timeline))


def _time_left(run: Run, timeline: Timeline) -> str:
    last = timeline.last(StepLogged)
    if last is None:
        return f" · {_preparing(run, timeline)}" if run.active else ""
    if run.state in ("training", "stopping"):
        return f" · {words.duration(last.eta_s)} left"
    return f" · {words.duration(last.elapsed_s)} of training"


def _preparing(run: Run, timeline: Timeline) -> str:
    """Say what happens before the first step."""
    if run.state == "queued":
        return "Waiting for its turn on this device"
    if timeline.last(DataPrepared) is None:
        return "Reading and cleaning the data"
    if timeline.last(ModelLoaded) is None:
        return "Loading the model"
    if timeline.last(BaselineMeasured) is None:
        return "Measuring an SVM on the same texts, and the dense baseline"
    loaded = timeline.last(ModelLoaded)
    if loaded is not None and loaded.distilling and timeline.last(TeacherReady) is None:
        return "Asking the teacher about every training text"
    return "First steps"


def show_failure(run: Run) -> None:
    """Show why a run ended and what to do next."""
    if run.error is None or run.state not in ("failed", "interrupted"):
        return
    with st.container(border=True):
        st.error(f"**{words.escape(run.error.error)}** ended this run.", icon=":material/error:")
        st.text(run.error.message)
        st.markdown("**Next step**")
        st.text(run.error.next_step)


def show_result(run: Run) -> None:
    """Show a finished run's dense and pruned model side by side."""
    result = run.result
    if result is None:
        return
    basis = ", ".join(f"{part.upper()} {kind}" for part, kind in sorted(result.energy_basis.items()))
    st.markdown("#### Dense and student")
    st.dataframe(charts.result_frame(result), hide_index=True, width="stretch", key="live_result")
    st.caption(
        f"{words.duration(result.duration_s)} · {words.energy(result.energy_kwh)} · "
        f"{words.emissions(result.emissions_kg)} on the {result.country} grid ({result.grid_g_per_kwh:g} g/kWh) · "
        f"energy: {basis}"
    )
    verdict = svm_verdict(result)
    if verdict:
        st.markdown(f"**Beside the SVM.** {words.escape(verdict)}")
    st.caption(f"Saved in {words.escape(result.model_path)}")
    if not result.stock:
        st.caption(words.escape(f"{OWN_FORMAT} {run.run_id}"))


def show_metrics(run: Run, timeline: Timeline) -> None:
    """Draw the row of numbers as they stand now."""
    step, evaluated = timeline.last(StepLogged), timeline.last(Evaluated)
    baseline, sample = timeline.last(BaselineMeasured), timeline.last(EmissionsSampled)
    with st.grid(6, min_column_width=150, key="live_metrics"):
        _metric("Loss", "–" if step is None else f"{step.loss:.4f}", "" if step is None else f"epoch {step.epoch:.2f}")
        _accuracy(evaluated, baseline)
        _latency(evaluated, baseline)
        kept = "–" if step is None else words.percent(step.density)
        _metric(f"{pruned_unit(run.config.pruning)} kept", kept, _goal(run))
        speed = "–" if step is None else f"{step.texts_per_s:,.0f} texts/s"
        _metric("Throughput", speed, "" if step is None else f"{step.tokens_per_s:,.0f} tokens/s")
        used = "–" if sample is None else words.scaled(1000 * sample.emissions_kg, "g")
        _metric(
            "Emissions (CO₂e)", used, "" if sample is None else f"{words.energy(sample.energy_kwh)} · {sample.country}"
        )


def _goal(run: Run) -> str:
    """Say what density the run is to end with."""
    pruning = run.config.pruning
    goal = f"goal {words.percent(pruning.final_density)}"
    if pruning.method == "soft-cutoff" and pruning.cut_off is not None:
        return f"cut-off {pruning.cut_off:g}, at least {words.percent(pruning.final_density)}"
    return goal


def _metric(label: str, value: str, note: str, *, help_text: str | None = None) -> None:
    st.metric(label, value, note or None, delta_color="off", delta_arrow="off", border=True, help=help_text)


def _accuracy(evaluated: Evaluated | None, baseline: BaselineMeasured | None) -> None:
    """Show validation accuracy beside the dense one, or that random weights have none."""
    label = "Validation accuracy"
    if baseline is not None and baseline.measurement.accuracy is None:
        _metric("Accuracy", "–", "random weights", help_text="Not measured: the weights are random by design.")
        return
    dense = "" if baseline is None else f"dense {words.accuracy(baseline.measurement.accuracy)}"
    value = "–" if evaluated is None else words.accuracy(evaluated.measurement.accuracy)
    _metric(label, value, dense)


def _latency(evaluated: Evaluated | None, baseline: BaselineMeasured | None) -> None:
    """Show the student's latency as if compacted now, beside the dense one."""
    label, words_of_help = (
        "Latency, p50",
        "The student as it would be if it were compacted now, timed beside the dense base.",
    )
    if evaluated is not None:
        own, dense = evaluated.measurement.latency_ms.p50, evaluated.dense_latency_ms.p50
        _metric(label, words.milliseconds(own), f"dense {words.milliseconds(dense)}", help_text=words_of_help)
    elif baseline is not None:
        dense = baseline.measurement.latency_ms.p50
        _metric(label, "–", f"dense {words.milliseconds(dense)}", help_text=words_of_help)
    else:
        _metric(label, "–", "", help_text=words_of_help)


def show_charts(timeline: Timeline) -> None:
    """Draw the four charts that move, two a row."""
    steps, evaluations = timeline.all(StepLogged), timeline.all(Evaluated)
    baseline, samples = timeline.last(BaselineMeasured), timeline.all(EmissionsSampled)
    left, right = st.columns(2)
    with left:
        _chart("Loss", charts.loss_chart(charts.loss_frame(steps)), "live_loss")
        _chart("Latency, as if compacted now", charts.latency_chart(charts.latency_frame(evaluations)), "live_latency")
    with right:
        if baseline is not None and baseline.measurement.accuracy is None:
            with st.container(border=True, height="stretch"):
                st.markdown("**Validation accuracy**")
                st.caption("Not measured: random weights. This base serves to measure time and energy.")
        else:
            accuracy = charts.accuracy_frame(evaluations, baseline, timeline.last(SvmMeasured))
            _chart("Validation accuracy", charts.accuracy_chart(accuracy), "live_accuracy")
        _chart(
            f"Emissions and power ({_basis(samples)})",
            charts.emissions_chart(charts.emissions_frame(samples)),
            "live_co2",
        )


def _chart(title: str, chart: charts.Chart, key: str) -> None:
    with st.container(border=True):
        st.markdown(f"**{title}**")
        st.altair_chart(chart, width="stretch", key=key)


def _basis(samples: Sequence[EmissionsSampled]) -> str:
    """Say which parts of the energy are measured and which estimated."""
    if not samples:
        return "no sample yet"
    last = samples[-1]
    parts = {"CPU": last.cpu_basis, "GPU": last.gpu_basis, "RAM": last.ram_basis}
    return ", ".join(f"{name} {basis}" for name, basis in parts.items() if basis is not None)


def show_details(run: Run, timeline: Timeline, log: Sequence[str]) -> None:
    """Draw density, telemetry, data report, notices and the log's tail."""
    samples = timeline.all(EmissionsSampled)
    left, right = st.columns(2)
    with left:
        density = charts.density_chart(charts.density_frame(timeline.all(StepLogged)))
        _chart("Density against its schedule", density, "live_density")
    with right:
        _chart("Device load", charts.telemetry_chart(charts.telemetry_frame(samples)), "live_load")
    st.caption(_telemetry(samples, timeline))
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
        report = prepared.report
        with st.expander("Data: what cleaning did", icon=":material/cleaning_services:"):
            sizes = ", ".join(f"{count:,} {split}" for split, count in report.sizes.items())
            st.caption(
                words.escape(
                    f"Texts from column {report.text_column!r}, labels from {report.label_column!r}; "
                    f"{len(report.labels)} labels. After cleaning: {sizes}. Texts with conflicting labels: "
                    f"{report.conflicting_labels:,}."
                )
            )
            st.dataframe(charts.report_frame(report), hide_index=True, width="stretch", key="live_report")
            for note in report.notes:
                st.text(note)
    with st.expander("Log", expanded=run.state in ("failed", "interrupted"), icon=":material/terminal:"):
        st.code("\n".join(log) or "The log is still empty.", language=None, height=240)


def _show_compactions(timeline: Timeline) -> None:
    """Say what was taken out last, and list all where there were several."""
    loaded = timeline.last(ModelLoaded)
    events = list({event.step: event for event in timeline.all(Compacted)}.values())
    if not events:
        return
    st.info(words.escape(f"{what_went(events[-1], loaded)}."), icon=":material/content_cut:")
    if len(events) > 1:
        with st.expander(f"All {len(events)} times that units were taken out", icon=":material/format_list_numbered:"):
            table = charts.compaction_frame(events)
            form = {"Largest change of a logit": st.column_config.NumberColumn(format="%.1e")}
            st.dataframe(table, hide_index=True, width="stretch", key="live_compactions", column_config=form)


def _telemetry(samples: Sequence[EmissionsSampled], timeline: Timeline) -> str:
    """Say the newest readings in one line."""
    facts: list[str] = []
    if samples:
        last = samples[-1]
        facts.append(f"Power {last.power_w:.1f} W ({last.phase})")
        if last.cpu_percent is not None:
            facts.append(f"CPU {last.cpu_percent:.0f} %")
        if last.gpu_percent is not None:
            facts.append(f"GPU {last.gpu_percent:.0f} %")
        if last.ram_used_bytes is not None:
            facts.append(f"memory in use {words.size(last.ram_used_bytes)}")
    saved, compacted, step = timeline.last(CheckpointSaved), timeline.last(Compacted), timeline.last(StepLogged)
    if step is not None:
        facts.append(f"learning rate {step.learning_rate:.2e}")
        if step.grad_norm is not None:
            facts.append(f"gradient norm {step.grad_norm:.3g}")
        if step.skipped_steps:
            facts.append(f"{step.skipped_steps} steps skipped by fp16 loss scaling")
    if saved is not None:
        facts.append(f"checkpoint at step {saved.step:,} ({words.size(saved.size_bytes)})")
    if compacted is not None:
        facts.append(f"compaction changed logits by at most {compacted.max_logit_difference:.1e}")
    return words.escape(" · ".join(facts)) or "No readings yet."
