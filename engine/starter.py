"""Train the starter checkpoint again: ``python -m engine.starter``.

The starter is a small BERT that has seen the train split of `assets/corpus` and nothing else. So few texts are too few for a
transformer to learn from labels alone, so a linear SVM over character n-grams, which learns well from little, is its teacher:
the student matches the SVM's opinion of altered texts, new ones in every epoch (`engine.texts.alteration`). Its word embeddings
begin with the SVM's opinion of each piece, so that it need not find out first which words belong to which topic. The same seed on
the same type of machine gives the same accuracy. `checkpoints/starter` is replaced only when the new one is whole.

Source: distillation, Hinton et al. 2015 (https://arxiv.org/abs/1503.02531).
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import BertForSequenceClassification, BertTokenizer, get_linear_schedule_with_warmup

from engine.checkpoints import save_model
from engine.config import DataConfig, EmissionsConfig, RunConfig
from engine.data import Split, TextData, batches, load_data
from engine.distillation import distillation_loss
from engine.emissions import EmissionsMeter
from engine.evaluation import collate, count_bytes, count_parameters, predict_logits, scores
from engine.files.bases import STARTER
from engine.files.storage import replace_folder
from engine.loop.optimization import make_optimizer
from engine.loop.preparation import device_name
from engine.measuring.calibration import Calibration, fit_calibration
from engine.measuring.svm import NgramSvm
from engine.model import random_model
from engine.shapes import Shape
from engine.texts.alteration import alter, encode_loosely
from engine.texts.tokenization import encode, learn_tokenizer

SHAPE = Shape(layers=3, hidden_size=192, heads=3, intermediate_size=768, vocabulary=5000, labels=12)
SEED = 0
BATCH_SIZE = 32
THREADS = 2
"""Torch adds up in another order on other numbers of threads."""
HEAD_START = 0.04
"""Standard deviation of the SVM's opinion in the first embeddings; their random part has 0.02."""
SHARPNESS = 4.0
"""Factor on the SVM's margins before the softmax makes probabilities of them."""


class SvmTeacher:
    """The SVM that every run measures, reading texts to their ends, as a teacher."""

    def __init__(self, split: Split) -> None:
        self._svm = NgramSvm(split)

    def logits(self, texts: Sequence[str]) -> torch.Tensor:
        """Return sharpened margins, shape (texts, labels)."""
        return torch.from_numpy(self._svm.margins(texts) * SHARPNESS).float()

    def give_head_start(self, model: BertForSequenceClassification, tokenizer: BertTokenizer) -> None:
        """Add the teacher's margins of each token by itself to its embedding, in directions drawn at random."""
        pieces = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
        margins = torch.from_numpy(self._svm.margins([piece.removeprefix("##") for piece in pieces])).float()
        margins = (margins - margins.mean(dim=0)) / margins.std()  # (vocabulary, labels)
        weight = model.bert.embeddings.word_embeddings.weight
        directions, _ = torch.linalg.qr(torch.randn(weight.shape[1], margins.shape[1]))  # (hidden, labels), orthonormal
        with torch.no_grad():
            weight += HEAD_START * margins @ directions.T


@dataclass(frozen=True)
class Built:
    """A trained starter and what was measured of it; accuracies are (accuracy, macro-F1)."""

    model: BertForSequenceClassification
    tokenizer: BertTokenizer
    data: TextData
    validation: tuple[float, float]
    test: tuple[float, float]
    teacher_test: tuple[float, float]
    calibration: Calibration
    duration_s: float
    energy_kwh: float


def build(epochs: int, learning_rate: float, home: Path) -> Built:
    """Train the starter on the CPU in fp32 and measure it on the corpus's own validation and test splits."""
    began = time.perf_counter()
    torch.set_num_threads(THREADS)
    with EmissionsMeter(EmissionsConfig(), "cpu") as meter:
        data = load_data(DataConfig(), SEED, home)
        tokenizer = learn_tokenizer(data.train.texts, SHAPE.vocabulary, SHAPE.positions)
        teacher = SvmTeacher(data.train)
        model = random_model(SHAPE, data.labels, SEED, len(tokenizer))
        torch.manual_seed(SEED)
        teacher.give_head_start(model, tokenizer)
        _learn(model, tokenizer, teacher, data.train.texts, epochs, learning_rate)
        logits = [read_logits(model, tokenizer, split.texts) for split in (data.validation, data.test)]
        energy_kwh = meter.totals().energy_kwh
    validation, test = (scores(*pair) for pair in zip(logits, (data.validation.labels, data.test.labels), strict=True))
    pairs = [(each.numpy(), split) for each, split in zip(logits, (data.validation, data.test), strict=True)]
    calibration = fit_calibration(data.train, *pairs)
    teacher_test = scores(teacher.logits(data.test.texts), data.test.labels)
    duration_s = time.perf_counter() - began
    return Built(model, tokenizer, data, validation, test, teacher_test, calibration, duration_s, energy_kwh)


def _learn(
    model: BertForSequenceClassification,
    tokenizer: BertTokenizer,
    teacher: SvmTeacher,
    texts: list[str],
    epochs: int,
    learning_rate: float,
) -> None:
    """Match the teacher on texts altered anew in every epoch."""
    chance = random.Random(SEED)  # noqa: S311 - not for secrets
    total = epochs * -(-len(texts) // BATCH_SIZE)
    optimizer = make_optimizer(model, RunConfig(), learning_rate, fused=True)
    scheduler = get_linear_schedule_with_warmup(optimizer, total // 10, total)
    model.train()
    for epoch in range(epochs):
        altered = alter(texts, chance)
        wanted = teacher.logits(altered)  # (texts, labels)
        ids = encode_loosely(tokenizer, altered, chance)
        losses = []
        for indices in batches([len(tokens) for tokens in ids], BATCH_SIZE, seed=SEED, epoch=epoch):
            logits = model(**collate([ids[index] for index in indices], int(tokenizer.pad_token_id))).logits
            loss = distillation_loss(logits, wanted[indices], temperature=1.0)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1} of {epochs}: loss {sum(losses) / len(losses):.3f}", file=sys.stderr)
    model.eval()


def read_logits(model: BertForSequenceClassification, tokenizer: BertTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Return the logits of whole texts, shape (texts, labels)."""
    return predict_logits(model, encode(tokenizer, texts, SHAPE.positions), int(tokenizer.pad_token_id))


def card(built: Built, epochs: int, learning_rate: float) -> str:
    """Write the model card from the measured figures."""
    sizes = {name: len(getattr(built.data, name).texts) for name in ("train", "validation", "test")}
    return f"""# Starter

A small BERT for Marathi news topics, trained from random weights on the train split of `assets/corpus` alone, by

    python -m engine.starter --epochs {epochs} --learning-rate {learning_rate:g}

It exists so that a first run and a first classification work offline. It has seen {sizes["train"]:,} texts written for this
project; expect it to be wrong often on texts unlike them, and do not use it where that matters. Its teacher, a linear SVM over
character n-grams, is better than it on texts of this kind; a transformer pays once it is pre-trained on far more text.

| | |
|---|---|
| shape | {SHAPE.layers} layers x {SHAPE.hidden_size}, {SHAPE.heads} heads, FFN {SHAPE.intermediate_size} |
| parameters | {count_parameters(built.model):,} ({count_bytes(built.model) / 1e6:.1f} MB) |
| validation accuracy / macro-F1 | {_percent(built.validation)} ({sizes["validation"]} texts) |
| test accuracy / macro-F1 | {_percent(built.test)} ({sizes["test"]} texts) |
| its SVM teacher, test accuracy / macro-F1 | {_percent(built.teacher_test)} |
| training | {built.duration_s:.0f} s, {built.energy_kwh * 1000:.2g} Wh (estimated), fp32, {device_name(torch.device("cpu"))} |

Labels: {", ".join(built.data.labels)}.
"""


def _percent(pair: tuple[float, float]) -> str:
    return " / ".join(f"{share * 100:.2f} %" for share in pair)


def main() -> int:
    """Train, save, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.starter", description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--destination", type=Path, default=STARTER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        built = build(options.epochs, options.learning_rate, Path(name))
        model = Path(name) / "model"
        save_model(model, built.model, built.tokenizer, built.calibration)
        (model / "README.md").write_text(card(built, options.epochs, options.learning_rate), encoding="utf-8")
        replace_folder(options.destination, lambda folder: shutil.copytree(model, folder, dirs_exist_ok=True))
    figures: dict[str, Any] = {"validation": built.validation, "test": built.test, "teacher_test": built.teacher_test}
    print(json.dumps(figures | {"duration_s": built.duration_s, "energy_kwh": built.energy_kwh}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
