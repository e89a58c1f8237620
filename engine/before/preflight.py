"""Everything that can be known to be wrong before a run exists; without torch."""

import pickle
import shutil
from pathlib import Path
from zipfile import is_zipfile

from safetensors import SafetensorError, safe_open

from engine.config import RunConfig
from engine.data import load_data
from engine.errors import CheckpointError, ConfigError, JobError
from engine.files.bases import base_shape, find_base, look_up
from engine.measuring.grids import grid_intensity
from engine.precision import choose_precision
from engine.records import DataReport
from engine.runs.devices import gpu_count, lock_name

MARGIN_BYTES = 200_000_000
"""Left free beyond what the run itself will write."""


def check(config: RunConfig, home: Path) -> DataReport:
    """Read the data and look at the base model as a run would, and make sure that its results will fit on the disk.

    Returns:
        What was understood of the data.

    Raises:
        ConfigError: a precision or device that this machine cannot do, or a country without a grid figure.
        DataError: data that cannot be read or used.
        CheckpointError: a base model that is not there or would need code to load.
        JobError: too little disk space, or a home folder that cannot be written.
    """
    device = lock_name(config.training.device)
    _check_device(config.training.device)
    choose_precision(config.training.precision, device)
    grid_intensity(config.emissions.country)
    base = find_base(config.model.base, home)
    if base.folder is not None:
        check_weights(base.folder)
    shape = base_shape(base) or look_up(base.name, home)
    check_space(shape.parameters, home)
    return load_data(config.data, config.training.seed, home).report


def check_weights(folder: Path) -> None:
    """Make sure that a folder's weights are whole and load without running code.

    Raises:
        CheckpointError: naming the file at fault.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as tensors:
                tensors.keys()
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path} is torn ({error}). Save or download it again.") from error
    path = folder / "pytorch_model.bin"
    if path.is_file() and not any(folder.glob("*.safetensors")):
        import torch  # only for this old format, which torch alone can look into

        try:
            torch.load(path, weights_only=True, mmap=is_zipfile(path), map_location="meta")
        except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
            raise CheckpointError(
                f"{path} is torn, or holds objects that only running code could load, and was refused. "
                "Ask for the model as safetensors, or convert it with save_pretrained where you trust it."
            ) from error


def check_space(parameters: int, home: Path) -> None:
    """Make sure that a resume state (weights and two moments, twice while one replaces another) and the model fit.

    Raises:
        JobError: saying how much is needed and how much is free, or why the home cannot be used.
    """
    needed = parameters * 4 * (2 * 3 + 1) + MARGIN_BYTES
    try:
        home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise JobError(
            f"The home folder {home} cannot be used ({error.strerror}). Make it writable, "
            "or name another folder in CHHATNI_HOME."
        ) from None
    if free < needed:
        raise JobError(
            f"The run needs up to {needed / 1e9:.1f} GB in {home}, and {free / 1e9:.1f} GB are free. "
            "Free some space, or set CHHATNI_HOME to a folder on a larger disk."
        )


def _check_device(device: str) -> None:
    if not device.startswith("cuda"):
        return
    count = gpu_count()
    if count == 0:
        raise ConfigError({"training.device": f"Device is {device}, and this machine shows no GPU. Try auto or cpu."})
    if int(device.partition(":")[2] or 0) >= count:
        last = "only cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise ConfigError({"training.device": f"Device is {device}, and this machine shows {last}. Try auto."})
