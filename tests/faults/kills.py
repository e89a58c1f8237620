"""What ends processes: kill -9 of workers at random moments and of whoever started them, SIGTERM, and races of starters."""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

from engine import jobs
from engine.config import RunConfig
from engine.errors import JobError
from engine.events import RunStarted
from engine.runs.run import ACTIVE, Run
from engine.store import RunStore
from tests.faults.harness import TRUTH_WITHIN_S, Outcome, Workshop, kill

FAKE_WORKER = (sys.executable, "-m", "tests.engine.fake_training")
AIMS = ("any moment", "preparing", "saving", "finishing", "training")


def kills(shop: Workshop, total: int) -> Iterator[Outcome]:
    """Kill workers until ``total`` have died, resuming after each, and end every run; one outcome a phase that was hit."""
    outcomes: dict[str, Outcome] = {}
    killed = 0
    while killed < total:
        run = shop.start()
        hits = shop.random.randint(3, 7)
        for aim in shop.random.choices(AIMS, k=hits):
            phase = _kill_one(shop, run, aim)
            if phase is None:
                break  # it was done before the moment came
            killed += 1
            outcome = outcomes.setdefault(phase, Outcome(f"kill -9 of the worker: {phase}"))
            outcome.tries += 1
            dead = shop.truth_after(outcome, run, "interrupted", "done")
            if dead is None or dead.state == "done":
                break
            outcome.check(dead.error is not None and "Resume the run" in dead.error.next_step, "no next step")
            run = shop.resume(run)
        try:
            run = shop.wait(run, "done")
        except TimeoutError as error:
            outcomes[phase or "training"].lose(str(error))
            continue
        shop.same_end(next(iter(outcomes.values())), run)
        print(f"  {killed} of {total} kills", file=sys.stderr)
    yield from outcomes.values()


def _kill_one(shop: Workshop, run: Run, aim: str) -> str | None:
    """Kill the run's worker when the aim comes into sight, and say what it was doing; None if it ended before."""
    folder, deadline = shop.folder_of(run), time.monotonic() + shop.usual_s * 4
    jobs.reconcile(shop.store)
    chance = time.monotonic() + shop.random.uniform(0, shop.usual_s)
    while True:
        now = shop.store.get(run.run_id)
        if now.state not in ACTIVE:
            return None
        if aim == "saving" and _saving(folder):
            break
        trained = now.total_steps > 0 and now.step == now.total_steps
        if aim == "finishing" and trained:
            time.sleep(shop.random.uniform(0, 0.4))
            break
        if aim == "training" and now.state == "training" and shop.random.random() < 0.05:
            break
        if aim == "preparing" and shop.random.random() < 0.01:
            break
        if (aim == "any moment" and time.monotonic() > chance) or time.monotonic() > deadline:
            break
        time.sleep(0 if aim == "saving" else 0.005)
    alive = shop.store.get(run.run_id)
    assert alive.pid is not None
    saving = _saving(folder)
    kill(alive)
    last = shop.store.get(run.run_id)
    if last.state not in ACTIVE:
        return None
    if saving:
        return "saving"
    if last.total_steps and last.step == last.total_steps:
        return "finishing"
    return "training" if last.state == "training" and last.step > 0 else "preparing"


def _saving(folder: Path) -> bool:
    try:
        return any(name.startswith(".step-") for name in os.listdir(folder / "resume"))
    except FileNotFoundError:
        return False


def living_is_never_dead(shop: Workshop) -> Iterator[Outcome]:
    """Look at a working run as often as possible: it must never be said to have ended before it has."""
    outcome = Outcome("a look at a living run")
    run = shop.start()
    while shop.store.get(run.run_id).state in ACTIVE:
        dead = jobs.reconcile(shop.store)
        outcome.tries += 1
        outcome.check(not dead, f"a living run was declared dead: {dead}")
    shop.same_end(outcome, shop.wait(run, "done"))
    yield outcome


def terminations(shop: Workshop, tries: int) -> Iterator[Outcome]:
    """Send SIGTERM at random moments, as a machine that shuts down; the run must save itself, or be done."""
    outcome = Outcome("SIGTERM of the worker")
    for _ in range(tries):
        run = shop.start()
        time.sleep(shop.random.uniform(0.05, shop.usual_s))
        outcome.tries += 1
        kill(shop.store.get(run.run_id), signal.SIGTERM)
        ended = shop.truth_after(outcome, run, "stopped", "done", "interrupted")
        if ended is not None and ended.state != "done":
            ended = shop.wait(shop.resume(run), "done")
        if ended is not None:
            shop.same_end(outcome, ended)
    yield outcome


def starters(shop: Workshop, tries: int) -> Iterator[Outcome]:
    """Kill -9 who started a run, at random moments: a run that has a worker goes on, one that has none is said to be dead."""
    outcome = Outcome("kill -9 of the studio or command line")
    with fake_workers():
        for number in range(tries):
            store = shop.new_home(f"starter-{number}")
            store.runs()
            starter = _forked(lambda store=store: (_start(store, "steps=3"), time.sleep(60)))  # type: ignore[misc]
            _until(lambda store=store: bool(store.runs()))  # type: ignore[misc]
            time.sleep(shop.random.choice([0.0, 0.0, 0.002, 0.01, 0.3]))
            os.kill(starter, signal.SIGKILL)
            os.waitpid(starter, 0)
            outcome.tries += 1
            began, run = time.monotonic(), store.runs()[0]
            while (now := store.get(run.run_id)).pid is None and now.state in ACTIVE:
                jobs.reconcile(store)
                time.sleep(0.01)
            outcome.seconds.append(time.monotonic() - began)
            outcome.check(outcome.seconds[-1] < TRUTH_WITHIN_S, "the run stood in the queue with nobody to work on it")
            if now.state == "interrupted":
                outcome.check(not jobs.log_tail(store.home, run.run_id, 1), "it had a worker, and was not let go on")
                jobs.resume(store, run.run_id)
            ended = shop.wait(run, "done", store=store)
            if ended.step != 3:
                outcome.lose(f"it ended at step {ended.step}")
            store.close()
    yield outcome


def races(shop: Workshop, processes: int = 8) -> Iterator[Outcome]:
    """Let many processes resume one run and start others at the same moment: one worker a run, one run a device."""
    outcome = Outcome(f"race of {processes} starters")
    store = shop.new_home("race")
    with fake_workers():
        for _ in range(3):
            contested = store.create(RunConfig.parse({"name": "steps=3", "training": {"device": "cpu"}}), "cpu")
            store.set_state(contested.run_id, "stopped")
            at = time.monotonic() + 0.5
            race = partial(_race, store, contested.run_id, at)
            children = [_forked(race) for _ in range(processes)]
            resumed = sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 for child in children)
            outcome.tries += processes
            outcome.check(resumed == 1, f"{resumed} of {processes} resumed one run")
            _until(lambda: not jobs.reconcile(store) and not store.runs(states=ACTIVE), 120)
            starts = [s for s in store.events(contested.run_id) if isinstance(s.event, RunStarted)]
            outcome.check(len(starts) == 1, f"one run was worked on {len(starts)} times")
    spans = sorted((run.started_at or 0.0, run.ended_at or 0.0) for run in store.runs())
    for run in store.runs():
        if run.state != "done":
            outcome.lose(f"{run.run_id} is {run.state}: {run.error}")
    for (_, ended), (started, _) in pairwise(spans):
        outcome.check(ended <= started, "two runs were on one device")
    store.close()
    yield outcome


@contextmanager
def fake_workers() -> Iterator[None]:
    """Start true processes whose training is make-believe."""
    command, forking = jobs.WORKER_COMMAND, jobs.subprocess
    jobs.WORKER_COMMAND, jobs.subprocess = FAKE_WORKER, subprocess
    try:
        yield
    finally:
        jobs.WORKER_COMMAND, jobs.subprocess = command, forking


def _start(store: RunStore, name: str) -> Run:
    return jobs.start(store, RunConfig.parse({"name": name, "training": {"device": "cpu"}}))


def _race(store: RunStore, contested: str, at: float) -> None:
    """Wait for the moment, resume the contested run, and start one more whatever came of that."""
    time.sleep(max(0.0, at - time.monotonic()))
    try:
        jobs.resume(store, contested)
    finally:
        _start(store, "steps=2")


def _forked(deed: Callable[[], object]) -> int:
    """Do something in a process of its own, whose exit code is 0 if that went well; return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        jobs._children.clear()  # they are this process's sisters
        deed()
        code = 0
    except JobError:
        code = 3
    except BaseException:  # noqa: BLE001 - a fork must never run on as its parent
        traceback.print_exc()
    finally:
        os._exit(code)


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not become true")
        time.sleep(0.001)
