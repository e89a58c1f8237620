"""Texts of other people on a terminal: what would steer it is shown instead of obeyed."""

import re

# Control characters but for line ends and tabs (escape sequences begin with one of them), and the marks that turn the
# direction of writing (https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing). Joiners, which Marathi needs, stay.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Write control characters as ``\\x1b`` and the like."""
    return _STEERING.sub(lambda found: _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
