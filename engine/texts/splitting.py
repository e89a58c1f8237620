"""Training, validation and test texts: cut what is missing, and refuse what cannot be learned from."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from engine.errors import DataError
from engine.records import SplitReport
from engine.texts.cleaning import Cleaned

SPLITS = ("train", "validation", "test")

_HELD_OUT_SHARE = 0.1
"""Share of the texts that goes into each split which has to be cut from training."""
_LISTED = 8
"""How many labels a message names before it only counts the rest."""


def cut_missing(cleaned: Mapping[str, Cleaned], path: Path, seed: int) -> tuple[dict[str, Cleaned], tuple[str, ...]]:
    """Cut the splits that the dataset lacks from its training texts, stratified by label.

    Args:
        cleaned: texts by split, or one entry ``all`` that is to be cut into three.
        path: the file to name in errors.
        seed: decides which texts are held out.

    Returns:
        All three splits, and a sentence about the cut if there was one.

    Raises:
        DataError: if a label has too few texts to stand in each split.
    """
    whole = cleaned["all"] if "all" in cleaned else cleaned["train"]
    missing = [name for name in SPLITS[1:] if name not in cleaned]
    splits = {name: split for name, split in cleaned.items() if name != "all"}
    if not missing:
        return splits, ()
    rare = {label: n for label, n in Counter(whole.labels).items() if n <= len(missing)}
    if rare:
        raise DataError(
            f"{path}: each label needs at least {len(missing) + 1} different texts to have one in train and in "
            f"{' and '.join(missing)}; too few have {listed(f'{label} ({n})' for label, n in sorted(rare.items()))}. "
            "Add texts, merge labels or drop them.",
            path,
        )
    chosen = _cut(whole.labels, missing, seed)
    splits |= {
        name: Cleaned([whole.texts[i] for i in rows], [whole.labels[i] for i in rows]) for name, rows in chosen.items()
    }
    shares = " and ".join(f"{_HELD_OUT_SHARE:.0%} for {name}" for name in missing)
    return splits, (f"Of the texts of {path.name}, {shares} were held out by label with seed {seed}.",)


def _cut(labels: Sequence[str], held_out: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Draw a share of every label, at least one text, for each held-out split; the rest is for training.

    Label by label, because a stratified draw over all (as in scikit-learn) may leave a rare label out of a small split.
    """
    by_label: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        by_label.setdefault(label, []).append(index)
    chosen: dict[str, list[int]] = {name: [] for name in ("train", *held_out)}
    for label, indices in by_label.items():
        random.Random(f"{seed}/{label}").shuffle(indices)  # noqa: S311 - repeatable, not secret
        share = max(1, round(len(indices) * _HELD_OUT_SHARE))
        for number, name in enumerate(held_out):
            chosen[name] += indices[number * share : (number + 1) * share]
        chosen["train"] += indices[len(held_out) * share :]
    return {name: sorted(indices) for name, indices in chosen.items()}


def check_labels(labels: Sequence[str], splits: Mapping[str, Cleaned], paths: Mapping[str, Path]) -> None:
    """Refuse a dataset with one label, and held-out texts whose labels training does not know.

    Raises:
        DataError: with the labels and the number of their texts.
    """
    if len(labels) < 2:
        path = paths.get("train", paths.get("all"))
        raise DataError(
            f"{path} has one label only, {labels[0]!r}; a classifier needs two. Add texts of another label, "
            "or name the right label column.",
            path,
        )
    known = set(labels)
    for name in SPLITS[1:]:
        unknown = Counter(label for label in splits[name].labels if label not in known)
        if unknown:
            path = paths.get(name)
            raise DataError(
                f"{path}: the {name} split has labels that training does not know: "
                f"{listed(f'{label} ({n})' for label, n in sorted(unknown.items()))}. Training knows {listed(labels)}. "
                "Correct them, or add training texts for them.",
                path,
            )


def check_not_empty(report: SplitReport, name: str, path: Path) -> None:
    """Refuse a split of which cleaning has left nothing.

    Raises:
        DataError: with what became of its rows.
    """
    if report.kept:
        return
    split = "" if name == "all" else f" for the {name} split"
    raise DataError(
        f"{path} has no text left{split}: of {report.rows_read} rows, {report.empty_texts} have no text, "
        f"{report.empty_labels} no label, {report.repeated_headers} repeat the header, {report.duplicates} repeat "
        f"a text and {report.leaked} stand in an earlier split. Check the columns, or give other texts.",
        path,
    )


def listed(labels: Iterable[str]) -> str:
    """Write labels one after the other, or the first few of many and how many more there are."""
    rest = iter(labels)
    names = list(islice(rest, _LISTED))
    more = sum(1 for _ in rest)
    return ", ".join(names) + (f" and {more} more" if more else "")
