"""Homes with runs in every state, for journeys and pictures; nothing is trained.

Active runs name the process that seeded them as their worker, so they are alive as long as it is.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from engine.config import RunConfig
from engine.events import Event, MaskMoved
from engine.paper import table_settings
from engine.runs.run import RunState
from engine.store import RunStore
from tests.engine.mask_events import history
from tests.pages.seed import config, seed_run, steps

HOSTILE = "माझी धाव <img src=x onerror=alert(1)>"
"""A name that would do harm as HTML."""
TOTAL = 100
LOG = "[10:12:01] data: 2,075 texts for training\n[10:12:04] प्रशिक्षण सुरू\n[10:12:31] step 60 of 100, loss 0.8121\n"


def seed_states(home: Path) -> dict[str, str]:
    """Fill a home with the paper's seven settings, other methods and a run in every state; return their ids by name."""
    store = _open(home)
    ids: dict[str, str] = {}
    for place, setting in enumerate(table_settings()):
        made = RunConfig.parse(setting)
        ids[f"table_{place}"] = _seed(store, made, "done", accuracy=0.86 + 0.003 * (place % 3))
    ids |= {
        "wanda": _seed(store, config(0.4, pruning={"method": "wanda", "iterations": 4}), "done"),
        "weights": _seed(store, config(0.5, pruning={"method": "magnitude", "unit": "weight"}), "done"),
        "soft": _seed(store, config(0.5, pruning={"method": "soft-cutoff"}), "done"),
        "interrupted": _seed(store, config(0.25, True), "interrupted"),
        "stopped": _seed(store, config(0.75, name="मराठी बातम्या, ७५ %"), "stopped"),
        "failed": _seed(store, config(0.5, name=HOSTILE), "failed", log=LOG + "Diverged: the loss is nan\n"),
        "done": _seed(store, config(0.5, True, name="अंतिम चाचणी"), "done", log=LOG),
        "stopping": _seed(store, config(0.25), "stopping"),
        "training": _seed(store, config(0.5, True, name="बातम्यांचे वर्गीकरण"), "training", log=LOG),
        "starting": _seed(store, config(0.75), "starting"),
        "queued": _seed(store, config(0.75, True), "queued"),
    }
    ids["baseline"] = ids.pop("table_0")
    store.close()
    return ids


def seed_begun(home: Path) -> dict[str, str]:
    """Fill a home with a run that goes on and one that waits: none is done."""
    store = _open(home)
    ids = {"training": _seed(store, config(0.5, True), "training"), "queued": _seed(store, config(0.75), "queued")}
    store.close()
    return ids


def seed_many(home: Path, runs: int = 300, events: int = 60) -> dict[str, str]:
    """Fill a home with many runs, the newest of which goes on; ids of it and of the newest done one.

    Args:
        home: the folder.
        runs: how many.
        events: of each, about; above a few hundred they are copies of one run's.
    """
    store = _open(home)
    states: tuple[RunState, ...] = ("done", "done", "done", "stopped", "failed", "done", "interrupted")
    ids: list[str] = []
    for number in range(runs):
        made = config(
            (0.0, 0.25, 0.5, 0.75)[number % 4], number % 3 == 0, name=f"धाव {number + 1}" if number % 5 else ""
        )
        state = "training" if number == runs - 1 else states[number % len(states)] if number < runs - 2 else "done"
        ids.append(seed_run(store, made, state, total=20, accuracy=0.8 + 0.0003 * number).run_id)
    if events > 200:
        long = config(0.5, True)
        count = events // 2
        pictures = [event for event in history(count, count) if isinstance(event, MaskMoved)]
        store.append(ids[0], [*steps(long, count, count), *pictures])
    store.close()
    if events > 200:
        _copy_events(home, ids[0], ids[1:])
    return {"training": ids[-1], "done": ids[-2]}


def _copy_events(home: Path, source: str, targets: list[str]) -> None:
    """Give other runs the events that one run has beyond what they were seeded with."""
    with sqlite3.connect(home / "runs.db") as db:
        for target in targets:
            db.execute(
                "INSERT INTO events (run_id, at, kind, body) SELECT ?, at, kind, body FROM events"
                " WHERE run_id = ? AND seq > (SELECT max(seq) FROM events WHERE run_id = ?) ORDER BY seq",
                (target, source, targets[-1]),
            )
    db.close()


def _open(home: Path) -> RunStore:
    home.mkdir(parents=True, exist_ok=True)
    return RunStore(home / "runs.db")


def _seed(store: RunStore, made: RunConfig, state: RunState, *, accuracy: float = 0.86, log: str = "") -> str:
    """Put one run into a store, with pictures of its mask as far as it came; return its id."""
    run = seed_run(store, made, state, total=TOTAL, accuracy=accuracy, log=log)
    if state not in ("queued", "starting") and made.pruning.enabled:
        store.append(run.run_id, _pictures(made, TOTAL if state == "done" else int(0.6 * TOTAL)))
    return run.run_id


def _pictures(made: RunConfig, upto: int) -> list[Event]:
    found = history(TOTAL, upto, density=made.pruning.final_density)
    return [event for event in found if isinstance(event, MaskMoved)]


def address(path: str, ids: Mapping[str, str]) -> str:
    """Return a path with ``{names}`` of runs replaced by their ids."""
    return path.format_map(ids)
