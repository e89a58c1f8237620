"""Where a base model lives: found by name, downloaded safely, without importing torch."""

import json
import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from engine.errors import CheckpointError
from engine.home import REPOSITORY
from engine.shapes import COMPACT, MURIL, OWN_WEIGHTS, Shape, in_own_format, read_shape

STARTER = REPOSITORY / "checkpoints" / "starter"
RANDOM = ("compact", "muril-shape")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SMALL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
_SAFETENSORS = "model*.safetensors"
_PICKLED = "pytorch_model.bin"
_PATIENCE_S = 10.0
"""How long the hub may take to say which files a model has."""


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
    folder = _folder(name)
    if folder is not None:
        return Base(name, "folder", _checked(folder))
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return Base(name, "hub", None)
    raise CheckpointError(
        f"There is no base model {name!r}: not starter, compact or muril-shape, no run, no folder here, "
        "and not a hub id of the form owner/name. Check the spelling, or list the runs with: python -m engine runs"
    )


def _folder(name: str) -> Path | None:
    if not name.strip():
        return None  # an empty path would be the current folder
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except RuntimeError:  # ~somebody, and there is no such user
        return None
    except OSError as error:  # a name that is too long, or a folder above it that may not be entered
        shown = name if len(name) <= 80 else name[:77] + "..."
        raise CheckpointError(
            f"Base model {shown!r} cannot be looked at ({error.strerror}). Check the path and its permissions."
        ) from None


def base_shape(base: Base) -> Shape | None:
    """Return the shape of a base, or None for a hub id that has not been looked at."""
    if base.folder is not None:
        return read_shape(base.folder)
    return {"compact": COMPACT, "muril-shape": MURIL}.get(base.name)


def look_up(name: str, home: Path) -> Shape:
    """Fetch a hub model's ``config.json`` and check it, so that a wrong id fails before a run is made.

    Returns:
        Its shape.

    Raises:
        CheckpointError: no network, no such model, not a BERT, or no weights that load without running code.
    """
    folder = _fetch(name, ["config.json"], home)
    _refuse_code(folder)
    return read_shape(folder)


def download(name: str, home: Path) -> Path:
    """Download a hub model's tokenizer and weights (safetensors where there are any) into the home's cache.

    Raises:
        CheckpointError: no network, no such model, or no weights of a kind that loads without running code.
    """
    return _checked(
        _fetch(name, [*_SMALL_FILES, _SAFETENSORS, "model.safetensors.index.json", OWN_WEIGHTS, _PICKLED], home)
    )


def download_tokenizer(name: str, home: Path) -> Path:
    """Download a hub model's tokenizer and ``config.json``, without its weights, into the home's cache.

    Raises:
        CheckpointError: no network, no such model, or one that asks for code of its own.
    """
    folder = _fetch(name, list(_SMALL_FILES), home)
    _refuse_code(folder)
    return folder


def _fetch(name: str, patterns: list[str], home: Path) -> Path:
    """Bring the files that match into the home's cache, or find them there where the hub cannot be reached.

    Raises:
        CheckpointError: saying what is wrong with the id, the hub or the network.
    """
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    endpoint = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or None
    cache = home / "cache" / "hub"
    try:
        files, unreachable = _list_files(name, cache, endpoint)
        safe = OWN_WEIGHTS in files or any(fnmatchcase(file, _SAFETENSORS) for file in files)
        if not safe and _PICKLED not in files:
            raise CheckpointError(
                f"Model {name!r} has no model.safetensors and no pytorch_model.bin. Choose a model with PyTorch weights."
            )
        wanted = [pattern for pattern in patterns if not (safe and pattern == _PICKLED)]
        return Path(
            snapshot_download(
                name,
                cache_dir=cache,
                endpoint=endpoint,
                allow_patterns=wanted,
                local_files_only=unreachable,
            )
        )
    except (HTTPError, InvalidURL, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"Model {name!r} cannot be fetched: {_reason(error)}. Check the id and the network, or give a local folder."
        ) from None


def _list_files(name: str, cache: Path, endpoint: str | None) -> tuple[list[str], bool]:
    """Return the names of a hub model's files, and True where the hub gave none and the cache had to remember them.

    One request without retries: of a dead network a person hears at once.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        found = HfApi(endpoint=endpoint).model_info(name, timeout=_PATIENCE_S)
        return [file.rfilename for file in found.siblings or []], False
    except (HTTPError, OSError) as error:
        try:
            return [file.path for file in get_cached_repo_tree(name, cache_dir=cache)], True
        except CachedRepoTreeNotFoundError:
            raise error from None


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, RepositoryNotFoundError):
        return "the hub does not know it, or it is private (set HF_TOKEN to your token)"
    if isinstance(error, HFValidationError):
        return f"the id is malformed ({error})"
    if isinstance(error, LocalEntryNotFoundError):
        return "the hub cannot be reached and no whole copy is here"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set and no copy is here"
    if isinstance(error, HfHubHTTPError):
        status = getattr(getattr(error, "response", None), "status_code", "no")
        return f"the hub answered with status {status}"
    if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the network
        return f"it cannot be stored in the cache ({error.strerror})"
    return f"the hub cannot be reached ({type(error).__name__})"


def _checked(folder: Path) -> Path:
    """Return the folder if it can hold a BERT that loads without code."""
    read_shape(folder)
    _refuse_code(folder)
    if in_own_format(folder):
        if not (folder / OWN_WEIGHTS).is_file():
            raise CheckpointError(f"{folder} holds no {OWN_WEIGHTS}. Copy the folder again or repeat the run.")
    elif not any(folder.glob("*.safetensors")) and not (folder / "pytorch_model.bin").is_file():
        raise CheckpointError(
            f"{folder} holds no model.safetensors and no pytorch_model.bin. Save the model with save_pretrained."
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise CheckpointError(f"{folder} holds no tokenizer. Add its tokenizer.json or vocab.txt.")
    return folder


def _refuse_code(folder: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        try:
            values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}). Save or download it again.") from None
        if isinstance(values, dict) and values.get("auto_map"):
            raise CheckpointError(
                f"{path} asks for Python code of its own (auto_map: {values['auto_map']}), which is never run here. "
                "Choose a model of stock BERT format."
            )
