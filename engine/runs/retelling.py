"""What a resumed run tells twice: all that lies behind the saved step it goes on from is done, and told, once more."""

from collections.abc import Iterable

from engine.events import Compacted, Evaluated, Event, MaskMoved, RunStarted, StepLogged


def settled(events: Iterable[Event]) -> list[Event]:
    """Return a run's events, oldest first, without those that a resumed run has told again or is about to."""
    kept: list[Event] = []
    for event in events:
        if isinstance(event, RunStarted):
            kept = [old for old in kept if not told_again(old, event)]
        kept.append(event)
    return kept


def told_again(event: Event, start: RunStarted) -> bool:
    """Tell whether a run that begins, or begins again, with ``start`` will say once more what it said in ``event``."""
    step = start.resumed_at_step  # None where it starts over
    match event:
        case StepLogged() | Evaluated():
            return event.step > (step or 0)
        case MaskMoved():  # dated by the step it comes before
            return step is None or event.step >= step
        case Compacted():  # likewise, but what went before the first step is said only by a run that starts over
            return step is None or event.step is None or event.step >= max(1, step)
        case _:
            return False
