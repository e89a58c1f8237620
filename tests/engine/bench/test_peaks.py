"""What cards can do, by the name that the driver gives them."""

import pytest

from engine.bench.peaks import PEAKS, find_peak, peak_flops


@pytest.mark.parametrize(
    ("name", "fp16"),
    [
        ("NVIDIA H200", 989.5e12),
        ("NVIDIA H100 80GB HBM3", 989.5e12),
        ("NVIDIA H100 PCIe", 756.5e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("Tesla V100-SXM2-16GB", 125e12),
        ("Tesla T4", 65e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362.05e12),
    ],
)
def test_known_cards(name: str, fp16: float) -> None:
    assert peak_flops(name, "fp16") == fp16
    peak = find_peak(name)
    assert peak is not None
    assert peak_flops(name, "fp32") == peak.fp32 < fp16


def test_unknown_cards_and_formats_have_no_peak() -> None:
    for name in ("NVIDIA A10G", "NVIDIA H200 NVL", "AMD EPYC, 1 thread", ""):
        assert find_peak(name) is None
        assert peak_flops(name, "fp16") is None
    assert peak_flops("Tesla T4", "bf16") is None


def test_every_figure_has_a_source() -> None:
    assert all(peak.source.startswith("https://www.nvidia.com/") for peak in PEAKS)
