"""The right half of Prune: what the recipe will give, before it is run."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from engine.before.estimates import estimate
from engine.before.prediction import predict_shape
from engine.config import PAPER_MODEL, RunConfig
from engine.errors import CheckpointError
from engine.files.bases import base_shape, find_base
from engine.measuring.grids import recompute
from engine.paper import SPEED_NOTE, row_of
from engine.runs.run import Run
from engine.shapes import MURIL, Shape
from engine.views.drawing import layers_chart, parts_chart
from pages.shared import words
from pages.shared.chart import show_chart
from pages.shared.figure import show_figure
from pages.shared.language import say
from pages.shared.understood import show_data


def show_preview(config: RunConfig, runs: Sequence[Run], home: Path) -> None:
    """Draw the pruned shape, its numbers, its likely cost, the paper's row and, where asked for, the data."""
    try:
        dense = MURIL if config.model.base == PAPER_MODEL else base_shape(find_base(config.model.base, home))
    except CheckpointError as error:
        st.info(words.escape(str(error)), icon=":material/help:")
        dense = None
    else:
        if dense is None:
            st.info(say("The shape of this hub model is known once it has been downloaded."), icon=":material/help:")
    if dense is not None:
        show_shape(dense, config)
    left, right = st.columns(2)
    with left:
        show_cost(config, runs)
    with right:
        show_paper(config)
    show_data(config, home)


def show_shape(dense: Shape, config: RunConfig) -> None:
    """Draw the layers and the numbers that follow from the settings alone, and what the numbers do not say."""
    predicted = predict_shape(dense, config.pruning)
    pruned, about = predicted.shape, "" if predicted.exact else "≈ "
    tokens = config.data.max_length
    ceiling = dense.speedup_ceiling(pruned, tokens)
    fewer = 1 - pruned.parameters / dense.parameters
    less = 1 - pruned.flops(tokens) / dense.flops(tokens)
    with st.grid(4, min_column_width=125, key="preview_numbers"):
        _number(say("Parameters"), about + words.count(pruned.parameters), fewer, words.count(dense.parameters))
        _number(say("Size (fp32)"), about + words.size(pruned.size_bytes()), fewer, words.size(dense.size_bytes()))
        _number(say("FLOPs a text"), about + words.count(pruned.flops(tokens)), less, words.count(dense.flops(tokens)))
        show_figure(
            say("Ceiling"),
            f"{about}{ceiling:.2f}x",
            say("{tokens} tokens", tokens=tokens),
            help_text=say(
                "Speed-up ceiling: dense FLOPs over pruned FLOPs, the most that structure alone can gain. "
                "What is measured stays below it. Where only zeros appear in matrices of the same size, it is 1."
            ),
        )
    for note in predicted.notes:
        st.caption(f":material/info: {words.escape(note)}")
    drawing = layers_chart(dense, pruned, predicted.kept_layers)
    show_chart(drawing, key="preview_layers", alt_text=say("The layers with the heads and FFN neurons that stay"))
    show_chart(parts_chart(dense, pruned), key="preview_parts", alt_text=say("Parameters by part, before and after"))


def _number(label: str, value: str, fewer: float, dense: str) -> None:
    change = f"-{words.percent(fewer)}" if fewer > 0 else say("as dense")
    show_figure(label, value, change, help_text=say("Dense: {value}", value=dense))


def show_cost(config: RunConfig, runs: Sequence[Run]) -> None:
    """Say what earlier runs on this machine make likely."""
    with st.container(border=True, height="stretch"):
        st.markdown(say("**Time and emissions here** (estimated)"))
        guess = estimate(config, runs)
        if guess is None:
            st.caption(
                say(
                    "No finished run here has used this base, dataset, length and precision yet. The first one gives the "
                    "estimate."
                )
            )
            return
        kilograms = recompute(guess.energy_kwh, config.emissions.country)
        st.markdown(
            say(
                "about **{time}** · **{energy}** · **{emissions}** ({country} grid)",
                time=words.duration(guess.duration_s),
                energy=words.energy(guess.energy_kwh),
                emissions=words.emissions(kilograms),
                country=config.emissions.country,
            )
        )
        st.caption(
            say(
                "Scaled by number of texts from run {run} ({recipe}).",
                run=guess.basis_run,
                recipe=words.escape(guess.basis_recipe),
            )
        )


def show_paper(config: RunConfig) -> None:
    """Show the paper's row for this setting, if it has one."""
    with st.container(border=True, height="stretch"):
        st.markdown(say("**The paper's row**"), help=words.escape(SPEED_NOTE))
        row = row_of(config)
        if row is None:
            st.caption(say("The paper's Table I has no row for this setting."))
            return
        facts = say(
            "**{parameters} M** parameters · **{accuracy} %** accuracy · **{emissions}**",
            parameters=row.parameters_m,
            accuracy=f"{row.accuracy:g}",
            emissions=words.emissions(row.emissions_kg),
        )
        if row.speedup is not None:
            facts += " · " + say(
                "**{speedup}x** speed-up as printed (ceiling {ceiling}x)",
                speedup=f"{row.speedup:g}",
                ceiling=f"{row.ceiling:.2f}",
            )
        st.markdown(facts)
        st.caption(say("Its model, its dataset (MahaNews LDC), its GPU. Table I, as printed."))
