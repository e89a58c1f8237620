"""What gets installed is written down, each file by its hash, and is what pyproject.toml asks for."""

import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version

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
