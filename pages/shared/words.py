"""Numbers with their units, and states in words, as the screen shows them."""

import re
from datetime import datetime

from pages.shared.language import say

STATE_COLOURS = {
    "queued": "gray",
    "starting": "blue",
    "training": "blue",
    "stopping": "orange",
    "stopped": "gray",
    "failed": "red",
    "done": "green",
    "interrupted": "orange",
}
STATE_ICONS = {
    "queued": ":material/hourglass_empty:",
    "starting": ":material/play_arrow:",
    "training": ":material/play_arrow:",
    "stopping": ":material/stop:",
    "stopped": ":material/stop_circle:",
    "failed": ":material/error:",
    "done": ":material/check_circle:",
    "interrupted": ":material/power_off:",
}

_ADDRESS = re.compile(r"https?://(?=[-.\w])|www(?=\.)|(?<=[-.\w+])@(?=[-\w]+\.)", re.IGNORECASE)
"""What GitHub's markdown takes for a link by itself, up to the place where a word joiner breaks it."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&])")


def escape(text: str) -> str:
    """Return text that Streamlit's markdown shows letter by letter: no links, no HTML, no directives, no formulas.

    Addresses get an invisible word joiner inside: they are made links after escapes have been read.
    """
    return _MARKDOWN.sub(r"\\\1", _ADDRESS.sub("\\g<0>\u2060", text))


def state_words(state: str, position: int | None) -> str:
    """Say a state; ``position`` is how many runs stand before a queued one, None where nobody knows."""
    if state == "queued" and position is not None:
        return say("Queued, next in turn") if position <= 0 else say("Queued behind {position}", position=position)
    return {
        "queued": say("Queued"),
        "starting": say("Starting"),
        "training": say("Training"),
        "stopping": say("Stopping"),
        "stopped": say("Stopped"),
        "failed": say("Failed"),
        "done": say("Done"),
        "interrupted": say("Interrupted"),
    }[state]


def scaled(value: float, unit: str) -> str:
    """Write a value with three significant digits and the SI prefix that fits: 0.00123, "g" -> "1.23 mg"."""
    if value == 0:
        return f"0 {unit}"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m")):
        if abs(value) >= factor:
            return f"{_digits(value / factor)} {prefix}{unit}"
    return f"{_digits(value / 1e-6)} µ{unit}"


def count(value: float) -> str:
    """Write a number of things: 237565452 -> "237.6 M"."""
    for factor, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= factor:
            return f"{value / factor:,.1f}{suffix}"
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Write bytes in decimal units."""
    return scaled(value, "B")


def emissions(kilograms: float) -> str:
    """Write CO2 equivalent."""
    return f"{scaled(1000 * kilograms, 'g')} CO₂e"


def energy(kwh: float) -> str:
    """Write energy in watt-hours."""
    return scaled(1000 * kwh, "Wh")


def percent(share: float, digits: int = 1) -> str:
    """Write a share of 0 to 1 as per cent."""
    return f"{100 * share:.{digits}f} %"


def accuracy(share: float | None) -> str:
    """Write an accuracy, or that there is none to be had."""
    return say("not measured: random weights") if share is None else percent(share, 2)


def milliseconds(value: float) -> str:
    """Write milliseconds with three significant digits."""
    return f"{_digits(value)} ms"


def duration(seconds: float) -> str:
    """Write seconds as a person would: "42 s", "3 min 5 s", "2 h 10 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def moment(unix_seconds: float | None) -> str:
    """Write a moment in local time."""
    return "" if unix_seconds is None else datetime.fromtimestamp(unix_seconds).strftime("%d %b %Y, %H:%M")


def _digits(value: float) -> str:
    size_of = abs(value)
    if size_of >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size_of >= 10 else f"{value:.2f}"
