"""Values inside values under dotted names, such as ``pruning.final_density``: for tables, listings and comparisons."""

from collections.abc import Mapping
from typing import Any


def dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that hold no others in their order, each under its dotted name; an empty one inside leaves nothing."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            leaves |= {f"{name}.{rest}": leaf for rest, leaf in dotted(value).items()}
        else:
            leaves[name] = value
    return leaves
