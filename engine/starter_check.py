"""How the starter does on texts it has never seen: ``python -m engine.starter_check FILE``.

FILE is a labelled table of real headlines, such as MahaNews's validation file (SHC). It is cleaned as a run would clean it, and
the starter and the SVM that was trained on the same corpus are both tested on all of it. Texts that no topic is right for (Hindi,
English, nonsense: `assets/corpus/outside.csv`) are counted beside it: how many of them are answered all the same?
"""

import argparse
import csv
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from engine.config import DataConfig
from engine.data import STARTER as CORPUS
from engine.data import TextData, load_data
from engine.evaluation import scores
from engine.files.bases import STARTER
from engine.files.storage import replace_file
from engine.inference import Classifier, Prediction, load_classifier
from engine.measuring.calibration import expected_calibration_error
from engine.measuring.svm import NgramSvm

OUTSIDE = CORPUS.with_name("outside.csv")
HEADING = "## On real headlines"
SEED = 0


@dataclass(frozen=True)
class Outside:
    """Texts of one kind that have no topic here."""

    kind: str
    texts: int
    unsure: int
    """How many get "not sure"."""


@dataclass(frozen=True)
class Found:
    """What `check` finds; shares are 0 to 1."""

    texts: int
    accuracy: float
    macro_f1: float
    svm_accuracy: float
    svm_macro_f1: float
    ece: float
    sure: float
    """Share of the texts that get an answer and not "not sure"."""
    sure_accuracy: float
    doubts: dict[str, int]
    """Why the others get none, and how many."""
    labels: tuple[str, ...]
    confusion: list[list[int]]
    """Texts by their label (row) and the starter's answer (column)."""
    outside: list[Outside]


def check(path: Path, home: Path, source: str = "starter") -> Found:
    """Test a model and the SVM on all of a labelled file.

    Raises:
        DataError: if the file cannot be read, or has labels that the starter corpus lacks.
    """
    data = load_data(DataConfig(test_path=str(path)), SEED, home)
    classifier = load_classifier(source, home)
    answers = classifier.classify(data.test.texts)
    probabilities = np.array([[answer.probabilities[label] for label in data.labels] for answer in answers])
    accuracy, macro_f1 = scores(torch.from_numpy(probabilities), data.test.labels)
    svm = NgramSvm(data.train)
    svm_accuracy, svm_macro_f1 = scores(torch.from_numpy(svm.margins(data.test.texts)), data.test.labels)
    right = probabilities.argmax(axis=1) == np.asarray(data.test.labels)
    sure = np.array([not answer.doubt for answer in answers])
    return Found(
        texts=len(answers),
        accuracy=accuracy,
        macro_f1=macro_f1,
        svm_accuracy=svm_accuracy,
        svm_macro_f1=svm_macro_f1,
        ece=expected_calibration_error(probabilities, data.test.labels),
        sure=float(sure.mean()),
        sure_accuracy=float(right[sure].mean()) if sure.any() else 0.0,
        doubts=dict(Counter(answer.doubt for answer in answers if answer.doubt)),
        labels=data.labels,
        confusion=_confusion(data, probabilities),
        outside=check_outside(classifier),
    )


def _confusion(data: TextData, probabilities: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> list[list[int]]:
    table = np.zeros((len(data.labels), len(data.labels)), dtype=int)
    np.add.at(table, (np.asarray(data.test.labels), probabilities.argmax(axis=1)), 1)
    rows: list[list[int]] = table.tolist()
    return rows


def check_outside(classifier: Classifier) -> list[Outside]:
    """Count, by kind, how many texts without a topic the classifier is not sure of."""
    kinds: dict[str, list[Prediction]] = {}
    rows = read_outside()
    for row, answer in zip(rows, classifier.classify([text for _, text in rows]), strict=True):
        kinds.setdefault(row[0], []).append(answer)
    return [Outside(kind, len(all_), sum(bool(each.doubt) for each in all_)) for kind, all_ in sorted(kinds.items())]


def read_outside(path: Path = OUTSIDE) -> list[tuple[str, str]]:
    """Return kind and text of everything that has no topic."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["kind"], row["text"]) for row in csv.DictReader(file)]


def section(found: Found, name: str) -> str:
    """Write the model card's section on real headlines."""
    confusion = [
        f"| {label} | {' | '.join(map(str, row))} | {_percent(row[place] / max(1, sum(row)))} |"
        for place, (label, row) in enumerate(zip(found.labels, found.confusion, strict=True))
    ]
    outside = [f"| {each.kind} | {each.texts} | {_percent(each.unsure / each.texts)} |" for each in found.outside]
    doubts = ", ".join(f"{count} {doubt}" for doubt, count in sorted(found.doubts.items()))
    return f"""{HEADING}

`python -m engine.starter_check {name} --card`, on all {found.texts:,} texts of that file that cleaning leaves; none of them was
trained on.

| | accuracy | macro-F1 |
|---|---|---|
| starter | {_percent(found.accuracy)} | {_percent(found.macro_f1)} |
| SVM over character n-grams, same corpus | {_percent(found.svm_accuracy)} | {_percent(found.svm_macro_f1)} |

Expected calibration error {_percent(found.ece)}. Sure of {_percent(found.sure)} of the texts, and right in
{_percent(found.sure_accuracy)} of those. Why not of the others: {doubts}.

Rows are the published labels, columns the starter's answers:

| | {" | ".join(label[:4] for label in found.labels)} | right |
|---|{"---|" * (len(found.labels) + 1)}
{_lines(confusion)}

Texts that have no topic (`assets/corpus/outside.csv`):

| kind | texts | not sure |
|---|---|---|
{_lines(outside)}
"""


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _lines(rows: Sequence[str]) -> str:
    return "\n".join(rows)


def write_section(card: Path, text: str) -> None:
    """Put the section at the end of a model card, in the place of an older one."""
    whole = card.read_text(encoding="utf-8").partition(f"\n{HEADING}")[0].rstrip("\n")
    replace_file(card, lambda path: path.write_text(f"{whole}\n\n{text}", encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, and print the section or JSON."""
    parser = argparse.ArgumentParser(prog="python -m engine.starter_check", description=__doc__)
    parser.add_argument("file", type=Path, help="labelled table: CSV, TSV, JSONL, Parquet or Excel")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--card", action="store_true", help="write the section into the starter's model card")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        found = check(options.file, Path(home), options.model)
    text = section(found, options.file.name)
    if options.card:
        write_section(STARTER / "README.md", text)
    print(json.dumps(asdict(found), ensure_ascii=False, indent=2) if options.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
