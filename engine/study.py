"""Which pruning method costs least accuracy: every method at several levels, with and without distillation, over several seeds.

    python -m engine.study DATA --model compact --seeds 0,1,2 --output bench/study.jsonl

Each seed cuts its own split, trains its own dense base and prunes that base in every way, so that differences between methods are
taken within a seed. Beside them, level 0 trains the dense base on for the same steps: what pruning costs is to be read
against that. Finished runs stand in the output, one JSON object a line, and are not repeated.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from engine.config import METHODS, RunConfig
from engine.errors import ChhatniError, ConfigError, TrainingError
from engine.events import RunFinished
from engine.home import run_folder
from engine.records import RunResult

WEIGHTS = "magnitude-weights"
"""Stands for magnitude pruning of single weights, the one method with two units."""
RULES = (*METHODS, WEIGHTS)
DENSE = "dense"


@dataclass(frozen=True)
class Case:
    """One run of the study; ``method`` is one of `RULES`, or `DENSE` for training the base on without pruning."""

    method: str
    level: float
    distilled: bool
    seed: int

    @property
    def key(self) -> tuple[str, float, bool, int]:
        return self.method, self.level, self.distilled, self.seed


@dataclass(frozen=True)
class Plan:
    """What all cases share."""

    data: str
    model: str
    base_epochs: int
    epochs: int
    precision: str
    work: str
    """Folder of the dense bases and of runs in progress."""


def cases(methods: Sequence[str], levels: Sequence[float], seeds: Sequence[int]) -> list[Case]:
    """Return all runs, those of the first seed first."""
    found = []
    for seed in seeds:
        for distilled in (False, True):
            found.append(Case(DENSE, 0.0, distilled, seed))
            found += [Case(method, level, distilled, seed) for method in methods for level in levels]
    return found


def base_config(plan: Plan, seed: int) -> RunConfig:
    """Return the settings of a seed's dense base."""
    training = {"epochs": plan.base_epochs, "seed": seed, "evaluations": 1, "precision": plan.precision}
    return RunConfig.parse({"data": {"source": plan.data}, "model": {"base": plan.model}, "training": training})


def case_config(plan: Plan, case: Case) -> RunConfig:
    """Return the settings of one case."""
    pruning: dict[str, Any] = {"final_density": round(1.0 - case.level, 6)}
    if case.method == WEIGHTS:
        pruning |= {"method": "magnitude", "unit": "weight"}
    elif case.method != DENSE:
        pruning["method"] = case.method
    return RunConfig.parse(
        {
            "data": {"source": plan.data},
            "model": {"base": _base_id(case.seed)},
            "pruning": pruning,
            "distillation": {"enabled": case.distilled},
            "training": {"epochs": plan.epochs, "seed": case.seed, "evaluations": 1, "precision": plan.precision},
        }
    )


def _base_id(seed: int) -> str:
    return f"study-base-{seed}"


def run_base(plan: Plan, seed: int) -> dict[str, Any]:
    """Train a seed's dense base, unless it is there; return its row."""
    home = Path(plan.work)
    row = run_folder(home, _base_id(seed)) / "row.json"
    if not row.is_file():
        result = _train(base_config(plan, seed), _base_id(seed), home)
        row.write_text(json.dumps({"base": True, "seed": seed} | _figures(result)), encoding="utf-8")
    found: dict[str, Any] = json.loads(row.read_text(encoding="utf-8"))
    return found


def run_case(plan: Plan, case: Case) -> dict[str, Any]:
    """Do one run and return its row; nothing of it stays on the disk."""
    home = Path(plan.work)
    run_id = f"study-{os.getpid()}"
    try:
        result = _train(case_config(plan, case), run_id, home)
    finally:
        shutil.rmtree(run_folder(home, run_id), ignore_errors=True)
    facts = {"method": case.method, "level": case.level, "distilled": case.distilled, "seed": case.seed}
    return facts | _figures(result)


def _train(config: RunConfig, run_id: str, home: Path) -> RunResult:
    from engine.training import train

    result = None
    for event in train(config, run_id=run_id, home=home):  # to the end: it tidies up behind its last event
        if isinstance(event, RunFinished):
            result = event.result
    if result is None:
        raise TrainingError(f"Run {run_id} ended without a result; look at {run_folder(home, run_id)}.")
    return result


def _figures(result: RunResult) -> dict[str, Any]:
    return {
        "test_accuracy": result.student.test_accuracy,
        "validation_accuracy": result.student.accuracy,
        "dense_test_accuracy": result.dense.test_accuracy,
        "parameters": result.student.parameters,
        "speedup_ceiling": result.speedup_ceiling,
        "duration_s": result.duration_s,
        "test_texts": result.data.sizes["test"],
    }


def _alone() -> None:
    """Keep a worker process to one core."""
    import torch

    torch.set_num_threads(1)


def run_study(plan: Plan, wanted: Sequence[Case], output: Path, workers: int) -> None:
    """Do every case that is not in the output yet, and add it there.

    Raises:
        ChhatniError: what made a run fail; rows so far are kept.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    done = {row_case(row).key for row in read_rows(output)}
    todo = [case for case in wanted if case.key not in done]
    # what libraries keep of a run adds up over many, so a worker process is replaced now and then; concurrent.futures does
    # that too, and waits for ever after the first replacement (https://github.com/python/cpython/issues/115634)
    with get_context("spawn").Pool(workers, _alone, maxtasksperchild=12) as pool:
        for row in pool.imap_unordered(partial(run_base, plan), sorted({case.seed for case in wanted})):
            print(f"base of seed {row['seed']}: {row['test_accuracy'] * 100:.2f} %", file=sys.stderr, flush=True)
        for number, row in enumerate(pool.imap_unordered(partial(run_case, plan), todo), start=1):
            with output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            done_now = f"{number} of {len(todo)}: {row_case(row)}"
            print(f"{done_now} {row['test_accuracy'] * 100:.2f} %", file=sys.stderr, flush=True)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read what a study has found so far."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def row_case(row: dict[str, Any]) -> Case:
    """Return which case a row is about."""
    return Case(row["method"], float(row["level"]), bool(row["distilled"]), int(row["seed"]))


def summarise(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the seeds of each setting together.

    Returns:
        One row a setting: mean and standard deviation (of the sample, in points of per cent) of the test accuracy, and of its
        difference to the base trained on without pruning in the same seed and with the same loss.
    """
    rows = list(rows)
    dense = {(row["distilled"], row["seed"]): row["test_accuracy"] for row in rows if row["method"] == DENSE}
    settings: dict[tuple[str, float, bool], list[dict[str, Any]]] = {}
    for row in rows:
        settings.setdefault((row["method"], row["level"], row["distilled"]), []).append(row)
    found = []
    for (method, level, distilled), group in settings.items():
        accuracies = [100 * row["test_accuracy"] for row in group]
        differences = [
            100 * (row["test_accuracy"] - dense[row["distilled"], row["seed"]])
            for row in group
            if (row["distilled"], row["seed"]) in dense
        ]
        found.append(
            {
                "method": method,
                "level": level,
                "distilled": distilled,
                "seeds": len(group),
                "accuracy": statistics.mean(accuracies),
                "accuracy_sd": statistics.stdev(accuracies) if len(group) > 1 else None,
                "difference": statistics.mean(differences) if differences else None,
                "difference_sd": statistics.stdev(differences) if len(differences) > 1 else None,
                "duration_s": statistics.mean(row["duration_s"] for row in group),
                "speedup_ceiling": statistics.mean(row["speedup_ceiling"] for row in group),
            }
        )
    return found


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Write the means as a Markdown table: a line for each method and loss, a column for each level."""
    found = summarise(rows)
    levels = sorted({row["level"] for row in found if row["method"] != DENSE})
    lines = [
        "| method | " + " | ".join(f"{level * 100:g} %" for level in levels) + " |",
        "|---" * (len(levels) + 1) + "|",
    ]
    by = {(row["method"], row["distilled"], row["level"]): row for row in found}
    for distilled in (False, True):
        for method in (DENSE, *RULES):
            cells = [by.get((method, distilled, 0.0 if method == DENSE else level)) for level in levels]
            if any(cells):
                name = {DENSE: "not pruned", WEIGHTS: "Magnitude, single weights"}.get(method) or METHODS[method]  # type: ignore[index]
                shown = [_cell(cell) for cell in cells]
                shown = [shown[0]] + [""] * (len(levels) - 1) if method == DENSE else shown
                lines.append(f"| {name}{' + KD' if distilled else ''} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    spread = "" if row["accuracy_sd"] is None else f" ± {row['accuracy_sd']:.1f}"
    return f"{row['accuracy']:.1f}{spread}"


def _numbers(text: str, kind: type) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers; write for example 0,1,2") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study, or print the table of one."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA", help="starter, or a file with texts and labels")
    parser.add_argument("--model", default="compact", help="what the dense bases start from (default: %(default)s)")
    parser.add_argument("--methods", default=",".join(RULES), help="default: %(default)s")
    parser.add_argument("--levels", type=lambda text: _numbers(text, float), default=[0.25, 0.5, 0.75, 0.9])
    parser.add_argument("--seeds", type=lambda text: _numbers(text, int), default=[0, 1, 2])
    parser.add_argument("--base-epochs", type=int, default=20, help="of the dense base (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="of each pruned run (default: %(default)s)")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", type=int, default=2, help="runs at once, a core each (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench/study.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print the table of what is in the output")
    options = parser.parse_args(arguments)
    try:
        methods = [name.strip() for name in options.methods.split(",") if name.strip()]
        unknown = [name for name in methods if name not in RULES]
        if unknown:
            raise ConfigError({"methods": f"Methods are {', '.join(unknown)}; they must be among {', '.join(RULES)}."})
        if not options.table:
            source = options.data if options.data == "starter" else str(Path(options.data).expanduser().absolute())
            work = str((options.output.parent / "study-home").absolute())
            plan = Plan(source, options.model, options.base_epochs, options.epochs, options.precision, work)
            run_study(plan, cases(methods, options.levels, options.seeds), options.output, options.workers)
    except ChhatniError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(table(read_rows(options.output)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
