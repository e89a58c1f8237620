"""The learnt vocabulary: the same every time, and kind to Devanagari."""

import csv
import itertools
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from engine.home import REPOSITORY
from engine.texts.tokenization import SPECIAL, encode, learn_tokenizer, longest_covered, window_starts
from tests.engine.tiny_bert import TEXTS

SIGNS = "की कु कृ कॅ कॉ क्षेत्र ड़ फ़ार्म र्‍हस्व पाणी हें संस्था अँ"
CORPUS = [*TEXTS, SIGNS, "The Quick BROWN fox, 2024! ₹५००", "emoji 🙂 and 中文"] * 2


def test_training_again_gives_the_same_tokenizer() -> None:
    first = learn_tokenizer(CORPUS, 300).get_vocab()
    assert all(learn_tokenizer(CORPUS, 300).get_vocab() == first for _ in range(8))


def test_another_process_gives_the_same_tokenizer() -> None:
    program = (
        "import json, sys\n"
        "from engine.texts.tokenization import learn_tokenizer\n"
        "print(json.dumps(learn_tokenizer(json.load(sys.stdin), 1500).get_vocab()))\n"
    )
    with (REPOSITORY / "assets" / "corpus" / "corpus.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:400]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={"PYTHONHASHSEED": "1", "PATH": "", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == learn_tokenizer(texts, 1500).get_vocab()


def test_special_tokens_come_first() -> None:
    tokenizer = learn_tokenizer(CORPUS, 300)
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == [0, 1, 2, 3, 4]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    assert (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id) == (2, 3, 4)


def test_ids_have_no_gaps_and_the_size_is_kept() -> None:
    vocabulary = learn_tokenizer(CORPUS, 300).get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert len(vocabulary) <= 300
    assert learn_tokenizer(CORPUS, 10).get_vocab().keys() >= {*SPECIAL, "क", "##्"}, "an alphabet is never cut"


def test_signs_of_devanagari_are_kept() -> None:
    tokenizer = learn_tokenizer(CORPUS, 4000)
    for word in unicodedata.normalize("NFC", SIGNS).split():
        pieces = tokenizer.tokenize(word)
        joined = "".join(piece.removeprefix("##") for piece in pieces)
        assert joined == word.replace("\u200d", ""), word
    assert tokenizer.tokenize("कि") != tokenizer.tokenize("का")
    assert encode(tokenizer, ["पाणी"], 16) != encode(tokenizer, ["पाणि"], 16)


def test_latin_is_lower_cased() -> None:
    tokenizer = learn_tokenizer(CORPUS, 300)
    assert tokenizer.tokenize("The BROWN Fox") == tokenizer.tokenize("the brown fox")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=6))
def test_no_character_of_the_training_texts_is_unknown(texts: list[str]) -> None:
    tokenizer = learn_tokenizer(texts, 100)
    for ids in encode(tokenizer, texts, 512):
        assert tokenizer.unk_token_id not in ids[1:-1] or any(token in "".join(texts) for token in SPECIAL)


def test_encoding_cuts_to_the_length() -> None:
    tokenizer = learn_tokenizer(CORPUS, 300)
    long, short = encode(tokenizer, [" ".join(TEXTS), "आज"], 12)
    assert len(long) == 12
    assert (long[0], long[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert short == [2, *tokenizer.convert_tokens_to_ids(tokenizer.tokenize("आज")), 3]
    assert encode(tokenizer, [" ".join(TEXTS)], 512)[0][:11] == long[:11]
    assert encode(tokenizer, ["", " \n"], 12) == [[2, 3], [2, 3]]
    assert encode(tokenizer, [], 12) == []


@pytest.mark.parametrize("positions", [64, 512])
def test_a_saved_tokenizer_is_the_same_for_stock_transformers(tmp_path: Path, positions: int) -> None:
    tokenizer = learn_tokenizer(CORPUS, 300, positions)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.model_max_length == positions
    texts = [*CORPUS, "Ünïcödé", "अनोळखी शब्द", "[MASK] [SEP]", "a\0b"]
    assert encode(again, texts, 20) == encode(tokenizer, texts, 20)
    assert again.tokenize("कि") == tokenizer.tokenize("कि"), "strip_accents would have dropped the sign"


@given(tokens=st.integers(0, 5000), size=st.integers(1, 510), share=st.floats(0, 0.99), most=st.integers(1, 40))
def test_windows_are_full_overlap_and_cover_the_text(tokens: int, size: int, share: float, most: int) -> None:
    overlap = int(share * size)
    starts = window_starts(tokens, size, overlap, most)
    covered = min(tokens, longest_covered(size, overlap, most))
    assert starts[0] == 0
    assert len(starts) <= most
    assert all(0 < after - before <= size - overlap for before, after in itertools.pairwise(starts))
    assert starts[-1] == max(0, covered - size), "the last one ends with what is read, and is as full as the others"
    assert (len(starts) == 1) == (covered <= size)


def test_windows_are_as_few_as_can_be() -> None:
    lengths = (100, 101, 175, 176, 250, 10_000)
    assert [len(window_starts(tokens, 100, 25, 32)) for tokens in lengths] == [1, 2, 2, 3, 3, 32]
    assert window_starts(251, 100, 25, 32) == [0, 50, 100, 151]
