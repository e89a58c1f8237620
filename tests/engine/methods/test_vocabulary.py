"""Fewer tokens, and still the same pieces: the smaller tokenizer and the smaller embedding."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.errors import ConfigError
from engine.evaluation import collate, predict_logits
from engine.methods.vocabulary import trim_embedding, trim_vocabulary
from engine.model import random_model
from engine.shapes import Shape
from engine.texts.tokenization import encode
from tests.engine.tiny_bert import wordpiece

SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]")
LETTERS = "aक्"


def pieces_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]))


# --- which tokens stay -------------------------------------------------------------------------------------------------------

words = st.text(alphabet=LETTERS, min_size=1, max_size=3)
any_piece = st.builds(lambda inside, word: ("##" if inside else "") + word, st.booleans(), words)
any_texts = st.lists(st.text(alphabet=LETTERS + " d", max_size=20), max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(any_piece, unique=True, max_size=40), any_texts)
def test_training_texts_are_split_into_the_same_pieces(pieces: list[str], texts: list[str]) -> None:
    tokenizer = wordpiece(pieces)
    smaller = trim_vocabulary(tokenizer, texts)
    for text in texts:
        assert pieces_of(smaller.tokenizer, text) == pieces_of(tokenizer, text)
    ids = encode(tokenizer, texts, 64)
    assert smaller.from_base(ids) == encode(smaller.tokenizer, texts, 64)
    assert smaller.to_base(smaller.from_base(ids)) == ids


@settings(max_examples=60, deadline=None)
@given(st.lists(any_piece, unique=True, max_size=40), any_texts)
def test_what_stays_is_used_or_a_single_character_or_special(pieces: list[str], texts: list[str]) -> None:
    tokenizer = wordpiece(pieces)
    left = trim_vocabulary(tokenizer, texts).tokenizer.get_vocab()
    used = {piece for text in texts for piece in pieces_of(tokenizer, text)}
    single = {piece for piece in pieces if len(piece.removeprefix("##")) == 1}
    assert left.keys() >= used | single | set(SPECIAL)
    known = all("[UNK]" not in pieces_of(tokenizer, text) for text in texts)
    assert left.keys() == used | single | set(SPECIAL) or not known


def test_an_unknown_word_stays_unknown() -> None:
    tokenizer = wordpiece(["a", "ab", "##bx", "cd"])
    assert pieces_of(tokenizer, "abx") == ["[CLS]", "[UNK]", "[SEP]"], "after ab there is no ##x"
    smaller = trim_vocabulary(tokenizer, ["abx", "a ##bx abx"])
    assert pieces_of(smaller.tokenizer, "abx") == ["[CLS]", "[UNK]", "[SEP]"], "without ab it would be a, ##bx"
    assert "ab" in smaller.tokenizer.get_vocab()
    assert "cd" not in smaller.tokenizer.get_vocab()
    inside = wordpiece(["a", "##b", "##bc", "##cx"])
    smaller = trim_vocabulary(inside, ["abcx", "acx"])
    assert pieces_of(smaller.tokenizer, "abcx acx") == ["[CLS]", "[UNK]", "a", "##cx", "[SEP]"], "not a, ##b, ##cx"


def test_a_word_too_long_to_be_looked_up_keeps_nothing() -> None:
    tokenizer = wordpiece(["aa", "##aa", "a"])
    assert set(trim_vocabulary(tokenizer, ["a" * 101]).tokenizer.get_vocab()) == {*SPECIAL, "a"}
    assert "aa" in trim_vocabulary(tokenizer, ["a" * 100]).tokenizer.get_vocab()


def test_the_order_of_tokens_is_kept_without_gaps() -> None:
    tokenizer = wordpiece(["zz", "b", "##b", "yy", "a", "ab", "##ab"])
    smaller = trim_vocabulary(tokenizer, ["ab zz"])
    left = sorted(smaller.tokenizer.get_vocab(), key=smaller.tokenizer.get_vocab().__getitem__)
    assert left == ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "zz", "b", "##b", "a", "ab", "[PAD]"]
    assert smaller.kept == tuple(tokenizer.convert_tokens_to_ids(left))
    assert smaller.tokenizer.pad_token_id == 9
    assert tokenizer.pad_token_id == 13, "the base's tokenizer stays as it is"


def test_tokens_are_looked_for_in_the_whole_text() -> None:
    tokenizer = wordpiece(["ab", "ba"])
    encode(tokenizer, ["ab"], 4)  # leaves its truncation set
    assert "ba" in trim_vocabulary(tokenizer, ["ab " * 40 + "ba"]).tokenizer.get_vocab()


# --- kinds of tokenizers -----------------------------------------------------------------------------------------------------

PIECES = ("ab", "##b", "É", "é", "e", "##é", "##e", "i", "पाणी", "पाण", "##ी", "पाणि", "junk", "##unk")
TEXTS = ("ab É é e पाणी", "AB पाणी", "ab <x> foo", "[MASK] ab")


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("strip", [False, True, None])
def test_lower_casing_and_accents_are_treated_as_before(tmp_path: Path, lower: bool, strip: bool | None) -> None:
    tokenizer = wordpiece(PIECES, do_lower_case=lower, strip_accents=strip, model_max_length=17)
    smaller = trim_vocabulary(tokenizer, TEXTS).tokenizer
    smaller.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert pieces_of(smaller, text) == pieces_of(again, text) == pieces_of(tokenizer, text)
    assert again.get_vocab() == smaller.get_vocab()
    assert again.model_max_length == smaller.model_max_length == 17
    assert "É" in smaller.get_vocab(), "single characters stay even where lower-casing hides them"


def test_a_folder_with_nothing_but_a_word_list(tmp_path: Path) -> None:
    tokens = ["[PAD]", "junk", *SPECIAL[:4], *PIECES[:6], "पाणी"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    smaller = trim_vocabulary(tokenizer, ["ab पाणी", "É"])
    assert pieces_of(smaller.tokenizer, "ab पाणी É") == ["[CLS]", "ab", "पाणी", "É", "[SEP]"]
    assert "junk" not in smaller.tokenizer.get_vocab()
    assert smaller.tokenizer("ab")["input_ids"] == [2, 5, 3], "[CLS] and [SEP] have moved up by one"


def test_added_tokens_stay_and_move_along(tmp_path: Path) -> None:
    tokenizer = wordpiece(PIECES)
    tokenizer.add_tokens(["foo"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<x>"]})
    smaller = trim_vocabulary(tokenizer, TEXTS).tokenizer
    smaller.save_pretrained(tmp_path)
    for some in (smaller, AutoTokenizer.from_pretrained(tmp_path)):
        assert some.convert_tokens_to_ids(["foo", "<x>"]) == [len(some) - 2, len(some) - 1]
        assert pieces_of(some, "ab foo<x>") == ["[CLS]", "ab", "foo", "<x>", "[SEP]"]
        assert "<x>" in some.all_special_tokens


def test_a_folder_that_transformers_4_saved(tmp_path: Path) -> None:
    """As models on the hub are: special tokens by their ids in tokenizer_config.json, and files beside it that repeat them."""
    tokens = ["[PAD]", "junk", *SPECIAL[:4], *PIECES[:6], "पाणी"]
    saved = BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}, do_lower_case=False)
    saved.add_special_tokens({"additional_special_tokens": ["<x>"]})
    saved.save_pretrained(tmp_path)
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    special = {"[PAD]": 0, "[UNK]": 2, "[CLS]": 3, "[SEP]": 4, "[MASK]": 5, "<x>": len(tokens)}
    named = {f"{token.strip('[]').lower()}_token": token for token in special if token != "<x>"}
    settings = {
        "added_tokens_decoder": {str(number): {"content": token, **flags} for token, number in special.items()},
        "additional_special_tokens": ["<x>"],
        "do_lower_case": False,
        "strip_accents": False,
        "tokenizer_class": "BertTokenizer",
        **named,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(named), encoding="utf-8")
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    smaller = trim_vocabulary(AutoTokenizer.from_pretrained(tmp_path), ["ab पाणी"]).tokenizer
    smaller.save_pretrained(tmp_path / "smaller")
    again = AutoTokenizer.from_pretrained(tmp_path / "smaller")
    for some in (smaller, again):
        assert some("ab <x> पाणी")["input_ids"] == [2, 5, len(some) - 1, len(some) - 2, 3]
        assert some.get_vocab() == smaller.get_vocab()
        assert (some.pad_token_id, some.unk_token_id, some.mask_token_id) == (0, 1, 4)


@pytest.mark.parametrize("around", ["TemplateProcessing", "BertProcessing", "Sequence"])
def test_special_tokens_are_put_around_under_their_new_ids(tmp_path: Path, around: str) -> None:
    """A tokenizer whose class does not know how BERT marks a text, and reads it from the file."""
    wordpiece(PIECES).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    around_texts = ("[CLS]", "[SEP]", "[MASK]")
    description["added_tokens"] = [one for one in description["added_tokens"] if one["content"] not in around_texts]
    if around != "TemplateProcessing":
        bert = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
        description["post_processor"] = (
            bert if around == "BertProcessing" else {"type": "Sequence", "processors": [bert]}
        )
    description["padding"] = {
        "strategy": {"Fixed": 12},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 20,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    path.write_text(json.dumps(description), encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), unk_token="[UNK]", pad_token="[PAD]")
    smaller = trim_vocabulary(tokenizer, ["ab"]).tokenizer
    assert smaller("ab")["input_ids"] == smaller.convert_tokens_to_ids(["[CLS]", "ab", "[SEP]"]) == [1, 3, 2]
    assert smaller(["ab"], padding="max_length", max_length=4)["input_ids"] == [[1, 3, 2, len(smaller) - 1]]


def test_a_tokenizer_that_is_no_wordpiece_is_refused() -> None:
    backend = Tokenizer(models.BPE({"[UNK]": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")], unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    with pytest.raises(ConfigError, match=r"kind BPE.*Set it to full") as caught:
        trim_vocabulary(tokenizer, ["ab"])
    assert list(caught.value.fields) == ["pruning.vocabulary"]


# --- the embedding -----------------------------------------------------------------------------------------------------------


def test_the_smaller_model_answers_as_the_base() -> None:
    tokenizer = wordpiece(PIECES)
    model = random_model(Shape(2, 32, 2, 64, len(tokenizer) + 7, 3, positions=16), ("x", "y", "z"), seed=0)
    model.config.pad_token_id = model.bert.embeddings.word_embeddings.padding_idx = tokenizer.pad_token_id
    model.config.cls_token_id, model.config.eos_token_id = tokenizer.cls_token_id, 1
    smaller = trim_vocabulary(tokenizer, ["ab पाणी", "É"])
    ids = encode(tokenizer, ["ab पाणी", "É", "[MASK] i"], 16)
    before = predict_logits(model, ids, tokenizer.pad_token_id)
    others = {name: value.clone() for name, value in model.named_parameters() if "word_embeddings" not in name}
    trim_embedding(model, smaller.kept)
    after = predict_logits(model, smaller.from_base(ids), smaller.tokenizer.pad_token_id)
    assert torch.equal(after, before)
    table = model.bert.embeddings.word_embeddings
    assert table.weight.shape == (len(smaller.kept), 32)
    assert table.num_embeddings == model.config.vocab_size == len(smaller.tokenizer)
    assert model.config.pad_token_id == table.padding_idx == smaller.tokenizer.pad_token_id
    assert model.config.cls_token_id == smaller.tokenizer.cls_token_id == 1
    assert model.config.eos_token_id is None, "the word it meant is gone"
    for name, value in model.named_parameters():
        assert name not in others or torch.equal(value, others[name])


def test_padding_learns_nothing_and_the_rest_does() -> None:
    tokenizer = wordpiece(PIECES)
    model = random_model(Shape(1, 32, 2, 64, len(tokenizer), 2, positions=16), ("x", "y"), seed=0)
    model.config.pad_token_id = model.bert.embeddings.word_embeddings.padding_idx = tokenizer.pad_token_id
    smaller = trim_vocabulary(tokenizer, ["ab पाणी"])
    trim_embedding(model, smaller.kept)
    inputs = collate(encode(smaller.tokenizer, ["ab पाणी", "ab"], 16), smaller.tokenizer.pad_token_id)
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    gradient = model.bert.embeddings.word_embeddings.weight.grad
    assert gradient is not None
    moved = {int(row) for row in gradient.abs().sum(dim=1).nonzero()}
    assert moved == set(inputs["input_ids"].unique().tolist()) - {smaller.tokenizer.pad_token_id}
