"""``make load``: put load on the store and the studio, and print one table.

    python -m tests.load.run --only sessions,store --json figures.json

Browser, bare sessions, writers and server share the machine, so its load average stands beside the figures.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import engine  # noqa: F401  (sets how torch's threads wait, before torch is imported)
from tests.load import files, pages, rate, sessions, texts
from tests.load.machine import Figure, busy, tell

PARTS: dict[str, Callable[[], list[Figure]]] = {
    "sessions": sessions.measure,
    "store": rate.measure,
    "file": files.measure,
    "text": texts.measure,
    "pages": pages.measure,
}


def main() -> None:
    """Measure the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="also write all figures into this file")
    asked = parser.parse_args()
    wanted = [name.strip() for name in asked.only.split(",")]
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        parser.error(f"There is no part {unknown[0]!r}. Choose from {', '.join(PARTS)}.")
    before, began = busy(), time.monotonic()
    found: list[Figure] = []
    print("| Part | What | Figure | |\n|---|---|---|---|")
    for name in wanted:
        for figure in PARTS[name]():
            found.append(figure)
            print(figure.row(), flush=True)
    tell(f"{time.monotonic() - began:.0f} s in all; {before} at the beginning, {busy()} at the end")
    if asked.json is not None:
        machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), "before": before}
        told = {"machine": machine | {"after": busy()}, "figures": [figure._asdict() for figure in found]}
        asked.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
