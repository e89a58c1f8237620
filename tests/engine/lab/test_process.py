"""Measuring in a process of its own: the real one on a tiny shape, and stand-ins for what can go wrong."""

import json
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from engine.errors import JobError, OutOfMemory, WorkerDied
from engine.evaluation import count_flops
from engine.home import lock_path
from engine.lab import process as lab_process
from engine.lab import worker as lab_worker
from engine.lab.plan import LabResult, LabSettings, Sizes, make_dense, make_other
from engine.lab.process import Progress, measure_apart
from engine.model import random_model

DENSE = make_dense(Sizes(2, 4, 64, 32, 120))
TINY = LabSettings(DENSE, make_other(DENSE, Sizes(1, 2, 16, 32, 100)), batch_size=2, sequence_length=8)


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Run a program instead of the worker; ``folder`` is its folder."""
    head = "import json, sys, time; from pathlib import Path; folder = Path(sys.argv[1])\n"
    monkeypatch.setattr(lab_process, "COMMAND", (sys.executable, "-c", head + program))


def outcome(home: Path) -> list[LabResult]:
    steps = list(measure_apart(TINY, home, 10.0))
    assert all(isinstance(step, Progress) for step in steps[:-1])
    last = steps[-1]
    assert isinstance(last, list)
    return last


def test_a_process_of_its_own_times_both_shapes(tmp_path: Path) -> None:
    steps = list(measure_apart(TINY, tmp_path, 10.0))
    *before, results = steps
    assert isinstance(results, list)
    (result,) = results
    assert result.settings == TINY
    assert (result.precision, result.precision_gain) == ("fp32", None)
    assert result.rounds == 200, "a round takes next to nothing"
    for latency in (result.dense, result.other):
        assert 0 < latency.min <= latency.p50 <= latency.p95
        assert (latency.batch_size, latency.sequence_length) == (2, 8)
    assert result.device_name.endswith("1 thread")
    stages = [step.stage for step in before if isinstance(step, Progress)]
    assert stages[0] == "starting"
    order = ["starting", "building", "timing"]  # one that is over between two looks is not told
    assert stages == sorted(stages, key=order.index)


def test_each_shape_is_timed_in_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from engine import evaluation

    seen: list[list[tuple[int, torch.dtype]]] = []

    def timed(works, device, **options):  # type: ignore[no-untyped-def]
        models = [work.func for work in works]
        seen.append([(len(model.bert.encoder.layer), model.dtype) for model in models])
        return [[10.0 * (number + 1)] * options["min_rounds"] for number in range(len(works))]

    monkeypatch.setattr(evaluation, "time_in_turns", timed)
    told: list[tuple[str, float]] = []
    settings = LabSettings(TINY.dense, TINY.other, precision="bf16", sequence_length=8, with_fp32=True)
    half, full = lab_worker.measure(settings, lambda stage, left_s: told.append((stage, left_s)))
    order = [(2, torch.bfloat16), (1, torch.bfloat16), (2, torch.float32), (1, torch.float32)]
    assert seen == [order, order], "a pilot, then the rounds that fit"
    assert (half.precision, half.dense.p50, half.other.p50) == ("bf16", 10.0, 20.0)
    assert (full.precision, full.dense.p50, full.other.p50) == ("fp32", 30.0, 40.0)
    assert half.precision_gain == pytest.approx(40 / 20)
    assert full.precision_gain is None
    assert half.rounds == 6 / 0.1 - 2
    assert told == [("building", 0.0), ("timing", pytest.approx(6.0))]


def test_a_pilot_that_takes_too_long_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import evaluation

    monkeypatch.setattr(evaluation, "time_in_turns", lambda works, device, **options: [[30_000.0] for _ in works])
    with pytest.raises(JobError, match=r"takes 60\.0 s here, so 5 rounds"):
        lab_worker.measure(TINY)


def test_the_ceiling_is_that_of_the_real_matrices() -> None:
    models = [random_model(shape, ["a"] * shape.labels, seed=0) for shape in (TINY.dense, TINY.other)]
    dense, other = (count_flops(model, 8) for model in models)
    assert TINY.ceiling == pytest.approx(dense / other)


def test_the_process_corrects_how_long_it_will_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_process, "POLL_S", 0.02)
    answer = json.dumps({"results": []})
    stand_in(
        monkeypatch,
        f"(folder / 's').write_text('{json.dumps({'stage': 'timing', 'left_s': 50.0})}'); (folder / 's').replace(folder / "
        f"'stage.json'); time.sleep(0.5); (folder / 'answer.json').write_text('{answer}')",
    )
    steps = [step for step in measure_apart(TINY, tmp_path, 10.0) if isinstance(step, Progress)]
    assert steps[0].expected_s == 10.0
    assert steps[-1].stage == "timing"
    assert 50.0 < steps[-1].expected_s < 60.0
    assert all(0 <= step.share < 1 for step in steps)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"error": "The memory is used up.", "memory": True}, OutOfMemory),
        ({"error": "No GPU.", "memory": False}, JobError),
    ],
)
def test_what_went_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, object], kind: type[Exception]
) -> None:
    stand_in(monkeypatch, f"(folder / 'answer.json').write_text({json.dumps(answer)!r})")
    with pytest.raises(kind, match=str(answer["error"])):
        outcome(tmp_path)


def test_a_process_that_dies_is_reported_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "print('Trace'); print('boom'); sys.stdout.flush(); import os; os.kill(os.getpid(), 9)")
    with pytest.raises(WorkerDied, match=r"\(exit status -9\)\. Its last words: boom"):
        outcome(tmp_path)


def test_a_measurement_is_ended_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_process, "LIMIT_S", 0.5)
    stand_in(monkeypatch, "time.sleep(60)")
    before = time.monotonic()
    with pytest.raises(JobError, match="was ended after"):
        outcome(tmp_path)
    assert time.monotonic() - before < 20
    assert not psutil.Process().children()


def test_whoever_stops_listening_ends_the_process_and_gives_the_turn_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "time.sleep(60)")
    with closing(measure_apart(TINY, tmp_path, 10.0)) as steps:
        next(steps)
        assert len(psutil.Process().children()) == 1
    assert not psutil.Process().children()
    with FileLock(lock_path(tmp_path, lab_process.LOCK), blocking=False):
        pass


def test_two_measurements_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_process, "POLL_S", 0.02)
    stand_in(monkeypatch, "(folder / 'answer.json').write_text(json.dumps({'results': []}))")
    other = FileLock(lock_path(tmp_path, lab_process.LOCK))
    other.acquire()
    with closing(measure_apart(TINY, tmp_path, 10.0)) as steps:
        for _ in range(3):
            step = next(steps)
            assert isinstance(step, Progress)
            assert (step.stage, step.share) == ("waiting", 0.0)
            assert not psutil.Process().children(), "a process that waits would be in the way"
        other.release()
        rest = list(steps)
    assert rest[-1] == []


@pytest.mark.parametrize(
    ("error", "memory", "words"),
    [
        (MemoryError(), True, "The memory is used up"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True, "The memory is used up"),
        (JobError("Too slow."), False, "Too slow."),
    ],
)
def test_the_worker_leaves_word_of_its_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, memory: bool, words: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(lab_worker, "measure", fail)
    (tmp_path / lab_process.SETTINGS).write_text(TINY.to_json(), encoding="utf-8")
    assert lab_worker.main([str(tmp_path)]) == 0
    answer = json.loads((tmp_path / lab_process.ANSWER).read_text(encoding="utf-8"))
    assert answer["memory"] is memory
    assert words in answer["error"]


def test_the_worker_wants_one_folder() -> None:
    assert lab_worker.main([]) == 2
