"""Pictures of the mask while it moves, and when they are taken.

A mask may move at every step; some forty pictures of it show how it settles. They are taken right after the mask was chosen,
before anything is made smaller, so that mask and scores belong together. Taking one reads and changes nothing, and which steps
are taken follows from the settings alone: a run that was stopped takes the same ones as a run that was not.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from torch import Tensor

from engine.compaction import Kept
from engine.events import MaskMoved
from engine.pruning import Evidence
from engine.records import LayerMask, ScoreCounts

PICTURES = 40
"""Most pictures of one run."""
BINS = 32
"""Bins that the scores of a layer are counted in."""


def picture_steps(turns: Collection[int]) -> frozenset[int]:
    """Choose the steps to take pictures at, the first and the last among them.

    Args:
        turns: all steps before which the mask is chosen anew, ascending.

    Returns:
        At most one less than `PICTURES`; the first step that really masks something is the one to come on top.
    """
    steps, most = list(turns), PICTURES - 1
    if len(steps) <= most:
        return frozenset(steps)
    return frozenset(steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most))


def take_picture(step: int, density: float, base: Kept, before: Kept, after: Kept, evidence: Evidence) -> MaskMoved:
    """Describe the mask that was just chosen.

    Args:
        step: optimizer steps done.
        density: share of what the method prunes that stays.
        base: everything there was at first.
        before: what there was of the base when the mask was chosen.
        after: what stays of it.
        evidence: what the mask was chosen by, a layer of ``before`` each.
    """
    layers = []
    for place, (was, stays) in enumerate(zip(before, after, strict=True)):
        all_of_it = base[was.number]
        scores = evidence.neuron_scores[place] if evidence.neuron_scores else None
        heads = evidence.head_scores[place].tolist() if evidence.head_scores else []
        layers.append(
            LayerMask(
                layer=was.number,
                neurons=len(all_of_it.neurons),
                heads=len(all_of_it.heads),
                kept_neurons=pack(stays.neurons, len(all_of_it.neurons)),
                kept_heads=pack(stays.heads, len(all_of_it.heads)),
                scores=None if scores is None else _count(scores, was.neurons, stays.neurons),
                head_scores=tuple(map(_short, heads)),
                kept_weights=_short(evidence.kept_weights[place]) if evidence.kept_weights else None,
            )
        )
    return MaskMoved(step=step, density=density, layers=tuple(layers))


def pack(units: Iterable[int], size: int) -> str:
    """Write a set of units out of ``size`` as `records.LayerMask` stores it."""
    bits = np.zeros(size, dtype=np.uint8)
    bits[list(units)] = 1
    return np.packbits(bits, bitorder="little").tobytes().hex()


def _count(scores: Tensor, units: Sequence[int], kept: Sequence[int]) -> ScoreCounts | None:
    """Count scores of shape (units,) in bins; None where there are none, or not all are numbers."""
    values = scores.detach().float().cpu().numpy().astype(np.float64)
    if not values.size or not np.isfinite(values).all():
        return None
    stays = np.isin(np.asarray(units), np.asarray(kept, dtype=int))
    low, high = float(values.min()), float(values.max())
    some_go = stays.any() and not stays.all()
    return ScoreCounts(
        low=_short(low),
        high=_short(high),
        kept=_bins(values[stays], low, high),
        gone=_bins(values[~stays], low, high),
        cut_off=_short(float(values[stays].min())) if some_go else None,
    )


def _bins(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", low: float, high: float) -> tuple[int, ...]:
    """Count values between two edges; where the edges are equal, all lie in the middle."""
    if high <= low:
        counts = [0] * BINS
        counts[BINS // 2] = len(values)
        return tuple(counts)
    return tuple(np.histogram(values, BINS, (low, high))[0].tolist())


def _short(value: float) -> float:
    """Round to six significant digits: more would only lengthen what is stored."""
    return float(f"{value:.6g}")
