"""A home of its own for every test, and the studio opened on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

from engine import jobs
from engine.home import REPOSITORY
from engine.store import RunStore

Open = Callable[..., AppTest]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home folder that the studio will use."""
    monkeypatch.setenv("CHHATNI_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def kept_ready(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note for which homes a page had a worker wait, instead of starting one that imports torch for every test."""
    homes: list[Path] = []
    monkeypatch.setattr(jobs, "keep_ready", homes.append)
    return homes


@pytest.fixture
def store(home: Path) -> RunStore:
    """Return the store of that home."""
    return RunStore(home / "runs.db")


@pytest.fixture
def studio(home: Path) -> Open:
    """Return a function that opens a page of the studio with query parameters and fails on any exception."""

    def open_page(page: str = "prune", **parameters: str) -> AppTest:
        app = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)
        if page != "prune":
            app.run()
            app.switch_page(f"pages/{page}.py")
        for name, value in parameters.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception, app.exception
        return app

    return open_page


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every run of a test go through `app.py`, as every run of a server does.

    A test's runs after the first would go straight to the page: Streamlit takes a folder named ``pages`` for its older way of
    routing until `st.navigation` has been called once in a process, and a test forgets that between runs.
    """

    class Routed(PagesManager):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            PagesManager.uses_pages_directory = False

    monkeypatch.setattr(app_test, "PagesManager", Routed)


def everything(app: AppTest) -> str:
    """Return every word on the page."""
    kinds = ("title", "markdown", "caption", "text", "info", "error", "warning", "success", "code", "badge")
    parts = [str(element.value) for kind in kinds for element in app.get(kind) if hasattr(element, "value")]
    parts += [f"{each.label} {each.value} {each.delta}" for each in app.metric]
    return "\n".join(parts)
