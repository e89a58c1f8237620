"""Recordings: whole or refused, without the machine they were made on, and true to every moment."""

import gzip
import json
from pathlib import Path

import pytest

from engine import replay
from engine.config import RunConfig
from engine.errors import DataError, JobError
from engine.events import Event, Notice, RunFinished, RunStarted, StepLogged
from engine.home import REPOSITORY
from engine.replay import Recording, events_until, read_recording, record, recordings, run_at, write_recording
from engine.runs.run import Run, StoredEvent
from engine.store import RunStore
from tests.engine.fake_training import every_event, model_loaded, run_finished, run_started, step_logged

SAID: list[tuple[float, Event]] = [
    (0.0, run_started()),
    (1.5, model_loaded(40)),
    (2.0, step_logged(10)),
    (2.0, step_logged(20)),
    (4.25, step_logged(40)),
    (5.0, run_finished("a")),
]
BEGAN = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "home" / "runs.db")


def finished(store: RunStore, config: RunConfig | None = None) -> Run:
    """Put a run that is done into the store, without its events."""
    run = store.create(config or RunConfig(), "cpu")
    store.set_state(run.run_id, "starting")
    store.set_state(run.run_id, "done")
    return store.get(run.run_id)


def stored(said: list[tuple[float, Event]]) -> list[StoredEvent]:
    return [StoredEvent(number, BEGAN + at, event) for number, (at, event) in enumerate(said, start=1)]


def recorded(store: RunStore, said: list[tuple[float, Event]] = SAID) -> Recording:
    return record(finished(store), stored(said), store.home)


def rewrite(path: Path, *lines: str) -> Path:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path


def lines_of(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")


def test_a_recording_is_read_back_as_it_was_written(store: RunStore, tmp_path: Path) -> None:
    told = [*every_event(), Notice(message="a\u2028b")]
    ending = run_finished("a")
    said = [(0.1 * place, event) for place, event in enumerate([run_started(), *told, ending])]
    made = recorded(store, said)
    path = tmp_path / "one.jsonl.gz"
    write_recording(made, path)
    found = read_recording(path)
    assert found.name == "one"
    assert (found.header, found.moments) == (made.header, made.moments)
    assert [moment.event for moment in found.moments] == [run_started(), *told, ending]
    assert found.device_name == "A processor"
    before = path.read_bytes()
    write_recording(made, path)
    assert path.read_bytes() == before


def test_what_a_run_has_said_grows_with_the_seconds(store: RunStore) -> None:
    made = recorded(store)
    counts = {seconds: len(events_until(made, seconds)) for seconds in (-1, 0, 1.4, 1.5, 1.99, 2.0, 4.3, 5.0, 1e9)}
    assert list(counts.values()) == [0, 1, 1, 2, 2, 4, 5, 6, 6]
    assert events_until(made, 5.0) == [event for _, event in SAID]
    assert made.duration_s == 5.0


@pytest.mark.parametrize(
    ("seconds", "state", "step", "total"),
    [
        (0, "starting", 0, 0),
        (1.5, "starting", 0, 40),
        (2, "training", 20, 40),
        (4.9, "training", 40, 40),
        (5, "done", 40, 40),
    ],
)
def test_the_run_is_as_it_stood_at_that_moment(
    store: RunStore, seconds: float, state: str, step: int, total: int
) -> None:
    run = run_at(recorded(store), seconds)
    assert (run.state, run.step, run.total_steps) == (state, step, total)
    assert (run.result is not None) == (run.ended_at is not None) == (state == "done")
    assert run.pid is None


def test_the_time_in_which_a_stopped_run_rested_is_left_out(store: RunStore) -> None:
    said = [
        *SAID[:4],
        (90_000.0, run_started(resumed_at_step=10)),
        (90_001.0, step_logged(20)),
        (90_003.0, SAID[-1][1]),
    ]
    made = recorded(store, said)
    assert [moment.at_s for moment in made.moments] == [0.0, 1.5, 2.0, 2.0, 2.0, 3.0, 5.0]
    assert run_at(made, 2.5).step == 10


def test_nothing_of_the_machine_goes_into_the_file(store: RunStore, tmp_path: Path) -> None:
    texts = tmp_path / "secret" / "बातम्या.csv"
    config = RunConfig.parse({"data": {"source": str(texts), "test_path": str(tmp_path / "secret" / "test.csv")}})
    run = finished(store, config)
    result = run_finished(run.run_id).result
    path_of_model = store.home / "runs" / run.run_id / "model"
    said: list[tuple[float, Event]] = [
        (0.0, run_started()),
        (0.5, Notice(message=f"Read {texts} and {REPOSITORY / 'assets' / 'x'}; and/or kept as it is.")),
        (1.0, RunFinished(result=result.model_copy(update={"model_path": str(path_of_model)}))),
    ]
    target = tmp_path / "out.jsonl.gz"
    write_recording(record(run, stored(said), store.home), target)
    text = "\n".join(lines_of(target))
    assert str(tmp_path) not in text
    assert "secret" not in text
    found = read_recording(target)
    assert found.header.config.data.source == "बातम्या.csv"
    assert found.header.config.data.test_path == "test.csv"
    notice = found.moments[1].event
    assert isinstance(notice, Notice)
    assert notice.message == "Read बातम्या.csv and assets/x; and/or kept as it is."
    finish = found.moments[2].event
    assert isinstance(finish, RunFinished)
    assert finish.result.model_path == f"runs/{run.run_id}/model"


def test_only_a_finished_run_is_recorded(store: RunStore, tmp_path: Path) -> None:
    run = store.create(RunConfig(), "cpu")
    with pytest.raises(JobError, match="is queued, so there is no whole run"):
        record(run, stored(SAID), store.home)


def test_the_name_of_the_file_must_be_one_that_is_found(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one\.json does not end in \.jsonl\.gz"):
        write_recording(recorded(store), tmp_path / "one.json")
    assert not list(tmp_path.glob("one*"))
    for name in ("b", "a"):
        write_recording(recorded(store), tmp_path / f"{name}.jsonl.gz")
    (tmp_path / "notes.txt").write_text("x")
    assert recordings(tmp_path) == {name: tmp_path / f"{name}.jsonl.gz" for name in ("a", "b")}
    assert recordings(tmp_path / "nowhere") == {}


def test_a_torn_file_is_refused(store: RunStore, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl.gz"
    write_recording(recorded(store), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError) as caught:
            read_recording(path)
        assert caught.value.path == str(path)
    path.write_bytes(whole[:-12])
    with pytest.raises(DataError, match="is torn: it ends or breaks within"):
        read_recording(path)
    path.write_bytes(whole)
    rewrite(path, *lines_of(path)[:-1])
    with pytest.raises(DataError, match="should hold 6 events and holds 5"):
        read_recording(path)


def test_a_foreign_file_is_refused_with_its_line(store: RunStore, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl.gz"
    write_recording(recorded(store), path)
    head, *moments = lines_of(path)
    path.write_text("text,label\n", encoding="utf-8")
    with pytest.raises(DataError, match="is not gzipped text"):
        read_recording(path)
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        read_recording(tmp_path / "none.jsonl.gz")
    cases = {
        1: [head.replace('"version":1', '"version":2'), *moments],
        2: [head, moments[0].replace("run_started", "run_begun"), *moments[1:]],
        4: [head, *moments[:2], moments[2].replace('"at_s":2.0', '"at_s":-2.0'), *moments[3:]],
        5: [head, *moments[:3], moments[3].replace('"at_s":2.0', '"at_s":1.0'), *moments[4:]],
    }
    for row, lines in cases.items():
        with pytest.raises(DataError, match=f"^Line {row} of one.jsonl.gz") as caught:
            read_recording(rewrite(path, *lines))
        assert caught.value.row == row
    for lines in ([head, moments[1], *moments[1:]], [head, *moments[:-1], moments[-2]]):
        with pytest.raises(DataError, match="from its start to its end"):
            read_recording(rewrite(path, *lines))


def test_one_command_records_a_run(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHHATNI_HOME", str(store.home))
    run = store.create(RunConfig.parse({"name": "Mine"}), "cpu")
    path = tmp_path / "deep" / "mine.jsonl.gz"
    assert replay.main([run.run_id, str(path)]) == 2
    assert "is queued" in capsys.readouterr().err
    store.set_state(run.run_id, "starting")
    store.append(run.run_id, [event for _, event in SAID[:-1]])
    store.end(run.run_id, SAID[-1][1], "done")
    assert replay.main(["Mine", str(path)]) == 0
    assert "Mine: 6 events in" in capsys.readouterr().out
    assert read_recording(path).title == "Mine"


@pytest.mark.parametrize("path", recordings().values(), ids=lambda path: path.name)
def test_what_is_shipped_can_be_read_and_tells_a_whole_run(path: Path) -> None:
    found = read_recording(path)
    events = [moment.event for moment in found.moments]
    assert 60 < found.duration_s < 3600
    assert sum(isinstance(event, StepLogged) for event in events) > 50
    assert sum(isinstance(event, RunStarted) for event in events) == 1
    assert path.stat().st_size < 400_000
    card = (path.parent / "README.md").read_text(encoding="utf-8")
    assert f"`{path.name}`" in card
    assert found.device_name in card


@pytest.mark.parametrize("path", recordings().values(), ids=lambda path: path.name)
def test_what_is_shipped_names_no_place_of_a_machine(path: Path) -> None:
    def texts(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for each in value.values() for text in texts(each)]
        if isinstance(value, list):
            return [text for each in value for text in texts(each)]
        return [value] if isinstance(value, str) else []

    for line in lines_of(path):
        for text in texts(json.loads(line)):
            assert not text.startswith(("/", "\\", "~")), text
            assert not any(place in text for place in ("/home/", "/root/", "/tmp/", "/work/", "/Users/", ":\\")), text


def test_something_is_shipped() -> None:
    assert recordings()
