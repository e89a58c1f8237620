"""Everything before the first step: device, data, dense base, student and token ids."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertForSequenceClassification, PreTrainedTokenizerBase

from engine.config import RunConfig
from engine.data import TextData, load_data
from engine.errors import CheckpointError, ConfigError
from engine.evaluation import predict_logits
from engine.events import DataPrepared, Event, Notice
from engine.files.bases import find_base
from engine.files.storage import replace_folder
from engine.model import HeadFit, Loaded, head_by_confusion, head_by_name, load_base, new_head, reorder_head
from engine.texts.tokenization import encode


@dataclass
class Prepared:
    """The material of a run; `prepare` fills it."""

    device: torch.device
    data: TextData
    tokenizer: PreTrainedTokenizerBase
    dense: BertForSequenceClassification
    """The unpruned base on the device, in evaluation mode: baseline and teacher."""
    trained: bool
    """False where the base's weights are random."""
    head: HeadFit
    shows_accuracy: bool
    """False for a shape that only serves to measure shapes."""
    distilling: bool
    max_length: int
    train_ids: list[list[int]] = field(default_factory=list)
    validation_ids: list[list[int]] = field(default_factory=list)
    test_ids: list[list[int]] = field(default_factory=list)

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def new_student(self) -> BertForSequenceClassification:
        """Return a copy of the dense base to be pruned."""
        return copy.deepcopy(self.dense)


def choose_device(requested: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` into a device that is really there.

    Raises:
        ConfigError: if that GPU is not there.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if requested == "cpu" or (requested == "auto" and not available):
        return torch.device("cpu")
    index = int(requested.partition(":")[2] or 0)
    if index >= available:
        raise ConfigError(
            {
                "training.device": f"Device is {requested}, and this machine offers torch {available} GPUs. Try auto or cpu."
            }
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def device_name(device: torch.device) -> str:
    """Return what the maker calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    threads = f"{count} thread{'' if count == 1 else 's'}"
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {threads}"
    except OSError:
        pass  # not Linux: the architecture has to do
    import platform

    return f"{platform.processor() or platform.machine()}, {threads}"


def prepare(config: RunConfig, device: torch.device, folder: Path, home: Path) -> Iterator[Event | Prepared]:
    """Read data, load the base, fit its head, encode; yields events and, last, the `Prepared`.

    Raises:
        DataError, CheckpointError, ConfigError: as the parts do.
    """
    data = load_data(config.data, config.training.seed, home)
    yield DataPrepared(report=data.report)
    base = find_base(config.model.base, home)
    loaded = load_base(base, data.labels, data.train.texts, config.training.seed, home)
    tokenizer = _settled_tokenizer(loaded, folder / "tokenizer")
    positions = int(loaded.model.config.max_position_embeddings)
    max_length = min(config.data.max_length, positions)
    if max_length < config.data.max_length:
        yield Notice(
            message=f"The base model reads at most {positions} tokens; the maximum length of {config.data.max_length} "
            f"is lowered to that."
        )
    dense = loaded.model.to(device).eval()
    prepared = Prepared(
        device=device,
        data=data,
        tokenizer=tokenizer,
        dense=dense,
        trained=loaded.trained,
        head="new",
        shows_accuracy=base.name != "muril-shape",
        distilling=False,
        max_length=max_length,
        train_ids=encode(tokenizer, data.train.texts, max_length),
        validation_ids=encode(tokenizer, data.validation.texts, max_length),
        test_ids=encode(tokenizer, data.test.texts, max_length),
    )
    prepared.head, message = _fit_head(prepared, loaded, config.training.seed)
    if message:
        yield Notice(message=message)
    prepared.distilling = config.distillation.enabled and prepared.head != "new"
    if config.distillation.enabled and not prepared.distilling:
        yield Notice(
            message="Distillation is off for this run: the base has no head trained on these labels, so there is nothing "
            "to learn from it. Train a baseline first and choose that run as the base model."
        )
    yield prepared


def _settled_tokenizer(loaded: Loaded, folder: Path) -> PreTrainedTokenizerBase:
    """Keep a learnt tokenizer with the run, so that a resumed part uses the very same one."""
    if loaded.trained:
        return loaded.tokenizer
    if not folder.is_dir():
        replace_folder(folder, loaded.tokenizer.save_pretrained)
    kept = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if len(kept) > loaded.model.config.vocab_size:
        raise CheckpointError(f"{folder} does not fit the model any more; the data have changed. Start a new run.")
    assert isinstance(kept, PreTrainedTokenizerBase)
    return kept


def _fit_head(prepared: Prepared, loaded: Loaded, seed: int) -> tuple[HeadFit, str | None]:
    """Make the dense base's labels the dataset's; return how, and what to tell the person."""
    model, labels = prepared.dense, prepared.data.labels
    if not loaded.trained:
        return "new", None
    if not loaded.has_head:
        new_head(model, labels, seed)
        return "new", "The base model has no classification head; it gets a new one, trained from random weights."
    known = [str(name) for name in model.config.id2label.values()]
    rows = head_by_name(model, labels)
    if rows is not None:
        reorder_head(model, rows, labels)
        if len(labels) == len(known):
            return "by name", None
        return (
            "subset by name",
            f"The dataset has {len(labels)} of the base model's {len(known)} labels; only those are kept.",
        )
    if len(known) == len(labels):
        predicted = predict_logits(model, prepared.validation_ids, prepared.pad_id).argmax(dim=-1).numpy()
        true = torch.tensor(prepared.data.validation.labels).numpy()
        rows = head_by_confusion(predicted, true, len(labels))
        if rows is not None:
            pairs = ", ".join(f"{known[row]} = {label}" for row, label in zip(rows, labels, strict=True))
            reorder_head(model, rows, labels)
            return "aligned", f"The base model names its labels otherwise; matched on validation data: {pairs}."
    new_head(model, labels, seed)
    return "new", (
        f"The base model's labels ({', '.join(known[:12])}) are not the dataset's ({', '.join(labels[:12])}), and no clear "
        "match was found on validation data; it gets a new head."
    )
