"""The list of runs kept in order on the pages: the queue, other names, archived runs, and runs that are deleted."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine import jobs
from engine.runs.processes import process_created
from engine.runs.run import Run
from engine.store import RunStore
from pages.shared.choice import LAST
from pages.shared.queue import LOOK_EVERY_S, SHOWN
from tests.pages.conftest import Open, everything
from tests.pages.seed import GONE, config, seed_run

pytestmark = pytest.mark.usefixtures("routed")


def listed(app: AppTest) -> list[str]:
    """Return the ids of the runs of the queue, as they stand on the page."""
    return [(button.key or "").removeprefix("show_") for button in app.button if (button.key or "").startswith("show_")]


def keys(app: AppTest) -> set[str]:
    """Return the keys of all buttons, those of an open dialog with them."""
    return {button.key or "" for button in app.button}


@pytest.fixture
def line(store: RunStore) -> list[Run]:
    """Return a run that goes on and three that wait."""
    return [seed_run(store, config(0.25, name="works"), "training")] + [
        seed_run(store, config(0.5, name=name), "queued") for name in ("one", "two", "three")
    ]


@pytest.mark.parametrize("page", ["prune", "live"])
def test_waiting_runs_stand_in_their_order_and_can_be_moved(
    studio: Open, store: RunStore, line: list[Run], page: str
) -> None:
    _, one, two, three = (run.run_id for run in line)
    app = studio(page)
    assert listed(app) == [one, two, three]
    assert app.button(key=f"earlier_{one}").disabled
    assert app.button(key=f"later_{three}").disabled
    app.button(key=f"earlier_{three}").click().run()
    assert listed(app) == [one, three, two]
    app.button(key=f"later_{one}").click().run()
    assert listed(app) == [three, one, two]
    assert [store.ahead(each) for each in (three, one, two)] == [1, 2, 3]
    assert "2\\. one" in everything(app)
    app.button(key=f"show_{two}").click().run()
    assert app.title[0].value == "Live"
    assert app.selectbox(key="live_run").value == two
    assert app.button(key=f"show_{two}").disabled, "it is the one that is shown"


def test_a_waiting_run_is_cancelled_from_the_queue(studio: Open, store: RunStore, line: list[Run]) -> None:
    app = studio("prune")
    app.button(key=f"cancel_{line[2].run_id}").click().run()
    assert store.get(line[2].run_id).stop_requested
    assert app.button(key=f"cancel_{line[2].run_id}").disabled
    assert app.button(key=f"cancel_{line[2].run_id}").label == "Cancelling"
    assert not store.get(line[1].run_id).stop_requested


def test_what_can_no_longer_be_moved_is_said(studio: Open, store: RunStore, line: list[Run]) -> None:
    app = studio("prune")
    store.set_state(line[2].run_id, "starting")
    app.button(key=f"earlier_{line[2].run_id}").click().run()
    assert "only a queued run has a place in the queue" in everything(app)
    assert listed(app) == [line[1].run_id, line[3].run_id]


def test_a_waiting_run_has_its_own_buttons_on_live(studio: Open, store: RunStore, line: list[Run]) -> None:
    app = studio("live", run=line[3].run_id)
    assert "Queued behind 3" in everything(app)
    assert app.button(key="stop").label == "Cancel"
    app.button(key="go_first").click().run()
    assert "Queued behind 1" in everything(app)
    assert store.ahead(line[3].run_id) == 1
    assert "go_first" not in keys(app), "only the one that works is before it"
    app.button(key="stop").click().run()
    assert store.get(line[3].run_id).stop_requested
    assert not {"stop", "go_first"} & keys(app)


def test_a_long_queue_is_listed_as_far_as_it_can_be_read(studio: Open, store: RunStore) -> None:
    for number in range(SHOWN + 5):
        seed_run(store, config(0.5, name=f"n{number}"), "queued")
    app = studio("prune")
    assert len(listed(app)) == SHOWN
    assert f"first {SHOWN} of {SHOWN + 5}" in everything(app)


def test_two_devices_have_a_queue_each(studio: Open, store: RunStore) -> None:
    line = [
        store.create(config(0.5, name=f"{device} {number}"), device)
        for number in (1, 2)
        for device in ("cuda-0", "cpu")
    ]
    for run in line:
        store.set_process(run, os.getpid(), process_created(os.getpid()))
    app = studio("prune")
    assert listed(app) == [line[number].run_id for number in (1, 3, 0, 2)]
    assert "2\\. cuda\\-0 2 · cuda\\-0" in everything(app)
    app.button(key=f"earlier_{line[2].run_id}").click().run()
    assert listed(app) == [line[number].run_id for number in (1, 3, 2, 0)]


@pytest.mark.parametrize("end", ["killed", "cancelled", "neither"])
def test_a_queue_is_watched_until_nobody_waits(
    studio: Open, store: RunStore, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    run = seed_run(store, config(0.5), "queued")
    watched: list[float | None] = []

    def fragment(look: Callable[[], None], run_every: float | None = None) -> Callable[[], None]:
        watched.append(run_every)
        if end == "killed":  # between the drawing of the page and the next look
            store.set_process(run, GONE, 1.0)
        elif end == "cancelled":
            store.set_state(run.run_id, "stopped")
        return look

    monkeypatch.setattr("pages.shared.queue.st.fragment", fragment)
    app = studio("prune")
    waits = end == "neither"
    assert listed(app) == [run.run_id] * waits
    assert watched == ([LOOK_EVERY_S] if waits else [LOOK_EVERY_S, None]), (
        "an empty queue is not looked at again and again"
    )
    assert store.get(run.run_id).state == {"killed": "interrupted", "cancelled": "stopped", "neither": "queued"}[end]


def test_no_queue_is_shown_where_nobody_waits(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.5), "done")
    for page in ("prune", "live"):
        assert not [each for each in studio(page).expander if each.label.startswith("Waiting")]


def test_another_name_stands_wherever_the_run_is_named(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.5, True), "done")
    app = studio("live", run=run.run_id)
    app.button(key=f"rename_{run.run_id}").click().run()
    app.text_input(key="manage_name").set_value("*पहिली* धाव")
    app.button(key="rename_save").click().run()
    assert store.get(run.run_id).title == "*पहिली* धाव"
    assert "**\\*पहिली\\* धाव**" in everything(app)
    assert "*पहिली* धाव" in app.selectbox(key="live_run").options[0]
    assert "manage_name" not in app.session_state, "the dialog is closed"
    assert studio("compare").dataframe[-1].value["Run"].tolist() == [run.run_id]
    for page, where in (("inside", "inside_run"), ("try_it", "try_file_model")):
        assert any("*पहिली* धाव" in option for option in studio(page).selectbox(key=where).options), page
    assert any("*पहिली* धाव" in option for option in studio("prune").selectbox(key="base").options)


def test_a_dialog_for_a_name_begins_with_the_name_there_is(studio: Open, store: RunStore) -> None:
    first, second = (
        seed_run(store, config(0.25, name="first"), "done"),
        seed_run(store, config(0.5, name="second"), "done"),
    )
    app = studio("live", run=first.run_id)
    app.button(key=f"rename_{first.run_id}").click().run()
    app.text_input(key="manage_name").set_value("never saved").run()
    app.selectbox(key="live_run").set_value(second.run_id).run()
    app.button(key=f"rename_{second.run_id}").click().run()
    assert app.text_input(key="manage_name").value == "second"


def test_an_archived_run_is_out_of_the_lists_but_its_link_opens_it(studio: Open, store: RunStore) -> None:
    kept, away = seed_run(store, config(0.25), "done"), seed_run(store, config(0.5), "done")
    app = studio("live", run=away.run_id)
    app.button(key="archive").click().run()
    assert store.get(away.run_id).archived
    assert "This run is archived" in everything(app)
    assert app.selectbox(key="live_run").value == away.run_id, "the address names it"
    for page, where in (
        ("live", "live_run"),
        ("inside", "inside_run"),
        ("try_it", "try_file_model"),
        ("prune", "base"),
    ):
        options = " ".join(studio(page).selectbox(key=where).options)
        assert kept.run_id in options, page
        assert away.run_id not in options, page
        shown = " ".join(studio(page, archived="1").selectbox(key=where).options)
        assert away.run_id in shown, page
    assert studio("compare").dataframe[1].value["Run"].tolist() == [kept.run_id]
    assert away.run_id in studio("compare", runs=away.run_id).dataframe[1].value["Run"].tolist()
    assert away.run_id in studio("inside", run=away.run_id).selectbox(key="inside_run").value
    assert studio("try_it", model=away.run_id).multiselect(key="try_models").value == [away.run_id]
    app.button(key="bring_back").click().run()
    assert not store.get(away.run_id).archived
    assert "This run is archived" not in everything(app)


def test_archived_runs_come_back_into_the_choices_with_one_box(studio: Open, store: RunStore) -> None:
    away = seed_run(store, config(0.5), "done")
    store.archive(away.run_id)
    app = studio("live")
    assert "No run yet" in everything(app)
    assert app.checkbox(key="archived_box").label == "Show archived runs (1)"
    app.checkbox(key="archived_box").check().run()
    assert app.selectbox(key="live_run").value == away.run_id
    assert "archived" in app.selectbox(key="live_run").options[0]
    assert app.query_params["archived"] in ("1", ["1"])
    app.checkbox(key="archived_box").uncheck().run()
    assert "archived" not in app.query_params
    assert app.selectbox(key="live_run").value == away.run_id, "the address names it"


def test_a_table_of_runs_is_at_rest_though_one_is_archived(studio: Open, store: RunStore, line: list[Run]) -> None:
    seed_run(store, config(0.25), "done")
    store.archive(seed_run(store, config(0.5), "done").run_id)
    drawn = everything(
        studio("compare")
    )  # with a run that works, the page looks again and again whether another is done
    assert "newest 8 finished runs" in drawn


def test_deleting_asks_first_and_says_what_goes(studio: Open, store: RunStore) -> None:
    other, run = seed_run(store, config(0.25), "done"), seed_run(store, config(0.5, name="पुरे"), "done")
    folder = store.home / "runs" / run.run_id
    (folder / "model.bin").write_bytes(b"0" * 2_500_000)
    app = studio("live", run=run.run_id)
    app.button(key=f"delete_{run.run_id}").click().run()
    words = everything(app)
    assert "2.50 MB" in words
    assert "cannot be undone" in words
    assert str(folder) in words.replace("\\", "")
    assert store.get(run.run_id), "nothing is gone before a person says so"
    app.button(key="delete_not").click().run()
    assert "delete_now" not in keys(app)
    app.button(key=f"delete_{run.run_id}").click().run()
    app.button(key="delete_now").click().run()
    assert not folder.exists()
    assert [each.run_id for each in store.runs()] == [other.run_id]
    assert app.selectbox(key="live_run").value == other.run_id
    assert not app.warning, "whoever deletes a run needs not be told that it is gone"


def test_the_last_run_leaves_an_invitation(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.25), "failed")
    app = studio("live", run=run.run_id)
    app.button(key=f"delete_{run.run_id}").click().run()
    app.button(key="delete_now").click().run()
    assert "No run yet" in everything(app)
    assert ["is deleted, with its files" in toast.value for toast in app.toast] == [True]
    seed_run(store, config(0.5), "done")
    app.run()
    assert not app.toast, "it was said where it was done"


def test_a_base_that_is_needed_is_not_offered_for_deletion(studio: Open, store: RunStore) -> None:
    base = seed_run(store, config(0.0), "done")
    user = seed_run(store, config(0.5, model={"base": base.run_id}), "queued")
    app = studio("live", run=base.run_id)
    app.button(key=f"delete_{base.run_id}").click().run()
    assert "it is the base" in everything(app)
    assert any(user.run_id in str(line.value) for line in app.text)
    assert "delete_now" not in keys(app)


def test_a_refusal_at_the_last_moment_is_said_in_the_dialog(
    studio: Open, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seed_run(store, config(0.0), "done")
    app = studio("live", run=run.run_id)
    app.button(key=f"delete_{run.run_id}").click().run()
    seed_run(store, config(0.5, model={"base": run.run_id}), "queued")
    monkeypatch.setattr("engine.store.RunStore.needing", lambda self, run_id: [])
    app.button(key="delete_now").click().run()
    assert "without it they could not go on" in everything(app)
    assert store.get(run.run_id)


@pytest.mark.parametrize("state", ["queued", "training", "stopping"])
def test_a_run_that_goes_on_can_only_be_renamed(studio: Open, store: RunStore, state: str) -> None:
    run = seed_run(store, config(0.5), state)  # type: ignore[arg-type]
    app = studio("live", run=run.run_id)
    assert f"rename_{run.run_id}" in keys(app)
    assert not {"archive", f"delete_{run.run_id}"} & keys(app)


@pytest.mark.parametrize(("page", "widget"), [("live", "live_run"), ("inside", "inside_run")])
def test_a_page_tells_that_its_run_was_deleted_elsewhere(studio: Open, store: RunStore, page: str, widget: str) -> None:
    other, run = seed_run(store, config(0.25), "done"), seed_run(store, config(0.5), "done")
    app = studio(page, run=run.run_id)
    jobs.delete(store, run.run_id)
    app.run()
    assert not app.exception
    assert f"There is no run {run.run_id}" in app.warning[0].value.replace("\\", "")
    assert app.selectbox(key=widget).value == other.run_id


@pytest.mark.parametrize("button", ["archive", "resume", "clone", "rename", "delete"])
def test_buttons_of_a_run_that_is_gone_do_no_harm(studio: Open, store: RunStore, button: str) -> None:
    seed_run(store, config(0.25), "done")
    run = seed_run(store, config(0.5), "stopped")
    app = studio("live", run=run.run_id)
    jobs.delete(store, run.run_id)
    app.button(key=button if button in ("archive", "resume") else f"{button}_{run.run_id}").click().run()
    assert not app.exception
    assert app.title[0].value == "Live"
    assert "There is no run" in everything(app)
    assert not {"rename_save", "delete_now"} & keys(app), "a dialog would be about another run"


def _dialog() -> None:
    """Draw the dialog alone, as a press in it does in a browser."""
    import streamlit as st

    from pages.shared.manage import ask_delete
    from pages.shared.studio import open_store

    ask_delete(open_store(), st.session_state["about"])


def dialog_about(run: Run) -> AppTest:
    """Return the dialog that asks whether a run is to go, on a page whose address names the run."""
    app = AppTest.from_function(_dialog, default_timeout=60)
    app.session_state["about"] = app.session_state[LAST] = app.query_params["run"] = run.run_id
    return app.run()


def test_files_that_could_not_be_deleted_are_named_in_the_dialog(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seed_run(store, config(0.5), "done")
    folder = store.home / "runs" / run.run_id
    app = dialog_about(run)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path / "log.txt"))

    monkeypatch.setattr("engine.store.shutil.rmtree", refuse)
    app.button(key="delete_now").click().run()
    assert not app.exception
    assert store.runs() == []
    assert f"Remove the folder {folder} by hand" in app.error[0].value.replace("\\", "")
    assert not app.info, "nobody else has deleted it"
    assert "run" not in app.query_params
    assert LAST not in app.session_state


def test_a_dialog_about_a_run_that_somebody_else_deleted_says_so(store: RunStore) -> None:
    run = seed_run(store, config(0.5), "done")
    app = dialog_about(run)
    jobs.delete(store, run.run_id)
    app.button(key="delete_now").click().run()
    assert "somebody else has deleted it" in app.info[0].value
    assert not app.error
    assert run.run_id in app.query_params["run"], "for the page to say that it is gone"


def test_two_dialogs_delete_one_run_once(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.25), "done")
    run = seed_run(store, config(0.5), "done")
    first, second = studio("live", run=run.run_id), studio("live", run=run.run_id)
    for app in (first, second):
        app.button(key=f"delete_{run.run_id}").click().run()
    first.button(key="delete_now").click().run()
    second.button(key="delete_now").click().run()
    assert not second.exception
    assert "There is no run" in everything(second)


def test_a_dataset_of_deleted_runs_is_no_longer_chosen(studio: Open, store: RunStore, tmp_path: Path) -> None:
    seed_run(store, config(0.25), "done")
    own = seed_run(store, config(0.5, data={"source": "/data/own.csv"}), "done")
    app = studio("compare", sweep_data="/data/own.csv")
    assert app.selectbox(key="sweep_data").value == "/data/own.csv"
    jobs.delete(store, own.run_id)
    app.run()
    assert not app.exception
    assert "dataset starter" in everything(app)
