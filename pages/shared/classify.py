"""Classifying from a page: models kept in memory, one text by several models, a file by one. Torch comes with the first call."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from engine.errors import ChhatniError
from pages.shared.language import say
from pages.shared.uploads import keep_upload

if TYPE_CHECKING:
    from engine.inference import Classifier, Prediction
    from engine.measuring.saliency import Saliency
    from engine.records import CalibrationReport

LIMIT_CHARACTERS = 100_000
"""Characters of a pasted text that a model is given."""
LIMIT_TEXTS = 100_000
"""Texts of a file that are classified while somebody waits."""
PASSES = 5
"""Passes over one text whose median latency is shown."""
PATIENCE_MS = 1000.0
"""A text that takes longer is read once more and not `PASSES` times: somebody waits."""
CHUNK = 256
"""Texts between two moves of the progress bar."""


class Outcome(NamedTuple):
    """What one model said of a text, or why it said nothing."""

    source: str
    title: str
    prediction: "Prediction | None"
    parameters: int
    size_bytes: int
    error: str
    passes: int = 0
    """Passes whose median latency is shown."""
    device: str = ""
    """Where the model computed: cpu or cuda."""
    calibration: "CalibrationReport | None" = None
    sure_from: float = 0.0
    """The probability, 0 to 1, below which an answer is unsure."""


@dataclass
class FileOutcome:
    """The texts of a file, and what a model has said of them so far: whoever stops it keeps what there is."""

    source: str
    """The model that is asked."""
    texts: list[str]
    left_out: int
    """Texts of the file beyond `LIMIT_TEXTS`."""
    notes: tuple[str, ...]
    """Sentences on what was read, such as the column that was taken for the texts."""
    predictions: "list[Prediction]" = field(default_factory=list)
    """Of the first texts, without the probabilities of each label, which are most of their memory."""

    @property
    def whole(self) -> bool:
        """Whether all texts have been classified."""
        return len(self.predictions) == len(self.texts)


@st.cache_resource(max_entries=3, show_spinner=False)
def _load(source: str, home: Path) -> "Classifier":
    from engine.inference import load_classifier

    return load_classifier(source, home)


def classify_text(text: str, titles: Mapping[str, str], home: Path) -> list[Outcome]:
    """Ask each model about a text: one pass to warm up, then `PASSES` or one; the one of median latency counts."""
    from engine.measuring.calibration import unsure_below

    outcomes = []
    for source, title in titles.items():
        try:
            model = _load(source, home)
            given = [text[:LIMIT_CHARACTERS]]
            count = 1 if model.classify(given)[0].latency_ms > PATIENCE_MS else PASSES
            passes = [model.classify(given)[0] for _ in range(count)]
        except ChhatniError as error:
            outcomes.append(Outcome(source, title, None, 0, 0, str(error)))
        else:
            said = sorted(passes, key=lambda each: each.latency_ms)[count // 2]
            outcomes.append(
                Outcome(
                    source,
                    title,
                    said,
                    model.parameters,
                    model.size_bytes,
                    "",
                    passes=count,
                    device=model.device.type,
                    calibration=model.calibration.report if model.calibration else None,
                    sure_from=unsure_below(len(model.labels)),
                )
            )
    return outcomes


def explain_text(text: str, source: str, label: str, home: Path) -> "Saliency | str":
    """Weigh the words of a text for a label; a sentence where that cannot be done."""
    from engine.measuring.saliency import explain

    try:
        return explain(_load(source, home), text[:LIMIT_CHARACTERS], label)
    except ChhatniError as error:
        return str(error)


def read_file(name: str, content: bytes, text_column: str | None, source: str) -> FileOutcome:
    """Read the texts of an upload, to be classified by a model.

    Raises:
        ChhatniError: if the file cannot be read.
    """
    from engine.data import read_texts

    with tempfile.TemporaryDirectory() as folder:
        texts, notes = read_texts(keep_upload(Path(folder), name, content), text_column)
    return FileOutcome(source, texts[:LIMIT_TEXTS], max(0, len(texts) - LIMIT_TEXTS), notes)


def classify_file(found: FileOutcome, home: Path, progress: Callable[[float, str], object]) -> None:
    """Classify those texts that have not been yet; each part is kept before ``progress`` hears the share done and a sentence.

    Raises:
        ChhatniError: if the model cannot be loaded.
    """
    model = _load(found.source, home)
    while not found.whole:
        done, total = len(found.predictions), len(found.texts)
        progress(done / total, say("{done} of {total} texts", done=f"{done:,}", total=f"{total:,}"))
        part = model.classify(found.texts[done : done + CHUNK])
        found.predictions += [each._replace(probabilities={}) for each in part]
