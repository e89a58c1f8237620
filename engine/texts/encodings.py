"""Bytes to text: UTF-8 and UTF-16, with a byte order mark or without one."""

import codecs
import unicodedata
from pathlib import Path

from engine.errors import DataError

_SAMPLE_BYTES = 100_000
_MOSTLY = 5
"""How many times as many NULs one byte of the pairs must hold as the other, for bytes to be taken for UTF-16."""
_PLAIN_CONTROLS = "\t\n\r\f\v\x1a\x1c\x1d\x1e\x1f\x85"
"""Control characters that text files hold: blanks, separators, and the end mark of old files."""

_EAST_ASIAN = "\u2e80"
"""The first of the scripts of East Asia."""


def decode(path: Path, data: bytes) -> str:
    """Decode UTF-8 or UTF-16, each with or without a byte order mark.

    UTF-16 without a mark is recognised by its NULs: every ASCII character (line ends, separators, digits) has one, always in
    the same byte of its pair; text in UTF-8 has none.

    Raises:
        DataError: naming the first wrong byte and its line.
    """
    encoding = _encoding(data)
    utf16 = encoding.startswith("utf-16")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # The codec counts from behind a UTF-8 mark, which it has taken off.
        offset = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        line = data.count(b"\n", 0, offset) + 1
        found = f"byte 0x{data[offset]:02X} at offset {offset} (line {line})" if offset < len(data) else "its end"
        name = "UTF-16" if utf16 else "UTF-8"
        raise DataError(
            f"{path} is not {name} text: {found} does not fit. Save the file as UTF-8.", path, line
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path} looks like binary data: line {line} holds a NUL character. Save the table as text in UTF-8.",
            path,
            line,
        )
    return text


def _encoding(data: bytes) -> str:
    """Return the codec for the bytes."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = data[:_SAMPLE_BYTES]
    first, second = sample[::2].count(0), sample[1::2].count(0)  # of each pair of bytes
    guess = "utf-16-le" if second > _MOSTLY * first else "utf-16-be" if first > _MOSTLY * second else None
    return guess if guess is not None and _is_text(sample, guess) else "utf-8-sig"


def _is_text(sample: bytes, encoding: str) -> bool:
    """Tell whether the bytes, decoded so, are characters that texts are made of.

    Two bytes of ASCII, read as one character, are mostly an East Asian one: where those prevail, the guess is wrong.
    """
    decoded = codecs.getincrementaldecoder(encoding)("replace").decode(sample)  # a pair cut in two at its end waits
    if 2 * sum(character >= _EAST_ASIAN for character in decoded) > len(decoded):
        return False
    return not any(
        character == "\ufffd" or (unicodedata.category(character) in ("Cc", "Cn") and character not in _PLAIN_CONTROLS)
        for character in decoded
    )
