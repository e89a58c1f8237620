"""The controls of the speed lab: the dense shape, the other one, and how both are timed. Every control has its place in the URL."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Literal

import streamlit as st

from engine.errors import CheckpointError, ConfigError
from engine.lab import plan as lab
from engine.lab.plan import LabSettings, Sizes
from engine.runs.devices import gpu_count
from engine.shapes import Shape
from pages.shared.address import choose, keep
from pages.shared.language import say
from pages.shared.studio import complain

STEPS = {"layers": 1, "heads": 1, "intermediate_size": 64, "hidden_size": 64, "vocabulary": 1000}
"""What one press of + or - changes."""
PRESET = "dense"
OTHER = ("layers", "heads", "ffn", "hidden", "vocab")
DENSE = ("dense_layers", "dense_heads", "dense_ffn", "dense_hidden", "dense_vocab")
"""Keys of the controls in the order of `Sizes`; they are the names in the URL."""
NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


def _labels() -> dict[str, str]:
    return {
        "layers": say("Layers"),
        "heads": say("Heads a layer"),
        "intermediate_size": say("FFN width"),
        "hidden_size": say("Hidden size"),
        "vocabulary": say("Vocabulary (tokens)"),
    }


def put(sizes: Sizes) -> None:
    """Put a shape into the controls of the other side."""
    st.session_state.update(dict(zip(OTHER, sizes, strict=True)))


def use_preset() -> None:
    """Begin with half the FFN of the dense shape that was just chosen, and put the choice into the address."""
    choose(PRESET, st.session_state[PRESET], lab.PRESETS[0])
    try:
        dense = lab.dense_preset(st.session_state[PRESET])
    except CheckpointError:  # the page says so when it is drawn
        return
    if st.session_state[PRESET] == "custom":
        st.session_state.update(dict(zip(DENSE, lab.sizes_of(dense), strict=True)))
    put(lab.shortcuts(dense)["half_ffn"])


def _number(label: str, key: str, limits: tuple[int, int], value: int, step: int) -> int:
    """Draw a whole number that stands in the URL."""
    low, high = limits
    given = st.query_params.get(key)
    nonsense = given is not None and NUMBER.fullmatch(given) is None
    if nonsense:  # bound, an infinite number would end the page here
        del st.query_params[key]
    bound: Literal["query-params"] | None = None if nonsense else "query-params"
    return int(st.number_input(label, low, high, value, step, key=key, bind=bound))


def _sizes(keys: Sequence[str], start: Sizes, make: Callable[[Sizes], Shape]) -> Shape:
    """Draw the five numbers of a shape, and below them what is wrong with it.

    Args:
        keys: of the five controls.
        start: what they are before anybody touches them.
        make: turns the numbers into the shape, or raises a `ConfigError`.
    """
    labels, found = _labels(), []
    with st.grid(3, min_column_width=120):
        for field, key in zip(Sizes._fields, keys, strict=True):
            found.append(_number(labels[field], key, lab.LIMITS[field], getattr(start, field), STEPS[field]))
    try:
        return make(Sizes(*found))
    except ConfigError as error:
        complain(error.fields, *error.fields)
        raise


def choose_dense() -> Shape:
    """Draw the dense side.

    Raises:
        CheckpointError: if the starter is not there.
        ConfigError: for a custom shape that cannot be.
    """
    words = {
        "bert-base": say("BERT-base and MuRIL's shape, small vocabulary"),
        "starter": say("Starter (ships with the studio)"),
        "custom": say("Custom"),
    }
    keep(
        PRESET, lab.PRESETS, lab.PRESETS[0]
    )  # not bound: a bound choice stands in the address in the words of one language
    name = st.selectbox(
        say("Dense shape"),
        list(lab.PRESETS),
        format_func=words.__getitem__,
        key=PRESET,
        persist_state="session",
        on_change=use_preset,
        help=say("What is compared with. The weights are random: they do not change how long a product takes."),
    )
    start = lab.dense_preset(name)
    if name != "custom":
        sizes = lab.sizes_of(start)
        st.caption(
            say(
                "{layers} layers, {heads} heads, FFN {ffn}, hidden size {hidden}, {vocab} tokens",
                layers=sizes.layers,
                heads=sizes.heads,
                ffn=f"{sizes.intermediate_size:,}",
                hidden=f"{sizes.hidden_size:,}",
                vocab=f"{sizes.vocabulary:,}",
            )
        )
        return start
    return _sizes(DENSE, lab.sizes_of(start), lab.make_dense)


def choose_other(dense: Shape) -> Shape:
    """Draw the other side, with a row of shapes worth trying.

    Raises:
        ConfigError: for a shape that cannot be; it is said below the controls.
    """
    names = {
        "half_ffn": say("½ FFN"),
        "half_layers": say("½ layers"),
        "half_heads": say("½ heads"),
        "quarter_ffn_half_heads": say("½ heads, ¼ FFN"),
        "as_dense": say("As dense"),
    }
    st.markdown(f"**{say('The other shape')}**")
    with st.container(horizontal=True, gap="xsmall"):
        for name, sizes in lab.shortcuts(dense).items():
            st.button(names[name], on_click=put, args=(sizes,), key=f"lab_{name}")
    start = lab.shortcuts(lab.dense_preset(st.session_state[PRESET]))["half_ffn"]
    return _sizes(OTHER, start, lambda sizes: lab.make_other(dense, sizes))


def choose_timing(dense: Shape, other: Shape) -> LabSettings:
    """Draw how both are timed."""
    devices = [*(f"cuda:{number}" for number in range(gpu_count())), "cpu"]
    cores = os.cpu_count() or 1
    st.markdown(f"**{say('How both are timed')}**")
    with st.grid(3, min_column_width=120):
        batch = _number(say("Batch size (texts)"), "batch", lab.LIMITS["batch_size"], 1, 1)
        length = _number(say("Length (tokens)"), "length", lab.LIMITS["sequence_length"], 128, 16)
        precision = st.selectbox(say("Precision"), ["fp32", "bf16", "fp16"], key="precision", bind="query-params")
        device = st.selectbox(say("Device"), devices, key="device", bind="query-params")
        threads = _number(say("CPU threads"), "threads", (1, cores), 1, 1) if cores > 1 else 1
    with_fp32 = precision != "fp32" and st.toggle(
        say("Time both in fp32 too"),
        key="with_fp32",
        bind="query-params",
        help=say("In the same rounds. It shows what the precision gains beside what the structure gains."),
    )
    return LabSettings(dense, other, batch, length, precision, device, threads, with_fp32)
