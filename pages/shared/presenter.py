"""Presenter mode, for somebody on a stage: larger type, less around the page, and a path of five steps on top of every page.

`?present=1` in the address switches it on. The step is the page one is on, so a click in the navigation keeps the path in step.
"""

from dataclasses import dataclass

import streamlit as st

from pages.shared.address import choose, keep
from pages.shared.language import LANGUAGES, language, say, speak

KEY = "present"
"""Where the choice lives, in the session and in the address."""
CHOICE = "presenter_choice"
STYLE = """<style>
:root:root {font-size: 18.5px}
.stMainBlockContainer {padding: 4rem 3rem 3rem}
.st-key-presenter_bar {border-left: 4px solid var(--st-primary-color, #0a6c62); padding-left: 0.9rem}
@media (max-width: 640px) {
  :root:root {font-size: 16px}
  .stMainBlockContainer {padding: 4rem 1rem 3rem}
}
</style>"""
"""Everything of Streamlit is measured in rem, so one size moves all of it."""


@dataclass(frozen=True)
class Step:
    """One step of the path: its page, a few words on it, and one sentence on what to show and say."""

    page: str
    title: str
    script: str


def steps() -> list[Step]:
    """Return the five steps in the chosen language."""
    return [
        Step(
            "prune",
            say("Pick a level"),
            say(
                "Move the pruning level and let the drawing shrink: what leaves are neurons, and the numbers beside it say "
                "what that is worth before anything is trained."
            ),
        ),
        Step(
            "live",
            say("Watch it learn"),
            say(
                "Start a run or play a recorded one: loss and density fall together, and accuracy comes back while the model "
                "gets smaller."
            ),
        ),
        Step(
            "compare",
            say("Compare with the paper"),
            say(
                "Put our rows beside the paper's Table I, and point at the FLOPs ceiling: structure alone cannot gain more "
                "than that."
            ),
        ),
        Step(
            "try_it",
            say("Try Marathi text"),
            say(
                "Ask the room for a Marathi headline and classify it: the topic, how sure the model is, how long it took and "
                "what it cost."
            ),
        ),
        Step(
            "inside",
            say("Look inside"),
            say(
                "Replay how the mask moved: which neurons went in which layer, and how the scores drew apart while the model "
                "learned."
            ),
        ),
    ]


def presenting() -> bool:
    """Tell whether somebody presents; known in fragments too."""
    chosen: str = st.session_state.get(KEY, "")
    return chosen == "1"


def shortcut(key: str) -> str | None:
    """Return a keyboard shortcut while somebody presents, else None: at a desk, a slip of a finger should start nothing."""
    return key if presenting() else None


def settle_presenter() -> None:
    """Find out at the start of a run of the studio whether somebody presents."""
    keep(KEY, ("1", "0"), "0")


def present(on: bool) -> None:
    """Switch presenter mode, here and in the address."""
    choose(KEY, "1" if on else "0", "0")


def choose_presenter() -> None:
    """Draw the switch: a button, since keys do nothing while the focus is on a box to tick."""
    on = presenting()
    st.button(
        say("End presenter mode") if on else say("Presenter mode"),
        icon=":material/close:" if on else ":material/slideshow:",
        key=CHOICE,
        on_click=present,
        args=(not on,),
        width="stretch",
        help=say("Larger type, keyboard shortcuts, and a path of five steps on top of every page."),
    )


def show_bar(page: str) -> None:
    """Draw the bar on top of a page: which step this is, what to show and say, and the way back and on.

    Args:
        page: the name of the page's file; one that is no step of the path leads back to its beginning.
    """
    st.html(STYLE)
    path = steps()
    at = next((place for place, step in enumerate(path) if step.page == page), None)
    with st.container(key="presenter_bar", gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            title = say("Off the path") if at is None else path[at].title
            place = "" if at is None else say("{step} of {steps}", step=at + 1, steps=len(path)) + " · "
            st.markdown(f"{place}**{title}**", width="stretch")
            _show_buttons(path, at)
        st.caption(say("Next leads to the first step.") if at is None else path[at].script)


def _show_buttons(path: list[Step], at: int | None) -> None:
    """Draw Back, Next, the list of keys and the way out, and go where a button says."""
    back = None if not at else path[at - 1]
    ahead = path[0] if at is None else path[at + 1] if at + 1 < len(path) else None
    go_back = st.button(say("Back"), icon=":material/arrow_back:", shortcut="B", disabled=back is None, key="path_back")
    go_on = st.button(
        say("Next"), icon=":material/arrow_forward:", shortcut="N", disabled=ahead is None, key="path_next"
    )
    other = "en" if language() == "mr" else "mr"
    st.button(LANGUAGES[other], shortcut="M", key="path_language", on_click=speak, args=(other,))
    with st.popover(say("Keys"), icon=":material/keyboard:"):
        st.markdown(_keys())
    st.button(say("End"), icon=":material/close:", shortcut="X", key="path_end", on_click=present, args=(False,))
    target = back if go_back else ahead if go_on else None
    if target is not None:
        st.switch_page(f"pages/{target.page}.py")


def _keys() -> str:
    """List the keys that work while somebody presents."""
    keys = {
        "N": say("Next step"),
        "B": say("Step back"),
        "S": say("Start the run that is set up on Prune"),
        "P": f"{say('Replay')}: {say('Play')} / {say('Pause')} · {say('Run')}: {say('Stop')} / {say('Resume')}",
        "M": say("Change the language"),
        "X": say("End presenter mode"),
    }
    rows = "\n".join(f"| `{key}` | {meaning} |" for key, meaning in keys.items())
    return f"| {say('Key')} | {say('What it does')} |\n| --- | --- |\n{rows}"
