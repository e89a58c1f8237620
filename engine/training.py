"""Train one run: a plain generator of events, on Hugging Face Accelerate.

The recipe is that of Mirashi et al. ("On Importance of Pruning and Distillation for Efficient Low Resource NLP"): block
movement pruning of the student while it is fine-tuned, optionally distilled from the unpruned base, in mixed precision, with
energy measured throughout. A run measures its own dense baseline first and its compacted student at the end.
"""

import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from engine.checkpoints import load_resume_state
from engine.config import RunConfig, TrainingConfig
from engine.emissions import EmissionsMeter, EmissionsTotals
from engine.errors import OutOfMemory
from engine.events import (
    Event,
    Notice,
    RunStarted,
    RunStopped,
)
from engine.files.storage import tidy
from engine.home import run_folder
from engine.loop.finish import finish
from engine.loop.preparation import Prepared, choose_device, device_name, prepare
from engine.loop.resuming import fingerprint, restore, saved_spending
from engine.loop.spending import Spent, note_spent, spent_before
from engine.loop.steps import Loop
from engine.precision import choose_precision


def train(
    config: RunConfig,
    *,
    run_id: str,
    home: Path,
    should_stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    before_saving: Callable[[], object] = lambda: None,
) -> Iterator[Event]:
    """Train a run to its end, or until it is asked to stop.

    Args:
        config: what to do.
        run_id: names the run's folder below the home.
        home: where runs and caches live.
        should_stop: asked before every step; True saves the state and ends.
        resume: go on from the newest whole state of this run, if there is one.
        before_saving: called before a state is saved. Who keeps the events returns when the disk has them: a run that is killed
            goes on behind the saved step, and what was told before it is never told again.

    Yields:
        Events; the last one is `RunFinished` or `RunStopped`.

    Raises:
        ConfigError, DataError, CheckpointError: before or between steps, with what to do.
        Diverged: if the loss is no longer finite.
        OutOfMemory: if the device has no memory left.
    """
    try:
        yield from _train(config, run_id, home, should_stop, resume, before_saving)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(_memory_message("The GPU", config.training)) from error
    except MemoryError as error:
        raise OutOfMemory(_memory_message("The machine", config.training)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error) or "can't allocate memory" in str(error):
            raise OutOfMemory(_memory_message("The machine", config.training)) from error
        raise


def _train(
    config: RunConfig,
    run_id: str,
    home: Path,
    should_stop: Callable[[], bool],
    resume: bool,
    before_saving: Callable[[], object],
) -> Iterator[Event]:
    began = time.perf_counter()
    folder = run_folder(home, run_id)
    tidy(folder)
    tidy(folder / "resume")
    device = choose_device(config.training.device)
    former, passed_over = load_resume_state(folder / "resume", fingerprint(config)) if resume else (None, [])
    precision, reason = choose_precision(config.training.precision, device.type)
    if former and former.facts["device"] == device.type:
        precision, reason = former.facts["precision"], "as before the stop"
    yield RunStarted(
        device=str(device),
        device_name=device_name(device),
        precision=precision,
        precision_reason=reason,
        threads=torch.get_num_threads(),
        resumed_at_step=former.step if former else None,
        versions={name: version(name) for name in ("torch", "transformers", "accelerate", "codecarbon", "nn_pruning")},
    )
    yield from (Notice(message=message) for message in passed_over)
    before = spent_before(folder, saved_spending(former) if former else None)

    def keep(totals: EmissionsTotals) -> None:
        elapsed_s = (before.elapsed_s if before else 0.0) + time.perf_counter() - began
        note_spent(folder, Spent(elapsed_s=elapsed_s, emissions=totals))

    with EmissionsMeter(config.emissions, str(device), before.emissions if before else None, keep) as meter:
        if meter.notice:
            yield Notice(message=meter.notice)
        prepared = None
        for item in prepare(config, device, folder, home):
            if isinstance(item, Prepared):
                prepared = item
            else:
                yield item
                yield from meter.drain()  # so that emissions move while somebody waits for the first step
        assert prepared is not None
        loop = Loop(config, prepared, meter, folder, precision, began, before_saving)
        loop.elapsed_before_s = before.elapsed_s if before else 0.0
        yield loop.describe()
        meter.sample()
        yield from meter.drain()
        if former:
            restore(loop, former)
        else:
            yield from loop.begin()
        if prepared.distilling:
            loop.invite_teacher()
        yield from loop.run(should_stop)
        if loop.stopped:
            yield loop.save()
            meter.stop()
            yield from meter.drain()  # what saving has taken counts, too
            yield RunStopped(step=loop.step)
            return
        yield from finish(loop, run_id)


def _memory_message(owner: str, training: TrainingConfig) -> str:
    smaller = max(1, training.batch_size // 2)
    return (
        f"{owner} has no memory left at batch size {training.batch_size}. "
        f"Try --batch-size {smaller}, or a shorter maximum length."
    )
