"""An empty studio offers one button for a run that is worth seeing."""

from pathlib import Path
from typing import Any

import pytest

from engine import jobs
from engine.before import preflight
from engine.config import RunConfig
from engine.errors import DataError, JobError
from engine.runs.run import Run
from engine.store import RunStore
from pages.shared.first_run import first_config
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run

OFFER = "start_first_run"


@pytest.fixture
def started(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Put a start that only writes the run down in the place of the real one."""
    asked: list[RunConfig] = []

    def start(store: RunStore, wanted: RunConfig, **_: Any) -> Run:
        asked.append(wanted)
        return store.create(wanted, "cpu")

    monkeypatch.setattr(jobs, "start", start)
    monkeypatch.setattr(jobs, "reconcile", lambda store: None)
    monkeypatch.setattr(preflight, "check", lambda config, home: None)
    return asked


def test_the_button_starts_a_short_distilled_run_and_leads_to_live(studio: Open, started: list[RunConfig]) -> None:
    app = studio()
    app.selectbox(key="base").select("muril-shape").run()
    app.button(key=OFFER).click().run()
    assert not app.exception, app.exception
    assert started == [first_config()], "whatever the form says"
    assert started[0].pruning.level == 0.5
    assert started[0].distillation.enabled
    assert (started[0].data.source, started[0].model.base) == ("starter", "starter")
    assert started[0].training.max_steps is not None
    assert started[0].training.max_steps <= 100, "it must be over in less than two minutes"
    assert app.title[0].value == "Live"
    assert "run" in app.query_params


def test_the_offer_is_gone_after_the_first_run(studio: Open, store: RunStore) -> None:
    assert "under two minutes" in everything(studio())
    seed_run(store, config(0.5), "failed")
    app = studio()
    assert "under two minutes" not in everything(app)
    assert OFFER not in [each.key for each in app.button]


@pytest.mark.parametrize(
    ("place", "error"),
    [("check", DataError("The starter corpus is missing.")), ("start", JobError("No process could be started."))],
)
def test_why_it_did_not_start_is_said_beside_the_button(
    studio: Open, started: list[RunConfig], monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(*((preflight, "check", fail) if place == "check" else (jobs, "start", fail)))
    app = studio()
    app.button(key=OFFER).click().run()
    assert not app.exception, app.exception
    assert app.title[0].value == "Prune"
    assert str(error).rstrip(".") in everything(app).replace("\\", "")
    assert started == []


def test_the_starter_ships(home: Path) -> None:
    preflight.check(first_config(), home)
