import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config import RunConfig
from engine.errors import JobError
from engine.events import Event, Notice, RunFailed, RunStopped
from engine.home import REPOSITORY, run_folder
from engine.runs.run import ENDED, STATES, Run, RunState
from engine.store import RunStore
from tests.engine.fake_training import every_event, model_loaded, run_finished, run_started, step_logged
from tests.engine.raw_store import notices, sql

LEGAL = {
    "queued": "starting stopped failed interrupted",
    "starting": "training stopping stopped failed done interrupted",
    "training": "stopping stopped failed done interrupted",
    "stopping": "stopped failed done interrupted",
    "stopped": "queued",
    "failed": "queued",
    "interrupted": "queued",
    "done": "",
}


def put(store: RunStore, state: RunState, name: str = "") -> Run:
    """Create a run that is in ``state``, past all rules."""
    run = store.create(RunConfig(name=name), "cpu")
    sql(store.path, "UPDATE runs SET state = ? WHERE run_id = ?", state, run.run_id)
    return store.get(run.run_id)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_new_run_is_queued_and_comes_back_as_it_was(store: RunStore) -> None:
    config = RunConfig.parse({"name": "छाटणी", "pruning": {"final_density": 0.25}})
    before = time.time()
    run = store.create(config, "cuda-0")
    assert store.get(run.run_id) == run
    assert (run.config, run.state, run.device, run.title) == (config, "queued", "cuda-0", "छाटणी")
    assert before <= run.created_at <= time.time()
    assert (run.started_at, run.ended_at, run.pid, run.error, run.result) == (None, None, None, None, None)
    assert (run.stop_requested, run.step, run.total_steps, run.active) == (False, 0, 0, True)
    assert run_folder(store.home, run.run_id) == store.home / "runs" / run.run_id


def test_runs_come_newest_first_and_can_be_narrowed(store: RunStore) -> None:
    ids = [store.create(RunConfig(), "cpu").run_id for _ in range(4)]
    store.set_state(ids[1], "starting")
    assert [run.run_id for run in store.runs()] == ids[::-1]
    assert [run.run_id for run in store.runs(limit=2)] == [ids[3], ids[2]]
    assert [run.run_id for run in store.runs(states={"starting", "done"})] == [ids[1]]
    assert store.runs(states=[]) == []


def test_a_list_of_runs_reads_no_event(store: RunStore) -> None:
    run = store.create(RunConfig(), "cpu")
    store.append(run.run_id, every_event(run.run_id))
    sql(store.path, "DROP TABLE events")
    listed = store.runs()[0]
    assert (listed.step, listed.total_steps) == (9, 40)
    assert listed.error == every_event()[-1]
    assert listed.result == run_finished(run.run_id).result


def test_find_takes_an_id_a_beginning_or_a_name(store: RunStore) -> None:
    ids = ("20260101-120000-aaaa", "20260101-120000-aabb", "20260101-120000-aabbcc")
    for run_id, name in zip(ids, ("first", "twin", "twin"), strict=True):
        sql(store.path, "UPDATE runs SET run_id = ? WHERE run_id = ?", run_id, put(store, "done", name).run_id)
    for text, expected in (
        (ids[0], ids[0]),
        (f" {ids[0][:18]}a\n", ids[0]),
        ("first", ids[0]),
        (ids[1], ids[1]),  # whole, though it is also the beginning of another
        (ids[1] + "c", ids[2]),
    ):
        assert store.find(text).run_id == expected


def test_find_takes_what_is_no_text(store: RunStore) -> None:
    store.create(RunConfig(), "cpu")
    with pytest.raises(JobError, match="udcff"):
        store.find("\udcff")


def test_find_lists_candidates(store: RunStore) -> None:
    with pytest.raises(JobError, match="no runs yet"):
        store.find("x")
    runs = [store.create(RunConfig(name="twin"), "cpu") for _ in range(2)]
    for text in ("twin", "20"):
        with pytest.raises(JobError, match="fits 2 runs") as caught:
            store.find(text)
        assert all(run.run_id in str(caught.value) for run in runs)
    for text in ("", "%", "unheard", "____"):
        with pytest.raises(JobError, match="newest are") as caught:
            store.find(text)
        assert runs[1].run_id in str(caught.value)


def test_an_unknown_run_is_refused_everywhere(store: RunStore) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get("nobody"),
        lambda: store.append("nobody", []),
        lambda: store.set_state("nobody", "starting"),
        lambda: store.request_stop("nobody"),
        lambda: store.requeue("nobody", "cpu"),
        lambda: store.rename("nobody", "x"),
        lambda: store.delete("nobody"),
        lambda: store.ahead("nobody"),
    ]
    for call in calls:
        with pytest.raises(JobError, match="no run 'nobody'"):
            call()
    assert store.events("nobody") == []
    assert store.stop_requested("nobody") is False
    with pytest.raises(JobError, match="not a run id"):
        store.delete("../..")


def test_a_run_can_be_renamed(store: RunStore) -> None:
    run = store.create(RunConfig(), "cpu")
    assert store.rename(run.run_id, "  my   run ").title == "my run"
    assert store.find("my run").config.name == "my run"
    assert store.rename(run.run_id, "").title == "Baseline, starter"
    with pytest.raises(JobError, match="at most 120 characters"):
        store.rename(run.run_id, "x" * 121)


@pytest.mark.parametrize("state", STATES)
def test_only_an_ended_run_is_deleted_with_all_it_has(store: RunStore, state: RunState) -> None:
    other, run = put(store, "queued"), put(store, state)
    for each in (other, run):
        store.append(each.run_id, notices(3))
        run_folder(store.home, each.run_id).joinpath("model").mkdir(parents=True)
    if state in ("queued", "starting", "training", "stopping"):
        with pytest.raises(JobError, match=f"is {state}; only an ended run"):
            store.delete(run.run_id)
        assert len(store.events(run.run_id)) == 3
    else:
        store.delete(run.run_id)
        assert [each.run_id for each in store.runs()] == [other.run_id]
        assert not run_folder(store.home, run.run_id).exists()
        assert sql(store.path, "SELECT DISTINCT run_id FROM events") == [(other.run_id,)]
    assert run_folder(store.home, other.run_id).exists()


# --- states -----------------------------------------------------------------------------------------------------------


def test_exactly_the_legal_transitions_are_made(store: RunStore) -> None:
    assert set(LEGAL) == set(STATES)
    for source, target in product(STATES, STATES):
        run = put(store, source)
        legal = target in LEGAL[source].split()
        assert store.set_state(run.run_id, target) is legal, (source, target)
        assert store.get(run.run_id).state == (target if legal else source)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(STATES), st.none() | st.sets(st.sampled_from(STATES))), max_size=12))
def test_any_sequence_of_moves_stays_legal(store: RunStore, steps: list[tuple[RunState, set[RunState] | None]]) -> None:
    run_id = store.create(RunConfig(), "cpu").run_id
    state: RunState = "queued"
    for target, expected in steps:
        moves = target in LEGAL[state].split() and (expected is None or state in expected)
        assert store.set_state(run_id, target, expected=expected) is moves
        state = target if moves else state
        run = store.get(run_id)
        assert run.state == state
        assert run.ended_at is not None or state not in ENDED


def test_of_many_who_set_a_state_at_once_one_succeeds(store: RunStore) -> None:
    runs = [store.create(RunConfig(), "cpu") for _ in range(20)]
    outcomes: list[str] = []
    gate = threading.Barrier(6)

    def move() -> None:
        for run in runs:
            gate.wait()
            if store.set_state(run.run_id, "starting", expected={"queued"}):
                outcomes.append(run.run_id)

    threads = [threading.Thread(target=move) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert outcomes == [run.run_id for run in runs]


def test_a_resumed_run_goes_to_the_end_of_the_queue_as_new(store: RunStore) -> None:
    first, second = store.create(RunConfig(), "cpu"), store.create(RunConfig(), "cpu")
    elsewhere = store.create(RunConfig(), "cuda-0")
    assert [store.ahead(run.run_id) for run in (first, second, elsewhere)] == [0, 1, 0]
    store.set_process(first, 123, 4.5)
    store.set_state(first.run_id, "starting")
    store.request_stop(first.run_id)
    assert [store.ahead(run.run_id) for run in (first, second)] == [0, 1]
    assert store.end(first.run_id, RunFailed(error="E", message="m", next_step="n"), "failed")
    again = store.requeue(first.run_id, "cpu")
    assert (again.state, again.stop_requested, again.error, again.ended_at) == ("queued", False, None, None)
    assert (again.pid, again.pid_created) == (None, None)
    assert [store.ahead(run.run_id) for run in (first, second)] == [1, 0]


@pytest.mark.parametrize("state", ["queued", "starting", "training", "stopping", "done"])
def test_an_active_or_finished_run_is_not_requeued(store: RunStore, state: RunState) -> None:
    run = put(store, state)
    with pytest.raises(JobError, match=f"is {state}, so it cannot be resumed"):
        store.requeue(run.run_id, "cpu")
    assert store.get(run.run_id) == run


def test_a_stop_request_is_seen_and_shown(store: RunStore) -> None:
    cases: tuple[tuple[RunState, str], ...] = (
        ("queued", "queued"),
        ("starting", "stopping"),
        ("training", "stopping"),
    )
    for state, shown in cases:
        run = put(store, state)
        assert not store.stop_requested(run.run_id)
        assert store.request_stop(run.run_id).state == shown
        assert store.request_stop(run.run_id).state == shown
        assert store.stop_requested(run.run_id)
    for state in ENDED:
        with pytest.raises(JobError, match=f"is already {state}"):
            store.request_stop(put(store, state).run_id)


def test_the_end_of_a_former_life_does_not_end_the_resumed_run(store: RunStore) -> None:
    run = put(store, "interrupted")
    store.requeue(run.run_id, "cpu")
    assert not store.end(run.run_id, RunStopped(step=1), "stopped", ticket=run.ticket)
    assert store.get(run.run_id).state == "queued"
    assert store.events(run.run_id) == []
    store.set_process(run, 5, 6.0)
    assert store.get(run.run_id).pid is None, "the former worker was taken for the new one"


def test_ending_writes_event_and_state_or_neither(store: RunStore) -> None:
    run = put(store, "training")
    assert store.end(run.run_id, run_finished(run.run_id), "done", ticket=run.ticket)
    assert not store.end(run.run_id, RunFailed(error="E", message="m", next_step="n"), "failed")
    ended = store.get(run.run_id)
    assert (ended.state, ended.error) == ("done", None)
    assert ended.ended_at is not None
    assert [stored.event.kind for stored in store.events(run.run_id)] == ["run_finished"]


def test_an_ended_run_keeps_its_process(store: RunStore) -> None:
    run = put(store, "done")
    store.set_process(run, 5, 6.0)
    assert store.get(run.run_id).pid is None


# --- events -----------------------------------------------------------------------------------------------------------


def test_every_kind_of_event_comes_back_as_it_was(store: RunStore) -> None:
    run = store.create(RunConfig(), "cpu")
    events = every_event(run.run_id)
    assert {type(event) for event in events} == set(get_args(Event)), "a kind has no sample"
    store.append(run.run_id, events)
    stored = store.events(run.run_id)
    assert [each.event for each in stored] == events
    assert [each.seq for each in stored] == sorted({each.seq for each in stored})


def test_events_can_be_polled_from_a_place_and_by_kind(store: RunStore) -> None:
    run, other = store.create(RunConfig(), "cpu"), store.create(RunConfig(), "cpu")
    for step in (1, 2):
        store.append(run.run_id, [step_logged(step), *notices(2)])
        store.append(other.run_id, [step_logged(9)])
    everything = store.events(run.run_id)
    assert len(everything) == 6
    assert store.events(run.run_id, after=everything[2].seq) == everything[3:]
    assert store.events(run.run_id, after=everything[-1].seq) == []
    assert store.events(run.run_id, kinds=["step_logged"]) == [everything[0], everything[3]]
    assert store.events(run.run_id, after=everything[0].seq, kinds={"step_logged"}) == [everything[3]]
    assert store.events(run.run_id, kinds=[]) == []


def test_polling_uses_the_index_and_sorts_nothing(store: RunStore) -> None:
    store.create(RunConfig(), "cpu")
    query = "SELECT seq, at, body FROM events WHERE run_id = 'a' AND seq > 5 AND kind IN ('x') ORDER BY seq"
    plan = sql(store.path, f"EXPLAIN QUERY PLAN {query}")
    text = " ".join(str(row[-1]) for row in plan)
    assert "events_of_run" in text
    assert "TEMP B-TREE" not in text


def test_the_row_follows_the_events(store: RunStore) -> None:
    run_id = store.create(RunConfig(), "cpu").run_id
    store.append(run_id, [model_loaded(50), step_logged(30)])
    first = store.get(run_id)
    assert (first.step, first.total_steps) == (30, 50)
    time.sleep(0.01)
    store.append(run_id, [])  # a sign of life
    assert store.get(run_id).heartbeat_at > first.heartbeat_at
    store.append(run_id, [run_started(20)])
    assert store.get(run_id).step == 20
    store.append(run_id, [run_started(None)])
    assert store.get(run_id).step == 0, "killed before a checkpoint, it starts over"
    assert store.events(run_id, kinds=["run_started"])[-1].at == store.get(run_id).heartbeat_at


@pytest.mark.parametrize("state", STATES)
def test_the_first_step_makes_a_starting_run_a_training_one(store: RunStore, state: RunState) -> None:
    run = put(store, state)
    store.append(run.run_id, [model_loaded(3)])
    assert store.get(run.run_id).state == state
    store.append(run.run_id, [step_logged(1)])
    assert store.get(run.run_id).state == ("training" if state == "starting" else state)


def test_writers_and_readers_in_many_processes_lose_nothing(tmp_path: Path) -> None:
    """Four processes create the same new database, and write while this one reads."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from engine.config import RunConfig\nfrom engine.events import Notice\nfrom engine.store import RunStore\n"
        "store = RunStore(Path(sys.argv[1]))\n"
        "run = store.create(RunConfig(name=sys.argv[2]), 'cpu')\n"
        "for number in range(60):\n"
        "    store.append(run.run_id, [Notice(message=str(2 * number)), Notice(message=str(2 * number + 1))])\n"
    )
    path = tmp_path / "runs.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), f"w{number}"], cwd=REPOSITORY, stderr=subprocess.PIPE)
        for number in range(4)
    ]
    store = RunStore(path)
    while any(writer.poll() is None for writer in writers):
        for run in store.runs():
            seen = [stored.event for stored in store.events(run.run_id)]
            assert seen == [Notice(message=str(number)) for number in range(len(seen))]
            assert len(seen) % 2 == 0, "half a batch was visible"
        time.sleep(0.02)
    errors = [writer.communicate()[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    assert sorted(run.config.name for run in store.runs()) == ["w0", "w1", "w2", "w3"]
    assert [len(store.events(run.run_id)) for run in store.runs()] == [120] * 4
    store.close()


def test_one_store_serves_many_threads(store: RunStore) -> None:
    run_id = store.create(RunConfig(), "cpu").run_id
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                store.append(run_id, notices(1))
                store.runs()
        except BaseException as error:  # noqa: BLE001 - reported below
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(store.events(run_id)) == 120


def test_opening_the_store_does_not_load_the_learning_libraries() -> None:
    code = (
        "import sys, engine.store, engine.jobs\n"
        "print({'torch', 'transformers', 'datasets', 'streamlit'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True) == "set()\n"
