"""Fixtures of several engine tests; each imports what it needs, so that the other tests do not pay for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store import RunStore
from tests.engine.hub import Hub, running_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, which all downloads of the test go to."""
    from huggingface_hub.utils import close_session

    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        close_session()
        yield running
        close_session()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    """An empty store in a home of its own."""
    opened = RunStore(tmp_path / "runs.db")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier in stock format; not to be changed, as a module shares it."""
    from tests.engine.tiny_bert import tiny_checkpoint

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_checkpoint(folder)
    return folder


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copied"))


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps one precision a process; let each test that uses this be a run of its own."""
    from accelerate.state import AcceleratorState, PartialState

    yield
    AcceleratorState._reset_state()
    PartialState._reset_state()
