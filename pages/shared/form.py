"""The left half of Prune: the widgets of a recipe, each with its complaint below it."""

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from engine.config import MAHANEWS, PAPER_MODEL, RunConfig
from engine.errors import ConfigError
from engine.measuring.grids import countries
from engine.precision import choose_precision
from engine.runs.devices import lock_name
from pages.shared import recipe
from pages.shared.fields import number, text, whole
from pages.shared.language import say
from pages.shared.methods import choose_method, choose_pruning
from pages.shared.studio import complain
from pages.shared.uploads import KINDS, keep_upload
from pages.shared.words import escape

EMPTY = (("data.source", "own_data"), ("model.base", "own_base"))
"""Settings that come from a text field which may still be empty, and that field's widget."""
IN_SIGHT = ("pruning.method", "training.precision", "distillation.enabled")
"""Settings that stand above Advanced."""


def dataset_words() -> dict[str, str]:
    """Return what each dataset of the form is called."""
    return {
        "starter": say("Starter corpus (ships with the studio)"),
        MAHANEWS[0]: say("MahaNews SHC, short headlines (downloads)"),
        MAHANEWS[1]: say("MahaNews LPC, long paragraphs (downloads)"),
        MAHANEWS[2]: say("MahaNews LDC, long documents (downloads)"),
        recipe.OWN: say("A file of your own"),
    }


def base_words() -> dict[str, str]:
    """Return what each base model of the form is called."""
    return {
        "starter": say("Starter (small, trained, ships with the studio)"),
        "compact": say("Compact shape, random weights (4 layers of 256)"),
        PAPER_MODEL: say("The paper's model (downloads, 238 M parameters)"),
        "muril-shape": say("The paper's shape, random weights (for timing)"),
        recipe.OWN: say("A hub id or folder of your own"),
    }


def untrained() -> dict[str, str]:
    """Return the bases that no student can learn from, and what that means."""
    return {
        "compact": say(
            "The compact shape starts from random weights, so there is nothing to learn from it: distillation will be left "
            "out. Train a compact baseline first, then choose that run as the base."
        ),
        "muril-shape": say(
            "This shape has random weights, so there is nothing to learn from it: distillation will be left out."
        ),
    }


def choose_recipe(errors: Mapping[str, str], runs: Mapping[str, str], home: Path) -> None:
    """Draw the settings everybody meets: level, method, distillation, dataset, base model, precision."""
    st.segmented_control(
        say("Pruning level"),
        [*recipe.LEVELS, recipe.CUSTOM],
        format_func=recipe.level_words,
        key="level",
        required=True,
        persist_state="session",
        width="stretch",
        help=say(
            "Share of what the method removes: FFN neurons, and with some methods heads, layers or single weights."
        ),
    )
    if st.session_state["level"] == recipe.CUSTOM:
        st.slider(say("Custom level"), 1, 95, step=1, format="%d %%", key="custom_level", persist_state="session")
    complain(errors, "pruning.final_density")
    choose_method(errors)
    st.toggle(
        say("Distillation"),
        key="distillation.enabled",
        persist_state="session",
        help=say(
            "The unpruned base model is the teacher: the pruned student also learns from the teacher's probabilities."
        ),
    )
    note = untrained().get(st.session_state["base"])
    if st.session_state["distillation.enabled"] and note is not None:
        st.caption(f":material/info: {note}")
    _choose_dataset(errors, home)
    _choose_base(errors, runs)
    _choose_precision(errors)


def _choose_dataset(errors: Mapping[str, str], home: Path) -> None:
    options = [*recipe.DATASETS, recipe.OWN]
    words = dataset_words()
    st.selectbox(say("Dataset"), options, format_func=words.__getitem__, key="dataset", persist_state="session")
    if st.session_state["dataset"] == recipe.OWN:
        upload = st.file_uploader(
            say("Upload a table"), type=list(KINDS), help=say("One column of texts and one of labels.")
        )
        if upload is not None and st.session_state.get("upload_kept") != upload.file_id:
            recipe.use_upload(keep_upload(home, upload.name, upload.getvalue()))
            st.session_state["upload_kept"] = upload.file_id
            st.rerun()  # the config was read before the file came
        st.text_input(
            say("Path of the file"),
            key="own_data",
            persist_state="session",
            placeholder="/data/headlines.csv",
            help=say("CSV, TSV, JSONL, Parquet or Excel on this machine. An upload fills this in."),
        )
    complain(errors, "data.source")


def _choose_base(errors: Mapping[str, str], runs: Mapping[str, str]) -> None:
    words = {**base_words(), **runs}
    options = [*recipe.BASES, *runs, recipe.OWN]
    st.selectbox(
        say("Base model"),
        options,
        format_func=words.__getitem__,
        key="base",
        persist_state="session",
        help=say("The dense model that is pruned, and the teacher where distillation is on."),
    )
    if st.session_state["base"] == recipe.OWN:
        st.text_input(
            say("Hub id or folder"),
            key="own_base",
            persist_state="session",
            placeholder=say("owner/name or /models/my-bert"),
        )
    complain(errors, "model.base")


def _choose_precision(errors: Mapping[str, str]) -> None:
    st.selectbox(
        say("Precision"),
        ["auto", "fp32", "bf16", "fp16"],
        format_func={
            "auto": say("Automatic"),
            "fp32": "fp32",
            "bf16": say("bf16 (mixed)"),
            "fp16": say("fp16 (mixed, GPU)"),
        }.__getitem__,
        key="training.precision",
        persist_state="session",
    )
    try:
        device = lock_name(st.session_state["training.device"])
        chosen, reason = choose_precision(st.session_state["training.precision"], device)
    except ConfigError as error:
        errors = {**error.fields, **errors}
    else:
        where = "CPU" if device == "cpu" else f"GPU {device.removeprefix('cuda-')}"
        st.caption(
            say(
                "On this machine: {precision} on the {device} ({reason}).",
                precision=chosen,
                device=where,
                reason=escape(reason),
            )
        )
    complain(errors, "training.precision")


def choose_rest(errors: Mapping[str, str]) -> None:
    """Draw everything else, folded, with the defaults visible; unfolded when something in it is wrong."""
    wrong = any(field in errors for field in recipe.PLAIN if field not in IN_SIGHT)
    with st.expander(say("Advanced"), expanded=wrong, icon=":material/tune:"):
        text("name", say("Name"), errors, placeholder=say("made from the recipe"))
        choose_pruning(errors)
        _choose_training(errors)
        _choose_other_parts(errors)


def _choose_training(errors: Mapping[str, str]) -> None:
    st.caption(say("Training"))
    left, right = st.columns(2)
    with left:
        whole("training.epochs", say("Epochs"), errors)
        whole("training.batch_size", say("Batch size (texts)"), errors)
        number("training.weight_decay", say("Weight decay"), errors, 0.01)
        whole("training.evaluations", say("Evaluations"), errors)
        number("training.max_grad_norm", say("Gradient clipping norm"), errors, 0.1)
    with right:
        whole("training.max_steps", say("Maximum steps"), errors, placeholder=say("no limit"))
        number("training.learning_rate", say("Learning rate"), errors, 1e-5, placeholder=say("by width"))
        number("training.warmup_share", say("Rate warm-up (share)"), errors, 0.05)
        whole("training.seed", say("Seed"), errors)
        number("training.checkpoint_every_s", say("Checkpoint interval (s)"), errors, 10.0)
    text("training.device", say("Device"), errors, placeholder=say("auto, cpu, cuda or cuda:1"))


def _choose_other_parts(errors: Mapping[str, str]) -> None:
    st.caption(say("Distillation"))
    left, right = st.columns(2)
    with left:
        number("distillation.temperature", say("Temperature"), errors, 0.5)
    with right:
        number("distillation.distillation_weight", say("Weight of the teacher"), errors, 0.05)
    st.caption(say("Data"))
    left, right = st.columns(2)
    with left:
        whole("data.max_length", say("Maximum length (tokens)"), errors)
        text("data.text_column", say("Text column"), errors, placeholder=say("found by itself"))
    with right:
        text("data.test_path", say("Test file"), errors, placeholder=say("cut from the dataset"))
        text("data.label_column", say("Label column"), errors, placeholder=say("found by itself"))
    st.caption(say("Emissions"))
    left, right = st.columns(2)
    with left:
        names = countries()
        st.selectbox(
            say("Country of the grid"),
            list(names),
            format_func=lambda code: f"{names[code]} ({code})",
            key="emissions.country",
            persist_state="session",
        )
        complain(errors, "emissions.country")
    with right:
        number("emissions.sample_every_s", say("Sampling interval (s)"), errors, 0.5)


def form_errors() -> tuple[RunConfig | None, dict[str, str]]:
    """Return the config that the form makes, or None and what is wrong with it, by field."""
    try:
        return RunConfig.parse(recipe.values()), {}
    except ConfigError as error:
        fields = error.fields
    # An empty field is no value to complain about: say what to put there.
    for field, widget in EMPTY:
        if field in fields and not st.session_state[widget].strip():
            fields[field] = _to_put_there(field)
    return None, fields


def _to_put_there(field: str) -> str:
    """Say what an empty field wants."""
    if field == "data.source":
        return say("No file yet. Upload one, or give the path of one on this machine.")
    return say("No model yet. Give a hub id of the form owner/name, or a folder on this machine.")
