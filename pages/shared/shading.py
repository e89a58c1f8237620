"""A text whose words are shaded by what they contributed, as HTML. The only place where what a person wrote becomes markup.

The tints are laid half transparent over the page, so they suit light and dark alike; teal and orange stay apart for eyes that
do not tell red from green, and the line below a word is solid or dotted as well.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from engine.charts import ACCENT, ORANGE
from pages.shared.language import say

if TYPE_CHECKING:
    from engine.measuring.saliency import Piece

STRONGEST = 0.55
"""Opacity of the tint behind the word that counts most; text on it keeps a contrast of 4.5:1 in both themes."""
FAINTEST = 0.04
"""Share of the strongest contribution below which a word has no tint."""
LONGEST = 120
"""Characters that are shown of a word: what is longer is none."""
_BOX = "line-height:2.1;overflow-wrap:anywhere;max-height:15rem;overflow-y:auto;unicode-bidi:isolate"


def shaded(pieces: Sequence["Piece"], topic: str) -> str:
    """Return the HTML of a text: each word that was read with its tint and, on hover, its exact contribution.

    Args:
        pieces: as `engine.measuring.saliency.explain` gives them.
        topic: name of the label that they contributed to.
    """
    strongest = max((abs(piece.contribution) for piece in pieces), default=0.0)
    parts = [_span(piece, strongest, topic) for piece in pieces if piece.read]
    rest = " …" if any(not piece.read for piece in pieces) else ""
    # a box that may scroll can be reached with the keyboard
    return f'<div dir="auto" tabindex="0" style="{_BOX}">{"".join(parts)}{rest}</div>'


def legend(pieces: Sequence["Piece"]) -> str:
    """Return the HTML that says what the tints mean, with the strongest contribution of this text."""
    strongest = max((100 * abs(piece.contribution) for piece in pieces), default=0.0)
    told = say("strongest here: {points} points of probability", points=f"{strongest:.1f}")
    speaks = f'<span style="{_style(ACCENT, STRONGEST, "solid")}">{escape(say("speaks for it"))}</span>'
    against = f'<span style="{_style(ORANGE, STRONGEST, "dotted")}">{escape(say("speaks against it"))}</span>'
    return f'<div style="font-size:0.86rem;line-height:1.9">{speaks} &nbsp; {against} &nbsp; {escape(told)}</div>'


def _span(piece: "Piece", strongest: float, topic: str) -> str:
    """Return one word as HTML; spaces as they are."""
    if piece.text.isspace():
        return escape(piece.text)
    shown = piece.text if len(piece.text) <= LONGEST else piece.text[:LONGEST] + "…"
    value = f"{100 * piece.contribution:+.2f}".replace("-", "\u2212")
    title = say("{points} points of probability for {topic}", points=value, topic=topic)
    share = abs(piece.contribution) / strongest if strongest else 0.0
    style = ""
    if share >= FAINTEST:
        colour, line = (ACCENT, "solid") if piece.contribution > 0 else (ORANGE, "dotted")
        style = f' style="{_style(colour, STRONGEST * share, line)}"'
    return f'<span title="{escape(title)}"{style}>{escape(shown)}</span>'


def _style(colour: str, opacity: float, line: str) -> str:
    """Return the CSS of a tint: its background and the line below."""
    alpha = f"{round(255 * opacity):02x}"
    return f"background-color:{colour}{alpha};border-bottom:2px {line} {colour};border-radius:3px;padding:1px 0"
