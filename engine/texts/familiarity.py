"""How far a text is written like those a model was trained on: the letter sequences of its words.

A word of no language still gets a topic from a model that has never seen anything like it. What is kept of the training texts is
which sequences of five characters occur in them, in 64 KB however many there are: a Bloom filter with one hash (Bloom 1970,
https://doi.org/10.1145/362686.362692). A sequence that occurs is always found; of others, few are taken for known, so a text may
pass for more familiar than it is and never for less.
"""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import CheckpointError
from engine.texts.languages import not_exceeded

FILE = "familiar.bin"
LENGTH = 5
"""Characters of a sequence; a word counts with a space before and behind it."""
BITS = 2**19


class Familiarity:
    """Which letter sequences occur in the training texts."""

    def __init__(self, bits: NDArray[np.uint8]) -> None:
        """Take over the filter, shape (`BITS` / 8,)."""
        self._bits = bits

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Familiarity":
        """Learn from training texts, normalised."""
        places = np.fromiter({place for text in texts for place in _places(text)}, dtype=np.int64)
        known = np.zeros(BITS, dtype=np.uint8)
        known[places] = 1
        return cls(np.packbits(known))

    def strange(self, text: str) -> float:
        """Return the share of a text's sequences that occur in no training text, 0 to 1; 0 for a text without words."""
        places = np.fromiter(_places(text), dtype=np.int64)
        if not places.size:
            return 0.0
        return 1.0 - float(((self._bits[places >> 3] >> (7 - (places & 7))) & 1).mean())

    def strange_within(self, texts: Sequence[str]) -> float:
        """Return the share of strange sequences that all but a few (`languages.WITHIN`) of these texts do not exceed."""
        return not_exceeded(map(self.strange, texts))

    def save(self, folder: Path) -> None:
        """Write it into a model's folder."""
        (folder / FILE).write_bytes(self._bits.tobytes())


def load_familiarity(folder: Path) -> Familiarity | None:
    """Read it from a model's folder; None where the model has none.

    Raises:
        CheckpointError: if the file is there and is not one of ours.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}). Make it readable, or delete it.") from error
    if len(content) != BITS // 8:
        raise CheckpointError(
            f"{path} has {len(content):,} bytes; it must have {BITS // 8:,}. Delete it; the model then does not know what is "
            "unfamiliar to it."
        )
    return Familiarity(np.frombuffer(content, dtype=np.uint8))


def _places(text: str) -> Iterator[int]:
    """Yield the filter's bit of each sequence of a text."""
    for word in text.split():
        spaced = f" {word} "
        for start in range(len(spaced) - LENGTH + 1):
            yield zlib.crc32(spaced[start : start + LENGTH].encode("utf-8", "surrogatepass")) % BITS
