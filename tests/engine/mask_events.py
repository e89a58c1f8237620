"""Events of a mask that moves, made by hand; nothing is trained."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from engine.events import Compacted, MaskMoved
from engine.records import LayerMask, ScoreCounts


def bits(units: Collection[int], size: int) -> str:
    """Write a set of units out of ``size`` as events store it."""
    return sum(1 << unit for unit in units).to_bytes(-(-size // 8), "little").hex()


def layer_mask(
    layer: int,
    neurons: Collection[int],
    heads: Collection[int] = (0, 1),
    *,
    of: tuple[int, int] = (16, 2),
    kept_weights: float | None = None,
) -> LayerMask:
    """Make a layer of ``of`` neurons and heads of which these stay; a neuron's number is its score."""
    width, all_heads = of
    gone = sorted(set(range(width)) - set(neurons))
    scores = ScoreCounts(
        low=0.0,
        high=float(width),
        kept=_quarters(neurons, width),
        gone=_quarters(gone, width),
        cut_off=float(min(neurons)) if neurons and gone else None,
    )
    return LayerMask(
        layer=layer,
        neurons=width,
        heads=all_heads,
        kept_neurons=bits(neurons, width),
        kept_heads=bits(heads, all_heads),
        scores=None if kept_weights is not None else scores,
        head_scores=tuple(0.5 * head for head in range(all_heads)),
        kept_weights=kept_weights,
    )


def _quarters(units: Collection[int], width: int) -> tuple[int, ...]:
    return tuple(sum(4 * unit // width == place for unit in units) for place in range(4))


def moved(step: int, layers: Mapping[int, Collection[int]], of: tuple[int, int] = (16, 2)) -> MaskMoved:
    """Make a picture: which neurons of which layers stay; their heads all do."""
    masks = tuple(layer_mask(number, units, range(of[1]), of=of) for number, units in layers.items())
    kept = sum(len(units) for units in layers.values())
    return MaskMoved(step=step, density=kept / max(1, of[0] * len(layers)), layers=masks)


def compacted(
    step: int | None, layers: Mapping[int, Sequence[int]], *, named: bool = True, heads: int = 2
) -> Compacted:
    """Make the event of becoming smaller to these neurons of these layers."""
    return Compacted(
        step=step,
        kept_layers=tuple(layers),
        intermediate_sizes=tuple(len(units) for units in layers.values()),
        kept_neurons=tuple(tuple(units) for units in layers.values()) if named else (),
        kept_heads=tuple(tuple(range(heads)) for _ in layers) if named else (),
        max_logit_difference=0.0,
    )


def history(
    total: int, upto: int, *, layers: int = 4, of: tuple[int, int] = (1024, 4), density: float = 0.5, pictures: int = 12
) -> Iterator[MaskMoved | Compacted]:
    """Yield a mask whose density falls in a line between 10 and 70 % of the steps, with a few neurons that come back."""
    width, first, last = of[0], int(0.1 * total), int(0.7 * total)
    for number in range(pictures):
        step = first + round((last - first) * number / (pictures - 1))
        if step > upto:
            return
        gone = round(width * (1 - density) * number / (pictures - 1))
        start = 8 * (number % 2) if gone and number < pictures - 1 else 0
        stays = {layer: [unit for unit in range(width) if not start <= unit < start + gone] for layer in range(layers)}
        yield moved(step, stays, of)
        if number == pictures - 1:
            yield compacted(step, stays, heads=of[1])
