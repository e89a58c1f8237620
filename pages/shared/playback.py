"""Where a replay is: its place in the recording, its speed, and whether it plays; as text for the address too."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

SPEEDS = (1, 4, 16, 60)
"""How many seconds of the recording pass in one second."""
USUAL = 4


@dataclass(frozen=True)
class Playback:
    """One replay; it moves with the clock alone, so that drawing a page early, late or twice does not shift it."""

    length_s: float
    """Of the recording."""
    speed: int = USUAL
    at_s: float = 0.0
    """Place in the recording: at `since` while it plays, now while it rests."""
    since: float | None = None
    """Unix seconds at which it began to play from `at_s`; None while it rests."""

    def place(self, now: float) -> float:
        """Return the seconds of the recording that have passed by ``now`` (unix seconds)."""
        passed = 0.0 if self.since is None else self.speed * max(0.0, now - self.since)
        return min(self.length_s, self.at_s + passed)

    def plays(self, now: float) -> bool:
        """Tell whether it moves: it was set going and has not come to its end."""
        return self.since is not None and self.place(now) < self.length_s

    def play(self, now: float) -> "Playback":
        """Go on, from the beginning where the end is shown."""
        place = self.place(now)
        return replace(self, at_s=0.0 if place >= self.length_s else place, since=now)

    def pause(self, now: float) -> "Playback":
        """Rest at the place that is shown."""
        return replace(self, at_s=self.place(now), since=None)

    def move(self, place: float, now: float) -> "Playback":
        """Go to another place and go on as before: playing or resting."""
        place = min(self.length_s, max(0.0, place))
        return replace(self, at_s=place, since=now if self.plays(now) else None)

    def change_speed(self, speed: int, now: float) -> "Playback":
        """Go on at another speed from the place that is shown."""
        return replace(self.move(self.place(now), now), speed=speed)

    def address(self) -> dict[str, str]:
        """Return what stands in the address: the speed, and the resting place or the moment at which the beginning would be."""
        if self.since is None:
            return {"speed": str(self.speed), "at": f"{self.at_s:.0f}"}
        return {"speed": str(self.speed), "since": f"{self.since - self.at_s / self.speed:.1f}"}


def from_address(length_s: float, address: Mapping[str, str], now: float) -> Playback:
    """Return the replay that an address asks for.

    A reload of the page finds the place again. A link that is opened when its replay would long be over plays from the beginning,
    and so does one that names no place. What is no number, or no speed there is, counts as not said.
    """
    asked = address.get("speed", "")
    speed = int(asked) if asked in {str(each) for each in SPEEDS} else USUAL
    at, since = _number(address.get("at")), _number(address.get("since"))
    if at is not None:
        return Playback(length_s, speed, min(length_s, max(0.0, at)))
    if since is not None and 0 <= now - since < length_s / speed:
        return Playback(length_s, speed, 0.0, since)
    return Playback(length_s, speed, 0.0, now)


def _number(text: str | None) -> float | None:
    """Read a number of digits and at most one point."""
    if text is None or len(text) > 20 or not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    return float(text)
