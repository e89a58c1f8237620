"""Writes ``requirements.txt`` and ``tests/requirements.txt``: every package that is installed, to the version and the hash.

What is asked for stands in ``pyproject.toml``; uv finds what that needs in turn, for every system and Python at once
(https://docs.astral.sh/uv/pip/compile/#universal-resolution). What is locked already stays as it is as long as it fits.

    python -m tests.lock                          after a change of pyproject.toml
    python -m tests.lock --upgrade-package NAME   to move one package that others need
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN, TEST = ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt"
CUDA_HEADING = "# CUDA"
"""Where the part of requirements.txt begins that a CPU-only torch does without; the Makefile looks for it, too."""
RUN_HEADER = (
    "# Written by `make lock` from pyproject.toml, for every system and Python from 3.11 on; not to be edited.\n"
)
CUDA_HEADER = f"\n{CUDA_HEADING}, for the Linux builds of torch that use a GPU.\n"
TEST_HEADER = "# Written by `make lock`: tests, lint and types.\n-r ../requirements.txt\n\n"

_CUDA = re.compile(r"nvidia-(?!ml-py)|cuda-|triton")
_ENTRY = re.compile(
    r"^([A-Za-z0-9][\w.-]*)==(\S+)((?:.*\\\n)(?:[ ]{4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", re.MULTILINE
)

TORCH_CPU_ONLY = {
    "2.13.0": (
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",  # cp311 manylinux_2_28_aarch64
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",  # cp311 manylinux_2_28_x86_64
        "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",  # cp312 manylinux_2_28_aarch64
        "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",  # cp312 manylinux_2_28_x86_64
        "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d",  # cp313 manylinux_2_28_aarch64
        "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",  # cp313 manylinux_2_28_x86_64
    )
}
"""The builds ``+cpu`` that PyTorch publishes of a version, which share its number and not its hashes."""


def entries(text: str) -> dict[str, str]:
    """Return the entries of a requirements file with hashes, by name: the line and the lines of its hashes."""
    return {found.group(1).lower().replace("_", "-"): found.group(0).rstrip("\n") for found in _ENTRY.finditer(text)}


def resolve(*options: str, old: str) -> dict[str, str]:
    """Ask uv for everything that pyproject.toml needs.

    Args:
        options: more options of ``uv pip compile``.
        old: what is locked so far.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "locked.txt")
        output.write_text(old, encoding="utf-8")
        command = [
            *("uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11"),
            *("--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--output-file", str(output), *options),
        ]
        subprocess.run(command, cwd=ROOT, check=True)
        return entries(output.read_text(encoding="utf-8"))


def with_cpu_only(entry: str) -> str:
    """Add the hashes of the CPU-only builds to the entry of torch.

    Raises:
        KeyError: if they are not known for this version; they are to be looked up and added above.
    """
    known = TORCH_CPU_ONLY[entry.split()[0].removeprefix("torch==")]
    lines = [line.removesuffix(" \\") for line in entry.splitlines()]
    usual = [line for line in lines if not line.endswith(known)]  # uv keeps hashes that it finds locked
    return " \\\n".join([*usual, *(f"    --hash=sha256:{digest}" for digest in known)])


def main(arguments: list[str]) -> int:
    """Write both files."""
    old = "\n".join(path.read_text(encoding="utf-8") for path in (RUN, TEST) if path.exists())
    old = "\n".join(line for line in old.splitlines() if not line.startswith("-r "))
    run = resolve(*arguments, old=old)
    test = resolve(*arguments, "--extra", "test", old="\n".join([*run.values(), old]))
    if moved := [name for name in run if test[name] != run[name]]:
        print(f"The tests need other versions of {', '.join(moved)} than the studio; pin those in pyproject.toml.")
        return 1
    run["torch"] = with_cpu_only(run["torch"])
    common = [entry for name, entry in run.items() if not _CUDA.match(name)]
    cuda = [entry for name, entry in run.items() if _CUDA.match(name)]
    RUN.write_text(RUN_HEADER + "\n".join(common) + "\n" + CUDA_HEADER + "\n".join(cuda) + "\n", encoding="utf-8")
    only = [entry for name, entry in test.items() if name not in run]
    TEST.write_text(TEST_HEADER + "\n".join(only) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
