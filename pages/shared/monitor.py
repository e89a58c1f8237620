"""The parts of Live: state, numbers, charts and details of one run, drawn from its timeline."""

from collections.abc import Sequence

import streamlit as st

from engine.events import (
    BaselineMeasured,
    DataPrepared,
    EmissionsSampled,
    Evaluated,
    ModelLoaded,
    RunStarted,
    StepLogged,
    SvmMeasured,
)
from engine.runs.run import Run
from engine.views import run_tables
from engine.views.run_charts import fixed_cut_off, run_drawings
from engine.views.sentences import OWN_FORMAT, pruned_unit, svm_verdict
from pages.shared import words
from pages.shared.chart import show_moving
from pages.shared.figure import show_figure
from pages.shared.language import say
from pages.shared.timeline import Timeline


def show_state(run: Run, position: int | None, timeline: Timeline) -> None:
    """Say the state in words, the recipe, the device, and how far the run is."""
    said = words.state_words(run.state, position)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if timeline.recorded:
            st.markdown(replay_mark(), width="content")
        st.badge(said, icon=words.STATE_ICONS[run.state], color=words.STATE_COLOURS[run.state])  # type: ignore[arg-type]
        st.markdown(f"**{words.escape(run.title)}**")
    started, loaded = timeline.last(RunStarted), timeline.last(ModelLoaded)
    facts = [
        run.config.recipe,
        say("base {name}", name=run.config.model.base),
        say("data {name}", name=run.config.data.source),
    ]
    if started is not None:
        facts += [started.device_name, f"{started.precision} ({started.precision_reason})"]
    if loaded is not None:
        layers, width, ffn = loaded.layers, loaded.hidden_size, loaded.intermediate_size
        facts.append(say("{layers} layers of {width}, FFN {ffn}", layers=layers, width=width, ffn=ffn))
    st.caption(words.escape(" · ".join(facts)))
    total = run.total_steps
    if total:
        share = min(1.0, run.step / total)
        done = say("Step {step:,} of {total:,}", step=run.step, total=total)
        st.progress(share, text=f"{done}{_time_left(run, timeline)}")
    elif run.active:
        st.progress(0.0, text=_preparing(run, timeline))


def replay_mark() -> str:
    """Return the badge, as markdown, of everything that shows a recording."""
    return f":violet-badge[:material/replay: {say('Replay')}]"


def _time_left(run: Run, timeline: Timeline) -> str:
    last = timeline.last(StepLogged)
    if last is None:
        return f" · {_preparing(run, timeline)}" if run.active else ""
    if run.state in ("training", "stopping"):
        return " · " + say("{time} left", time=words.duration(last.eta_s))
    return " · " + say("{time} of training", time=words.duration(last.elapsed_s))


def _preparing(run: Run, timeline: Timeline) -> str:
    """Say what happens before the first step."""
    if run.state == "queued":
        return say("Waiting for its turn on this device")
    if timeline.last(DataPrepared) is None:
        return say("Reading and cleaning the data")
    if timeline.last(ModelLoaded) is None:
        return say("Loading the model")
    if timeline.last(BaselineMeasured) is None:
        return say("Measuring the dense baseline")
    return say("First steps")


def show_failure(run: Run) -> None:
    """Show why a run ended and what to do next."""
    if run.error is None or run.state not in ("failed", "interrupted"):
        return
    with st.container(border=True):
        ended = say("**{error}** ended this run.", error=words.escape(run.error.error))
        st.error(ended, icon=":material/error:")
        st.text(run.error.message)
        st.markdown(f"**{say('Next step')}**")
        st.text(run.error.next_step)


def show_result(run: Run, timeline: Timeline) -> None:
    """Show a finished run's dense and pruned model side by side, and where the model is if it is here."""
    result = run.result
    if result is None:
        return
    basis = ", ".join(f"{part.upper()} {basis_said(kind)}" for part, kind in sorted(result.energy_basis.items()))
    st.markdown(f"## {say('Dense and student')}")
    st.dataframe(run_tables.result_frame(result), hide_index=True, width="stretch", key="live_result")
    st.caption(
        say(
            "{time} · {energy} · {emissions} on the {country} grid ({grams:g} g/kWh) · energy: {basis}",
            time=words.duration(result.duration_s),
            energy=words.energy(result.energy_kwh),
            emissions=words.emissions(result.emissions_kg),
            country=words.escape(result.country),
            grams=result.grid_g_per_kwh,
            basis=basis,
        )
    )
    verdict = svm_verdict(result)
    if verdict:
        st.markdown(f"**{say('Beside the SVM.')}** {words.escape(verdict)}")
    if timeline.recorded:
        return
    st.caption(say("Saved in {path}", path=words.escape(result.model_path)))
    if not result.stock:
        st.caption(words.escape(f"{OWN_FORMAT} {run.run_id}"))


def show_metrics(run: Run, timeline: Timeline) -> None:
    """Draw the row of numbers as they stand now."""
    step, evaluated = timeline.last(StepLogged), timeline.last(Evaluated)
    baseline, sample = timeline.last(BaselineMeasured), timeline.last(EmissionsSampled)
    with st.grid(6, min_column_width=150, key="live_metrics"):
        epoch = "" if step is None else say("epoch {number:.2f}", number=step.epoch)
        show_figure(say("Loss"), "–" if step is None else f"{step.loss:.4f}", epoch)
        _accuracy(evaluated, baseline)
        _latency(evaluated, baseline)
        kept = "–" if step is None else words.percent(step.density)
        show_figure(say("{unit} kept", unit=pruned_unit(run.config.pruning)), kept, _goal(run))
        speed = "–" if step is None else say("{number:,.0f} texts/s", number=step.texts_per_s)
        tokens = "" if step is None else say("{number:,.0f} tokens/s", number=step.tokens_per_s)
        show_figure(say("Throughput"), speed, tokens)
        used = "–" if sample is None else words.scaled(1000 * sample.emissions_kg, "g")
        show_figure(
            say("Emissions (CO₂e)"),
            used,
            "" if sample is None else f"{words.energy(sample.energy_kwh)} · {sample.country}",
        )


def _goal(run: Run) -> str:
    """Say what density the run is to end with."""
    pruning = run.config.pruning
    goal = words.percent(pruning.final_density)
    if fixed_cut_off(pruning):
        return say("cut-off {number:g}, at least {share}", number=pruning.cut_off, share=goal)
    return say("goal {share}", share=goal)


def _accuracy(evaluated: Evaluated | None, baseline: BaselineMeasured | None) -> None:
    """Show validation accuracy beside the dense one, or that random weights have none."""
    if baseline is not None and baseline.measurement.accuracy is None:
        why = say("Not measured: the weights are random by design.")
        show_figure(say("Accuracy"), "–", say("random weights"), help_text=why)
        return
    dense = "" if baseline is None else say("dense {value}", value=words.accuracy(baseline.measurement.accuracy))
    value = "–" if evaluated is None else words.accuracy(evaluated.measurement.accuracy)
    show_figure(say("Validation accuracy"), value, dense)


def _latency(evaluated: Evaluated | None, baseline: BaselineMeasured | None) -> None:
    """Show the student's latency as if compacted now, beside the dense one."""
    label = say("Latency, p50")
    about = say("The student as it would be if it were compacted now, timed beside the dense base.")
    own = "–" if evaluated is None else words.milliseconds(evaluated.measurement.latency_ms.p50)
    if evaluated is not None:
        dense = words.milliseconds(evaluated.dense_latency_ms.p50)
    elif baseline is not None:
        dense = words.milliseconds(baseline.measurement.latency_ms.p50)
    else:
        show_figure(label, own, "", help_text=about)
        return
    show_figure(label, own, say("dense {value}", value=dense), help_text=about)


def show_charts(run: Run, timeline: Timeline) -> None:
    """Draw the charts that move, two a row; those of a recording say so."""
    pruning, samples = run.config.pruning, timeline.all(EmissionsSampled)
    baseline, svm = timeline.last(BaselineMeasured), timeline.last(SvmMeasured)
    drawings = run_drawings(pruning, timeline.all(StepLogged), timeline.all(Evaluated), samples, baseline, svm)
    titles = {
        "loss": say("Loss"),
        "accuracy": say("Validation accuracy"),
        "latency": say("Latency, as if compacted now"),
        "emissions": say("Emissions and power ({basis})", basis=_basis(samples)),
        "density": say("Density") if fixed_cut_off(pruning) else say("Density against its schedule"),
        "load": say("Device load"),
    }
    random_weights = baseline is not None and baseline.measurement.accuracy is None
    names = list(drawings)
    for pair in zip(names[::2], names[1::2], strict=True):
        for side, name in zip(st.columns(2), pair, strict=True):
            with side, st.container(border=True, height="stretch"):
                st.markdown(f"**{titles[name]}**{f' {replay_mark()}' if timeline.recorded else ''}")
                data = drawings[name][1]
                if name == "accuracy" and random_weights:
                    st.caption(say("Not measured: random weights. This base serves to measure time and energy."))
                elif data.empty:
                    st.caption(say("Nothing to draw yet."))
                else:
                    show_moving(drawings[name], key=f"live_{name}", alt_text=titles[name])


def basis_said(basis: str) -> str:
    """Say whether a quantity comes from a meter or from a model."""
    return say("measured") if basis == "measured" else say("estimated")


def _basis(samples: Sequence[EmissionsSampled]) -> str:
    """Say which parts of the energy are measured and which estimated."""
    if not samples:
        return say("no sample yet")
    last = samples[-1]
    parts = {"CPU": last.cpu_basis, "GPU": last.gpu_basis, "RAM": last.ram_basis}
    return ", ".join(f"{name} {basis_said(basis)}" for name, basis in parts.items() if basis is not None)
