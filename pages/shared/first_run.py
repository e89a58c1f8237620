"""What an empty studio offers: one button for a run that is worth seeing and is over in less than two minutes."""

from collections.abc import Mapping

import streamlit as st

from engine.config import RunConfig
from pages.shared.language import say
from pages.shared.studio import complain


def first_config() -> RunConfig:
    """Return the recipe of the first run: the starter, half of its FFN neurons, with distillation, 80 steps.

    Preparing, 80 steps and the measurements around them took 70 to 80 s on one thread of a busy two-core server.
    """
    return RunConfig.parse(
        {
            "name": "First run",
            "pruning": {"final_density": 0.5},
            "distillation": {"enabled": True},
            "training": {"max_steps": 80, "evaluations": 6},
        }
    )


def offer_first_run(errors: Mapping[str, str]) -> bool:
    """Say what the first run will do, draw its button, and return whether it was pressed.

    Args:
        errors: why it could not be started when it was pressed before, by field.
    """
    with st.container(border=True, key="first_run"):
        said, button = st.columns([0.72, 0.28], vertical_alignment="center")
        with said:
            st.markdown(say("**New here? See it work in under two minutes.**"))
            st.caption(
                say(
                    "Prunes the starter model by 50 % while the unpruned one teaches it, in 80 steps, on data that is already "
                    "here. Live opens: watch loss, accuracy, latency and emissions move, then try the result on a headline."
                )
            )
        with button:
            pressed = st.button(
                say("Start a first run"),
                type="primary",
                icon=":material/play_arrow:",
                width="stretch",
                key="start_first_run",
            )
        complain(errors, *errors)
    return pressed
