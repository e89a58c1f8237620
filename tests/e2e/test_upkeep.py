"""The list of runs kept in order in a real browser, while a second one looks on: moved, renamed, archived, deleted."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from engine.store import RunStore
from tests.e2e.browser import MINUTE, NARROW, faults, listen, serve, settle
from tests.pages.seed import config, seed_run

pytestmark = pytest.mark.browser


def test_runs_are_kept_in_order_before_the_eyes_of_somebody_else(tmp_path: Path, window: Callable[..., Page]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = RunStore(home / "runs.db")
    kept, gone = seed_run(store, config(0.25), "done").run_id, seed_run(store, config(0.5), "done").run_id
    seed_run(store, config(0.5, name="works"), "training")
    first, second = (seed_run(store, config(0.5, name=name), "queued").run_id for name in ("first", "second"))
    with serve(home, tmp_path / "studio.log") as address:
        one, other = window(), window(NARROW, "dark")
        noise, heard = listen(one), listen(other)
        other.goto(f"{address}/live?run={gone}")
        settle(other)
        one.goto(f"{address}/live?run={second}")
        expect(one.get_by_text("Queued behind 2")).to_be_visible(timeout=MINUTE)
        one.get_by_role("button", name="Earlier").nth(1).click()
        expect(one.get_by_text("Queued behind 1")).to_be_visible(timeout=MINUTE)
        assert store.ahead(first) == 2

        one.goto(f"{address}/live?run={gone}")
        settle(one)
        _choose(one, "Rename")
        field = one.get_by_role("dialog").get_by_label("Name")
        field.fill("धाव एक")
        field.press("Enter")
        expect(one.get_by_role("dialog")).to_have_count(0, timeout=MINUTE)
        expect(one.get_by_text("धाव एक", exact=True).first).to_be_visible(timeout=MINUTE)
        _choose(one, "Delete")
        expect(one.get_by_text("This cannot be undone")).to_be_visible(timeout=MINUTE)
        one.keyboard.press("Escape")
        expect(one.get_by_role("dialog")).to_have_count(0, timeout=MINUTE)
        assert store.get(gone).title == "धाव एक"
        _choose(one, "Delete")
        one.get_by_role("button", name="Delete with its files").click()
        expect(one.get_by_text("is deleted, with its files")).to_be_visible(timeout=MINUTE)
        one.wait_for_url(re.compile(r"run="), timeout=MINUTE)
        assert not (home / "runs" / gone).exists()

        other.get_by_role("button", name="Clone").click()  # of a run that is no more
        expect(other.get_by_text(f"There is no run {gone}")).to_be_visible(timeout=MINUTE)
        settle(other)
        assert faults(other) == faults(one) == []

        other.goto(f"{address}/live?run={kept}")
        settle(other)
        _choose(other, "Archive")
        expect(other.get_by_text("This run is archived")).to_be_visible(timeout=MINUTE)
        other.get_by_role("button", name="Bring back").first.click()
        expect(other.get_by_text("This run is archived")).to_have_count(0, timeout=MINUTE)
        assert faults(other) == faults(one) == []
        assert noise == heard == []


def _choose(page: Page, name: str) -> None:
    """Open the menu and press one of its buttons."""
    page.get_by_role("button", name="Manage").click()
    page.get_by_role("button", name=name, exact=True).click()
