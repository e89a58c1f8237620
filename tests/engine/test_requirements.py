"""What gets installed is written down, each file by its hash, and is what pyproject.toml asks for."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.home import REPOSITORY
from tests import lock

RUN, TEST = (path.read_text(encoding="utf-8") for path in (lock.RUN, lock.TEST))


def project() -> dict[str, list[str]]:
    """Return what pyproject.toml asks for: ``run`` and ``test``."""
    found = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"run": found["dependencies"], "test": found["optional-dependencies"]["test"]}


def pins(text: str) -> dict[str, str]:
    """Return version by name, as the locked entries have them."""
    return {name: entry.split()[0].partition("==")[2] for name, entry in lock.entries(text).items()}


@pytest.mark.parametrize(("part", "text"), [("run", RUN), ("test", TEST)])
def test_what_is_asked_for_is_what_is_locked(part: str, text: str) -> None:
    for line in project()[part]:
        asked = Requirement(line)
        assert str(asked.specifier) == f"=={pins(text)[canonicalize_name(asked.name)]}", line


@pytest.mark.parametrize("text", [RUN, TEST])
def test_every_package_has_hashes_and_no_line_says_where_it_comes_from(text: str) -> None:
    rest = text
    for name, entry in lock.entries(text).items():
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)) >= 1, name
        rest = rest.replace(entry, "", 1)
    left = [line for line in rest.splitlines() if line and not line.startswith("#")]
    assert left in ([], ["-r ../requirements.txt"]), "no entry without hashes, no address, no option"
    assert "://" not in text


def test_no_package_is_locked_twice() -> None:
    assert not lock.entries(RUN).keys() & lock.entries(TEST).keys()


def test_the_last_part_is_cuda_and_nothing_else() -> None:
    common, heading, cuda = RUN.partition(f"\n{lock.CUDA_HEADING}")
    assert heading
    assert {"torch", "nvidia-ml-py"} <= lock.entries(common).keys()
    assert {"triton", "nvidia-cudnn-cu13", "cuda-toolkit"} <= lock.entries(cuda).keys()
    assert all("sys_platform == 'linux'" in entry for entry in lock.entries(cuda).values())
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert f"sed '/^{lock.CUDA_HEADING}/" in makefile


def test_torch_may_be_a_cpu_only_build() -> None:
    entry = lock.entries(RUN)["torch"]
    known = lock.TORCH_CPU_ONLY[pins(RUN)["torch"]]
    assert all(digest in entry for digest in known)
    assert len(re.findall("--hash", entry)) > len(known), "the usual builds as well"


def test_the_makefile_installs_by_hash_alone() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"pip install(.*)", makefile) == [
        " --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all:"
    ]
    assert makefile.count("pip check") == 2, "for nothing looks for what a package needs"


def test_this_environment_is_the_locked_one() -> None:
    for name, pinned in pins(RUN).items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            assert ";" in lock.entries(RUN)[name].splitlines()[0], f"{name} is for every system"
            continue
        assert installed.partition("+")[0] == pinned, name


def test_entries_are_found_with_markers_and_without() -> None:
    digest = "a" * 64
    text = (
        f"a-b==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{digest} \\\n    --hash=sha256:{digest}\n"
        f"C_d==2 \\\n    --hash=sha256:{digest}\nbare==3\n"
    )
    found = lock.entries(text)
    assert list(found) == ["a-b", "c-d"]
    assert found["a-b"].count("--hash") == 2
    once = lock.with_cpu_only(f"torch==2.13.0 \\\n    --hash=sha256:{digest}")
    assert once.count("--hash") == 7
    assert lock.with_cpu_only(once) == once
    with pytest.raises(KeyError):
        lock.with_cpu_only(f"torch==9.9 \\\n    --hash=sha256:{digest}")


def test_the_makefile_asks_for_a_cpu_only_torch_first() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    [command] = re.findall(r"\t(sed -n '/\^torch==.*) > \.venv/torch\.txt", makefile)
    shown = subprocess.run(
        command.replace("$$", "$"), shell=True, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    pinned = pins(RUN)["torch"]
    assert shown.startswith(f"torch=={pinned}+cpu \\\n")
    assert all(digest in shown for digest in lock.TORCH_CPU_ONLY[pinned])
    assert shown.count("==") == 1, "and for nothing else"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the Makefile, what it installs, and a `python` that notes what it is asked and does nothing."""
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    _script(
        tmp_path / "python",
        'echo "$@" >> asked.txt',
        f'case "$1" in -c) exec {sys.executable} -c "import sys; sys.version_info = (3, $MINOR, 2); $2";; esac',
        'case "$1" in --version) echo "Python 3.$MINOR.2";; *) mkdir -p .venv/bin && cp ready .venv/bin/python;; esac',
    )
    _script(tmp_path / "ready", "exit 0")
    return tmp_path


def _script(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines, "")), encoding="utf-8")
    path.chmod(0o755)


def install(checkout: Path, minor: int = 11) -> tuple[int, str]:
    """Let make install with a Python 3.``minor``; return its exit status and what it says."""
    environment = {"PATH": os.environ["PATH"], "MINOR": str(minor)}
    command = ["make", "PYTHON=./python", ".venv/run.stamp"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("minor", "wanted"), [(10, False), (11, True), (12, True), (13, True), (14, False)])
def test_only_pythons_that_wheels_are_pinned_for_are_taken(checkout: Path, minor: int, wanted: bool) -> None:
    status, said = install(checkout, minor)
    refusal = f"Python 3.11 to 3.13 is needed; Python 3.{minor}.2 was found. Try: make PYTHON=python3.13"
    assert (status == 0, refusal in said, (checkout / ".venv").exists()) == (wanted, not wanted, wanted), said


@pytest.mark.parametrize("left", ["nothing", "no pip", "whole"])
def test_an_environment_that_was_left_without_pip_is_made_anew(checkout: Path, left: str) -> None:
    if left != "nothing":
        _script(checkout / ".venv" / "bin" / "python", "exit 0" if left == "whole" else 'test "$2" != pip')
    status, said = install(checkout)
    assert status == 0, said
    asked = (checkout / "asked.txt").read_text(encoding="utf-8")
    assert ("-m venv --clear .venv" in asked) == (left != "whole")
