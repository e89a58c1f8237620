"""Base models: the starter, random shapes, hub ids, local folders and finished runs.

`find_base` says where a base lives (light enough for a form), `load_base` brings it into memory, and `fit_head` makes its
labels the dataset's. Nothing is loaded that would run code: safetensors, or a ``.bin`` through torch's ``weights_only=True``,
and never a repository's own Python.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from engine.compaction import KeptLayer, compact_in_place, layer_sizes
from engine.errors import CheckpointError
from engine.files.bases import TOKENIZER_FILES, Base, download
from engine.files.pruned_format import read_weights
from engine.shapes import COMPACT, MURIL, Shape, in_own_format
from engine.texts.tokenization import learn_tokenizer

HeadFit = Literal["by name", "subset by name", "aligned", "new"]

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class Loaded:
    """A base in memory; ``trained`` is False where its weights are random, ``has_head`` where its head was missing."""

    model: BertForSequenceClassification
    tokenizer: PreTrainedTokenizerBase
    trained: bool
    has_head: bool


def load_base(base: Base, labels: Sequence[str], training_texts: Sequence[str], seed: int, home: Path) -> Loaded:
    """Load or make a base model in fp32 on the CPU.

    Raises:
        CheckpointError: if there is no such model, or it cannot be loaded without running code.
    """
    if base.kind == "random":
        shape = COMPACT if base.name == "compact" else MURIL
        tokenizer = learn_tokenizer(training_texts, COMPACT.vocabulary, shape.positions)
        vocabulary = len(tokenizer) if base.name == "compact" else shape.vocabulary
        return Loaded(random_model(shape, labels, seed, vocabulary), tokenizer, trained=False, has_head=False)
    folder = base.folder if base.folder is not None else download(base.name, home)
    return load_folder(folder)


def random_model(
    shape: Shape, labels: Sequence[str], seed: int, vocabulary: int | None = None
) -> BertForSequenceClassification:
    """Make a BERT of this shape with random weights, the same for the same seed."""
    config = BertConfig(
        vocab_size=vocabulary or shape.vocabulary,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden_size // shape.values_per_head,
        intermediate_size=max(1, shape.intermediate_size),
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.token_types,
        attn_implementation="sdpa",
    )
    _name_labels(config, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config).eval()
    if layer_sizes(model) != list(shape.sizes):
        sizes = enumerate(shape.sizes)
        kept = [KeptLayer(number, tuple(range(heads)), tuple(range(width))) for number, (heads, width) in sizes]
        compact_in_place(model, tuple(kept))
    return model


def load_folder(folder: Path) -> Loaded:
    """Load a BERT checkpoint and its tokenizer from a folder in stock format or in our own (files/pruned_format.py).

    Raises:
        CheckpointError: naming the file at fault and what to do.
    """
    model, has_head = (_load_own(folder), True) if in_own_format(folder) else _load_weights(folder)
    tokenizer = load_tokenizer(folder)
    if len(tokenizer) > model.config.vocab_size:
        raise CheckpointError(
            f"The tokenizer in {folder} has {len(tokenizer):,} tokens and the model only {model.config.vocab_size:,}. "
            "They do not belong together; take both from the same place."
        )
    return Loaded(model.eval(), tokenizer, trained=True, has_head=has_head)


def _load_weights(folder: Path) -> tuple[BertForSequenceClassification, bool]:
    """Return the model, and whether its head was among the weights."""
    weights = "model.safetensors" if list(folder.glob("*.safetensors")) else "pytorch_model.bin"
    try:
        model, info = BertForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            local_files_only=True,
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{folder / weights} holds pickled objects that only running code could load. "
            "Ask for the model as safetensors, or convert it with save_pretrained where you trust it."
        ) from None
    except Exception as error:  # noqa: BLE001 - a torn or foreign file makes these libraries raise almost anything
        _reraise_if_out_of_memory(error)
        raise CheckpointError(
            f"The model in {folder} cannot be loaded: {_first_line(error)} Save it again with save_pretrained."
        ) from None
    if info["mismatched_keys"]:
        name, stored, expected = min(info["mismatched_keys"])
        raise CheckpointError(
            f"{folder / weights} does not fit config.json: {name} has the shape {tuple(stored)} and should have "
            f"{tuple(expected)}. Take both from the same place."
        )
    missing = set(info["missing_keys"])
    head_missing = {key for key in missing if key.startswith(("classifier.", "bert.pooler."))}
    if missing - head_missing:
        raise CheckpointError(
            f"The weights in {folder} lack {len(missing - head_missing)} tensors, such as {min(missing - head_missing)}. "
            "The file is torn or of another model; save or download it again."
        )
    return model, not head_missing


def _load_own(folder: Path) -> BertForSequenceClassification:
    try:
        return read_weights(folder)
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        _reraise_if_out_of_memory(error)
        raise CheckpointError(
            f"The model in {folder} cannot be loaded: {_first_line(error)} Copy the folder again or repeat the run."
        ) from None


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder in stock format.

    Raises:
        CheckpointError: if there is none, or it is torn or would need code of its own.
    """
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):  # transformers would make up an empty one
        raise CheckpointError(f"{folder} holds no tokenizer. Add its tokenizer.json or vocab.txt.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - as above
        _reraise_if_out_of_memory(error)
        raise CheckpointError(
            f"The tokenizer in {folder} cannot be loaded: {_first_line(error)} "
            "Save it again with save_pretrained, or give its tokenizer.json or vocab.txt."
        ) from None
    return tokenizer


def _reraise_if_out_of_memory(error: Exception) -> None:
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        raise error


def head_by_name(model: BertForSequenceClassification, labels: Sequence[str]) -> list[int] | None:
    """Return for each dataset label the row of the model's head with that name, or None if one is missing."""
    rows = {str(name).strip().casefold(): int(index) for index, name in model.config.id2label.items()}
    wanted = [label.strip().casefold() for label in labels]
    ambiguous = len(rows) != len(model.config.id2label) or len(set(wanted)) != len(wanted)
    if ambiguous or any(name not in rows for name in wanted):
        return None
    return [rows[name] for name in wanted]


def head_by_confusion(predicted: NDArray[np.int64], true: NDArray[np.int64], classes: int) -> list[int] | None:
    """Match a head's rows to labels where validation data make it clear.

    Clear means: the most frequent true label of each predicted row, and the most frequent row of each true label, are the
    same one-to-one match, and every row is right by it at least half of the time.

    Args:
        predicted: head rows, shape (texts,).
        true: label ids, shape (texts,).
        classes: rows of the head and labels alike.

    Returns:
        For each label the row that means it, or None.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)  # (row, label)
    np.add.at(counts, (predicted, true), 1)
    label_of_row = counts.argmax(axis=1)
    row_of_label = counts.argmax(axis=0)
    agree = all(label_of_row[row_of_label[label]] == label for label in range(classes))  # and so they are one-to-one
    right = counts[row_of_label, np.arange(classes)]
    clear = bool(np.all(right * 2 >= counts[row_of_label].sum(axis=1)) and np.all(right > 0))
    return [int(row) for row in row_of_label] if agree and clear else None


def reorder_head(model: BertForSequenceClassification, rows: Sequence[int], labels: Sequence[str]) -> None:
    """Keep the given rows of the head in the given order and name them, in place."""
    old = model.classifier
    index = torch.as_tensor(list(rows), device=old.weight.device)
    new = torch.nn.Linear(old.in_features, len(rows), device=old.weight.device, dtype=old.weight.dtype)
    with torch.no_grad():
        new.weight.copy_(old.weight[index])
        new.bias.copy_(old.bias[index])
    _replace_head(model, new, labels)


def new_head(model: BertForSequenceClassification, labels: Sequence[str], seed: int) -> None:
    """Give the model a fresh head for these labels, in place; the same for the same seed."""
    old = model.classifier
    new = torch.nn.Linear(old.in_features, len(labels), device=old.weight.device, dtype=old.weight.dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weight = torch.empty(new.weight.shape).normal_(std=model.config.initializer_range, generator=generator)
        new.weight.copy_(weight)
        new.bias.zero_()
    _replace_head(model, new, labels)


def _replace_head(model: BertForSequenceClassification, head: torch.nn.Linear, labels: Sequence[str]) -> None:
    model.classifier = head
    model.num_labels = len(labels)
    _name_labels(model.config, labels)


def _name_labels(config: BertConfig, labels: Sequence[str]) -> None:
    config.num_labels = len(labels)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.problem_type = "single_label_classification"


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return line if line.endswith(".") else f"{line}."
