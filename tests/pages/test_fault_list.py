"""Every fault that can end a run: its state, cause and next step on Live and on the command line, and the queue goes on.

There is no GPU here: its errors are raised with the words that PyTorch and NVML have for them.
"""

import errno
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pynvml  # type: ignore[import-untyped]
import pytest

from engine import jobs, worker
from engine.cli import main
from engine.config import DataConfig, RunConfig
from engine.data import load_data
from engine.errors import Diverged, TrainingError
from engine.events import Event
from engine.home import run_folder
from engine.loop.preparation import choose_device
from engine.store import RunStore
from tests.engine.fake_training import run_started, step_logged
from tests.engine.fake_training import train as train_well
from tests.pages.conftest import Open, everything

OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})
AcceleratorError = type("AcceleratorError", (RuntimeError,), {})
CUDA_ADVICE = "\nCUDA kernel errors might be asynchronously reported.\nFor debugging consider CUDA_LAUNCH_BLOCKING=1"


def vanished() -> None:
    load_data(DataConfig(source="/no/such/texts.csv"), 0, Path("/tmp"))


def lost_while_metering() -> None:
    try:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    except pynvml.NVMLError as error:
        raise TrainingError(f"CodeCarbon, which meters the energy, could not measure ({error}).") from error


def raiser(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


GPU = ("The GPU failed or is gone", "See with nvidia-smi whether it is there and who uses it")
MEMORY = ("memory", "smaller batch size")
FAULTS: dict[str, tuple[Callable[[], object], str, str, str]] = {
    "loss is no number": (raiser(Diverged("The loss is nan at step 3.")), "Diverged", "The loss is nan", "lower learning rate"),
    "dataset vanished": (vanished, "DataError", "/no/such/texts.csv", "Correct the dataset"),
    "GPU out of memory": (
        raiser(OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")), "OutOfMemory", *MEMORY
    ),
    "GPU out of memory, said by the runtime": (
        raiser(AcceleratorError("CUDA error: out of memory" + CUDA_ADVICE)), "OutOfMemory", *MEMORY
    ),
    "GPU out of memory, said by cuBLAS": (
        raiser(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")), "OutOfMemory", *MEMORY
    ),
    "machine out of memory": (raiser(OSError(errno.ENOMEM, "Cannot allocate memory")), "OutOfMemory", *MEMORY),
    "assertion on the GPU": (
        raiser(AcceleratorError("CUDA error: device-side assert triggered" + CUDA_ADVICE)), "AcceleratorError", *GPU
    ),
    "GPU gone": (raiser(RuntimeError("CUDA error: no CUDA-capable device is detected")), "RuntimeError", *GPU),
    "GPU gone before the start": (raiser(RuntimeError("No CUDA GPUs are available")), "RuntimeError", *GPU),
    "driver gone": (raiser(RuntimeError("Found no NVIDIA driver on your system.")), "RuntimeError", *GPU),
    "GPU busy": (
        raiser(AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")), "AcceleratorError", *GPU
    ),
    "GPU fell off": (raiser(RuntimeError("CUDA error: unspecified launch failure" + CUDA_ADVICE)), "RuntimeError", *GPU),
    "cuDNN failed": (raiser(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")), "RuntimeError", *GPU),
    "GPU lost while it is metered": (lost_while_metering, "TrainingError", "GPU is lost", GPU[1]),
    "GPU that was asked for is not there": (lambda: choose_device("cuda:7"), "ConfigError", "cuda:7", GPU[1]),
    "disk full": (raiser(OSError(errno.ENOSPC, "No space left on device")), "OSError", "no space left", "Free some space"),
}  # fmt: skip


def failing(fault: Callable[[], object]) -> worker.Trainer:
    def train(
        config: RunConfig, *, run_id: str, home: Path, should_stop: Callable[[], bool], resume: bool
    ) -> Iterator[Event]:
        yield run_started()
        yield step_logged(1)
        fault()

    return train


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_state_cause_and_next_step_everywhere_and_the_queue_goes_on(
    studio: Open, store: RunStore, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fault, error, cause, next_step = FAULTS[name]
    run, waiting = (store.create(RunConfig(name=words), "cpu") for words in ("first", "steps=2"))
    assert worker.run(run.run_id, store.home, failing(fault)) == 1
    capsys.readouterr()
    failed = store.get(run.run_id)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.error == error
    assert cause in failed.error.message
    assert next_step in failed.error.next_step
    assert "CUDA_LAUNCH_BLOCKING" not in failed.error.message
    main(["show", run.run_id])
    said = " ".join(capsys.readouterr().out.split())
    for words in ("failed", " ".join(cause.split()), next_step):
        assert words in said
    shown = everything(studio("live", run=run.run_id))
    for words in ("Failed", cause, next_step):
        assert words in shown
    assert worker.run(waiting.run_id, store.home, train_well) == 0
    assert store.get(waiting.run_id).state == "done"
    assert [stored.event.kind for stored in store.events(run.run_id)] == ["run_started", "step_logged", "run_failed"]


def test_a_killed_worker_has_state_cause_and_next_step_everywhere(
    studio: Open, store: RunStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store.create(RunConfig(name="first"), "cpu")
    child = subprocess.Popen([sys.executable, "-c", ""])
    store.set_process(run, child.pid, 5.0)
    child.wait()
    log = jobs.log_path(store.home, run.run_id)
    run_folder(store.home, run.run_id).mkdir(parents=True)
    log.write_text("Fatal Python error: Segmentation fault\n")
    shown = everything(studio("live", run=run.run_id))
    main(["show", run.run_id])
    for said in (shown, capsys.readouterr().out):
        assert "nterrupted" in said
        assert "ended without a word" in " ".join(said.split())
        assert "Segmentation fault" in said
        assert "Resume the run" in said


def test_a_run_that_waits_for_another_home_says_so(
    studio: Open, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.create(RunConfig(name="first"), "cpu")
    words = "A run of another home on this machine uses the device."
    assert words not in everything(studio("live", run=run.run_id))
    monkeypatch.setattr(jobs, "held_elsewhere", lambda home, name: (home, name) == (store.home, "cpu"))
    assert words in everything(studio("live", run=run.run_id))
