"""A smaller vocabulary: the tokens that the training texts use, every single character and the special tokens.

Source of the idea: Abdaoui et al. 2020, "Load What You Need" (https://arxiv.org/abs/2010.05609). In a multilingual BERT the
embedding of tokens is most of the model, and texts of one language use a few thousand of them.

WordPiece (Schuster & Nakajima 2012) takes at every place of a word the longest piece it has, so leaving out pieces that it never
takes changes nothing. A word that cannot be covered becomes [UNK] as a whole; the pieces taken before it fails are kept too, for
without them the word could be split otherwise and become known. Validation and test texts have no say in what is kept.
"""

import json
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoTokenizer, BertForSequenceClassification, PreTrainedTokenizerBase

from engine.errors import ConfigError
from engine.evaluation import predict_logits
from engine.loop.preparation import Prepared
from engine.records import VocabularyReport

_CHUNK = 1000
"""Texts that are tokenized at once."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer with fewer tokens, in the order that the base's tokenizer has them."""

    tokenizer: PreTrainedTokenizerBase
    kept: tuple[int, ...]
    """The base's token ids that stay, ascending; the place of each is its new id."""

    def from_base(self, ids: Sequence[Sequence[int]]) -> list[list[int]]:
        """Turn the base's token ids into the new ones; all of them must have stayed."""
        place = {old: new for new, old in enumerate(self.kept)}
        return [[place[token] for token in text] for text in ids]

    def to_base(self, ids: Sequence[Sequence[int]]) -> list[list[int]]:
        """Turn new token ids into the base's."""
        return [[self.kept[token] for token in text] for text in ids]


def trim_vocabulary(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Vocabulary:
    """Leave out the tokens that neither these texts nor single characters nor special tokens need.

    Args:
        tokenizer: of WordPiece kind; it stays as it is. Lower-casing, accents and added tokens are kept as they are.
        texts: the training texts, which the smaller tokenizer splits into the same pieces, at their whole length.

    Raises:
        ConfigError: if the tokenizer is not a WordPiece, or would split the texts otherwise.
    """
    description = _describe(tokenizer)
    prefix = description["model"]["continuing_subword_prefix"]
    pieces: dict[str, int] = description["model"]["vocab"]
    coded = list(_encode_whole(tokenizer, texts))
    wanted = {token for text in coded for token in text}
    wanted.update(_pieces_before_failure(tokenizer, description["model"], texts, coded))
    wanted.update(number for piece, number in pieces.items() if len(piece.removeprefix(prefix)) == 1)
    wanted.update(tokenizer.added_tokens_decoder, tokenizer.all_special_ids, tokenizer("", "")["input_ids"])
    known = tokenizer.get_vocab()
    kept = tuple(sorted(wanted.intersection(known.values())))
    place = {old: new for new, old in enumerate(kept)}
    smaller = _rebuild(tokenizer, place)
    expected = {token: place[number] for token, number in known.items() if number in place}
    if smaller.get_vocab() != expected:
        raise _refusal(
            f"the tokenizer ({type(tokenizer).__name__}) numbers its {len(known):,} tokens in a way of its own"
        )
    for text, old, new in zip(texts, coded, _encode_whole(smaller, texts), strict=True):
        if [place[token] for token in old] != list(new):
            raise _refusal(f"the tokenizer would split a training text ({text[:60]!r}) otherwise with fewer tokens")
    return Vocabulary(smaller, kept)


def trim_embedding(model: BertForSequenceClassification, kept: Sequence[int]) -> None:
    """Keep these rows of the token embedding, in place, and tell the config; rows that no token uses go as well."""
    table, place = model.bert.embeddings.word_embeddings, {row: new for new, row in enumerate(kept)}
    rows = torch.tensor(kept, dtype=torch.long, device=table.weight.device)
    table.weight = torch.nn.Parameter(
        table.weight.detach().index_select(0, rows), requires_grad=table.weight.requires_grad
    )
    table.num_embeddings = model.config.vocab_size = len(kept)
    table.padding_idx = None if table.padding_idx is None else place.get(table.padding_idx)
    for name, value in list(vars(model.config).items()):
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(model.config, name, place.get(value))


def measure_vocabulary(prepared: Prepared, vocabulary: Vocabulary, validation_ids: list[list[int]]) -> VocabularyReport:
    """Say what a smaller vocabulary saves, and what it does to validation texts before any training.

    Only texts that are split otherwise than before can get another label, so only they are asked about twice.

    Args:
        validation_ids: the validation texts as the smaller tokenizer encodes them.
    """
    table = prepared.dense.bert.embeddings.word_embeddings.weight
    before, after = prepared.validation_ids, vocabulary.to_base(validation_ids)
    changed = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    agreement = None
    if prepared.head != "new":  # a head of random weights gives no labels worth comparing
        answers = [
            predict_logits(prepared.dense, [ids[number] for number in changed], prepared.pad_id).argmax(dim=-1)
            for ids in (before, after)
        ]
        agreement = 1.0 - int((answers[0] != answers[1]).sum()) / max(1, len(before))
    saved = (table.shape[0] - len(vocabulary.kept)) * table.shape[1]
    return VocabularyReport(
        tokens_before=len(prepared.tokenizer),
        tokens_after=len(vocabulary.kept),
        rows_before=table.shape[0],
        parameters_saved=saved,
        bytes_saved=saved * table.element_size(),
        unknown_before=_unknown_share(prepared.tokenizer, before),
        unknown_after=_unknown_share(prepared.tokenizer, after),
        texts_changed=len(changed) / max(1, len(before)),
        label_agreement=agreement,
    )


def _unknown_share(tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]]) -> float:
    """Return the share of unknown tokens among those that are not special."""
    unknown, special = tokenizer.unk_token_id, set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    tokens = [token for text in ids for token in text if token not in special]
    return tokens.count(unknown) / max(1, len(tokens))


def _describe(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return what a tokenizer's ``tokenizer.json`` would say.

    Raises:
        ConfigError: if it is not a WordPiece.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    description = json.loads(backend.to_str()) if backend is not None else {}
    kind = description.get("model", {}).get("type", type(tokenizer).__name__)
    if kind != "WordPiece":
        raise _refusal(
            f"the base model's tokenizer is of kind {kind}, and only WordPiece splits alike with fewer tokens"
        )
    return dict(description)


def _refusal(reason: str) -> ConfigError:
    return ConfigError(
        {
            "pruning.vocabulary": f"Vocabulary is training, but {reason}. "
            "Set it to full, or choose a BERT with a WordPiece tokenizer."
        }
    )


def _encode_whole(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Iterator["array[int]"]:
    """Yield the token ids of each text at its whole length, without special tokens around it."""
    for start in range(0, len(texts), _CHUNK):
        chunk = list(texts[start : start + _CHUNK])
        found = tokenizer(chunk, add_special_tokens=False, truncation=False, return_attention_mask=False)["input_ids"]
        yield from (array("i", ids) for ids in found)


def _pieces_before_failure(
    tokenizer: PreTrainedTokenizerBase, model: dict[str, Any], texts: Sequence[str], coded: Sequence[Collection[int]]
) -> set[int]:
    """Return the pieces that are taken of words before the rest of them turns out to be unknown."""
    unknown = tokenizer.unk_token_id
    words: set[str] = set()
    for text, ids in zip(texts, coded, strict=True):
        if unknown in ids:
            found = tokenizer(text, add_special_tokens=False, truncation=False, return_offsets_mapping=True)
            spans = zip(found["input_ids"], found["offset_mapping"], strict=True)
            words.update(text[first:last] for token, (first, last) in spans if token == unknown)
    taken: set[int] = set()
    for word in words:
        for part in _normal_words(tokenizer, word):
            if len(part) <= model["max_input_chars_per_word"]:  # of longer ones not a piece is looked up
                taken.update(_take(part, model["vocab"], model["continuing_subword_prefix"]))
    return taken


def _normal_words(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    backend = tokenizer.backend_tokenizer
    normal = backend.normalizer.normalize_str(text) if backend.normalizer is not None else text
    if backend.pre_tokenizer is None:
        return [normal]
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal)]


def _take(word: str, pieces: dict[str, int], prefix: str) -> Iterator[int]:
    """Yield the longest piece at every place of a word, until there is none."""
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            number = pieces.get((prefix if start else "") + word[start:end])
            if number is not None:
                yield number
                start = end
                break
        else:
            return


def _rebuild(tokenizer: PreTrainedTokenizerBase, place: dict[int, int]) -> PreTrainedTokenizerBase:
    """Make the tokenizer anew with the tokens of these ids under their new ones, as from a folder it was saved in."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        path = Path(folder) / "tokenizer.json"
        description = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = description["model"]["vocab"]
        description["model"]["vocab"] = {
            piece: place[number] for piece, number in vocabulary.items() if number in place
        }
        for token in description["added_tokens"]:
            token["id"] = place[token["id"]]
        _renumber(description.get("post_processor"), place)
        path.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _renumber(processor: dict[str, Any] | None, place: dict[int, int]) -> None:
    """Give the special tokens that are put around a text their new ids, in place."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        _renumber(part, place)
    if isinstance(processor.get("special_tokens"), dict):  # TemplateProcessing
        for token in processor["special_tokens"].values():
            token["ids"] = [place[number] for number in token["ids"]]
    for name in ("cls", "sep"):  # BertProcessing
        if name in processor:
            processor[name] = [processor[name][0], place[processor[name][1]]]
