"""A BERT small enough to be made anew in every test, and its tokenizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import BertForSequenceClassification, BertTokenizer

from engine.checkpoints import save_model
from engine.model import random_model
from engine.shapes import Shape
from engine.texts.tokenization import learn_tokenizer

LABELS = ("खेळ", "राजकारण", "Tech")
TEXTS = (
    "क्रिकेट सामना आज मुंबईत रंगला",
    "निवडणूक निकाल आज जाहीर झाला",
    "नवीन मोबाईल फोन बाजारात आला",
    "भारताने सामना जिंकला आणि मालिका जिंकली",
    "मंत्रिमंडळाची बैठक आज मुंबईत झाली",
)


def tiny_tokenizer(positions: int = 32) -> BertTokenizer:
    return learn_tokenizer(TEXTS, 200, positions)


def wordpiece(pieces: Sequence[str], **options: Any) -> BertTokenizer:
    """A tokenizer whose padding stands last and whose special tokens stand between others."""
    tokens = ["[UNK]", "first", "[CLS]", "[SEP]", "[MASK]", *pieces, "last", "[PAD]"]
    options = {"do_lower_case": False, "strip_accents": False, **options}
    return BertTokenizer(vocab={token: number for number, token in enumerate(dict.fromkeys(tokens))}, **options)


def tiny_model(labels: Sequence[str] = LABELS, seed: int = 0, positions: int = 32) -> BertForSequenceClassification:
    shape = Shape(2, 32, 2, 64, vocabulary=len(tiny_tokenizer()), labels=len(labels), positions=positions)
    return random_model(shape, labels, seed)


def tiny_checkpoint(
    folder: Path, labels: Sequence[str] = LABELS, seed: int = 0, positions: int = 32
) -> BertForSequenceClassification:
    """Save a tiny classifier in stock format, as a finished run would; return it."""
    model = tiny_model(labels, seed, positions)
    save_model(folder, model, tiny_tokenizer(positions))
    return model
