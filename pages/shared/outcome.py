"""What one model said of a text, drawn as a card: topic or "not sure", probabilities, words, cost, and the rule behind it."""

from typing import TYPE_CHECKING

import streamlit as st

from engine.before.estimates import text_energy_kwh
from engine.records import Doubt, RunResult
from engine.views import answers
from pages.shared import shading, topics, words
from pages.shared.chart import show_chart
from pages.shared.classify import Outcome
from pages.shared.language import say

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from engine.inference import Prediction
    from engine.measuring.saliency import Saliency

NOTICEABLE = 0.02
"""Points of probability (0 to 1) that contributions may miss without a word about it."""


def show_outcome(outcome: Outcome, result: RunResult | None) -> "DeltaGenerator | None":
    """Draw the card of one model.

    Args:
        outcome: what it said.
        result: of the run that made the model; None for a model that no run has made.

    Returns:
        The place in the card where its words go, which are weighed later; None where there was no answer.
    """
    with st.container(border=True, height="stretch"):
        st.caption(words.escape(outcome.title))
        if outcome.prediction is None:
            st.error(words.escape(outcome.error), icon=":material/error:")
            return None
        said = outcome.prediction
        _headline(said)
        place = st.container()
        names = {label: topics.bilingual(label) for label in said.probabilities}
        data = answers.probability_frame(said.probabilities, names)
        show_chart(
            answers.probability_chart(data), key=f"bars_{outcome.source}", alt_text=say("Probability of each topic")
        )
        _cost(outcome, said, result)
        if said.windows > 1:
            windows = say(
                "Longer than this model reads at once: read in {windows} windows that overlap; the probabilities are their mean.",
                windows=said.windows,
            )
            st.caption(f":material/view_week: {windows}")
        if said.truncated:
            st.caption(f":material/content_cut: {say('The end of the text was not read.')}")
        with st.expander(say("When is this model sure?"), icon=":material/rule:"):
            st.markdown(rule(outcome))
        return place


def _headline(said: "Prediction") -> None:
    """Say the topic in both languages, or that the model is not sure, why, and its best guess."""
    marathi, english = words.escape(topics.marathi(said.label)), words.escape(topics.english(said.label))
    share = words.percent(said.confidence)
    if not said.doubt:
        st.markdown(f"## {marathi}")
        st.markdown(f"{english} · **{share}**")
        return
    st.markdown("## खात्री नाही · Not sure")  # in both languages, as topics are
    st.markdown(reason(said.doubt))
    st.caption(say("Best guess: {marathi} · {english}, {share}", marathi=marathi, english=english, share=share))


def reason(doubt: Doubt) -> str:
    """Say in plain words why an answer is unsure."""
    if doubt == "no letters":
        return say("The text holds no letters, so there is nothing to judge by.")
    if doubt == "other language":
        return say("The text does not look like the language this model was trained on.")
    if doubt == "repetition":
        return say("The text says the same words again and again.")
    if doubt == "unfamiliar":
        return say("The words are unlike any this model was trained on.")
    return say("No topic is probable enough.")


def _cost(outcome: Outcome, said: "Prediction", result: RunResult | None) -> None:
    """Say what the answer cost: time, energy where the power is known, tokens, and the size of the model."""
    passes = say("one pass") if outcome.passes == 1 else say("median of {passes} passes", passes=outcome.passes)
    parts = [
        say("{latency} measured, one text, {passes}", latency=words.milliseconds(said.latency_ms), passes=passes),
        say("{tokens} tokens read", tokens=f"{said.tokens:,}"),
        say(
            "{parameters} parameters, {size}",
            parameters=words.count(outcome.parameters),
            size=words.size(outcome.size_bytes),
        ),
    ]
    energy = None if result is None else text_energy_kwh(result, said.latency_ms, outcome.device)
    if energy is not None:
        parts.insert(1, say("{energy} estimated, latency × mean power of the run", energy=words.energy(energy)))
    st.caption(" · ".join(parts))


def rule(outcome: Outcome) -> str:
    """Say when the model's answers count as sure, and what that was found to be worth; markdown."""
    report, share = outcome.calibration, words.percent(outcome.sure_from, 0)
    if report is None:
        return say(
            "This model is not calibrated, so its probabilities may promise too much. It is not sure where the text holds no "
            "letters or says the same words again and again, or its best topic has less than {share}.",
            share=share,
        )
    names = ", ".join(words.escape(topics.language(code)) for code in report.languages)
    lines = [
        say("It is not sure where one of these holds:"),
        "- " + say("the text holds no letters;"),
        "- "
        + say(
            "another language is likelier than those of its training texts ({names}) by more than {margin} nats;",
            names=names,
            margin=f"{report.language_margin:.1f}",
        ),
        "- " + say("of four words or more, at most half are different;"),
        "- "
        + say(
            "more than {share} of its letter sequences (five long) occur in no training text;",
            share=words.percent(report.strange_within),
        ),
        "- " + say("its best topic has a calibrated probability below {share}.", share=share),
        "",
        say(
            "Temperature {temperature}, fitted on {fitted} validation texts. Expected calibration error on {measured} test "
            "texts: {ece}, before calibration {before} (measured).",
            temperature=f"{report.temperature:.2f}",
            fitted=f"{report.fitted_on:,}",
            measured=f"{report.measured_on:,}",
            ece=words.percent(report.ece),
            before=words.percent(report.ece_before),
        ),
    ]
    if report.sure_accuracy is not None:
        sure, right = words.percent(report.sure), words.percent(report.sure_accuracy)
        lines += [
            "",
            say("It is sure of {sure} of those test texts and right in {right} of them.", sure=sure, right=right),
        ]
    return "\n".join(lines)


def show_words(found: "Saliency | str") -> None:
    """Draw the words of a text, shaded by what they contributed, or why there are none."""
    if isinstance(found, str):
        st.caption(f":material/error: {words.escape(found)}")
        return
    if not any(piece.read and not piece.text.isspace() for piece in found.pieces):
        return
    topic = topics.bilingual(found.label)
    st.html(shading.shaded(found.pieces, topic))
    st.html(shading.legend(found.pieces))
    notes = []
    if not found.whole:
        notes.append(say("Only the words of the first window are weighed; the text goes on."))
    if found.error > NOTICEABLE:
        missed = f"{100 * found.error:.1f}"
        notes.append(
            say(
                "Weighed in {steps} steps, as more would take long: the contributions miss their sum by {missed} points.",
                steps=found.steps,
                missed=missed,
            )
        )
    if notes:
        st.caption(" ".join(notes))
