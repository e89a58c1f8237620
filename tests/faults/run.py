"""``make faults``: disturb runs in every way that is known, and print what came of it.

    python -m tests.faults.run --kills 100 --only kill,disk

Exit code 1 if a run was lost or a look met a state that was not true.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import engine  # noqa: F401  (sets how torch's threads wait, before torch is imported)
from tests.faults import disks, kills, machines
from tests.faults.harness import Outcome, Workshop

Suite = Callable[[Workshop], Iterator[Outcome]]


def main() -> int:
    """Run the suites that were asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills of workers at random moments")
    parser.add_argument("--tries", type=int, default=5, help="tries of each other fault")
    parser.add_argument("--only", default="", help="suites by name, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    suites: dict[str, Suite] = {
        "alive": kills.living_is_never_dead,
        "race": kills.races,
        "starter": lambda shop: kills.starters(shop, options.tries * 2),
        "term": lambda shop: kills.terminations(shop, options.tries),
        "disk": lambda shop: disks.full(shop, options.tries),
        "power": lambda shop: disks.power_cuts(shop, options.tries),
        "database": disks.databases,
        "readonly": disks.read_only,
        "machine": machines.failures,
        "clock": machines.clocks,
        "kill": lambda shop: kills.kills(shop, options.kills),
    }
    wanted = options.only.split(",") if options.only else list(suites)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="chhatni-faults-") as folder:
        began = time.monotonic()
        shop = Workshop(Path(folder), options.seed)
        print(f"An undisturbed run takes {shop.usual_s:.1f} s.", file=sys.stderr)
        for name in wanted:
            print(f"{name} ...", file=sys.stderr)
            try:
                for outcome in suites[name](shop):
                    outcomes.append(outcome)
                    print(row(outcome), file=sys.stderr)
            except Exception as error:  # noqa: BLE001 - such as a run that never came to its end; the others count, too
                outcomes.append(Outcome(name, lost=1, remarks=[f"{type(error).__name__}: {error}"]))
        print(f"{time.monotonic() - began:.0f} s in all.", file=sys.stderr)
    report(outcomes)
    return int(any(outcome.lost or outcome.wrong for outcome in outcomes))


def report(outcomes: list[Outcome]) -> None:
    """Print the table, and what was wrong below it."""
    print(f"{'fault':<52} {'tries':>5} {'lost':>5} {'wrong':>5}  seconds to truth: p50   max")
    for outcome in outcomes:
        print(row(outcome))
    for outcome in outcomes:
        for remark in outcome.remarks:
            print(f"\n{outcome.fault}: {remark}")


def row(outcome: Outcome) -> str:
    """Write one line of the table."""
    times = outcome.seconds
    spread = f"{statistics.median(times):22.2f} {max(times):5.2f}" if times else f"{'-':>22} {'-':>5}"
    return f"{outcome.fault:<52} {outcome.tries:5d} {outcome.lost:5d} {outcome.wrong:5d}  {spread}"


if __name__ == "__main__":
    sys.exit(main())
