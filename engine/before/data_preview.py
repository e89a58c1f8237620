"""What a run would learn from, before it is started: the dataset as it is understood, and how long its texts are.

Token lengths come from the base's ``tokenizer.json`` and the `tokenizers` package alone, so that nobody waits for torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.config import DataConfig
from engine.data import load_data
from engine.errors import CheckpointError
from engine.files.bases import find_base
from engine.records import DataReport

SAMPLE = 20_000
"""Training texts whose length is looked at; of more, every so many-th one."""
_CHUNK = 1000


@dataclass(frozen=True)
class TextLengths:
    """How long training texts are."""

    unit: Literal["tokens", "words"]
    """Tokens with the special ones included, or words where the base's tokenizer is not known before the run."""
    p50: int
    p95: int
    longest: int
    characters_p50: int
    max_length: int
    """Tokens that training cuts a text to."""
    over: int
    """Texts longer than that. Of words this is the least number: a word is one token or more."""
    texts: int
    looked_at: int
    """Of ``texts``; the other figures are scaled or estimated where it is less."""

    @property
    def sampled(self) -> bool:
        """Whether not all texts were looked at."""
        return self.looked_at < self.texts


@dataclass(frozen=True)
class DataPreview:
    """A dataset as a run would see it."""

    report: DataReport
    lengths: TextLengths
    why_words: str = ""
    """Why lengths are in words, where they are."""

    @property
    def lengths_said(self) -> str:
        """How long the training texts are, and how many of them training will cut, as sentences."""
        return describe_lengths(self.lengths)


def preview_data(config: DataConfig, seed: int, base: str, home: Path) -> DataPreview:
    """Read, clean and split a dataset as a run would, and measure its training texts.

    Args:
        config: the dataset, and the maximum length of its texts in tokens.
        seed: that of the run, which decides what is held out.
        base: the base model, whose tokenizer counts.
        home: folder under which downloads and runs are kept.

    Raises:
        DataError: if the dataset cannot be read, understood, downloaded or split.
    """
    data = load_data(config, seed, home)
    texts, most = data.train.texts, config.max_length
    try:
        count = token_counter(base, home)
    except CheckpointError as error:
        return DataPreview(data.report, measure_lengths(texts, most, None), str(error))
    return DataPreview(data.report, measure_lengths(texts, most, count))


def token_counter(base: str, home: Path) -> Callable[[Sequence[str]], list[int]]:
    """Return what counts the tokens of texts as a base's tokenizer makes them, special tokens included.

    Raises:
        CheckpointError: if the base or its tokenizer is not on this machine, or cannot be read; says which.
    """
    from tokenizers import Tokenizer

    found = find_base(base, home)
    if found.kind == "random":
        raise CheckpointError(f"{base} learns its tokenizer from the training texts when the run begins.")
    if found.folder is None:
        raise CheckpointError(f"The tokenizer of {base} comes with its download when the run begins.")
    path = found.folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{found.folder} has no tokenizer.json; its older vocab.txt is read when the run begins.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the package raises nothing narrower
        raise CheckpointError(f"{path} cannot be read ({str(error)[:200]}). Save the tokenizer again.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        counts: list[int] = []
        for start in range(0, len(texts), _CHUNK):  # the encodings of all texts at once could fill the memory
            counts += map(len, tokenizer.encode_batch_fast(list(texts[start : start + _CHUNK])))
        return counts

    return count


def measure_lengths(
    texts: Sequence[str], max_length: int, count: Callable[[Sequence[str]], list[int]] | None
) -> TextLengths:
    """Measure texts (at least one) in tokens, or in words where there is no ``count``."""
    step = -(-len(texts) // SAMPLE)
    sample = texts[::step]
    if count is not None:
        lengths, room = count(sample), max_length
    else:
        lengths, room = [len(text.split()) for text in sample], max_length - 2  # [CLS] and [SEP] take two places
    over = sum(length > room for length in lengths)
    ranked = sorted(lengths)
    return TextLengths(
        unit="words" if count is None else "tokens",
        p50=_quantile(ranked, 0.5),
        p95=_quantile(ranked, 0.95),
        longest=ranked[-1],
        characters_p50=_quantile(sorted(map(len, sample)), 0.5),
        max_length=max_length,
        over=round(over * len(texts) / len(sample)),
        texts=len(texts),
        looked_at=len(sample),
    )


def _quantile(ranked: Sequence[int], share: float) -> int:
    """Return the smallest value that at least this share of all do not exceed."""
    return ranked[max(0, -(-int(share * 1000) * len(ranked) // 1000) - 1)]


def describe_lengths(lengths: TextLengths) -> str:
    """Say how long the training texts are, and how many of them training will cut."""
    about = "about " if lengths.sampled else ""
    facts = (
        f"Training texts: half have at most {lengths.p50:,} {lengths.unit} ({lengths.characters_p50:,} characters), "
        f"95 % at most {lengths.p95:,}, the longest {lengths.longest:,}."
    )
    least = "at least " if lengths.unit == "words" else ""
    share = 100 * lengths.over / lengths.texts
    cut = (
        f"{about}{least}{lengths.over:,} of {lengths.texts:,} ({share:.1f} %) are longer than the maximum length of "
        f"{lengths.max_length:,} tokens; training reads only their beginning."
        if lengths.over
        else f"None {'of those looked at ' if lengths.sampled else ''}is longer than the maximum length of "
        f"{lengths.max_length:,} tokens{' by its words alone' if least else ''}."
    )
    seen = f" Measured on {lengths.looked_at:,} of {lengths.texts:,} texts." if lengths.sampled else ""
    return f"{facts} {cut[0].upper()}{cut[1:]}{seen}"
