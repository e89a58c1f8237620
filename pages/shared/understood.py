"""What is understood of the dataset on Prune: columns, labels, cleaning and text lengths, before any training."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from engine.config import DataConfig, RunConfig
from engine.errors import ChhatniError
from engine.views import run_tables
from pages.shared import recipe, words
from pages.shared.language import say
from pages.shared.studio import show_error

if TYPE_CHECKING:
    from engine.before.data_preview import DataPreview

LOOK = "look_at_data"


@st.cache_data(max_entries=4, show_spinner=False)
def _preview(data: str, seed: int, base: str, home: str, stamps: tuple[str, ...]) -> "DataPreview":
    """Read a dataset; ``stamps`` change with its files, so that a changed file is read again."""
    # it imports datasets, which the page must not wait for when it opens
    from engine.before.data_preview import preview_data

    return preview_data(DataConfig.model_validate_json(data), seed, base, Path(home))


def _stamps(data: DataConfig) -> tuple[str, ...]:
    """Return size and time of the files of a dataset that are on this machine."""
    stamps = []
    for name in (data.source, data.test_path):
        try:
            facts = os.stat(os.path.expanduser(name)) if name else None
        except (OSError, ValueError):  # no file: a dataset known by name, or a wrong path, which reading will name
            facts = None
        stamps.append("" if facts is None else f"{facts.st_size} {facts.st_mtime_ns}")
    return tuple(stamps)


def show_data(config: RunConfig, home: Path) -> None:
    """Draw the switch and, where it is on, what a run would learn from; a file of one's own switches it on."""
    own = config.data.source not in recipe.DATASETS
    if own and st.session_state.get("looked_at") != config.data.source:
        st.session_state[LOOK] = True
        st.session_state["looked_at"] = config.data.source
    st.session_state.setdefault(LOOK, False)
    st.toggle(
        say("Look at the data"),
        key=LOOK,
        persist_state="session",
        help=say("Reads, cleans and splits the dataset as a run will. MahaNews is downloaded first."),
    )
    if not st.session_state[LOOK]:
        return
    try:
        with st.spinner(say("Reading the dataset")):
            found = _preview(
                config.data.model_dump_json(), config.training.seed, config.model.base, str(home), _stamps(config.data)
            )
    except ChhatniError as error:
        show_error(error)
        return
    _show_preview(found)


def _show_preview(found: "DataPreview") -> None:
    """Draw columns, splits, labels with their counts, what cleaning dropped, and text lengths."""
    report = found.report
    with st.container(border=True):
        sizes = ", ".join(f"{count:,} {split}" for split, count in report.sizes.items())
        st.caption(
            say(
                "Texts from column {texts}, labels from {labels}. After cleaning: {sizes}. Texts with conflicting labels: "
                "{conflicts}.",
                texts=words.escape(repr(report.text_column)),
                labels=words.escape(repr(report.label_column)),
                sizes=words.escape(sizes),
                conflicts=f"{report.conflicting_labels:,}",
            )
        )
        left, right = st.columns([0.35, 0.65])
        with left:
            counts = {say("Label"): list(report.label_counts), say("Texts"): list(report.label_counts.values())}
            st.dataframe(counts, hide_index=True, width="stretch", height=240, key="data_labels")
        with right:
            st.dataframe(run_tables.report_frame(report), hide_index=True, width="stretch", key="data_report")
            st.caption(words.escape(found.lengths_said))
            if found.why_words:
                st.caption(say("In words: {said}", said=words.escape(found.why_words)))
        for note in report.notes:
            st.text(note)
