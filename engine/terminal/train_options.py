"""The settings of a run as options of ``python -m engine train``, and what was given there as a `RunConfig`; without torch."""

import argparse
import os
from typing import Any

from engine.config import MAHANEWS, METHODS, RunConfig
from engine.errors import ConfigError, JobError
from engine.files.bases import RANDOM
from engine.store import RunStore

BASES = "starter, compact, muril-shape, a hub id, a folder or a finished run"
"""What may be given as a model, in words."""


def add_train_options(train: argparse.ArgumentParser) -> None:
    """Add an option for every setting of a run."""
    setting = _Setting(train)
    setting(
        "--data",
        "data.source",
        metavar="DATA",
        help=f"starter, {', '.join(MAHANEWS)}, or a CSV, TSV, JSONL, Parquet or Excel (.xlsx) file",
    )
    setting("--test-data", "data.test_path", metavar="FILE", help="a file of its own for the test split")
    setting("--text-column", "data.text_column", metavar="C", help="found if not given")
    setting("--label-column", "data.label_column", metavar="C", help="found if not given")
    setting("--max-length", "data.max_length", metavar="N", help="tokens a text is cut to")
    setting("--model", "model.base", metavar="MODEL", help=BASES)
    train.add_argument(
        "--prune",
        metavar="LEVEL",
        help="pruning level: share of what the method removes, 0 to below 1 (0.25 is 25 %%)",
    )
    _add_pruning(setting)
    train.add_argument("--distill", action=argparse.BooleanOptionalAction, help="learn from the unpruned base too")
    setting("--temperature", "distillation.temperature", metavar="T")
    setting(
        "--distillation-weight", "distillation.distillation_weight", metavar="X", help="weight of the teacher, 0 to 1"
    )
    setting("--precision", "training.precision", metavar="P", help="auto, fp16 (GPU), bf16 or fp32")
    setting("--device", "training.device", metavar="D", help="auto, cpu, cuda or cuda:N")
    setting("--epochs", "training.epochs", metavar="N")
    setting("--max-steps", "training.max_steps", metavar="N", help="end after N steps, whatever --epochs says")
    setting("--batch-size", "training.batch_size", metavar="N")
    setting(
        "--learning-rate", "training.learning_rate", metavar="X", help="peak rate; the default follows the base's width"
    )
    setting(
        "--evaluations", "training.evaluations", metavar="N", help="measurements on validation texts during the run"
    )
    setting("--seed", "training.seed", metavar="N")
    setting("--country", "emissions.country", metavar="ISO", help="whose grid: ISO 3166 alpha-3 code")
    setting("--name", "name", metavar="TEXT")


def _add_pruning(setting: "_Setting") -> None:
    """Add what decides how a level is reached; options that the method does not use do nothing."""
    for flag, field, metavar, words in (
        ("--method", "method", "METHOD", f"what is removed, by which rule: {', '.join(METHODS)}"),
        ("--schedule", "schedule", "S", "how the density falls: cubic, linear, exponential or constant (at once)"),
        ("--initial-density", "initial_density", "X", "share kept where the schedule begins"),
        ("--pruning-warmup", "warmup_share", "X", "share of the steps before the schedule"),
        ("--pruning-cooldown", "cooldown_share", "X", "share of the steps after it, on the smaller model"),
        ("--mask-learning-rate", "mask_learning_rate", "X", "block-movement, hybrid, soft-cutoff: rate of the scores"),
        ("--attention-unit", "attention_unit", "U", "hybrid: head, or block (32 x 32, seldom frees a head)"),
        ("--lambda", "regularization_lambda", "X", "soft-cutoff: weight of the L1 term on the scores"),
        ("--cut-off", "cut_off", "X", "soft-cutoff: a fixed cut-off, 0 to 1; the level is then the most that goes"),
        ("--unit", "unit", "U", "magnitude: neuron, or weight (zeros in matrices of the same size: no speed-up)"),
        ("--iterations", "iterations", "N", "magnitude, wanda: prune in N steps with training between; 1 is one-shot"),
        ("--drop-layers", "drop_layers", "N", "layers to take out before training, beside the method"),
        ("--vocabulary", "vocabulary", "V", "full, or training: only the tokens of the training texts"),
        ("--width-multiple", "width_multiple", "N", "FFN widths become multiples of N; 1 does not round"),
    ):
        setting(flag, f"pruning.{field}", metavar=metavar, help=words)


class _Setting:
    """Adds options whose defaults and checks are those of `RunConfig`; help shows the default."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser
        self._defaults = RunConfig().model_dump()

    def __call__(self, flag: str, field: str, *, metavar: str, help: str = "") -> None:
        default: Any = self._defaults
        for part in field.split("."):
            default = default[part]
        shown = "" if default in (None, "") else f" (default: {default})"
        self._parser.add_argument(flag, dest=field, metavar=metavar, default=argparse.SUPPRESS, help=help + shown)


def config_from(options: argparse.Namespace, store: RunStore) -> RunConfig:
    """Turn parsed options into a config.

    Raises:
        ConfigError: with every wrong setting at once.
    """
    values: dict[str, Any] = {}
    for field, value in vars(options).items():
        if "." in field or field == "name":
            owner, _, leaf = field.rpartition(".")
            (values.setdefault(owner, {}) if owner else values)[leaf] = value
    problems: dict[str, str] = {}
    if options.prune is not None:
        try:
            values.setdefault("pruning", {})["final_density"] = density_of_level(options.prune)
        except ConfigError as error:
            problems |= error.fields
    elif "method" in values.get("pruning", {}) and "drop_layers" not in values["pruning"]:
        method = values["pruning"]["method"]
        problems["pruning.final_density"] = (
            f"Method is {method} and no pruning level is given, so nothing would be removed. Add --prune 0.5."
        )
    if options.distill is not None:
        values.setdefault("distillation", {})["enabled"] = options.distill
    try:
        _resolve_paths(values, store)
    except JobError as error:
        problems["model.base"] = f"Base model {values['model']['base']!r} is none of: {BASES}. {error}"
    try:
        config = RunConfig.parse(values)
    except ConfigError as error:
        problems |= error.fields
    if problems:
        raise ConfigError(problems)
    return config


def density_of_level(text: str) -> float:
    """Turn a pruning level such as ``0.25`` into a density such as 0.75.

    Raises:
        ConfigError: if it is no number from 0 to below 1.
    """
    try:
        level = float(text)
    except ValueError:
        level = float("nan")
    if 0 <= level < 1:
        return round(1.0 - level, 9)
    hint = f" Did you mean {level / 100:g}?" if 1 < level < 100 else " Try 0.25 for 25 %."
    raise ConfigError({"pruning.final_density": f"Pruning level is {text}; it must be at least 0 and below 1.{hint}"})


def _resolve_paths(values: dict[str, Any], store: RunStore) -> None:
    """Make file names absolute, since the worker runs elsewhere, and run names ids."""
    data, model = values.get("data", {}), values.get("model", {})
    source = data.get("source")
    if source and source != "starter" and source not in MAHANEWS:
        data["source"] = _absolute(source)
    if data.get("test_path"):
        data["test_path"] = _absolute(data["test_path"])
    if model.get("base"):
        model["base"] = resolve_model(model["base"], store)


def resolve_model(name: str, store: RunStore) -> str:
    """Return a folder as an absolute path and a run's name or beginning as its id; other names stay as they are."""
    if name in ("starter", *RANDOM):
        return name
    if os.path.isdir(os.path.expanduser(name)):  # unlike Path.is_dir, false for any odd name
        return _absolute(name)
    if "/" in name:
        return name
    return store.find(name).run_id


def _absolute(path: str) -> str:
    """Return the path in full; unlike `Path.expanduser`, leave the ``~`` of an unknown user as it is."""
    return os.path.abspath(os.path.expanduser(path))
