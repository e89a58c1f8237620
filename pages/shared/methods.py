"""The pruning part of the recipe form: which method, in words a student understands, and only the settings that it uses."""

from collections.abc import Mapping

import streamlit as st

from engine.config import METHODS, Method
from pages.shared.fields import number, whole
from pages.shared.studio import complain

MEANING: dict[Method, str] = {
    "block-movement": "Learns a score for every FFN neuron while the model is fine-tuned; the lowest go, equally many in each "
    "layer. The paper's method. Attention stays whole.",
    "hybrid": "Scores attention heads as well as FFN neurons, so both shrink. With fewer heads the result is a checkpoint of "
    "our own format, which stock transformers cannot load.",
    "soft-cutoff": "One cut-off for the scores of all layers, so each layer finds its own width. Where widths differ, the result "
    "is a checkpoint of our own format, which stock transformers cannot load.",
    "magnitude": "Removes the FFN neurons with the smallest weights, step by step, with fine-tuning between. It looks at size "
    "alone, not at what the task needs.",
    "wanda": "Removes the FFN neurons that pass on least: weights times how strongly training texts activate them. It learns no "
    "scores, and attention stays whole.",
    "layer-dropping": "Takes whole layers out before training, the middle ones first. Coarse: a level is rounded to whole "
    "layers, and what a layer knew is gone at once.",
}
"""What each method does and what it cannot do."""
BLOCKS = (
    "Scores 32 x 32 blocks of the attention matrices and FFN neurons. Blocks become zeros wherever they stand, which gains no "
    "speed, and seldom is a whole head freed."
)
WEIGHTS = (
    "Sets the smallest single weights to zero. The matrices keep their size, so the model gets neither smaller nor faster on "
    "dense hardware."
)
SCHEDULES = {"cubic": "Cubic", "linear": "Linear", "exponential": "Exponential", "constant": "One-shot"}
SCHEDULE_HELP = (
    "How the density falls between warm-up and cool-down. Cubic: fast, then slower (Zhu & Gupta). Exponential: the same share of "
    "what is left at each step. One-shot: all at once, when the warm-up ends."
)
LAYERS_HELP = (
    "Taken out before training, the middle ones first, beside what the method removes. With layer dropping the larger of this "
    "number and the level counts."
)
ATTENTION_UNITS = {"head": "Whole heads", "block": "Blocks of 32 x 32"}
UNITS = {"neuron": "Whole neurons", "weight": "Single weights"}

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
        "Method", list(METHODS), format_func=METHODS.__getitem__, key="pruning.method", persist_state="session"
    )
    st.caption(meaning(st.session_state["pruning.method"]))
    complain(errors, "pruning.method")


def meaning(method: Method) -> str:
    """Say what a method does with the units chosen under Advanced."""
    if method == "hybrid" and st.session_state["pruning.attention_unit"] == "block":
        return BLOCKS
    if method == "magnitude" and st.session_state["pruning.unit"] == "weight":
        return WEIGHTS
    return MEANING[method]


def choose_pruning(errors: Mapping[str, str]) -> None:
    """Draw the settings that the chosen method uses, and any other that something is wrong with."""
    method: Method = st.session_state["pruning.method"]
    st.caption(f"Pruning: {METHODS[method]}")
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
        "Keep only the training texts' vocabulary",
        key="small_vocabulary",
        persist_state="session",
        help="Tokens that the training texts never use leave the tokenizer and the embedding; single characters and special "
        "tokens stay. Of a multilingual model the embedding is most of the parameters. It makes nothing faster.",
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
_CHOICES = {
    "attention_unit": ("Attention unit", ATTENTION_UNITS),
    "unit": ("Unit", UNITS),
    "schedule": ("Schedule", SCHEDULES),
}
_SHARES = {
    "regularization_lambda": ("Lambda (L1 weight)", 0.1),
    "initial_density": ("Initial density (share kept)", 0.05),
    "mask_learning_rate": ("Mask learning rate", 0.001),
    "warmup_share": ("Warm-up (share)", 0.05),
    "cooldown_share": ("Cool-down (share)", 0.05),
}


def _draw(name: str, errors: Mapping[str, str]) -> None:
    """Draw one setting of `PruningConfig`."""
    field = f"pruning.{name}"
    if name in _CHOICES:
        label, words = _CHOICES[name]
        said = SCHEDULE_HELP if name == "schedule" else None
        st.selectbox(label, list(words), format_func=words.__getitem__, key=field, persist_state="session", help=said)
        complain(errors, field)
    elif name in _SHARES:
        label, step = _SHARES[name]
        number(field, label, errors, step)
    elif name == "cut_off":
        number(field, "Cut-off", errors, 0.05, placeholder="by level")
    elif name == "iterations":
        whole(field, "Iterations (1 is one-shot)", errors)
    elif name == "drop_layers":
        whole(field, "Layers to drop", errors, help_text=LAYERS_HELP)
    else:
        whole(field, "FFN width: multiple of", errors)
