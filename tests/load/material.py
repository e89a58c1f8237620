"""Texts to load a studio with: as many different ones as are asked for, out of the words of the starter corpus."""

import csv
import random
from pathlib import Path

from engine.data import STARTER


def write_table(path: Path, rows: int, words: int = 0) -> Path:
    """Write a CSV of labelled texts, each different; return its path.

    Args:
        rows: how many texts.
        words: in each; 0 leaves the corpus's headlines as long as they are.
    """
    with STARTER.open(encoding="utf-8", newline="") as file:
        known = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    generator = random.Random(5)
    vocabulary = sorted({word for text, _ in known for word in text.split()})
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for number in range(rows):
            text, label = known[number % len(known)]
            if words:
                text = " ".join([text, *generator.choices(vocabulary, k=words - len(text.split()))])
            writer.writerow((f"{text} {number}", label))
    return path


def long_text(characters: int) -> str:
    """Return one text of so many characters, out of headlines."""
    with STARTER.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    whole = "। ".join(texts)
    return (whole * (1 + characters // len(whole)))[:characters]
