"""What keeps the list of runs in order: another name, out of sight and back, gone for good; asked for behind one button."""

import streamlit as st

from engine import jobs
from engine.errors import ChhatniError, NoSuchRun
from engine.runs import upkeep
from engine.runs.run import Run
from engine.store import RunStore
from pages.shared import words
from pages.shared.choice import LAST
from pages.shared.language import say
from pages.shared.studio import attempt, offer_archived, show_error, show_refusal

SAID = "manage_said"
"""A sentence on what was just done, for the next drawing of the page."""
LEFT = "manage_left"
"""The run that was taken off the list here, while some of its files could not be removed."""
MENU, NAME = "manage", "manage_name"
LONGEST_NAME = 120


def show_said() -> None:
    """Say what was just done, once; on the page where it was done, whatever else that page has left to show."""
    if SAID in st.session_state:
        st.toast(st.session_state.pop(SAID), icon=":material/check:")


def show_menu(store: RunStore, run: Run) -> None:
    """Draw the button behind which a run is renamed, put away and deleted."""
    with st.popover(say("Manage"), icon=":material/more_vert:", width="stretch", key=MENU, on_change="rerun"):
        if st.button(
            say("Rename"), icon=":material/edit:", width="stretch", key=f"rename_{run.run_id}", on_click=_shut
        ):
            _ask_name(store, run)
        if run.active:
            st.caption(say("It can be archived or deleted when it has ended."))
        else:
            st.button(
                say("Bring back") if run.archived else say("Archive"),
                icon=":material/unarchive:" if run.archived else ":material/archive:",
                width="stretch",
                key="archive",
                on_click=put_away,
                args=(store, run, not run.archived),
                help=say("An archived run is kept whole. It is out of the lists, and its link still opens it."),
            )
            if st.button(
                say("Delete"), icon=":material/delete:", width="stretch", key=f"delete_{run.run_id}", on_click=_shut
            ):
                ask_delete(store, run.run_id)
        offer_archived(store)


def show_archived(store: RunStore, run: Run) -> None:
    """Say so where the run is archived, with the way back."""
    if not run.archived:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/archive: {say('This run is archived: the lists leave it out.')}", width="stretch")
        st.button(
            say("Bring back"),
            key="bring_back",
            on_click=put_away,
            args=(store, run, False),
            icon=":material/unarchive:",
        )


def _shut() -> None:
    """Close the menu: a dialog takes its place, and the keys that close a dialog must not close the menu instead."""
    st.session_state[MENU] = False


def put_away(store: RunStore, run: Run, archived: bool) -> None:
    """Put a run away or fetch it back, as a button asks."""
    _shut()
    if attempt(run.run_id, lambda: store.archive(run.run_id, archived)):
        title = words.escape(run.title)
        st.session_state[SAID] = (
            say("{title} is archived.", title=title) if archived else say("{title} is back.", title=title)
        )


def _ask_name(store: RunStore, run: Run) -> None:
    """Open the dialog for another name."""

    @st.dialog(say("Rename this run"), icon=":material/edit:")
    def dialog() -> None:
        _close_when_done()
        st.session_state.setdefault(NAME, run.config.name)
        with st.form("rename_form", border=False):
            st.text_input(say("Name"), key=NAME, max_chars=LONGEST_NAME, placeholder=say("made from the recipe"))
            st.form_submit_button(
                say("Save"),
                type="primary",
                icon=":material/check:",
                key="rename_save",
                on_click=_rename,
                args=(store, run.run_id),
            )
        show_refusal(run.run_id)

    st.session_state.pop(NAME, None)  # what was left in the field when another dialog was closed
    dialog()


def _rename(store: RunStore, run_id: str) -> None:
    if attempt(run_id, lambda: store.rename(run_id, st.session_state[NAME])):
        st.session_state[SAID] = say("The run has its new name.")


def ask_delete(store: RunStore, run_id: str) -> None:
    """Open the dialog that says what goes, and deletes when it is told to."""

    @st.dialog(say("Delete this run?"), icon=":material/delete:")
    def dialog() -> None:
        _close_when_done()
        try:
            found = upkeep.removal(store, run_id)
        except NoSuchRun:
            if st.session_state.get(LEFT) == run_id:
                show_refusal(run_id)
                return
            st.info(say("This run is gone already: somebody else has deleted it."), icon=":material/help:")
            return
        except ChhatniError as error:
            show_error(error)
            return
        title = words.escape(found.run.title)
        st.markdown(f"**{title}** · {words.escape(run_id)}")
        if found.needed_by:
            _say_needed(found)
            return
        st.write(
            say(
                "What goes: the run, all that it has told, and its files ({size}): log, checkpoints and model. "
                "This cannot be undone.",
                size=words.size(found.size_bytes),
            )
        )
        st.caption(words.escape(str(found.folder)))
        if not found.run.archived:
            st.caption(say("Archive it instead to have it out of sight and keep it."))
        with st.container(horizontal=True):
            st.button(
                say("Delete with its files"),
                type="primary",
                icon=":material/delete:",
                key="delete_now",
                on_click=_delete,
                args=(store, run_id, title),
            )
            if st.button(say("Keep it"), key="delete_not"):
                st.rerun()
        show_refusal(run_id)

    dialog()


def _delete(store: RunStore, run_id: str, title: str) -> None:
    """Delete a run and take it out of the address and the session, as a button asks."""
    if not _is_there(store, run_id):
        return  # somebody else was quicker: dialog and page say so
    if attempt(run_id, lambda: jobs.delete(store, run_id)):
        st.session_state[SAID] = say("{title} is deleted, with its files.", title=title)
    elif _is_there(store, run_id):
        return
    else:
        st.session_state[LEFT] = run_id
    if st.query_params.get("run") == run_id:
        del st.query_params["run"]
    if st.session_state.get(LAST) == run_id:
        del st.session_state[LAST]


def _is_there(store: RunStore, run_id: str) -> bool:
    """Tell whether a run is in the store; in doubt it is."""
    try:
        store.get(run_id)
    except NoSuchRun:
        return False
    except ChhatniError:  # whatever reads the store next shows it
        return True
    return True


def _close_when_done() -> None:
    """Close the dialog once its button has done what it says: the whole page is to be drawn anew."""
    if SAID in st.session_state:
        st.rerun()


def _say_needed(found: upkeep.Removal) -> None:
    """Say which runs stand against a deletion."""
    st.warning(
        say(
            "It cannot be deleted now: it is the base, and so the teacher, of runs that are not done. Let them end, or delete "
            "them first."
        ),
        icon=":material/link:",
    )
    for user in found.needed_by[:10]:
        st.text(f"{user.title} · {words.state_words(user.state, None)} · {user.run_id}")
    if len(found.needed_by) > 10:
        st.caption(say("and {count} more", count=len(found.needed_by) - 10))
