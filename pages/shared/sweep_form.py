"""The sweep on Prune: which pruning rates, with how many seeds each, for the method that the form has."""

import streamlit as st

from engine.before.sweep_plan import RATES, SEEDS, USUAL, sweep_settings
from engine.config import METHODS, RunConfig
from engine.errors import ConfigError
from pages.shared.language import say
from pages.shared.words import escape

Settings = list[dict[str, dict[str, object]]]


def choose_sweep(config: RunConfig | None) -> Settings | None:
    """Draw the choice of rates behind one button; return the settings to queue when its own button was pressed, else None."""
    with st.popover(say("Queue a sweep"), icon=":material/stacked_line_chart:", disabled=config is None):
        if config is None:
            return None
        rates = st.multiselect(
            say("Pruning rates"),
            RATES,
            default=USUAL,
            format_func=lambda rate: f"{rate} %",
            key="sweep_rates",
            persist_state="session",
            help=say("0 % is the unpruned model, trained like the others; Compare draws it as a rule."),
        )
        seeds = st.number_input(
            say("Seeds for each rate"),
            min_value=1,
            max_value=SEEDS,
            step=1,
            key="sweep_seeds",
            persist_state="session",
            help=say("Several seeds show how much of a difference is chance."),
        )
        try:
            settings = sweep_settings(config, rates, seeds)
        except ConfigError as error:
            st.markdown(f":small[:red[:material/error: {escape(' '.join(error.fields.values()))}]]")
            return None
        st.caption(
            say(
                "{count} runs by {method}, one after another. Everything else is as set in the form.",
                count=len(settings),
                method=METHODS[config.pruning.method],
            )
        )
        return settings if st.button(say("Queue {count} runs", count=len(settings)), type="primary") else None
