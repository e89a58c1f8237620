"""Where a base model lives: found by name, downloaded safely, without importing torch."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import CheckpointError
from engine.home import REPOSITORY
from engine.shapes import COMPACT, MURIL, Shape, read_shape

STARTER = REPOSITORY / "checkpoints" / "starter"
RANDOM = ("compact", "muril-shape")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SMALL_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"]


@dataclass(frozen=True)
class Base:
    """A base model that exists as far as can be told without its weights.

    ``folder`` is None for a random shape, and for a hub id whose weights are not here yet.
    """

    name: str
    kind: Literal["starter", "random", "run", "folder", "hub"]
    folder: Path | None

    @property
    def trained(self) -> bool:
        """Whether the weights come from training; the accuracy of others says nothing."""
        return self.kind != "random"


def find_base(name: str, home: Path) -> Base:
    """Find a base by its name: starter, a random shape, a run's id, a local folder or a hub id, in that order.

    Raises:
        CheckpointError: if it is none of these, or a folder that cannot hold a BERT of stock format.
    """
    if name == "starter":
        return Base(name, "starter", _checked(STARTER))
    if name in RANDOM:
        return Base(name, "random", None)
    if re.fullmatch(r"[a-z0-9-]{1,64}", name) and (home / "runs" / name).is_dir():
        model = home / "runs" / name / "model"
        if not model.is_dir():
            raise CheckpointError(f"Run {name} has no finished model. Choose a run that is done, or resume it first.")
        return Base(name, "run", _checked(model))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Base(name, "folder", _checked(folder))
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return Base(name, "hub", None)
    raise CheckpointError(
        f"There is no base model {name!r}: not starter, compact or muril-shape, no run, no folder here, "
        "and not a hub id of the form owner/name. Check the spelling, or list the runs with: python -m engine runs"
    )


def base_shape(base: Base) -> Shape | None:
    """Return the shape of a base, or None for a hub id that has not been looked at."""
    if base.folder is not None:
        return read_shape(base.folder)
    return {"compact": COMPACT, "muril-shape": MURIL}.get(base.name)


def look_up(name: str, home: Path) -> None:
    """Fetch a hub model's ``config.json`` and check it, so that a wrong id fails before a run is made.

    Raises:
        CheckpointError: no network, no such model, or not a BERT.
    """
    from huggingface_hub import hf_hub_download

    path = _fetch(
        name, lambda: hf_hub_download(name, "config.json", cache_dir=home / "cache" / "hub", endpoint=_endpoint())
    )
    _refuse_code(path.parent)
    read_shape(path.parent)


def download(name: str, home: Path) -> Path:
    """Download a hub model's tokenizer and weights (safetensors where there are any) into the home's cache.

    Raises:
        CheckpointError: no network, no such model, or no weights of a kind that loads without running code.
    """
    from huggingface_hub import HfApi, snapshot_download

    cache = home / "cache" / "hub"

    def fetch() -> str:
        try:
            files = HfApi(endpoint=_endpoint()).list_repo_files(name)
        except OSError:
            return snapshot_download(name, cache_dir=cache, local_files_only=True)
        safe = any(file.endswith(".safetensors") and "/" not in file for file in files)
        weights = ["model*.safetensors", "model.safetensors.index.json"] if safe else ["pytorch_model.bin"]
        return snapshot_download(name, cache_dir=cache, endpoint=_endpoint(), allow_patterns=[*_SMALL_FILES, *weights])

    return _checked(_fetch(name, fetch))


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _fetch(name: str, action: Callable[[], str]) -> Path:
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(action())
    except RepositoryNotFoundError:
        reason = "the hub does not know it, or it is private (set HF_TOKEN to your token)"
    except HFValidationError as error:
        reason = f"the id is malformed ({error})"
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached and no copy is here"
    except HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "no")
        reason = f"the hub answered with status {status}"
    except OSError as error:
        reason = f"the hub cannot be reached ({type(error).__name__})"
    raise CheckpointError(
        f"Model {name!r} cannot be fetched: {reason}. Check the id and the network, or give a local folder."
    )


def _checked(folder: Path) -> Path:
    """Return the folder if it can hold a BERT that loads without code."""
    read_shape(folder)
    _refuse_code(folder)
    if not any(folder.glob("*.safetensors")) and not (folder / "pytorch_model.bin").is_file():
        raise CheckpointError(
            f"{folder} holds no model.safetensors and no pytorch_model.bin. Save the model with save_pretrained."
        )
    return folder


def _refuse_code(folder: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        try:
            values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}). Save or download it again.") from None
        if isinstance(values, dict) and values.get("auto_map"):
            raise CheckpointError(
                f"{path} asks for Python code of its own (auto_map: {values['auto_map']}), which is never run here. "
                "Choose a model of stock BERT format."
            )
