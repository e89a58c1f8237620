"""The recipe form: one widget key a setting, and the way between those keys and a `RunConfig`.

`st.session_state` holds the truth, so that the whole config is known before the first widget is drawn, a finished run can be
cloned into the form, and the form outlives a change of page.
"""

from pathlib import Path
from typing import Any

import streamlit as st

from engine.config import MAHANEWS, PAPER_MODEL, RunConfig
from pages.shared.language import say

OWN = "own"
CUSTOM = "Custom"
LEVELS = {"Baseline": 0, "25 %": 25, "50 %": 50, "75 %": 75}
DATASETS = ("starter", *MAHANEWS)
BASES = ("starter", "compact", PAPER_MODEL, "muril-shape")

PLAIN = (
    "name",
    "data.test_path",
    "data.text_column",
    "data.label_column",
    "data.max_length",
    "pruning.method",
    "pruning.schedule",
    "pruning.initial_density",
    "pruning.warmup_share",
    "pruning.cooldown_share",
    "pruning.mask_learning_rate",
    "pruning.attention_unit",
    "pruning.regularization_lambda",
    "pruning.cut_off",
    "pruning.unit",
    "pruning.iterations",
    "pruning.drop_layers",
    "pruning.width_multiple",
    "distillation.enabled",
    "distillation.temperature",
    "distillation.distillation_weight",
    "training.epochs",
    "training.max_steps",
    "training.batch_size",
    "training.learning_rate",
    "training.weight_decay",
    "training.warmup_share",
    "training.max_grad_norm",
    "training.precision",
    "training.device",
    "training.seed",
    "training.evaluations",
    "training.checkpoint_every_s",
    "emissions.country",
    "emissions.sample_every_s",
)
"""Settings whose widget holds the value as it is; the others are put together from several widgets."""


def level_words(level: str) -> str:
    """Return what a level of the form is called; the per cents need no words."""
    return {"Baseline": say("Baseline"), CUSTOM: say("Custom")}.get(level, level)


def fill(config: RunConfig, runs: list[str]) -> None:
    """Put a config into the form; ``runs`` are the ids of finished runs that can serve as a base."""
    values = config.model_dump()
    for field in PLAIN:
        st.session_state[field] = _at(values, field)
    for field in ("data.test_path", "data.text_column", "data.label_column"):
        st.session_state[field] = st.session_state[field] or ""
    st.session_state["small_vocabulary"] = config.pruning.vocabulary == "training"
    level = round(100 * config.pruning.level, 2)
    named = next((name for name, percent in LEVELS.items() if percent == level), CUSTOM)
    st.session_state["level"] = named
    st.session_state["custom_level"] = min(95, max(1, round(level))) if named == CUSTOM else 60
    known = config.data.source in DATASETS
    st.session_state["dataset"] = config.data.source if known else OWN
    st.session_state["own_data"] = "" if known else config.data.source
    known = config.model.base in (*BASES, *runs)
    st.session_state["base"] = config.model.base if known else OWN
    st.session_state["own_base"] = "" if known else config.model.base


def ensure_filled(runs: list[str]) -> None:
    """Fill the form with the defaults on the first visit, and drop a base that is gone."""
    if "training.epochs" not in st.session_state:
        fill(RunConfig(), runs)
    if st.session_state["base"] not in (*BASES, *runs, OWN):
        st.session_state["base"] = "starter"


def values() -> dict[str, Any]:
    """Return what the form says, as `RunConfig.parse` wants it."""
    state = st.session_state
    nested: dict[str, Any] = {}
    for field in PLAIN:
        _set(nested, field, state[field])
    for field in ("data.test_path", "data.text_column", "data.label_column"):
        _set(nested, field, state[field].strip() or None)
    level = state["custom_level"] if state["level"] == CUSTOM else LEVELS[state["level"]]
    _set(nested, "pruning.final_density", round(1 - level / 100, 4))
    _set(nested, "pruning.vocabulary", "training" if state["small_vocabulary"] else "full")
    _set(nested, "data.source", state["own_data"] if state["dataset"] == OWN else state["dataset"])
    _set(nested, "model.base", state["own_base"] if state["base"] == OWN else state["base"])
    return nested


def use_upload(path: Path) -> None:
    """Make an uploaded file the dataset."""
    st.session_state["own_data"] = str(path)


def _at(values: dict[str, Any], field: str) -> Any:
    for part in field.split("."):
        values = values[part]
    return values


def _set(values: dict[str, Any], field: str, value: Any) -> None:
    *parents, last = field.split(".")
    for part in parents:
        values = values.setdefault(part, {})
    values[last] = value
