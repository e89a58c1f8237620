"""The commands that keep the list of runs in order: queue, rename, archive, delete."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import jobs
from engine.errors import JobError
from engine.runs.upkeep import in_order
from engine.store import RunStore
from engine.terminal import reports
from engine.terminal.visible import visible

AddCommand = Callable[[str, str, Callable[[argparse.Namespace, Path], int]], argparse.ArgumentParser]
Print = Callable[[Any], None]
_RUN = "id, unique beginning of an id, or unique name"


def add_run_commands(add: AddCommand, print_json: Print) -> None:
    """Add the commands; ``add`` makes a parser of a name, a sentence and what to call."""

    def answer(options: argparse.Namespace, value: Any, sentence: str) -> int:
        if options.json:
            print_json(value)
        else:
            print(visible(sentence))
        return 0

    def queue(options: argparse.Namespace, home: Path) -> int:
        store = RunStore(home / "runs.db")
        notice_dead(store)
        if options.run_id is not None:
            run = store.find(options.run_id)
            if options.to is None:
                raise JobError(f"No place is given for {run.run_id}. Add --to 1 to let it go first.")
            store.move(run.run_id, options.to - 1)
        waiting = in_order(store)
        lines = [f"{run.device}  {run.run_id}  {run.title}  ({run.state})" for run in waiting]
        return answer(options, [reports.summary(run) for run in waiting], "\n".join(lines) or "No run waits or works.")

    def rename(options: argparse.Namespace, home: Path) -> int:
        store = RunStore(home / "runs.db")
        run = store.rename(store.find(options.run_id).run_id, options.name)
        return answer(options, reports.summary(run), f"{run.run_id} is now called {run.title}.")

    def archive(options: argparse.Namespace, home: Path) -> int:
        store = RunStore(home / "runs.db")
        run = store.archive(store.find(options.run_id).run_id, not options.undo)
        words = "is back on the list" if options.undo else "is archived; `runs --all` shows it"
        return answer(options, reports.summary(run), f"{run.run_id} {words}.")

    def delete(options: argparse.Namespace, home: Path) -> int:
        store = RunStore(home / "runs.db")
        run = store.find(options.run_id)
        jobs.delete(store, run.run_id)
        return answer(options, {"run_id": run.run_id, "deleted": True}, f"{run.run_id} is deleted, with its files.")

    command = add("queue", "Show who waits for which device, in order; or give a waiting run another place.", queue)
    command.add_argument("run_id", metavar="RUN", nargs="?", help=_RUN)
    command.add_argument("--to", type=place, metavar="N", help="its new place among the waiting runs, from 1")
    for name, words, action in (
        ("rename", "Give a run another name.", rename),
        ("archive", "Put an ended run away; nothing of it is removed.", archive),
        ("delete", "Remove an ended run with its files.", delete),
    ):
        command = add(name, words, action)
        command.add_argument("run_id", metavar="RUN", help=_RUN)
        if name == "rename":
            command.add_argument("name", metavar="NAME", help="an empty one brings the title made from its recipe back")
        if name == "archive":
            command.add_argument("--undo", action="store_true", help="fetch it back")


def notice_dead(store: RunStore) -> None:
    """Mark dead runs; where the home cannot be written, say so on the standard error and go on."""
    try:
        jobs.reconcile(store)
    except JobError as error:
        print(visible(f"What follows may be out of date: {error}"), file=sys.stderr)


def place(text: str) -> int:
    """Read a place of a queue.

    Raises:
        argparse.ArgumentTypeError: if it is no whole number of at least 1.
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no place in a queue; try 1")
    return number
