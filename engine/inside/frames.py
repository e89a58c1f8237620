"""What pruning did inside a run: events -> frames of a replay, pure and without torch.

A frame is the state of every layer of the base at one step. The first frame is the base itself; the others come from `MaskMoved`,
and where a run has none (it is older, or only layers went) from `Compacted`. Sets of units are whole numbers whose bit j stands
for unit j, so that comparing two frames costs next to nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.events import Compacted, Event, MaskMoved, ModelLoaded
from engine.records import LayerMask, ScoreCounts
from engine.runs.retelling import settled

KINDS = ("run_started", "model_loaded", "mask_moved", "compacted")
"""The events that a replay is made of."""


@dataclass(frozen=True)
class LayerState:
    """One layer of the base at one step; sets of units are bits."""

    layer: int
    """From 0, in the base's numbering."""
    neurons: int
    heads: int
    kept_neurons: int
    kept_heads: int
    dropped: bool = False
    """Whether the whole layer is gone."""
    scores: ScoreCounts | None = None
    head_scores: tuple[float, ...] = ()
    kept_weights: float | None = None

    @property
    def width(self) -> int:
        """FFN neurons that stay."""
        return self.kept_neurons.bit_count()

    @property
    def heads_left(self) -> int:
        """Attention heads that stay."""
        return self.kept_heads.bit_count()


@dataclass(frozen=True)
class Frame:
    """All layers of the base at one step."""

    step: int
    layers: tuple[LayerState, ...]
    density: float = 1.0
    """Share of what the method prunes that stays."""
    compacted: bool = False
    """Whether the model was made smaller to this."""


def replay(events: Iterable[Event]) -> list[Frame]:
    """Return the frames of a run in order, the base first; none before its model is loaded."""
    told = settled(events)
    loaded = next((event for event in reversed(told) if isinstance(event, ModelLoaded)), None)
    if loaded is None:
        return []
    pictures = {event.step: event for event in told if isinstance(event, MaskMoved)}
    compactions = {_moment(event, loaded): event for event in told if isinstance(event, Compacted)}
    base = _base(loaded, pictures.values())
    named = {step for step, event in compactions.items() if event.kept_neurons}
    frames = [Frame(0, tuple(base.values()))]
    for step in sorted(named | pictures.keys()):
        if step in pictures:
            event = pictures[step]
            states = {mask.layer: _state(mask) for mask in event.layers}
            density = event.density
        else:
            states = _outcome(base, compactions[step])
            density = _share(states.values(), base.values())
        layers = tuple(states.get(number, _dropped(state)) for number, state in base.items())
        frames.append(Frame(step, layers, density, compacted=step in compactions))
    return frames


def _moment(event: Compacted, loaded: ModelLoaded) -> int:
    """Return the step that a compaction comes before; the oldest runs do not say, and did it at the end."""
    return loaded.total_steps if event.step is None else event.step


def _base(loaded: ModelLoaded, pictures: Iterable[MaskMoved]) -> dict[int, LayerState]:
    """Return every layer of the base, whole; its real size where a picture tells it, else that of the model's config."""
    sizes = dict.fromkeys(range(loaded.layers), (loaded.intermediate_size, loaded.heads))
    for event in pictures:
        sizes |= {mask.layer: (mask.neurons, mask.heads) for mask in event.layers}
    return {
        number: LayerState(number, neurons, heads, (1 << neurons) - 1, (1 << heads) - 1)
        for number, (neurons, heads) in sorted(sizes.items())
    }


def _state(mask: LayerMask) -> LayerState:
    return LayerState(
        mask.layer,
        mask.neurons,
        mask.heads,
        unpack(mask.kept_neurons),
        unpack(mask.kept_heads),
        scores=mask.scores,
        head_scores=mask.head_scores,
        kept_weights=mask.kept_weights,
    )


def _outcome(base: dict[int, LayerState], event: Compacted) -> dict[int, LayerState]:
    """Return the layers that a compaction left, by their numbers in the base."""
    heads = event.kept_heads or ((),) * len(event.kept_layers)
    return {
        number: LayerState(number, base[number].neurons, base[number].heads, _bits(neurons), _bits(some_heads))
        for number, neurons, some_heads in zip(event.kept_layers, event.kept_neurons, heads, strict=True)
    }


def _dropped(state: LayerState) -> LayerState:
    return LayerState(state.layer, state.neurons, state.heads, 0, 0, dropped=True)


def _share(states: Iterable[LayerState], base: Iterable[LayerState]) -> float:
    """Return the share of the base's FFN neurons that stay."""
    return sum(state.width for state in states) / max(1, sum(state.neurons for state in base))


def _bits(units: Iterable[int]) -> int:
    return sum(1 << unit for unit in units)


def unpack(text: str) -> int:
    """Read a set of units as `records.LayerMask` stores it; bit j stands for unit j."""
    return int.from_bytes(bytes.fromhex(text), "little")


def frame_at(frames: Sequence[Frame], step: int) -> int:
    """Return the place of the last frame at or before a step."""
    return max(place for place, each in enumerate(frames) if each.step <= max(0, step))


def moves(before: Frame, after: Frame) -> tuple[int, int]:
    """Count the FFN neurons that went and that came back between two frames; layers dropped whole are not counted."""
    moved = [layer_moves(old, new) for old, new in zip(before.layers, after.layers, strict=True)]
    return sum(went for went, _ in moved), sum(came for _, came in moved)


def layer_moves(old: LayerState, new: LayerState) -> tuple[int, int]:
    """Count the FFN neurons of one layer that went and that came back; none where it is gone as a whole."""
    if new.dropped:
        return 0, 0
    return (old.kept_neurons & ~new.kept_neurons).bit_count(), (new.kept_neurons & ~old.kept_neurons).bit_count()


def totals(frame: Frame) -> tuple[int, int, int, int, int]:
    """Return, over all layers: neurons left, neurons of the base, heads left, heads of the base, layers left."""
    layers = frame.layers
    return (
        sum(each.width for each in layers),
        sum(each.neurons for each in layers),
        sum(each.heads_left for each in layers),
        sum(each.heads for each in layers),
        sum(not each.dropped for each in layers),
    )
