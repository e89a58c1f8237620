"""Classify texts with a finished model: the starter, a run, a folder or a hub id.

A text longer than the model's maximum is read in overlapping windows, all of that maximum, and the label probabilities of its
windows are averaged. Every window has the same weight: all are full, and evenly spread over the text. Of the usual ways to
classify long texts with BERT (Pappagari et al. 2019, "Hierarchical Transformers for Long Document Classification",
https://arxiv.org/abs/1910.10781, section 4) this is the one that needs no further training.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from engine.data import batches
from engine.errors import CheckpointError
from engine.evaluation import collate, count_bytes, count_parameters
from engine.files.bases import download, find_base
from engine.measuring.calibration import Calibration, doubt, load_calibration
from engine.model import load_folder
from engine.records import Doubt
from engine.texts.cleaning import normalise
from engine.texts.tokenization import encode, longest_covered, window_starts

MAX_WINDOWS = 32
"""A longer text is read to the end of this many windows: at most 32 forward passes a text, whatever is pasted."""
MAX_CHARACTERS = 100_000
"""No text is looked at beyond this; 32 windows of 512 tokens hold about 12,000 tokens."""
OVERLAP = 0.25
"""Share of a window that the next one reads again, so that a sentence that one cuts stands whole in the other."""
_GROUP = 2048
"""Texts whose tokens are in memory at once; their windows are sorted by length together."""


class Prediction(NamedTuple):
    """What a model says of one text."""

    text: str
    label: str
    confidence: float
    """Probability of ``label``, 0 to 1."""
    latency_ms: float
    """Its share of the tokenization, and of the forward passes of the batches that its windows were in."""
    probabilities: dict[str, float]
    tokens: int
    """Tokens of the text that the model read, each counted once, special tokens included."""
    truncated: bool
    """Whether the text was longer than all windows together: its end was not read."""
    windows: int = 1
    """How many overlapping windows the text was read in; the probabilities are their mean."""
    doubt: Doubt = ""
    """Why the answer is unsure; empty where it is not."""


class Window(NamedTuple):
    """What a model reads of a text in its first window."""

    text: str
    """The whole text as the tokenizer gets it."""
    ids: list[int]
    """Token ids, special tokens included."""
    spans: list[tuple[int, int]]
    """Where each token begins and ends in ``text``, in characters; special tokens have no length."""


class Classifier:
    """A model in memory, ready for texts; threads may share it."""

    def __init__(
        self,
        model: BertForSequenceClassification,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        calibration: Calibration | None = None,
    ) -> None:
        self.calibration = calibration
        self._model, self._tokenizer = model.eval(), tokenizer
        self._tokenizing = threading.Lock()  # a tokenizer is told its length before it is used
        self.max_length = max_length
        frame = encode(tokenizer, [""], max_length)[0]  # [CLS] and [SEP], or what the tokenizer has in their stead
        self._head, self._tail = frame[:1], frame[1:]
        self.labels: tuple[str, ...] = tuple(
            str(model.config.id2label[index]) for index in range(model.config.num_labels)
        )
        self.parameters = count_parameters(model)
        self.size_bytes = count_bytes(model)

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> list[Prediction]:
        """Classify texts of any length and number; the order of the answers is that of the texts.

        Texts longer than the model's maximum are read in windows, and what is beyond `MAX_WINDOWS` of them is left out and
        marked ``truncated``. The windows of all texts share batches of ``batch_size``.
        """
        answers: list[Prediction] = []
        for start in range(0, len(texts), _GROUP):
            answers += self._classify_group(texts[start : start + _GROUP], batch_size)
        return answers

    def _classify_group(self, texts: Sequence[str], batch_size: int) -> list[Prediction]:
        """Classify texts few enough that the tokens of all may be in memory."""
        began = time.perf_counter()
        clean, ids, covered, windows = self._read(texts)
        tokenizing_ms = (time.perf_counter() - began) * 1000.0 / max(1, len(texts))
        sums = torch.zeros(len(texts), len(self.labels), dtype=torch.float64)
        times = [tokenizing_ms] * len(texts)
        lengths = [min(len(ids[text]), self.max_length) for text, _ in windows]
        for indices in batches(lengths, batch_size):
            began = time.perf_counter()
            chosen = [windows[index] for index in indices]
            probabilities = self._probabilities([self._window(ids[text], start) for text, start in chosen])
            share_ms = (time.perf_counter() - began) * 1000.0 / len(indices)
            sums.index_add_(0, torch.tensor([text for text, _ in chosen]), probabilities.double())
            for text, _ in chosen:
                times[text] += share_ms
        counts = Counter(text for text, _ in windows)
        means = sums / torch.tensor([counts[index] for index in range(len(texts))], dtype=torch.float64)[:, None]
        answers = []
        for index, row in enumerate(means.tolist()):
            best = max(range(len(row)), key=row.__getitem__)
            answers.append(
                Prediction(
                    text=texts[index],
                    label=self.labels[best],
                    confidence=row[best],
                    latency_ms=times[index],
                    probabilities=dict(zip(self.labels, row, strict=True)),
                    tokens=len(ids[index]),
                    truncated=not covered[index],
                    windows=counts[index],
                    doubt=doubt(self.calibration, clean[index], row[best], len(row)),
                )
            )
        return answers

    def _read(self, texts: Sequence[str]) -> tuple[list[str], list[list[int]], list[bool], list[tuple[int, int]]]:
        """Tokenize texts and lay windows over them.

        Returns:
            Each text as the tokenizer gets it; its ids, special tokens included, as far as they are read; whether that is all
            of the text; and for each window its text's index and its first token, counted behind the special tokens at the
            beginning.
        """
        cut = [_readable(text) for text in texts]
        special = len(self._head) + len(self._tail)
        size = max(1, self.max_length - special)  # tokens of the text in a window
        overlap = int(OVERLAP * size)
        longest = special + longest_covered(size, overlap, MAX_WINDOWS)
        with self._tokenizing:
            ids = encode(self._tokenizer, cut, longest + 1)  # one more token tells that the text is longer
        covered = [
            len(tokens) <= longest and len(text) <= MAX_CHARACTERS for tokens, text in zip(ids, texts, strict=True)
        ]
        for tokens in ids:
            if len(tokens) > longest:
                tokens[longest - len(self._tail) :] = self._tail
        windows = [
            (index, start)
            for index, tokens in enumerate(ids)
            for start in window_starts(len(tokens) - special, size, overlap, MAX_WINDOWS)
        ]
        return cut, ids, covered, windows

    def _window(self, ids: list[int], start: int) -> list[int]:
        """Cut one window out of a text's ids, with the special tokens around it as around a whole text."""
        if len(ids) <= self.max_length:
            return ids
        head, tail = self._head, self._tail
        first = len(head) + start
        return head + ids[first : first + self.max_length - len(head) - len(tail)] + tail

    def first_window(self, text: str) -> Window:
        """Return what the model reads of a text first, and all that it reads of one that is no longer than its maximum.

        Raises:
            CheckpointError: if the tokenizer does not know which characters a token stands for.
        """
        if not self._tokenizer.is_fast:
            raise CheckpointError(
                "The tokenizer of this model does not tell which characters a token stands for, so its words cannot be "
                "weighed. Save the model with a fast tokenizer."
            )
        clean = _readable(text)
        with self._tokenizing:
            encoded = self._tokenizer(clean, truncation=True, max_length=self.max_length, return_offsets_mapping=True)
        spans = [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
        return Window(clean, list(encoded["input_ids"]), spans)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device(self._model.classifier.weight.device)

    @property
    def layer_parameters(self) -> int:
        """How many parameters every token passes through: those of the layers."""
        return sum(parameter.numel() for parameter in self._model.bert.encoder.parameters())

    def embed(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return the word embeddings of a window and of the same window without words, both of shape (tokens, hidden).

        In the second every token but the special ones at both ends is the padding token.
        """
        table: Tensor = self._model.bert.embeddings.word_embeddings.weight.detach()
        inside = range(len(self._head), len(window.ids) - len(self._tail))
        empty = list(window.ids)
        for place in inside:
            empty[place] = int(self._tokenizer.pad_token_id or 0)
        return table[torch.tensor(window.ids, device=self.device)], table[torch.tensor(empty, device=self.device)]

    def probabilities(self, embeddings: Tensor) -> Tensor:
        """Return calibrated label probabilities, shape (texts, labels), through which gradients flow back.

        Args:
            embeddings: word embeddings, shape (texts, tokens, hidden).
        """
        return self._calibrated(inputs_embeds=embeddings)

    @torch.inference_mode()
    def _probabilities(self, ids: list[list[int]]) -> Tensor:
        """Return calibrated label probabilities, shape (texts, labels)."""
        inputs = collate(ids, int(self._tokenizer.pad_token_id or 0), self._model.classifier.weight.device)
        return self._calibrated(**inputs).cpu()

    def _calibrated(self, **inputs: Tensor) -> Tensor:
        temperature = 1.0 if self.calibration is None else self.calibration.report.temperature
        probabilities: Tensor = (self._model(**inputs).logits.float() / temperature).softmax(dim=-1)
        return probabilities


def _readable(text: str) -> str:
    """Return a text as the tokenizer gets it."""
    # half a surrogate pair, as a broken paste or file name may hold, is no text to the tokenizer
    return normalise(text[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8"))


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
    return Classifier(loaded.model.to(device), loaded.tokenizer, positions, load_calibration(folder))
