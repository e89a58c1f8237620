"""Everything that can be known to be wrong before a run exists; without torch."""

import shutil
from pathlib import Path

from engine.bases import base_shape, find_base, look_up
from engine.config import RunConfig
from engine.data import load_data
from engine.devices import lock_name
from engine.errors import ConfigError, JobError
from engine.events import DataReport
from engine.precision import choose_precision
from engine.shapes import MURIL

MARGIN_BYTES = 200_000_000
"""Left free beyond what the run itself will write."""


def check(config: RunConfig, home: Path) -> DataReport:
    """Read the data and look at the base model as a run would, and make sure that its results will fit on the disk.

    Returns:
        What was understood of the data.

    Raises:
        ConfigError: a precision or device that this machine cannot do.
        DataError: data that cannot be read or used.
        CheckpointError: a base model that is not there or would need code to load.
        JobError: too little disk space.
    """
    device = lock_name(config.training.device)
    if config.training.device.startswith("cuda") and not _has_gpu():
        raise ConfigError(
            {"training.device": f"Device is {config.training.device}, and this machine shows no GPU. Try auto or cpu."}
        )
    choose_precision(config.training.precision, device)
    base = find_base(config.model.base, home)
    if base.kind == "hub":
        look_up(base.name, home)
    shape = base_shape(base) or MURIL  # a hub id's weights are not here yet; the paper's model stands in
    check_space(shape.parameters, home)
    return load_data(config.data, config.training.seed, home).report


def check_space(parameters: int, home: Path) -> None:
    """Make sure that a resume state (weights and two moments, twice while one replaces another) and the model fit.

    Raises:
        JobError: saying how much is needed and how much is free.
    """
    needed = parameters * 4 * (2 * 3 + 1) + MARGIN_BYTES
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if free < needed:
        raise JobError(
            f"The run needs up to {needed / 1e9:.1f} GB in {home}, and {free / 1e9:.1f} GB are free. "
            "Free some space, or set CHHATNI_HOME to a folder on a larger disk."
        )


def _has_gpu() -> bool:
    return lock_name("auto").startswith("cuda")
