"""What MuRIL becomes at 75 % with the vocabulary of one dataset: counted from shapes, without its weights.

MuRIL's 197,285 tokens (Khanuja et al. 2021) are of 17 languages, and their embedding is 151.5 M of its 237.6 M parameters, which
pruning layers does not touch. How many of the tokens one language's texts use depends on the tokenizer. Where MuRIL's own is
not at hand, a stand-in of its size is learnt from the names of languages, countries and currencies in some 160 languages (the
translations that pycountry brings along) and from the texts themselves, whose words it therefore knows whole: that keeps more
tokens than a tokenizer that has to put rare words together, not fewer.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pycountry
from transformers import BertTokenizer, PreTrainedTokenizerBase

from engine.errors import CheckpointError
from engine.files.bases import download_tokenizer, find_base
from engine.methods.vocabulary import trim_vocabulary
from engine.model import load_tokenizer
from engine.shapes import MURIL
from engine.texts.tokenization import learn_tokenizer

DENSITY = 0.25
LIMIT = 66_000_000
"""Parameters that the smaller model may have at most."""


def vocabulary_report(tokenizer_source: str | None, texts: Sequence[str], home: Path) -> dict[str, Any]:
    """Count the parameters of MuRIL's shape at 75 % with the tokens that these texts use.

    Args:
        tokenizer_source: a folder with a tokenizer, a run, or a hub id such as the paper's model; None learns a stand-in.
        texts: a training split.
        home: where what comes from the hub is cached.

    Returns:
        Plain JSON values: tokens before and after, parameters before, pruned, and pruned with fewer tokens.

    Raises:
        CheckpointError: if there is no such tokenizer.
        ConfigError: if it is not a WordPiece.
    """
    if tokenizer_source is None:
        tokenizer: PreTrainedTokenizerBase = learn_stand_in(texts)
    else:
        tokenizer = _find_tokenizer(tokenizer_source, home)
    smaller = trim_vocabulary(tokenizer, texts)
    kept = len(smaller.kept)
    pruned = MURIL.pruned(DENSITY)
    parameters = replace(pruned, vocabulary=kept).parameters
    return {
        "tokenizer": tokenizer_source or "stand-in of MuRIL's size",
        "stand_in": tokenizer_source is None,
        "tokens": len(tokenizer),
        "texts": len(texts),
        "tokens_kept": kept,
        "of_these_single_characters": sum(
            len(token.removeprefix("##")) == 1 for token in smaller.tokenizer.get_vocab()
        ),
        "density": DENSITY,
        "parameters": MURIL.parameters,
        "parameters_pruned": pruned.parameters,
        "parameters_pruned_and_trimmed": parameters,
        "limit": LIMIT,
        "within_limit": parameters <= LIMIT,
    }


def learn_stand_in(texts: Sequence[str], tokens: int = MURIL.vocabulary) -> BertTokenizer:
    """Learn a WordPiece tokenizer of MuRIL's size from many languages, or of as many tokens as the text yields."""
    files = sorted((Path(pycountry.__file__).parent / "locales").rglob("*.mo"))
    several = dict.fromkeys(line for file in files for line in read_translations(file.read_bytes()))
    return learn_tokenizer([*several, *texts], tokens, MURIL.positions, min_frequency=1)


def read_translations(catalogue: bytes) -> Iterator[str]:
    """Yield the translated texts of a compiled gettext catalogue (.mo), without its header.

    Source of the layout: https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html
    """
    order = "<" if catalogue[:4] == b"\xde\x12\x04\x95" else ">"
    count, originals, translations = struct.unpack_from(f"{order}3I", catalogue, 8)
    for number in range(count):
        length, _ = struct.unpack_from(f"{order}2I", catalogue, originals + 8 * number)
        if length:  # the header is the translation of nothing
            size, start = struct.unpack_from(f"{order}2I", catalogue, translations + 8 * number)
            yield from catalogue[start : start + size].decode("utf-8").split("\0")


def _find_tokenizer(source: str, home: Path) -> PreTrainedTokenizerBase:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        base = find_base(source, home)
        if base.kind == "random":
            raise CheckpointError(
                f"{source} has no tokenizer of its own. Name a folder, a run or a hub id, or none at all."
            )
        folder = base.folder if base.folder is not None else download_tokenizer(base.name, home)
    return load_tokenizer(folder)
