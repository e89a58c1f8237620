"""Classify texts with a finished model: the starter, a run, a folder or a hub id."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from engine.bases import download, find_base
from engine.data import batches
from engine.errors import CheckpointError
from engine.evaluation import collate, count_bytes, count_parameters
from engine.model import load_folder
from engine.tokenization import encode

MAX_CHARACTERS = 20_000
"""No text is looked at beyond this; the model reads a few hundred tokens at most."""


class Prediction(NamedTuple):
    """What a model says of one text."""

    text: str
    label: str
    confidence: float
    """Probability of ``label``, 0 to 1."""
    latency_ms: float
    """Tokenization and forward pass of its batch, divided by the texts in it."""
    probabilities: dict[str, float]
    tokens: int
    """Tokens the model read, special tokens included."""
    truncated: bool
    """Whether the text was longer than the model reads."""


class Classifier:
    """A model in memory, ready for texts; threads may share it."""

    def __init__(
        self, model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer
        self._tokenizing = threading.Lock()  # a tokenizer is told its length before it is used
        self.max_length = max_length
        self.labels: tuple[str, ...] = tuple(
            str(model.config.id2label[index]) for index in range(model.config.num_labels)
        )
        self.parameters = count_parameters(model)
        self.size_bytes = count_bytes(model)

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        """Classify texts of any length and number; the order of the answers is that of the texts.

        Texts longer than the model reads are cut to their beginning and marked ``truncated``.
        """
        began = time.perf_counter()
        # half a surrogate pair, as a broken paste or file name may hold, is no text to the tokenizer
        cut = [text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8") for text in texts]
        with self._tokenizing:
            ids = encode(self._tokenizer, cut, self.max_length + 1)  # one more token tells that the text is longer
        truncated = [len(tokens) > self.max_length for tokens in ids]
        separator = self._tokenizer.sep_token_id
        for tokens, long in zip(ids, truncated, strict=True):
            if long:
                del tokens[self.max_length :]
                tokens[-1] = tokens[-1] if separator is None else int(separator)
        tokenizing_ms = (time.perf_counter() - began) * 1000.0 / max(1, len(texts))
        answers: list[Prediction | None] = [None] * len(texts)
        for indices in batches([len(tokens) for tokens in ids], batch_size):
            began = time.perf_counter()
            probabilities = self._probabilities([ids[index] for index in indices])
            latency_ms = tokenizing_ms + (time.perf_counter() - began) * 1000.0 / len(indices)
            for index, row in zip(indices, probabilities.tolist(), strict=True):
                best = max(range(len(row)), key=row.__getitem__)
                answers[index] = Prediction(
                    text=texts[index],
                    label=self.labels[best],
                    confidence=row[best],
                    latency_ms=latency_ms,
                    probabilities=dict(zip(self.labels, row, strict=True)),
                    tokens=len(ids[index]),
                    truncated=truncated[index] or len(texts[index]) > MAX_CHARACTERS,
                )
        return [answer for answer in answers if answer is not None]

    @torch.inference_mode()
    def _probabilities(self, ids: list[list[int]]) -> Tensor:
        """Return label probabilities, shape (texts, labels)."""
        inputs = collate(ids, int(self._tokenizer.pad_token_id or 0), self._model.classifier.weight.device)
        probabilities: Tensor = self._model(**inputs).logits.float().softmax(dim=-1).cpu()
        return probabilities


def load_classifier(source: str, home: Path) -> Classifier:
    """Load the starter, a finished run, a folder or a hub id for classifying.

    Raises:
        CheckpointError: if there is no such model, it has no trained head, or it cannot be loaded safely.
    """
    base = find_base(source, home)
    if base.kind == "random":
        raise CheckpointError(f"{source} has random weights and knows no topics. Choose the starter or a finished run.")
    folder = base.folder if base.folder is not None else download(base.name, home)
    loaded = load_folder(folder)
    if not loaded.has_head:
        raise CheckpointError(
            f"The model in {source} has no trained classification head. Train it on labelled texts first."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    positions = int(loaded.model.config.max_position_embeddings)
    return Classifier(loaded.model.to(device), loaded.tokenizer, positions)
