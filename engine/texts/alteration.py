"""New texts out of old ones, for a small model that has few: words dropped, texts mixed, words cut into other subwords.

The label of an altered text is the teacher's to say, so an alteration may change what a text is about. Every function takes its
chance from a seeded `random.Random`, so the same seed gives the same texts.

Source: subword regularisation by MaxMatch-Dropout, Hiraoka 2022 (https://aclanthology.org/2022.coling-1.430), section 3.
"""

import random
from collections.abc import Sequence

from transformers import BertTokenizer

MAX_TOKENS = 80
WORD_DROPOUT = 0.4
"""Upper bound of the share of words dropped from a text; each text draws its own."""
INSERTION = 0.5
"""Share of the texts that get up to eight words of another text put in."""
MIXTURE = 0.3
"""Share of the texts that are replaced by passages of up to five words out of one to four texts."""
SUBWORD_DROPOUT = 0.15
"""Probability of passing over the longest matching subword."""


def alter(texts: Sequence[str], chance: random.Random) -> list[str]:
    """Return each text with words dropped and words of another put in, or a mixture of passages in its place."""
    return [_mixture(texts, chance) if chance.random() < MIXTURE else _altered(text, texts, chance) for text in texts]


def _mixture(texts: Sequence[str], chance: random.Random) -> str:
    words: list[str] = []
    for _ in range(chance.randint(1, 4)):
        words += _passage(chance.choice(texts).split(), chance.randint(1, 5), chance)
    return " ".join(words)


def _altered(text: str, texts: Sequence[str], chance: random.Random) -> str:
    words = text.split()
    if len(words) > 25:
        words = _passage(words, chance.randint(6, 40), chance)
    share = chance.uniform(0, WORD_DROPOUT)
    words = [word for word in words if chance.random() > share] or words
    if chance.random() < INSERTION:
        other = chance.choice(texts).split()
        place = chance.randint(0, len(words))
        words = words[:place] + _passage(other, chance.randint(1, 8), chance) + words[place:]
    return " ".join(words)


def _passage(words: list[str], length: int, chance: random.Random) -> list[str]:
    start = chance.randint(0, max(0, len(words) - length))
    return words[start : start + length]


def encode_loosely(tokenizer: BertTokenizer, texts: Sequence[str], chance: random.Random) -> list[list[int]]:
    """Turn texts into token ids, passing over the longest match now and then (MaxMatch-Dropout)."""
    vocabulary = tokenizer.get_vocab()
    backend = tokenizer.backend_tokenizer
    encoded = []
    for text in texts:
        ids = [tokenizer.cls_token_id]
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text)):
            ids += _pieces(word, vocabulary, tokenizer.unk_token_id, chance)
        encoded.append([*ids[: MAX_TOKENS - 1], tokenizer.sep_token_id])
    return encoded


def _pieces(word: str, vocabulary: dict[str, int], unknown: int, chance: random.Random) -> list[int]:
    ids, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = vocabulary.get(word[start:end] if start == 0 else f"##{word[start:end]}")
            if piece is not None and (end == start + 1 or chance.random() >= SUBWORD_DROPOUT):
                ids.append(piece)
                start = end
                break
        else:
            return [unknown]
    return ids
