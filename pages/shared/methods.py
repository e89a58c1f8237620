"""The pruning part of the recipe form: which method, in words a student understands, and only the settings that it uses."""

from collections.abc import Mapping

import streamlit as st

from engine.config import METHODS, Method
from pages.shared.fields import number, whole
from pages.shared.language import say
from pages.shared.studio import complain

_SCHEDULE = ("schedule", "initial_density", "warmup_share", "cooldown_share")
_SCORES = (*_SCHEDULE, "mask_learning_rate", "width_multiple")
_STEPS = (*_SCHEDULE, "iterations", "width_multiple")
USED: dict[Method, tuple[str, ...]] = {
    "block-movement": _SCORES,
    "hybrid": ("attention_unit", *_SCORES),
    "soft-cutoff": ("regularization_lambda", "cut_off", *_SCORES),
    "magnitude": ("unit", *_STEPS),
    "wanda": _STEPS,
    "layer-dropping": (),
}
"""Settings of `PruningConfig` that a method uses, beside level, dropped layers and vocabulary, which all can have."""


def choose_method(errors: Mapping[str, str]) -> None:
    """Draw the choice of the method and say what it does and what it cannot do."""
    st.selectbox(
        say("Method"), list(METHODS), format_func=METHODS.__getitem__, key="pruning.method", persist_state="session"
    )
    st.caption(meaning(st.session_state["pruning.method"]))
    complain(errors, "pruning.method")


def meanings() -> dict[Method, str]:
    """Return what each method does and what it cannot do, with the units it has unless others are chosen."""
    return {
        "block-movement": say(
            "Learns a score for every FFN neuron while the model is fine-tuned; the lowest go, equally many in each layer. "
            "The paper's method. Attention stays whole."
        ),
        "hybrid": say(
            "Scores attention heads as well as FFN neurons, so both shrink. With fewer heads the result is a checkpoint of "
            "our own format, which stock transformers cannot load."
        ),
        "soft-cutoff": say(
            "One cut-off for the scores of all layers, so each layer finds its own width. Where widths differ, the result "
            "is a checkpoint of our own format, which stock transformers cannot load."
        ),
        "magnitude": say(
            "Removes the FFN neurons with the smallest weights, step by step, with fine-tuning between. It looks at size "
            "alone, not at what the task needs."
        ),
        "wanda": say(
            "Removes the FFN neurons that pass on least: weights times how strongly training texts activate them. It learns "
            "no scores, and attention stays whole."
        ),
        "layer-dropping": say(
            "Takes whole layers out before training, the middle ones first. Coarse: a level is rounded to whole layers, and "
            "what a layer knew is gone at once."
        ),
    }


def meaning(method: Method) -> str:
    """Say what a method does, with the units chosen under Advanced, and what it cannot do."""
    if method == "hybrid" and st.session_state["pruning.attention_unit"] == "block":
        return say(
            "Scores 32 x 32 blocks of the attention matrices and FFN neurons. Blocks become zeros wherever they stand, which "
            "gains no speed, and seldom is a whole head freed."
        )
    if method == "magnitude" and st.session_state["pruning.unit"] == "weight":
        return say(
            "Sets the smallest single weights to zero. The matrices keep their size, so the model gets neither smaller nor "
            "faster on dense hardware."
        )
    return meanings()[method]


def choose_pruning(errors: Mapping[str, str]) -> None:
    """Draw the settings that the chosen method uses, and any other that something is wrong with."""
    method: Method = st.session_state["pruning.method"]
    st.caption(say("Pruning: {method}", method=METHODS[method]))
    shown = [name for name in _DRAWN if name in USED[method] or f"pruning.{name}" in errors]
    if (
        method == "magnitude"
        and st.session_state["pruning.unit"] == "weight"
        and "pruning.width_multiple" not in errors
    ):
        shown.remove("width_multiple")
    shown.append("drop_layers")
    for start in range(0, len(shown), 2):  # row by row, which keeps their order where a narrow screen stacks them
        for column, name in zip(st.columns(2), shown[start : start + 2], strict=False):
            with column:
                _draw(name, errors)
    st.toggle(
        say("Keep only the training texts' vocabulary"),
        key="small_vocabulary",
        persist_state="session",
        help=say(
            "Tokens that the training texts never use leave the tokenizer and the embedding; single characters and special "
            "tokens stay. Of a multilingual model the embedding is most of the parameters. It makes nothing faster."
        ),
    )
    complain(errors, "pruning.vocabulary")


_DRAWN = (
    "attention_unit",
    "unit",
    "regularization_lambda",
    "cut_off",
    "schedule",
    "iterations",
    "initial_density",
    "mask_learning_rate",
    "warmup_share",
    "cooldown_share",
    "width_multiple",
)
"""The order on the page."""


def _choices(name: str) -> tuple[str, dict[str, str]] | None:
    """Return the label of a setting that is one of a few words, and these words; None for a number."""
    if name == "attention_unit":
        return say("Attention unit"), {"head": say("Whole heads"), "block": say("Blocks of 32 x 32")}
    if name == "unit":
        return say("Unit"), {"neuron": say("Whole neurons"), "weight": say("Single weights")}
    if name == "schedule":
        return say("Schedule"), {
            "cubic": say("Cubic"),
            "linear": say("Linear"),
            "exponential": say("Exponential"),
            "constant": say("One-shot"),
        }
    return None


def _schedule_help() -> str:
    return say(
        "How the density falls between warm-up and cool-down. Cubic: fast, then slower (Zhu & Gupta). Exponential: the same "
        "share of what is left at each step. One-shot: all at once, when the warm-up ends."
    )


def _draw(name: str, errors: Mapping[str, str]) -> None:
    """Draw one setting of `PruningConfig`."""
    field = f"pruning.{name}"
    choices = _choices(name)
    if choices is not None:
        label, words = choices
        said = _schedule_help() if name == "schedule" else None
        st.selectbox(label, list(words), format_func=words.__getitem__, key=field, persist_state="session", help=said)
        complain(errors, field)
    elif name == "regularization_lambda":
        number(field, say("Lambda (L1 weight)"), errors, 0.1)
    elif name == "initial_density":
        number(field, say("Initial density (share kept)"), errors, 0.05)
    elif name == "mask_learning_rate":
        number(field, say("Mask learning rate"), errors, 0.001)
    elif name == "warmup_share":
        number(field, say("Warm-up (share)"), errors, 0.05)
    elif name == "cooldown_share":
        number(field, say("Cool-down (share)"), errors, 0.05)
    elif name == "cut_off":
        number(field, say("Cut-off"), errors, 0.05, placeholder=say("by level"))
    elif name == "iterations":
        whole(field, say("Iterations (1 is one-shot)"), errors)
    elif name == "drop_layers":
        layers_help = say(
            "Taken out before training, the middle ones first, beside what the method removes. With layer dropping the "
            "larger of this number and the level counts."
        )
        whole(field, say("Layers to drop"), errors, help_text=layers_help)
    else:
        whole(field, say("FFN width: multiple of"), errors)
