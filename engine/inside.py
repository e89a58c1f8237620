"""What pruning did inside a run: events -> frames of a replay, pure and without torch.

A frame is the state of every layer of the base at one step. The first frame is the base itself; the others come from `MaskMoved`,
and where a run has none (it is older, or only layers went) from `Compacted`. Sets of units are whole numbers whose bit j stands
for unit j, so that comparing two frames costs next to nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.events import Compacted, Event, LayerMask, MaskMoved, ModelLoaded, RunStarted, ScoreCounts

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


@dataclass
class _Told:
    """What a run has said of its mask so far, by step, without what a resumed run says twice."""

    loaded: ModelLoaded | None = None
    pictures: dict[int, MaskMoved] = field(default_factory=dict)
    compactions: dict[int, Compacted] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, RunStarted):
            self._forget_from(event.resumed_at_step)
        elif isinstance(event, ModelLoaded):
            self.loaded = event
        elif isinstance(event, MaskMoved):
            self.pictures[event.step] = event
        elif isinstance(event, Compacted):
            last = self.loaded.total_steps if self.loaded else 0
            self.compactions[last if event.step is None else event.step] = event

    def _forget_from(self, step: int | None) -> None:
        """Drop what is about to be done again; None where the run starts over."""
        if step is None:
            self.pictures.clear()
            self.compactions.clear()
            return
        # both are dated by the step they come before; what went before the first step is not said again
        self.pictures = {at: event for at, event in self.pictures.items() if at < step}
        self.compactions = {at: event for at, event in self.compactions.items() if at < max(1, step)}


def replay(events: Iterable[Event]) -> list[Frame]:
    """Return the frames of a run in order, the base first; none before its model is loaded."""
    told = _Told()
    for event in events:
        told.hear(event)
    if told.loaded is None:
        return []
    base = _base(told.loaded, told.pictures.values())
    named = {step for step, event in told.compactions.items() if event.kept_neurons}
    frames = [Frame(0, tuple(base.values()))]
    for step in sorted(named | told.pictures.keys()):
        if step in told.pictures:
            event = told.pictures[step]
            states = {mask.layer: _state(mask) for mask in event.layers}
            density = event.density
        else:
            states = _outcome(base, told.compactions[step])
            density = _share(states.values(), base.values())
        layers = tuple(states.get(number, _dropped(state)) for number, state in base.items())
        frames.append(Frame(step, layers, density, compacted=step in told.compactions))
    return frames


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
    """Read a set of units as `events.LayerMask` stores it; bit j stands for unit j."""
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
