"""Whole runs that take a second: texts that are easy to tell apart, a base so small that it learns them at once, settings."""

from pathlib import Path
from typing import Any

import torch
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from engine.config import RunConfig
from engine.events import Event, RunFinished
from engine.model import random_model
from engine.records import RunResult
from engine.shapes import Shape
from engine.texts.tokenization import learn_tokenizer
from engine.training import train

WORDS = {
    "खेळ": ["क्रिकेट", "सामना", "खेळाडू", "धावा", "विजय"],
    "आरोग्य": ["डॉक्टर", "औषध", "आजार", "रुग्ण", "उपचार"],
    "प्रवास": ["किल्ला", "समुद्र", "पर्यटन", "रेल्वे", "डोंगर"],
}
"""The topics, each with words of its own."""


def write_texts(path: Path, times: int = 2) -> Path:
    """Write texts of two words, each pair of a topic so many times, with a number behind that tells them apart."""
    rows = ["text,label"]
    for label, words in WORDS.items():
        rows += [f"{first} {second} {number},{label}" for first in words for second in words for number in range(times)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def tiny_base(tokenizer: PreTrainedTokenizerBase, spare_rows: int = 0) -> BertForSequenceClassification:
    """Return a base for `WORDS`, with so many rows of the embedding that no token has."""
    shape = Shape(2, 32, 2, 64, len(tokenizer) + spare_rows, len(WORDS), positions=32)
    model = random_model(shape, sorted(WORDS), seed=0)
    with torch.no_grad():  # so narrow a model learns nothing within seconds from BERT's small initial weights
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    return model


def write_base(folder: Path) -> Path:
    """Save a base for `WORDS` and a tokenizer learned from them, in stock format."""
    tokenizer = learn_tokenizer([" ".join(words) for words in WORDS.values()], 200, 32)
    tiny_base(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_config(texts: Path, base: Path, **changes: Any) -> RunConfig:
    """Return the settings of a run of twelve steps on the processor; a part that is given adds to that part."""
    values: dict[str, Any] = {
        "data": {"source": str(texts), "max_length": 16},
        "model": {"base": str(base)},
        "training": {
            "max_steps": 12,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "evaluations": 3,
            "precision": "fp32",
            "device": "cpu",
        },
    }
    for part, fields in changes.items():
        values[part] = {**values.get(part, {}), **fields}
    return RunConfig.parse(values)


def run(settings: RunConfig, home: Path, **options: Any) -> list[Event]:
    """Train the run ``run-1`` of a home; return what it told."""
    return list(train(settings, run_id="run-1", home=home, **options))


def result_of(events: list[Event]) -> RunResult:
    """Return what a run that is done came to."""
    assert isinstance(events[-1], RunFinished)
    return events[-1].result
