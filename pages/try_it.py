"""Try it: Marathi text in, topics out, from one or several checkpoints side by side. What is pasted is shown as plain text.

The address may hold the text and the models: `?text=...&model=ID&model=ID`.
"""

from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from engine.records import RunResult
from engine.views.sentences import OWN_FORMAT
from pages.shared import topics, words
from pages.shared.classify import LIMIT_CHARACTERS, Outcome, classify_text, explain_text
from pages.shared.file_view import one_file
from pages.shared.language import say
from pages.shared.outcome import show_outcome, show_words
from pages.shared.studio import finished, offer_archived, store_and_runs

if TYPE_CHECKING:
    from engine.measuring.saliency import Saliency

MODELS, TEXT, ASKED, SHADE = "try_models", "try_text", "try_asked", "try_shade"
LENGTH = "try_length"
"""How many characters a text had of which only the beginning was kept."""
ADDRESS = "try_address"
"""What the address held when it was last looked at."""
SIDE_BY_SIDE = 3
LINK_CHARACTERS = 2000
"""Characters of a text that the address holds; a longer one stays out of it."""


class Asked(NamedTuple):
    """A text that was classified, and the answers."""

    text: str
    outcomes: list[Outcome]
    weighed: "dict[str, Saliency | str]"
    """What the words contributed, by source, as far as that has been computed."""


def use_sample() -> None:
    """Put the sample that was chosen into the text box."""
    if st.session_state["try_sample"]:
        st.session_state[TEXT] = st.session_state["try_sample"]
        st.session_state.pop(LENGTH, None)


def shorten() -> None:
    """Keep as much of a pasted text as the models are given: a browser that holds millions of characters grows slow."""
    length = len(st.session_state[TEXT])
    st.session_state.pop(LENGTH, None)
    if length > LIMIT_CHARACTERS:
        st.session_state[LENGTH] = length
        st.session_state[TEXT] = st.session_state[TEXT][:LIMIT_CHARACTERS]


def read_address(titles: dict[str, str]) -> None:
    """Take models and text from the address when it has changed since it was last looked at."""
    asked = st.query_params.get_all("model")
    text = st.query_params.get("text", "")
    if st.session_state.get(ADDRESS) != (asked, text):
        known = [each for each in dict.fromkeys(asked) if each in titles][:SIDE_BY_SIDE]
        if known:
            st.session_state[MODELS] = known
        if text:
            st.session_state[TEXT] = text[:LINK_CHARACTERS]
            st.session_state.pop(LENGTH, None)
        st.session_state[ADDRESS] = (asked, text)
    unknown = [each for each in asked if each not in titles]
    if unknown:
        told = say("There is no finished model {model}; it was left out.", model=words.escape(unknown[0][:80]))
        st.warning(told, icon=":material/help:")
    if len(text) > LINK_CHARACTERS:
        told = say("The text in the address was cut to its first {limit} characters.", limit=f"{LINK_CHARACTERS:,}")
        st.warning(told, icon=":material/content_cut:")


def write_address(text: str, models: list[str]) -> None:
    """Make the address a link to this text and these models; a text that is too long stays out of it."""
    st.query_params["model"] = models
    short = text if len(text) <= LINK_CHARACTERS else ""
    if short:
        st.query_params["text"] = short
    else:
        st.query_params.pop("text", None)
    st.session_state[ADDRESS] = (models, short)


def ask(text: str, titles: dict[str, str]) -> None:
    """Have a text classified by the chosen models and keep the answers."""
    chosen = list(st.session_state[MODELS])
    with st.spinner(say("Loading the model and reading the text")):
        outcomes = classify_text(text, {key: titles[key] for key in chosen}, store.home)
    st.session_state[ASKED] = Asked(text, outcomes, {})
    write_address(text, chosen)


def one_text(titles: dict[str, str], results: dict[str, RunResult]) -> None:
    """Draw the text box, its samples and the answers."""
    st.selectbox(
        say("Sample texts"),
        ["", *topics.SAMPLES, *topics.ODD],
        format_func=topics.sample,
        key="try_sample",
        on_change=use_sample,
    )
    hint = "येथे मराठी मजकूर लिहा किंवा चिकटवा"
    st.text_area(
        say("Marathi text"), key=TEXT, height=140, placeholder=hint, on_change=shorten, persist_state="session"
    )
    if LENGTH in st.session_state:
        told = say(
            "The text had {length} characters; only the first {limit} were kept.",
            length=f"{st.session_state[LENGTH]:,}",
            limit=f"{LIMIT_CHARACTERS:,}",
        )
        st.warning(told, icon=":material/content_cut:")
    text = st.session_state[TEXT].strip()
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        pressed = st.button(
            say("Classify"),
            type="primary",
            icon=":material/category:",
            disabled=not st.session_state[MODELS],
            key="classify",
        )
        shade = st.checkbox(
            say("Shade words"),
            value=True,
            key=SHADE,
            persist_state="session",
            help=say(
                "Shades each word by what it added to the probability of the topic, or took from it: integrated gradients, "
                "from the same text without words."
            ),
        )
    if pressed and not text:
        st.session_state.pop(ASKED, None)
        st.info(say("There is no text yet. Write or paste one, or choose a sample."), icon=":material/edit:")
    elif pressed:
        ask(text, titles)
    if ASKED in st.session_state:
        show_answers(st.session_state[ASKED], text, results, shade=shade)


def show_answers(asked: Asked, text: str, results: dict[str, RunResult], *, shade: bool) -> None:
    """Draw the answers side by side, and when all stand there, their words."""
    if asked.text != text:
        with st.container(border=True):
            st.caption(say("The answers below are for this text"))
            st.text(asked.text if len(asked.text) <= 600 else asked.text[:600] + " …")
    places = []
    for column, outcome in zip(st.columns(len(asked.outcomes)), asked.outcomes, strict=True):
        with column:
            places.append(show_outcome(outcome, results.get(outcome.source)))
    if not shade:
        return
    for place, outcome in zip(places, asked.outcomes, strict=True):
        if place is None or outcome.prediction is None:
            continue
        with place:
            if outcome.source not in asked.weighed:
                with st.spinner(say("Weighing the words")):
                    found = explain_text(asked.text, outcome.source, outcome.prediction.label, store.home)
                asked.weighed[outcome.source] = found
            show_words(asked.weighed[outcome.source])


st.title(say("Try it"), anchor=False)
linked = [*st.query_params.get_all("model"), *st.session_state.get(MODELS, [])]
store, runs = store_and_runs(states=["done"], linked=linked)
done = finished(runs)
names = {"starter": say("Starter (ships with the studio)")}
names |= {run.run_id: f"{run.title} · {run.run_id}" for run, result in done if result.student.accuracy is not None}
read_address(names)
st.session_state[MODELS] = [each for each in st.session_state.get(MODELS, ["starter"]) if each in names]
st.session_state.setdefault(TEXT, "")
text_tab, file_tab = st.tabs([say("One text"), say("A file")])
with text_tab:
    st.multiselect(
        say("Models"),
        list(names),
        format_func=names.__getitem__,
        key=MODELS,
        max_selections=SIDE_BY_SIDE,
        persist_state="session",
        help=say("Up to three, side by side."),
    )
    offer_archived(store)
    for run, result in done:
        if run.run_id in st.session_state[MODELS] and not result.stock:
            st.caption(f":material/info: {words.escape(f'{run.title}. {OWN_FORMAT} {run.run_id}')}")
    one_text(names, {run.run_id: result for run, result in done})
with file_tab:
    one_file(names, store.home)
