"""The events of one run as far as they have been read; each refresh reads only what is new."""

from collections.abc import Iterable
from typing import TypeVar

from engine.events import Event, RunStarted
from engine.runs.retelling import told_again
from engine.store import RunStore

E = TypeVar("E")


class Timeline:
    """Events of one run by class, in order, without what a resumed run has done twice."""

    def __init__(self, run_id: str, *, recorded: bool = False) -> None:
        self.run_id = run_id
        self.recorded = recorded
        """Whether the events come from a recording and not from a run of this studio."""
        self._after = 0
        self._events: dict[type[object], list[Event]] = {}

    def refresh(self, store: RunStore) -> None:
        """Read the events since the last call."""
        for stored in store.events(self.run_id, after=self._after):
            self._after = stored.seq
            self.take([stored.event])

    def take(self, events: Iterable[Event]) -> None:
        """Add events that come after those there are."""
        for event in events:
            if isinstance(event, RunStarted):
                for kind, told in self._events.items():
                    self._events[kind] = [old for old in told if not told_again(old, event)]
            self._events.setdefault(type(event), []).append(event)

    def all(self, kind: type[E]) -> list[E]:
        """Return every event of a class, oldest first."""
        return [event for event in self._events.get(kind, []) if isinstance(event, kind)]

    def last(self, kind: type[E]) -> E | None:
        """Return the newest event of a class."""
        found = self._events.get(kind)
        newest = found[-1] if found else None
        return newest if isinstance(newest, kind) else None
