"""What is kept on disk of a run: the state to resume from, and the finished model, in stock format where that can hold it.

A resume state is a folder ``resume/step-00000120`` holding ``model.safetensors`` (masked student), ``state.pt`` (optimizer,
scheduler, scaler, random states; read with ``weights_only=True``) and ``manifest.json``, which names size and SHA-256 of the
others and a digest of itself. The folder appears whole or not at all, and the former one goes only afterwards. Folders that
are torn are skipped with a reason.
"""

import hashlib
import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from engine.compaction import is_stock
from engine.errors import CheckpointError
from engine.files.pruned_format import write_weights
from engine.files.storage import folder_bytes, replace_folder
from engine.measuring.calibration import Calibration, save_calibration

_FORMAT = 1
_OLDER = "An older state is used if there is one."


@dataclass(frozen=True)
class ResumeState:
    """A run between two steps."""

    step: int
    config_hash: str
    """Hash of the config that the run was started with."""
    model: dict[str, Tensor]
    state: dict[str, Any]
    """Tensors and plain values only: what ``torch.load(weights_only=True)`` reads."""
    facts: dict[str, Any]
    """JSON: baseline measurement, emission totals, precision, elapsed seconds."""


def digest_text(text: str) -> str:
    """Return the SHA-256 of a text, as hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def save_resume_state(folder: Path, resume: ResumeState) -> int:
    """Write a resume state below ``folder`` and drop the older ones.

    Returns:
        Its size in bytes.

    Raises:
        CheckpointError: if the disk is full or not writable; older states are untouched then.
    """
    target = folder / f"step-{resume.step:08d}"

    def write(temporary: Path) -> None:
        # shared tensors cannot be saved twice, and views must be whole
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in resume.model.items()},
            temporary / "model.safetensors",
        )
        torch.save(resume.state, temporary / "state.pt")
        files = {path.name: [path.stat().st_size, _digest(path)] for path in sorted(temporary.iterdir())}
        manifest = {
            "format": _FORMAT,
            "step": resume.step,
            "config": resume.config_hash,
            "files": files,
            "facts": resume.facts,
        }
        manifest["digest"] = digest_text(json.dumps(manifest))
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")

    try:
        replace_folder(target, write)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"The state at step {resume.step} cannot be saved in {folder}: {error}. "
            "Free disk space or check the permissions, then resume the run."
        ) from error
    for other in folder.glob("step-*"):
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return folder_bytes(target)


def load_resume_state(folder: Path, config_hash: str) -> tuple[ResumeState | None, list[str]]:
    """Load the newest whole resume state.

    Returns:
        The state, or None where there is none, and a sentence for each folder that was passed over.
    """
    reasons: list[str] = []
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        try:
            return _load_one(candidate, config_hash), reasons
        except CheckpointError as error:
            reasons.append(str(error))
    return None, reasons


def _load_one(folder: Path, config_hash: str) -> ResumeState:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT:
            raise CheckpointError(f"{folder} has format {manifest['format']}; this version reads {_FORMAT}.")
        if manifest.pop("digest", None) != digest_text(json.dumps(manifest)):
            raise CheckpointError(f"{folder / 'manifest.json'} is torn: it is not what was saved. {_OLDER}")
        if manifest["config"] != config_hash:
            raise CheckpointError(f"{folder} belongs to a run with other settings and was passed over.")
        for name, (size, digest) in manifest["files"].items():
            path = folder / name
            if path.stat().st_size != size or _digest(path) != digest:
                raise CheckpointError(f"{path} is torn: it is not what was saved. {_OLDER}")
        model = load_file(folder / "model.safetensors")
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        return ResumeState(int(manifest["step"]), config_hash, model, state, dict(manifest["facts"]))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
    ) as error:
        raise CheckpointError(f"{folder} is torn ({type(error).__name__}: {error}) and was passed over.") from error


def save_model(
    folder: Path,
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    calibration: Calibration | None = None,
) -> None:
    """Save a compacted model: safetensors, ``config.json`` with the label names, tokenizer, calibration.

    It is a stock checkpoint unless its layers differ or lack heads; then it is one of our own format (files/pruned_format.py).

    Raises:
        CheckpointError: if the disk is full or not writable.
    """

    def write(temporary: Path) -> None:
        if is_stock(model):
            model.save_pretrained(temporary)
        else:
            write_weights(temporary, model)
        tokenizer.save_pretrained(temporary)
        if calibration is not None:
            save_calibration(temporary, calibration)

    try:
        replace_folder(folder, write)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"The model cannot be saved in {folder}: {error}. Free disk space or check the permissions, then resume the run."
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
