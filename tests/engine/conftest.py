"""Fixtures of several engine tests; each imports what it needs, so that the other tests do not pay for it."""

from collections.abc import Iterator

import pytest

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
def fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps one precision a process; let each test that uses this be a run of its own."""
    from accelerate.state import AcceleratorState, PartialState

    yield
    AcceleratorState._reset_state()
    PartialState._reset_state()
