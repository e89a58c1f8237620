"""The second half of Try it: a file of texts in, a table of topics out; it can be stopped at any time, and gone on with."""

from pathlib import Path

import streamlit as st

from engine.errors import ChhatniError
from engine.views import answers
from pages.shared import topics
from pages.shared.classify import FileOutcome, classify_file, read_file
from pages.shared.downloads import offer_table
from pages.shared.language import say
from pages.shared.studio import show_error
from pages.shared.uploads import KINDS

TABLE = "try_table"
"""The file that was classified last, as far as that has come."""


def one_file(titles: dict[str, str], home: Path) -> None:
    """Draw the upload, its progress and the table that comes out."""
    upload = st.file_uploader(
        say("File of texts"),
        type=[*KINDS, "txt"],
        help=say(
            "A table (CSV, TSV, JSONL, Parquet or Excel) with a column of texts, or plain text with one text a line. "
            "It is read here and not kept."
        ),
    )
    column = st.text_input(say("Text column"), key="try_column", placeholder=say("found by itself"))
    source = st.selectbox(say("Model"), list(titles), format_func=titles.__getitem__, key="try_file_model")
    pressed = st.button(
        say("Classify the file"), type="primary", icon=":material/table:", disabled=upload is None, key="classify_file"
    )
    if pressed and upload is not None:
        st.session_state.pop(TABLE, None)
        try:
            with st.spinner(say("Reading the file")):
                st.session_state[TABLE] = read_file(upload.name, upload.getvalue(), column.strip() or None, source)
        except ChhatniError as error:
            show_error(error)
    found = st.session_state.get(TABLE)
    if found is None:
        return
    if pressed or _told_to_go_on(found):
        _classify(found, home)
    if found.predictions:
        show_table(found)


def _told_to_go_on(found: FileOutcome) -> bool:
    """Say how far a file has come that is not through, and return whether somebody wants the rest."""
    if found.whole:
        return False
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        st.info(
            say(
                "Stopped: {done} of {total} texts are classified.",
                done=f"{len(found.predictions):,}",
                total=f"{len(found.texts):,}",
            ),
            icon=":material/pause:",
        )
        go_on = st.button(say("Go on"), icon=":material/play_arrow:", key="try_go_on")
    if go_on:
        place.empty()
    return go_on


def _classify(found: FileOutcome, home: Path) -> None:
    """Classify what is left. Whatever is pressed meanwhile ends this script at the next part, and what there is stays."""
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, text=say("Loading the model"), width="stretch")
        st.button(say("Stop"), icon=":material/stop:", key="try_stop")
    try:
        classify_file(found, home, bar.progress)
    except ChhatniError as error:
        show_error(error)
    place.empty()


def show_table(found: FileOutcome) -> None:
    """Draw what was said of the texts of a file, and how many each topic has."""
    if found.left_out:
        left_out = say(
            "{left_out} texts after the first {limit} were left out. For longer files: python -m engine classify --file FILE",
            left_out=f"{found.left_out:,}",
            limit=f"{len(found.texts):,}",
        )
        st.warning(left_out, icon=":material/content_cut:")
    for note in found.notes:
        st.text(note)
    table = answers.answers_frame(found.predictions, topics.MARATHI)
    left, right = st.columns([0.7, 0.3])
    with left:
        st.dataframe(
            table,
            width="stretch",
            height=420,
            hide_index=True,
            key="try_rows",
            lazy=True,  # only the rows that are looked at go to the browser
            column_config={
                "Probability (%)": st.column_config.NumberColumn(format="%.1f"),
                "Latency (ms)": st.column_config.NumberColumn(format="%.2f"),
            },
        )
    with right:
        counts = answers.topics_frame(found.predictions)
        st.dataframe(counts, width="stretch", hide_index=True, key="try_counts")
        offer_table(say("Download as CSV"), lambda: table, "chhatni-topics", "try_csv", width="content")
