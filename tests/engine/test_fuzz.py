"""Odd files, settings and command lines end in a result or in an error of ours: never in another one, a hang or a stray run.

A small, repeatable slice by default; ``make fuzz`` sets CHHATNI_FUZZ_CASES to thousands, at random.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import cli
from engine.config import DataConfig, RunConfig
from engine.data import load_data, read_texts
from engine.errors import CheckpointError, ChhatniError, ConfigError
from engine.events import DataPrepared, to_json
from engine.runs.run import Run
from engine.store import RunStore
from tests.engine.fuzzing import SEEDS, command_lines, files, settings_values

CASES = int(os.environ.get("CHHATNI_FUZZ_CASES", "110"))
CASE_WITHIN_S = 20
COMMANDS = {
    "train": [
        "--data",
        "--test-data",
        "--text-column",
        "--label-column",
        "--max-length",
        "--model",
        "--prune",
        "--method",
    ],
    "train ": [
        "--epochs",
        "--seed",
        "--country",
        "--name",
        "--device",
        "--precision",
        "--cut-off",
        "--unit",
        "--iterations",
    ],
    "runs": ["--limit", "--json"],
    "show": ["--json"],
    "stop": ["--force", "--json"],
    "resume": ["--detach", "--json"],
}


def cases(share: float) -> settings:
    """Take a share of all cases; the same ones at each run, unless more are asked for."""
    return settings(
        max_examples=max(1, round(CASES * share)),
        derandomize="CHHATNI_FUZZ_CASES" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Fail where a case takes too long."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it took more than {seconds} s")

    former = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@cases(0.5)
@given(file=files(), columns=st.sampled_from([(None, None), (None, None), ("text", "label"), ("n", "list")]))
def test_any_file_is_read_or_refused(
    folder: Path, file: tuple[str, bytes], columns: tuple[str | None, str | None]
) -> None:
    ending, data = file
    path = folder / f"a{ending}"
    path.write_bytes(data)
    with limit(CASE_WITHIN_S):
        try:
            found = load_data(DataConfig(source=str(path), text_column=columns[0], label_column=columns[1]), 0, folder)
            event = to_json(DataPrepared(report=found.report))
            assert json.loads(event)["report"]["labels"] == list(found.labels)
        except ChhatniError as error:
            str(error).encode("utf-8")  # it is to be shown
        try:
            texts = read_texts(path, columns[0]).texts
            assert all(text == text.strip() != "" for text in texts)
            "".join(texts).encode("utf-8")
        except ChhatniError as error:
            str(error).encode("utf-8")


@cases(0.25)
@given(values=settings_values())
def test_any_settings_are_taken_or_refused(folder: Path, values: dict[str, object]) -> None:
    try:
        config = RunConfig.parse(values)
    except ConfigError as error:
        str(error).encode("utf-8")
        return
    store = RunStore(folder / "settings" / "runs.db")
    run = store.create(config, "cpu")
    assert store.get(run.run_id).config == config
    assert all(ord(sign) >= 32 for sign in config.name)
    store.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """A home with one finished and one failed run, where starting is noted and nothing is started."""
    home = tmp_path_factory.mktemp("home")
    (home / "texts.csv").write_bytes(SEEDS[".csv"])
    started: list[str] = []
    store = RunStore(home / "runs.db")
    for name in ("first", "second"):
        store.set_state(store.create(RunConfig(name=name), "cpu").run_id, "failed")

    def start(store: RunStore, *_: object) -> Run:
        started.append("run")
        return store.find("first")

    def offline(*_: object) -> None:
        raise CheckpointError("There is no network.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHHATNI_HOME", str(home))
        patch.setattr(cli, "start", start)
        patch.setattr(cli, "resume", start)
        patch.setattr("engine.before.preflight.look_up", offline)
        patch.chdir(home)
        yield home, started
    store.close()


@cases(0.25)
@given(data=st.data())
def test_any_command_line_ends_with_a_code(
    desk: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    home, started = desk
    command = data.draw(st.sampled_from(list(COMMANDS)))
    arguments = data.draw(command_lines(COMMANDS[command]))
    given = [command.strip(), *(["--data", "texts.csv", "--detach"] if "train" in command else []), *arguments]
    started.clear()
    before = len(RunStore(home / "runs.db").runs())
    with limit(CASE_WITHIN_S):
        code = _exit_code(lambda: cli.main(given))
    assert code in (0, 1, 2), given
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    if code == 2:
        assert told.err.strip(), given
        assert not started
    assert "\x1b" not in told.out + told.err, given
    assert len(RunStore(home / "runs.db").runs()) == before


def _exit_code(call: Callable[[], int]) -> object:
    try:
        return call()
    except SystemExit as error:  # as argparse ends
        return error.code
