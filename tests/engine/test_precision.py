"""Which number format a run computes in, and why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import precision
from engine.config import Precision
from engine.errors import ConfigError
from engine.precision import choose_precision, native_bf16

X86 = "processor\t: 0\nmodel name\t: Some CPU\nvmx flags\t: vnmi amx_bf16\nflags\t\t: fpu sse2 avx512f{}\n\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd{}\n"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    native_bf16.cache_clear()
    yield
    native_bf16.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, path: Path, text: str | None) -> None:
    """Let the module find this text as /proc/cpuinfo, or no such file."""
    asked: list[str] = []

    def fake(name: str) -> Path:
        asked.append(name)
        assert name == "/proc/cpuinfo"
        return path / "cpuinfo"

    if text is not None:
        (path / "cpuinfo").write_text(text)
    monkeypatch.setattr(precision, "Path", fake)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (X86.format(" avx512_bf16"), "AVX-512 BF16"),
        (X86.format(" avx512_bf16 amx_bf16 amx_tile"), "AMX"),
        (X86.format(""), None),
        (X86.format(" avx512_bf16x"), None),
        (ARM.format(" bf16"), "Arm BF16"),
        (ARM.format(""), None),
        ("", None),
        ("no colon in this\n", None),
        (None, None),
    ],
)
def test_auto_on_a_cpu_follows_its_instructions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, name: str | None
) -> None:
    pretend(monkeypatch, tmp_path, text)
    assert native_bf16() == name
    found, reason = choose_precision("auto", "cpu")
    assert found == ("fp32" if name is None else "bf16")
    assert reason.startswith("no GPU, and this CPU")
    assert (name or "no bf16 instructions") in reason


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda-0"])
def test_auto_on_a_gpu_is_fp16_as_in_the_paper(device: str) -> None:
    assert choose_precision("auto", device) == ("fp16", "a GPU: mixed precision with loss scaling, as in the paper")


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_is_done(asked: Precision, device: str) -> None:
    assert choose_precision(asked, device) == (asked, "as asked")


def test_fp16_needs_a_gpu() -> None:
    assert choose_precision("fp16", "cuda:0") == ("fp16", "as asked")
    with pytest.raises(ConfigError) as caught:
        choose_precision("fp16", "cpu")
    assert caught.value.fields == {
        "training.precision": "Precision is fp16, which needs a GPU, and this run is on a CPU. Try auto."
    }


def test_the_file_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, tmp_path, ARM.format(" bf16"))
    assert native_bf16() == "Arm BF16"
    (tmp_path / "cpuinfo").unlink()
    assert native_bf16() == "Arm BF16"
