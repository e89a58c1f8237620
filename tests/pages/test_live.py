"""Live: every state of a run, its charts, its buttons and its address."""

import json
import time
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from engine import jobs
from engine.runs.run import RunState
from engine.store import RunStore
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run, steps


def buttons(app: AppTest) -> set[str]:
    """Return the labels of the buttons that act on a run; recordings and the upkeep of the list have buttons beside every run."""
    upkeep = ("watch_", "rename", "archive", "delete")
    return {button.label for button in app.button if not (button.key or "").startswith(upkeep)}


def specification(app: AppTest, number: int) -> dict[str, Any]:
    """Return a chart's specification without the name of its dataset, a hash that the browser looks through."""
    spec: dict[str, Any] = json.loads(app.get("vega_lite_chart")[number].proto.spec)
    for part in (spec, *spec.get("layer", [])):
        part.pop("data", None)
    return spec


def test_no_runs_is_an_invitation(studio: Open) -> None:
    app = studio("live")
    assert "No run yet" in everything(app)
    assert not app.error
    assert not app.get("vega_lite_chart")
    assert app.get("page_link")


@pytest.mark.parametrize(
    ("state", "words", "wanted"),
    [
        ("starting", "Starting", {"Stop", "Clone"}),
        ("training", "Training", {"Stop", "Clone"}),
        ("stopping", "Stopping", {"End it now", "Clone"}),
        ("stopped", "Stopped", {"Resume", "Clone"}),
        ("failed", "Failed", {"Resume", "Clone"}),
        ("interrupted", "Interrupted", {"Resume", "Clone"}),
        ("done", "Done", {"Try it", "Clone"}),
    ],
)
def test_each_state_has_its_words_and_buttons(
    studio: Open, store: RunStore, state: RunState, words: str, wanted: set[str]
) -> None:
    run = seed_run(store, config(0.5, True), state)
    app = studio("live", run=run.run_id)
    assert words in everything(app)
    assert buttons(app) == wanted


def test_a_queued_run_says_how_many_are_before_it(studio: Open, store: RunStore) -> None:
    seed_run(store, config(0.25), "training")
    second, third = seed_run(store, config(0.5), "queued"), seed_run(store, config(0.75), "queued")
    assert "Queued behind 1" in everything(studio("live", run=second.run_id))
    assert "Queued behind 2" in everything(studio("live", run=third.run_id))


def test_a_running_run_shows_progress_numbers_and_charts(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.75, True), "training", total=100, log="one\ntwo <b>bold</b>")
    app = studio("live", run=run.run_id)
    words = everything(app)
    progress = app.get("progress")[0]
    assert "Step 60 of 100 · 20 s left" in progress.proto.text
    assert progress.proto.value == 60
    assert "dense 86.00 %" in words
    assert "dense 8" in words
    assert "two <b>bold</b>" in app.code[0].value
    assert len(app.get("vega_lite_chart")) == 6
    assert "2,075 train" in words.replace("\\", "")
    assert "CPU estimated, RAM estimated" in words


def test_a_chart_keeps_its_specification_while_the_run_goes_on(studio: Open, store: RunStore) -> None:
    made = config(0.75, True)
    run = seed_run(store, made, "training", total=100)
    app = studio("live", run=run.run_id)
    before = [specification(app, number) for number in range(6)]
    metric = app.metric[0].value
    store.append(run.run_id, list(steps(made, 100, 90))[170:])
    app.run()
    assert [specification(app, number) for number in range(6)] == before
    assert app.metric[0].value != metric


def test_a_failure_shows_cause_and_next_step_as_plain_text(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.5), "failed", log="Traceback")
    app = studio("live", run=run.run_id)
    texts = [element.value for element in app.text]
    assert "The loss is nan at step 60 <script>alert(1)</script>." in texts
    assert "Start a copy of the run with a lower learning rate." in texts
    assert "<script>" not in "".join(str(each.value) for each in app.markdown)
    assert "<b>" not in app.info[0].value.replace("\\<b\\>", "")


def test_a_finished_run_shows_dense_beside_student(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.75, True), "done")
    app = studio("live", run=run.run_id)
    table = app.dataframe[0].value.set_index("Quantity")
    assert table.loc["Test accuracy", "Dense"] == "86.00 %"
    assert "1.60x, ceiling 1.86x" in table.loc[:, "Change"].to_list()
    next(button for button in app.button if button.label == "Try it").click()
    app.run()
    assert app.title[0].value == "Try it"
    assert not app.exception


def test_the_svm_on_the_same_texts_stands_beside(studio: Open, store: RunStore) -> None:
    good, poor = seed_run(store, config(0.75), "done"), seed_run(store, config(0.75), "done", accuracy=0.6)
    for run, verdict in (
        (good, "The student beats it: 83.00 % to the SVM's 75.00 %."),
        (poor, "does not beat it: 57.00 %"),
    ):
        app = studio("live", run=run.run_id)
        words = everything(app).replace("\\", "")
        assert verdict in words
        assert "trained in 0.91 s with 0.012 Wh (estimated)" in words
        assert app.dataframe[0].value.set_index("Quantity").loc["Test accuracy", "SVM, same texts"] == "75.00 %"


def test_a_run_that_goes_on_has_the_svm_in_its_accuracy_chart(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.75), "training")
    app = studio("live", run=run.run_id)
    assert "SVM on the same texts" in everything(app)
    assert any("SVM, same texts" in json.dumps(specification(app, number)) for number in range(6))


def test_what_was_taken_out_is_said_as_it_goes(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.75, pruning={"method": "wanda", "iterations": 3}), "training", total=100)
    app = studio("live", run=run.run_id)
    words = everything(app).replace("\\", "")
    assert "Step 50: FFN 1,024 -> 512 in each of 4 layers, 0 heads removed; trains on at this size." in words
    assert "Step 30" not in words
    table = next(each.value for each in app.dataframe if "Heads removed" in each.value)
    assert table["Step"].tolist() == [30, 50]
    assert table["FFN width"].tolist() == ["768", "512"]


def test_one_compaction_needs_no_table(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.75), "done")
    app = studio("live", run=run.run_id)
    assert "Step 70: FFN 1,024 -> 256 in each of 4 layers" in everything(app).replace("\\", "")
    assert not [each for each in app.dataframe if "Heads removed" in each.value]


@pytest.mark.parametrize(
    ("pruning", "label", "goal"),
    [
        ({}, "FFN neurons kept", "goal 25.0 %"),
        ({"method": "hybrid"}, "FFN + heads kept", "goal 25.0 %"),
        ({"method": "magnitude", "unit": "weight"}, "Weights kept", "goal 25.0 %"),
        ({"method": "layer-dropping"}, "Layers kept", "goal 25.0 %"),
        ({"method": "soft-cutoff", "cut_off": 0.2}, "FFN neurons kept", "cut-off 0.2, at least 25.0 %"),
    ],
)
def test_density_is_named_after_what_the_method_removes(
    studio: Open, store: RunStore, pruning: dict[str, object], label: str, goal: str
) -> None:
    run = seed_run(store, config(0.75, pruning=pruning), "training")
    app = studio("live", run=run.run_id)
    assert next(metric.delta for metric in app.metric if metric.label == label) == goal


@pytest.mark.parametrize("cut_off", [None, 0.2])
def test_a_fixed_cut_off_has_no_schedule_to_be_held_against(
    studio: Open, store: RunStore, cut_off: float | None
) -> None:
    run = seed_run(store, config(0.75, pruning={"method": "soft-cutoff", "cut_off": cut_off}), "training")
    words = everything(studio("live", run=run.run_id))
    assert ("**Density against its schedule**" in words) == (cut_off is None)
    assert ("**Density**" in words) == (cut_off is not None)


@pytest.mark.parametrize("method", ["wanda", "hybrid"])
def test_a_format_of_our_own_is_said_where_the_model_is_used(studio: Open, store: RunStore, method: str) -> None:
    run = seed_run(store, config(0.75, pruning={"method": method}), "done")
    for page, named in (("live", "run"), ("try_it", "model")):
        words = everything(studio(page, **{named: run.run_id})).replace("\\", "")
        assert ("Chhatni's own format" in words) == (method == "hybrid"), page


def test_a_smaller_vocabulary_and_dropped_layers_are_said(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.0, pruning={"vocabulary": "training", "drop_layers": 2}), "training")
    words = everything(studio("live", run=run.run_id)).replace("\\", "")
    assert "Vocabulary: 2,500 of 4,000 tokens stay, 0.38 M parameters fewer." in words
    assert "Before the first step: layers 2, 3 dropped, FFN stays 1,024 in each of 2 layers" in words


def test_random_weights_have_no_accuracy(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.75, model={"base": "muril-shape"}), "done", accuracy=None)
    app = studio("live", run=run.run_id)
    accuracy = next(metric for metric in app.metric if "ccuracy" in metric.label)
    assert (accuracy.value, accuracy.delta) == ("–", "random weights")
    table = app.dataframe[0].value.set_index("Quantity")
    assert table.loc["Validation accuracy", "Student"] == "not measured: random weights"
    assert "SVM" not in everything(app)
    assert "SVM, same texts" not in table


def test_the_address_names_the_run_and_is_kept(studio: Open, store: RunStore) -> None:
    first, second = seed_run(store, config(0.25), "done"), seed_run(store, config(0.5), "done")
    app = studio("live")
    assert app.query_params["run"] == second.run_id
    app.selectbox(key="live_run").set_value(first.run_id).run()
    assert app.query_params["run"] == first.run_id
    assert "25 %" in everything(app)
    app.switch_page("pages/compare.py").run()
    app.switch_page("pages/live.py").run()
    assert app.query_params["run"] == first.run_id


def test_a_link_to_a_run_that_is_gone_shows_the_newest(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.25), "done")
    app = studio("live", run="<b>nothing</b>")
    assert "There is no run" in app.warning[0].value
    assert "<b>" not in app.warning[0].value
    assert app.query_params["run"] == run.run_id


def test_stop_asks_the_run_to_stop(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.25), "training")
    app = studio("live", run=run.run_id)
    app.button(key="stop").click().run()
    assert store.get(run.run_id).state == "stopping"
    assert "Stopping" in everything(app)
    assert "End it now" in buttons(app)


def test_resume_goes_through_jobs_and_an_error_is_shown(
    studio: Open, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = seed_run(store, config(0.25), "stopped")
    asked: list[str] = []
    monkeypatch.setattr(jobs, "resume", lambda store, run_id: asked.append(run_id))
    app = studio("live", run=run.run_id)
    app.button(key="resume").click().run()
    assert asked == [run.run_id]
    monkeypatch.undo()
    monkeypatch.setenv("CHHATNI_HOME", str(store.home))
    monkeypatch.setattr(jobs, "WORKER_COMMAND", ("/no/such/program",))
    app.button(key="resume").click().run()
    assert "could not be started" in app.error[0].value.replace("\\", "")
    assert "could not be started" in app.run().error[0].value.replace("\\", ""), "the next tick takes it away"


def test_clone_opens_prune_with_the_settings(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.75, True), "failed")
    app = studio("live", run=run.run_id)
    app.button(key=f"clone_{run.run_id}").click().run()
    assert app.title[0].value == "Prune"
    assert app.session_state["level"] == "75 %"
    assert app.session_state["distillation.enabled"] is True


def test_a_run_whose_process_died_is_interrupted(studio: Open, store: RunStore) -> None:
    run = seed_run(store, config(0.25), "training")
    store.set_process(run, 2**22 - 3, 1.0)
    app = studio("live", run=run.run_id)
    assert "Interrupted" in everything(app)
    assert "Resume" in buttons(app)


def test_steps_done_twice_after_a_resume_are_drawn_once(store: RunStore) -> None:
    from engine.events import RunStarted, StepLogged
    from pages.shared.timeline import Timeline

    made = config(0.5)
    run = seed_run(store, made, "training", total=100)
    again = RunStarted(
        device="cpu", device_name="", precision="fp32", precision_reason="", threads=1, resumed_at_step=40
    )
    timeline = Timeline(run.run_id)
    timeline.refresh(store)
    store.append(run.run_id, [again, *list(steps(made, 100, 50))[-20:]])
    timeline.refresh(store)
    numbers = [event.step for event in timeline.all(StepLogged)]
    assert numbers == sorted(set(numbers))
    assert 50 in numbers
    assert 60 not in numbers
    store.append(run.run_id, [again.model_copy(update={"resumed_at_step": None}), *steps(made, 100, 3)])
    timeline.refresh(store)
    assert [event.step for event in timeline.all(StepLogged)] == [1, 2, 3]


def test_compactions_done_twice_after_a_resume_are_told_once(store: RunStore) -> None:
    from engine.events import Compacted, RunStarted
    from pages.shared.timeline import Timeline

    made = config(0.75, pruning={"method": "wanda", "iterations": 3, "drop_layers": 1})
    run = seed_run(store, made, "training", total=100)
    timeline = Timeline(run.run_id)
    timeline.refresh(store)
    assert [event.step for event in timeline.all(Compacted)] == [0, 30, 50]
    again = RunStarted(
        device="cpu", device_name="", precision="fp32", precision_reason="", threads=1, resumed_at_step=30
    )
    store.append(run.run_id, [again])
    timeline.refresh(store)
    assert [event.step for event in timeline.all(Compacted)] == [0]


def test_hundreds_of_runs_open_in_a_second(studio: Open, store: RunStore) -> None:
    for _ in range(300):
        store.create(config(0.5), "cpu")
    run = seed_run(store, config(0.5), "done")
    app = studio("live", run=run.run_id)
    began = time.process_time()
    app.run()
    took = time.process_time() - began
    assert len(app.selectbox(key="live_run").options) == 301
    assert took < 1.0, took


@pytest.mark.parametrize("state", ["queued", "training", "done"])
def test_a_run_can_be_taken_along_in_any_state(studio: Open, store: RunStore, state: str) -> None:
    run = seed_run(store, config(0.5), state)  # type: ignore[arg-type]
    buttons = studio("live", run=run.run_id).get("download_button")
    labels = [button.proto.label for button in buttons]
    assert labels == ["Page (HTML)", "Charts (PNG, zip)", "Charts (SVG, zip)", "Events (CSV)", "Events (JSONL)"]
    assert all(button.proto.deferred_file_id for button in buttons), "made when pressed, not at every tick"
