"""A WordPiece vocabulary learnt from the training texts, and the encoding of texts as token ids.

WordPiece: Schuster & Nakajima 2012, as used by BERT (Devlin et al. 2018). The trainer of `tokenizers` breaks ties by the order
in which a hash map yields characters, so two trainings on the same texts differ by a few tokens; fixing the ids of all single
characters beforehand makes it reproducible, and leaves no character of the training texts unknown.
"""

from collections.abc import Sequence
from math import ceil

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, PreTrainedTokenizerBase

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn_tokenizer(
    texts: Sequence[str], vocabulary: int = 4000, model_max_length: int = 512, min_frequency: int = 2
) -> BertTokenizer:
    """Learn a WordPiece tokenizer; the same texts give the same tokenizer.

    Vowel signs and nuktas are kept (``strip_accents`` would drop them and ruin Devanagari); Latin is lower-cased.

    Args:
        min_frequency: how often two pieces must stand side by side to become one.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL[1]))
    normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=True
    )
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    characters: set[str] = set()
    for text in texts:
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)):
            characters.update(word)
    alphabet = sorted(characters)
    fixed = [*SPECIAL, *alphabet, *(f"##{character}" for character in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(vocabulary, len(fixed)), min_frequency=min_frequency, special_tokens=fixed, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return BertTokenizer(
        vocab=tokenizer.get_vocab(),
        do_lower_case=True,
        strip_accents=False,
        tokenize_chinese_chars=False,
        model_max_length=model_max_length,
    )


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Turn texts into token ids, special tokens included, cut to ``max_length``."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length, return_attention_mask=False)
    return [list(ids) for ids in encoded["input_ids"]]


def window_starts(tokens: int, size: int, overlap: int, most: int) -> list[int]:
    """Return where the windows over a text begin, so that all are full and every token is in one.

    They are as few as cover the text with at least ``overlap`` tokens in common between neighbours, and evenly spread, so
    that the last one ends with the text and none is a short rest, which would be judged by a few words.

    Args:
        tokens: tokens of the text, without special ones.
        size: tokens of a window, without special ones; a text of no more is one window.
        overlap: below ``size``.
        most: of a text that needs more windows, only the beginning is covered by this many.
    """
    tokens = min(tokens, longest_covered(size, overlap, most))
    count = 1 + ceil(max(0, tokens - size) / (size - overlap))
    return [number * (tokens - size) // (count - 1) for number in range(count)] if count > 1 else [0]


def longest_covered(size: int, overlap: int, most: int) -> int:
    """Return how many tokens ``most`` windows cover."""
    return size + (most - 1) * (size - overlap)
