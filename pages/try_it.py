"""Try it: Marathi text in, topics out, from one or several checkpoints side by side. What is pasted is shown as plain text."""

import streamlit as st

from engine import answers
from engine.errors import ChhatniError
from engine.export import to_csv
from engine.sentences import OWN_FORMAT
from pages.shared import topics, words
from pages.shared.classify import LIMIT_CHARACTERS, Outcome, classify_file, classify_text
from pages.shared.studio import finished, show_error, store_and_runs
from pages.shared.uploads import KINDS

MODELS, TEXT, ANSWERS, TABLE = "try_models", "try_text", "try_answers", "try_table"
SIDE_BY_SIDE = 3


def use_sample() -> None:
    """Put the sample that was chosen into the text box."""
    if st.session_state["try_sample"]:
        st.session_state[TEXT] = st.session_state["try_sample"]


def show_outcome(outcome: Outcome) -> None:
    """Draw what one model said."""
    with st.container(border=True, height="stretch"):
        st.caption(words.escape(outcome.title))
        if outcome.prediction is None:
            st.error(words.escape(outcome.error), icon=":material/error:")
            return
        said = outcome.prediction
        st.markdown(f"### {words.escape(topics.marathi(said.label))}")
        st.markdown(f"{words.escape(topics.english(said.label))} · **{words.percent(said.confidence)}**")
        names = {label: topics.bilingual(label) for label in said.probabilities}
        data = answers.probability_frame(said.probabilities, names)
        st.altair_chart(answers.probability_chart(data), width="stretch", key=f"bars_{outcome.source}")
        passes = "one pass" if outcome.passes == 1 else f"median of {outcome.passes} passes"
        st.caption(
            f"{words.milliseconds(said.latency_ms)} measured, one text, {passes} · {said.tokens:,} tokens read · "
            f"{words.count(outcome.parameters)} parameters, {words.size(outcome.size_bytes)}"
        )
        if said.windows > 1:
            st.caption(
                f":material/view_week: Longer than this model reads at once: read in {said.windows} windows that overlap; "
                "the probabilities are their mean."
            )
        if said.truncated:
            st.caption(":material/content_cut: The end of the text was not read.")


def one_text(titles: dict[str, str]) -> None:
    """Draw the text box, its samples and the answers."""
    st.selectbox(
        "Sample texts",
        ["", *topics.SAMPLES],
        format_func=lambda text: text or "Choose a headline, or write below",
        key="try_sample",
        on_change=use_sample,
    )
    st.text_area(
        "Marathi text", key=TEXT, height=140, placeholder="येथे मराठी मजकूर लिहा किंवा चिकटवा", persist_state="session"
    )
    text = st.session_state[TEXT].strip()
    chosen = st.session_state[MODELS]
    pressed = st.button("Classify", type="primary", icon=":material/category:", disabled=not chosen, key="classify")
    if pressed and not text:
        st.session_state.pop(ANSWERS, None)
        st.info("There is no text yet. Write or paste one, or choose a sample.", icon=":material/edit:")
    elif pressed:
        with st.spinner("Loading the model and reading the text"):
            st.session_state[ANSWERS] = (text, classify_text(text, {key: titles[key] for key in chosen}, store.home))
    if ANSWERS not in st.session_state:
        return
    asked, outcomes = st.session_state[ANSWERS]
    if len(asked) > LIMIT_CHARACTERS:
        st.warning(
            f"The text has {len(asked):,} characters; only the first {LIMIT_CHARACTERS:,} were given to the models.",
            icon=":material/content_cut:",
        )
    if asked != text:
        with st.container(border=True):
            st.caption("The answers below are for this text")
            st.text(asked if len(asked) <= 600 else asked[:600] + " …")
    for column, outcome in zip(st.columns(len(outcomes)), outcomes, strict=True):
        with column:
            show_outcome(outcome)


def one_file(titles: dict[str, str]) -> None:
    """Draw the upload, its progress and the table that comes out."""
    upload = st.file_uploader(
        "File of texts",
        type=[*KINDS, "txt"],
        help="A table (CSV, TSV, JSONL, Parquet or Excel) with a column of texts, or plain text with one text a line. "
        "It is read here and not kept.",
    )
    column = st.text_input("Text column", key="try_column", placeholder="found by itself")
    source = st.selectbox("Model", list(titles), format_func=titles.__getitem__, key="try_file_model")
    pressed = st.button(
        "Classify the file", type="primary", icon=":material/table:", disabled=upload is None, key="classify_file"
    )
    if pressed and upload is not None:
        bar = st.progress(0.0, text="Loading the model")
        try:
            st.session_state[TABLE] = classify_file(
                upload.name, upload.getvalue(), column.strip() or None, source, store.home, bar.progress
            )
        except ChhatniError as error:
            st.session_state.pop(TABLE, None)
            show_error(error)
        bar.empty()
    if TABLE not in st.session_state:
        return
    found = st.session_state[TABLE]
    if found.left_out:
        st.warning(
            f"{found.left_out:,} texts after the first {len(found.predictions):,} were left out. "
            "For longer files: python -m engine classify --file FILE",
            icon=":material/content_cut:",
        )
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
            column_config={
                "Probability (%)": st.column_config.NumberColumn(format="%.1f"),
                "Latency (ms)": st.column_config.NumberColumn(format="%.2f"),
            },
        )
    with right:
        counts = answers.topics_frame(found.predictions)
        st.dataframe(counts, width="stretch", hide_index=True, key="try_counts")
        st.download_button(
            "Download as CSV",
            to_csv(table),
            file_name="chhatni-topics.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


st.title("Try it", anchor=False)
store, runs = store_and_runs(states=["done"])
names = {"starter": "Starter (ships with the studio)"}
names |= {
    run.run_id: f"{run.title} · {run.run_id}" for run, result in finished(runs) if result.student.accuracy is not None
}
wanted = st.query_params.get("model")
if MODELS not in st.session_state or (wanted in names and st.session_state.get("try_wanted") != wanted):
    st.session_state[MODELS] = [wanted] if wanted in names else ["starter"]
st.session_state["try_wanted"] = wanted
st.session_state[MODELS] = [each for each in st.session_state[MODELS] if each in names]
st.session_state.setdefault(TEXT, "")
text_tab, file_tab = st.tabs(["One text", "A file"])
with text_tab:
    st.multiselect(
        "Models",
        list(names),
        format_func=names.__getitem__,
        key=MODELS,
        max_selections=SIDE_BY_SIDE,
        persist_state="session",
        help="Up to three, side by side.",
    )
    for run, result in finished(runs):
        if run.run_id in st.session_state[MODELS] and not result.stock:
            st.caption(f":material/info: {words.escape(f'{run.title}. {OWN_FORMAT} {run.run_id}')}")
    one_text(names)
with file_tab:
    one_file(names)
