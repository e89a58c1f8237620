"""Train the starter checkpoint again: ``python -m engine.starter``.

The starter is a small BERT, trained from random weights on the train split of `assets/corpus` alone. The same seed on the same
type of machine gives the same accuracy. The folder `checkpoints/starter` is replaced only when the new one is whole.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from engine.bases import STARTER
from engine.config import DataConfig, RunConfig
from engine.data import load_data
from engine.errors import TrainingError
from engine.events import Evaluated, RunFinished, RunResult
from engine.home import run_folder
from engine.model import random_model
from engine.reports import percent
from engine.shapes import Shape
from engine.storage import replace_folder
from engine.tokenization import learn_tokenizer
from engine.training import train

SHAPE = Shape(layers=3, hidden_size=192, heads=3, intermediate_size=768, vocabulary=3000, labels=12)
SEED = 0


def build(epochs: int, learning_rate: float, destination: Path) -> RunResult:
    """Train and save the starter; return its result on the corpus's own test split."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        data = load_data(DataConfig(), SEED, home)
        tokenizer = learn_tokenizer(data.train.texts, SHAPE.vocabulary, SHAPE.positions)
        random_model(SHAPE, data.labels, SEED, len(tokenizer)).save_pretrained(home / "random")
        tokenizer.save_pretrained(home / "random")
        config = RunConfig.parse(
            {
                "name": "starter",
                "model": {"base": str(home / "random")},
                "training": {
                    "epochs": epochs,
                    "learning_rate": learning_rate,
                    "seed": SEED,
                    "precision": "fp32",
                    "device": "cpu",
                },
            }
        )
        result = None
        for event in train(config, run_id="starter", home=home):
            if isinstance(event, Evaluated):
                print(f"step {event.step}: validation accuracy {percent(event.measurement.accuracy)}", file=sys.stderr)
            if isinstance(event, RunFinished):
                result = event.result
        if result is None:
            raise TrainingError("The starter's training ended without a result.")
        model = run_folder(home, "starter") / "model"
        (model / "README.md").write_text(_card(result, epochs, learning_rate), encoding="utf-8")
        replace_folder(destination, lambda folder: shutil.copytree(model, folder, dirs_exist_ok=True))
        return result


def _card(result: RunResult, epochs: int, learning_rate: float) -> str:
    """Write the model card from the measured figures."""
    student, sizes = result.student, result.data.sizes
    return f"""# Starter

A small BERT for Marathi news topics, trained from random weights on the train split of `assets/corpus` alone, by

    python -m engine.starter --epochs {epochs} --learning-rate {learning_rate:g}

It exists so that a first run and a first classification work offline. It has seen {sizes["train"]:,} texts; expect it to be
wrong often on texts unlike them, and do not use it where that matters.

| | |
|---|---|
| shape | {SHAPE.layers} layers x {SHAPE.hidden_size}, {SHAPE.heads} heads, FFN {SHAPE.intermediate_size} |
| parameters | {student.parameters:,} ({student.size_bytes / 1e6:.1f} MB) |
| validation accuracy / macro-F1 | {percent(student.accuracy)} / {percent(student.macro_f1)} ({sizes["validation"]} texts) |
| test accuracy / macro-F1 | {percent(student.test_accuracy)} / {percent(student.test_macro_f1)} ({sizes["test"]} texts) |
| training | {result.duration_s:.0f} s, {result.energy_kwh * 1000:.2g} Wh (estimated), {result.precision}, {result.device_name} |

Labels: {", ".join(result.data.labels)}.
"""


def main() -> int:
    """Train, save, and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.starter", description=__doc__)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--destination", type=Path, default=STARTER)
    options = parser.parse_args()
    result = build(options.epochs, options.learning_rate, options.destination)
    print(json.dumps(result.student.model_dump(mode="json"), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
