"""What fails in the machine: memory, numbers, a GPU, the clock, a file that goes away."""

import os
import time
from collections.abc import Callable, Iterator

import torch

from engine import jobs, worker
from engine.loop import steps as loop
from engine.runs.run import Run
from tests.faults.harness import Outcome, Workshop, slow_down

AT_STEP = 6


def failures(shop: Workshop) -> Iterator[Outcome]:
    """Let training fail at a step for each reason; hold the run to cause and next step, resume it, and let the next one go on."""
    for fault, error, cause, next_step in (
        (
            "memory of the GPU used up",
            torch.OutOfMemoryError("CUDA out of memory."),
            "no memory left",
            "smaller batch size",
        ),
        ("memory of the machine used up", MemoryError(), "no memory left", "smaller batch size"),
        (
            "memory of the machine used up, told by torch",
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            *("no memory left", "smaller batch size"),
        ),
        (
            "the GPU is gone",
            RuntimeError("CUDA error: unspecified launch failure"),
            *("The GPU failed or is gone", "nvidia-smi"),
        ),
    ):
        outcome = Outcome(fault)
        run = shop.start(prologue=lambda error=error: _fail_at(AT_STEP, error))  # type: ignore[misc]
        second = shop.start()
        _failed(shop, outcome, run, cause, next_step)
        shop.same_end(outcome, shop.wait(second, "done"))  # the queue goes on
        shop.same_end(outcome, shop.wait(shop.resume(run), "done"))
        yield outcome
    yield from _diverging(shop)
    yield from _vanished(shop)


def _failed(shop: Workshop, outcome: Outcome, run: Run, cause: str, next_step: str) -> None:
    outcome.tries += 1
    ended = shop.wait(run, "failed", "interrupted", "stopped", "done")
    outcome.check(ended.state == "failed", f"{run.run_id} is {ended.state}")
    shop.says(outcome, ended, cause, next_step)


def _fail_at(step: int, error: Exception) -> None:
    take = loop.Loop._take_step

    def failing(self: loop.Loop, indices: list[int]) -> object:
        if self.step + 1 == step:
            raise error
        return take(self, indices)

    loop.Loop._take_step = failing  # type: ignore[assignment, method-assign]


def _diverging(shop: Workshop) -> Iterator[Outcome]:
    outcome = Outcome("the loss is no number")
    take = loop.Loop._take_step

    def poison() -> None:
        def poisoned(self: loop.Loop, indices: list[int]) -> object:
            if self.step + 1 == AT_STEP:
                with torch.no_grad():
                    self.model.classifier.weight.fill_(float("nan"))
            return take(self, indices)

        loop.Loop._take_step = poisoned  # type: ignore[assignment, method-assign]

    run = shop.start(prologue=poison)
    _failed(shop, outcome, run, "no longer a finite number", "lower learning rate")
    done = shop.wait(shop.resume(run), "done")  # what was saved was saved before
    shop.same_end(outcome, done)
    yield outcome


def _vanished(shop: Workshop) -> Iterator[Outcome]:
    outcome = Outcome("the dataset is gone when the run is resumed")
    run = shop.start(prologue=slow_down)
    shop.wait(run, "training")
    jobs.stop(shop.store, run.run_id)
    shop.wait(run, "stopped")
    away = shop.data.with_suffix(".away")
    shop.data.rename(away)
    _failed(shop, outcome, shop.resume(run), "There is no file", "Correct the dataset, then resume")
    away.rename(shop.data)
    shop.same_end(outcome, shop.wait(shop.resume(run), "done"))
    yield outcome


def clocks(shop: Workshop) -> Iterator[Outcome]:
    """Let the clock of the worker, and then that of who looks, jump by a day, forwards and backwards."""
    outcome = Outcome("a clock that jumps by a day")
    real = time.time
    for shift in (86_400.0, -86_400.0):
        run = shop.start(prologue=lambda shift=shift: _jump(real, shift))  # type: ignore[misc]
        outcome.tries += 1
        shop.same_end(outcome, shop.wait(run, "done"))

        run = shop.start()
        shop.wait(run, "starting", "training")
        queued = shop.start()
        time.time = lambda shift=shift: real() + shift  # type: ignore[misc]
        try:
            outcome.tries += 1
            dead = jobs.reconcile(shop.store)
            outcome.check(not dead, f"living runs were declared dead: {dead}")
            os.kill(shop.store.get(queued.run_id).pid or 0, 9)
            shop.truth_after(outcome, queued, "interrupted")
        finally:
            time.time = real
        shop.same_end(outcome, shop.wait(run, "done"))
        shop.same_end(outcome, shop.wait(shop.resume(queued), "done"))
    yield outcome


def _jump(real: Callable[[], float], shift: float) -> None:
    """Let the clock jump as soon as the run has it turn."""
    turn = worker._real_trainer

    def jumped() -> worker.Trainer:
        time.time = lambda: real() + shift
        return turn()

    worker._real_trainer = jumped
