"""Energy and time of a run that was stopped or killed: every part counts, to the last figure told, and none counts twice.

The hardware is made up: each look at it finds 1/1024 kWh and a second more, numbers that add up exactly.
"""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine.config import RunConfig
from engine.emissions import EmissionsTotals
from engine.events import CheckpointSaved, EmissionsSampled, Event, RunStarted, RunStopped, StepLogged
from engine.loop.spending import NOTE, Spent, forget_spent, note_spent, read_spent, spent_before
from engine.measuring import tracker as tracker_module
from engine.measuring.tracker import Load, Reading
from engine.records import EnergySplit
from engine.training import train
from tests.engine.tiny_runs import result_of, run, tiny_config, write_base, write_texts

pytestmark = pytest.mark.usefixtures("fresh_accelerate")
TICK_KWH = 1 / 1024


class TickingTracker:
    """Counts one tick at each measurement, and takes a sample of it."""

    made: ClassVar["list[TickingTracker]"] = []

    def __init__(self, country: str, interval_s: float, gpu: int | None, output_dir: str, heard: Any) -> None:
        self.turn = threading.RLock()
        self.ticks = self.ticks_at_kill = 0
        self.failure: Exception | None = None
        self.final_emissions_data = object()
        self._heard = heard
        self.made.append(self)

    def prepare(self) -> None: ...

    def end_threads(self) -> None: ...

    def start(self) -> None: ...

    def basis(self) -> dict[str, str]:
        return {"cpu": "estimated", "ram": "estimated"}

    def load(self) -> Load:
        return Load(50.0, None, 1)

    def flush(self) -> None:
        self.ticks += 1
        self._heard(Reading(float(self.ticks), self.ticks * TICK_KWH, 0.0, 0.0), self.load())

    stop = flush


@pytest.fixture(autouse=True)
def trackers(monkeypatch: pytest.MonkeyPatch) -> list[TickingTracker]:
    """Return the trackers that were made, one for each part of a run."""
    TickingTracker.made = []
    monkeypatch.setattr(tracker_module, "Tracker", TickingTracker)
    return TickingTracker.made


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("material")
    base = write_base(folder / "base")
    return tiny_config(write_texts(folder / "texts.csv"), base, training={"checkpoint_every_s": 1, "evaluations": 6})


def ticks(spent: Spent) -> float:
    return spent.emissions.energy_kwh / TICK_KWH


def samples(events: list[Event]) -> list[float]:
    return [event.energy_kwh / TICK_KWH for event in events if isinstance(event, EmissionsSampled)]


def killed(settings: RunConfig, home: Path, after: type[Event], steps: int, to: Path, **options: Any) -> list[Event]:  # type: ignore[valid-type]
    """Train until an event of a kind and so many steps behind it were told; keep the disk as it is then, in another home."""
    told: list[Event] = []
    training: Iterator[Event] = train(settings, run_id="run-1", home=home, **options)
    left = -1
    for event in training:
        told.append(event)
        if left < 0 and isinstance(event, after):
            left = steps
        elif left > 0 and isinstance(event, StepLogged):
            left -= 1
        if left == 0 and samples(told):
            break
    shutil.copytree(home, to)
    TickingTracker.made[-1].ticks_at_kill = TickingTracker.made[-1].ticks
    training.close()  # type: ignore[attr-defined]
    return told


def test_a_stopped_run_counts_everything_once(
    settings: RunConfig, tmp_path: Path, trackers: list[TickingTracker]
) -> None:
    asked = iter(range(100))
    first = run(settings, tmp_path, should_stop=lambda: next(asked) >= 6)
    assert isinstance(first[-1], RunStopped)
    noted = read_spent(tmp_path / "runs" / "run-1")
    assert noted is not None
    assert ticks(noted) == trackers[0].ticks == samples(first)[-1], "what saving took is counted and told"
    second = run(settings, tmp_path, resume=True)
    total = trackers[0].ticks + trackers[1].ticks
    assert result_of(second).energy_kwh == total * TICK_KWH == samples(second)[-1] * TICK_KWH
    assert samples(second) == sorted(samples(second))
    assert samples(second)[0] > samples(first)[-1]
    assert result_of(second).duration_s > noted.elapsed_s > 0
    assert read_spent(tmp_path / "runs" / "run-1") is None, "a finished run needs no note"


def test_a_killed_run_keeps_what_it_had_told_behind_its_checkpoint(
    settings: RunConfig, tmp_path: Path, trackers: list[TickingTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.loop.steps.LOG_EVERY_S", 0.0)
    saving = settings.model_copy(update={"training": settings.training.model_copy(update={"checkpoint_every_s": 1e-9})})
    first = killed(saving, tmp_path / "a", CheckpointSaved, 3, tmp_path / "b")
    noted = read_spent(tmp_path / "b" / "runs" / "run-1")
    assert noted is not None
    assert ticks(noted) >= samples(first)[-1], "never less than a person has seen"
    second = run(saving, tmp_path / "b", resume=True)
    assert next(event.resumed_at_step for event in second if isinstance(event, RunStarted)) is not None
    # the checkpoint behind the last sample knows of one look more
    assert result_of(second).energy_kwh == (trackers[0].ticks_at_kill + trackers[1].ticks) * TICK_KWH
    assert min(samples(second)) > samples(first)[-1]
    assert result_of(second).duration_s > noted.elapsed_s
    split = result_of(second).energy_training_kwh, result_of(second).energy_evaluation_kwh
    assert all(part.cpu > 0 for part in split)
    assert sum(part.cpu for part in split) == result_of(second).energy_kwh


def test_a_run_killed_before_its_first_checkpoint_starts_over_and_forgets_no_energy(
    settings: RunConfig, tmp_path: Path, trackers: list[TickingTracker]
) -> None:
    killed(settings, tmp_path / "a", StepLogged, 0, tmp_path / "b")
    noted = read_spent(tmp_path / "b" / "runs" / "run-1")
    assert noted is not None
    assert ticks(noted) > 0
    second = run(settings, tmp_path / "b")
    assert result_of(second).energy_kwh == noted.emissions.energy_kwh + trackers[1].ticks * TICK_KWH
    assert result_of(second).duration_s > noted.elapsed_s


def test_parts_that_do_nothing_count_nothing_twice(
    settings: RunConfig, tmp_path: Path, trackers: list[TickingTracker]
) -> None:
    asked = iter(range(100))
    run(settings, tmp_path, should_stop=lambda: next(asked) >= 6)
    for _ in range(3):
        run(settings, tmp_path, should_stop=lambda: True, resume=True)
    noted = read_spent(tmp_path / "runs" / "run-1")
    assert noted is not None
    assert ticks(noted) == sum(made.ticks for made in trackers)


def test_a_run_that_fails_notes_what_it_used(
    settings: RunConfig, tmp_path: Path, trackers: list[TickingTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.loop.steps.Loop._evaluate", lambda loop: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(settings, tmp_path)
    noted = read_spent(tmp_path / "runs" / "run-1")
    assert noted is not None
    assert ticks(noted) == trackers[0].ticks


def spent(kwh: float, elapsed_s: float) -> Spent:
    energy = EnergySplit(cpu=kwh, gpu=0.0, ram=0.0)
    none = EnergySplit(cpu=0.0, gpu=0.0, ram=0.0)
    return Spent(
        elapsed_s=elapsed_s,
        emissions=EmissionsTotals(duration_s=elapsed_s, emissions_kg=0.0, training=energy, evaluation=none),
    )


def test_whichever_knows_of_more_is_believed(tmp_path: Path) -> None:
    assert spent_before(tmp_path, None) is None
    assert spent_before(tmp_path, spent(2.0, 5.0)) == spent(2.0, 5.0)
    note_spent(tmp_path, spent(3.0, 7.0))
    assert spent_before(tmp_path, None) == spent(3.0, 7.0)
    assert spent_before(tmp_path, spent(2.0, 5.0)) == spent(3.0, 7.0)
    assert spent_before(tmp_path, spent(4.0, 9.0)) == spent(4.0, 9.0)


@pytest.mark.parametrize("torn", [b"", b"\0" * 100, b'{"elapsed_s": 1', b"[]", "{\u0905}".encode()])
def test_a_note_that_a_power_cut_has_torn_is_none(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / NOTE).write_bytes(torn)
    assert read_spent(tmp_path) is None
    assert spent_before(tmp_path, spent(2.0, 5.0)) == spent(2.0, 5.0)


def test_a_note_is_whole_or_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_spent(tmp_path / "new", spent(1.0, 1.0))
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        note_spent(tmp_path / "new", spent(2.0, 2.0))
    assert read_spent(tmp_path / "new") == spent(1.0, 1.0)
    forget_spent(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
