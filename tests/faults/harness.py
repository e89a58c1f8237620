"""A workshop where runs are started, disturbed, looked at and gone on with.

Workers are forked from this process, which has imported torch once: a try takes about two seconds instead of ten. A forked
worker has an id, locks, a log and a store of its own, as one that `jobs.start` spawns, and dies of the same signals.
"""

import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

from safetensors.torch import load_file

from engine import evaluation, jobs, worker
from engine.config import RunConfig
from engine.events import StepLogged
from engine.home import run_folder
from engine.loop import steps as loop
from engine.measuring import yardstick
from engine.records import RunResult
from engine.runs.processes import is_alive
from engine.runs.run import ACTIVE, Run
from engine.store import RunStore
from tests.engine.tiny_runs import tiny_config, write_base, write_texts

os.environ["CHHATNI_LOCKS"] = "locks"  # each home waits for its own runs only
TRUTH_WITHIN_S = 5.0
RUN_WITHIN_S = 120.0
Prologue = Callable[[], object]


@dataclass
class Outcome:
    """What tries of one fault came to."""

    fault: str
    tries: int = 0
    lost: int = 0
    """Runs that did not end with what they would have come to undisturbed."""
    wrong: int = 0
    """Looks that met a state, cause or next step that was not true."""
    seconds: list[float] = field(default_factory=list)
    """From the fault until whoever looks sees the truth."""
    remarks: list[str] = field(default_factory=list)

    def check(self, holds: bool, remark: str) -> None:
        """Count a wrong state unless the condition holds."""
        if not holds:
            self.wrong += 1
            self.remarks.append(remark)

    def lose(self, remark: str) -> None:
        """Count a lost run."""
        self.lost += 1
        self.remarks.append(f"lost: {remark}")


class Forked:
    """Stands for `subprocess.Popen` where `jobs` starts a worker; ``prologue`` is what goes wrong in it."""

    prologue: Prologue | None = None

    def __init__(
        self, command: list[str], *, env: dict[str, str], stdout: BinaryIO, start_new_session: bool, **_: object
    ) -> None:
        assert start_new_session
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            os.setsid()
            jobs._children.clear()  # they are this process's sisters
            os.dup2(stdout.fileno(), 1)
            os.dup2(stdout.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
            os.environ.update(env)
            if Forked.prologue is not None:
                Forked.prologue()
            code = worker.main([command[-1]])
        except BaseException:  # noqa: BLE001 - a fork must never run on as its parent
            traceback.print_exc()
        finally:
            os._exit(code)

    def poll(self) -> int | None:
        """Collect the child if it has ended."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


FORKING = SimpleNamespace(Popen=Forked, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
"""Stands for the module `subprocess` in `jobs`."""


class Workshop:
    """One home with a tiny base, a tiny dataset and the result of an undisturbed run."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.base, self.data = folder / "base", folder / "texts.csv"
        write_texts(self.data, times=1)
        write_base(self.base)
        jobs.subprocess = FORKING  # type: ignore[assignment]
        _hurry()
        self.store = self.new_home("home")
        began = time.monotonic()
        self.reference = self.wait(self.start(), "done").result
        self.usual_s = time.monotonic() - began
        assert self.reference is not None
        self.weights = load_file(Path(self.reference.model_path) / "model.safetensors")

    def new_home(self, name: str) -> RunStore:
        """Return the store of another home."""
        return RunStore(self.folder / name / "runs.db")

    def config(self, **training_changes: Any) -> RunConfig:
        """Return a run of some seconds: pruned, distilled, saved at every step."""
        return tiny_config(
            self.data,
            self.base,
            pruning={"final_density": 0.5, "width_multiple": 1},
            distillation={"enabled": True},
            training={"checkpoint_every_s": 0.0, **training_changes},
        )

    def start(self, store: RunStore | None = None, prologue: Prologue | None = None, **changes: Any) -> Run:
        """Start a run; its worker calls ``prologue`` first."""
        with _doing(prologue):
            return jobs.start(store or self.store, self.config(**changes))

    def resume(self, run: Run, store: RunStore | None = None, prologue: Prologue | None = None) -> Run:
        """Resume a run; its new worker calls ``prologue`` first."""
        with _doing(prologue):
            return jobs.resume(store or self.store, run.run_id)

    def wait(self, run: Run, *states: str, store: RunStore | None = None, within_s: float = RUN_WITHIN_S) -> Run:
        """Look until the run is in one of the states, as a studio would: reconcile, then read.

        Raises:
            TimeoutError: with the end of its log.
        """
        store = store or self.store
        deadline = time.monotonic() + within_s
        while True:
            jobs.reconcile(store)
            now = store.get(run.run_id)
            if now.state in states:
                return now
            if time.monotonic() > deadline or now.state not in ACTIVE:
                tail = "\n".join(jobs.log_tail(store.home, run.run_id, 15))
                raise TimeoutError(f"{run.run_id} is {now.state}, not {' or '.join(states)}: {now.error}\n{tail}")
            time.sleep(0.02)

    def truth_after(self, outcome: Outcome, run: Run, *states: str, store: RunStore | None = None) -> Run | None:
        """Count the seconds until a look tells one of these states; None if it does not in time."""
        began = time.monotonic()
        try:
            now = self.wait(run, *states, store=store, within_s=TRUTH_WITHIN_S)
        except TimeoutError as error:
            outcome.check(False, str(error))
            outcome.seconds.append(time.monotonic() - began)
            return None
        outcome.seconds.append(time.monotonic() - began)
        return now

    def says(self, outcome: Outcome, run: Run, cause: str, next_step: str) -> None:
        """Hold a failed run to the cause and the next step that a person must be told."""
        error = run.error
        told = error is not None and cause in error.message and next_step in error.next_step
        outcome.check(told, f"cause {cause!r} or next step {next_step!r} is not told: {error}")

    def same_end(self, outcome: Outcome, run: Run, store: RunStore | None = None, *, whole: bool = True) -> None:
        """Hold a done run to the undisturbed one: metrics, weights, energy, time and, if ``whole``, events of every step."""
        store = store or self.store
        result, reference = run.result, self.reference
        if run.state != "done" or result is None or reference is None:
            outcome.lose(f"{run.run_id} is {run.state}: {run.error}")
            return
        weights = load_file(Path(result.model_path) / "model.safetensors")
        apart = max((float((weights[name] - value).abs().max()) for name, value in self.weights.items()), default=0.0)
        if weights.keys() != self.weights.keys() or apart > 1e-6:
            outcome.lose(f"{run.run_id}: weights differ by {apart:g}")
        for ours, theirs in zip(_metrics(result), _metrics(reference), strict=True):
            if abs(ours - theirs) > 1e-6:
                outcome.lose(f"{run.run_id}: a metric is {ours}, not {theirs}")
                break
        if whole:
            told = {stored.event.step for stored in store.events(run.run_id) if isinstance(stored.event, StepLogged)}
            missing = set(range(1, run.total_steps + 1)) - told
            outcome.check(not missing, f"{run.run_id}: nothing was told of steps {sorted(missing)}")
        outcome.check(result.energy_kwh > 0 and result.duration_s > 0, f"{run.run_id}: no energy or time")

    def folder_of(self, run: Run, store: RunStore | None = None) -> Path:
        """Return where the run keeps its files."""
        return run_folder((store or self.store).home, run.run_id)


def slow_down() -> None:
    """Let each step take a quarter of a second, so that a run cannot end before what is to happen to it."""
    take = loop.Loop._take_step

    def slowly(self: loop.Loop, indices: list[int]) -> object:
        time.sleep(0.25)
        return take(self, indices)

    loop.Loop._take_step = slowly  # type: ignore[assignment, method-assign]


def kill(run: Run, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to the worker of a run, if it is still there."""
    if run.pid is not None and is_alive(run.pid, run.pid_created):
        os.kill(run.pid, number)


def _metrics(result: RunResult) -> list[float]:
    found = []
    for side in (result.dense, result.student):
        found += [side.accuracy, side.macro_f1, side.test_accuracy, side.test_macro_f1, side.parameters, side.flops]
    return [float(value or 0.0) for value in found]


@contextmanager
def _doing(prologue: Prologue | None) -> Iterator[None]:
    Forked.prologue = prologue
    try:
        yield
    finally:
        Forked.prologue = None


def _hurry() -> None:
    """Log and so save at every step, and time for moments only: how fast the model is, is not what is tried here."""
    loop.LOG_EVERY_S = 0.0
    measured = evaluation.measure_latency

    def briefly(*arguments: Any, **options: Any) -> Any:
        return measured(*arguments, **{**options, "budget_s": 0.0})

    yardstick.measure_latency = briefly  # type: ignore[assignment]
