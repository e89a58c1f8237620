"""What a graphics card can do at most, as its maker says, so that a measured rate can be a share of it.

Nothing here was measured by this project. The figures were held against copies of NVIDIA's data sheets (H100 and H200, A100,
L40S, L4, T4, V100 in both forms), as NVIDIA's own pages, which `Peak.source` names, could not be read at that time.
"""

import re
from typing import NamedTuple


class Peak(NamedTuple):
    """Floating-point operations per second of dense products, without structured sparsity."""

    name: str
    """A pattern for the whole of what the driver calls the card."""
    fp32: float
    """Without TF32, which torch does not use unless it is told to."""
    fp16: float
    bf16: float | None
    """None where the tensor cores do not know this format."""
    source: str
    """NVIDIA's page of the card."""


_DATA_CENTRE = "https://www.nvidia.com/en-us/data-center"
PEAKS = (
    Peak(r"NVIDIA H200", 67e12, 989.5e12, 989.5e12, f"{_DATA_CENTRE}/h200/"),
    Peak(r"NVIDIA H100 80GB HBM3", 67e12, 989.5e12, 989.5e12, f"{_DATA_CENTRE}/h100/"),
    Peak(r"NVIDIA H100 PCIe", 51e12, 756.5e12, 756.5e12, f"{_DATA_CENTRE}/h100/"),
    Peak(r"(NVIDIA )?A100-(SXM4|PCIE)-[48]0GB|NVIDIA A100 80GB PCIe", 19.5e12, 312e12, 312e12, f"{_DATA_CENTRE}/a100/"),
    Peak(r"NVIDIA L40S", 91.6e12, 362.05e12, 362.05e12, f"{_DATA_CENTRE}/l40s/"),
    Peak(r"NVIDIA L4", 30.3e12, 121e12, 121e12, f"{_DATA_CENTRE}/l4/"),
    Peak(r"(NVIDIA )?Tesla T4", 8.1e12, 65e12, None, f"{_DATA_CENTRE}/tesla-t4/"),
    Peak(r"(NVIDIA )?Tesla V100-SXM2-\d+GB", 15.7e12, 125e12, None, f"{_DATA_CENTRE}/v100/"),
    Peak(r"(NVIDIA )?Tesla V100-PCIE-\d+GB", 14e12, 112e12, None, f"{_DATA_CENTRE}/v100/"),
)
"""Published figures; where NVIDIA prints those with sparsity only, half of them."""


def find_peak(device_name: str) -> Peak | None:
    """Return the card's peak, or None for one that is not in the table."""
    return next((peak for peak in PEAKS if re.fullmatch(peak.name, device_name)), None)


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return the peak in FLOP/s for ``fp32``, ``fp16`` or ``bf16``, or None where it is not known."""
    peak = find_peak(device_name)
    return None if peak is None else {"fp32": peak.fp32, "fp16": peak.fp16, "bf16": peak.bf16}[precision]
