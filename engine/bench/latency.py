"""Latency: what structure, precision and padding each gain, and what tokenization costs.

One gain at a time: structure is compared at equal precision and without padding, precision and padding on the same model.
Beside each structural gain stands its ceiling, the ratio of FLOPs.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from engine.bench.models import Variant, bench_shape, dense_model, describe, make_variant, variants
from engine.bench.settings import BenchSettings
from engine.config import DataConfig
from engine.data import batches, load_data
from engine.evaluation import collate, count_flops, measure_latency
from engine.files.bases import download_tokenizer, find_base
from engine.measuring.timing import Work, spread, time_in_turns
from engine.measuring.yardstick import DTYPES
from engine.model import load_tokenizer
from engine.records import Latency
from engine.shapes import COMPACT
from engine.texts.tokenization import encode, learn_tokenizer

CORPUS_TEXTS = 32
"""Texts whose real lengths are compared with padding; more where a batch holds more."""
CORPUS_ROUNDS = 5

Models = dict[tuple[str, Variant], BertForSequenceClassification]


def measure_latencies(
    settings: BenchSettings, home: Path, device: torch.device, precisions: list[str]
) -> dict[str, Any]:
    """Measure all variants in all precisions in turns, for each batch size and length; then padding and tokenization.

    Raises:
        CheckpointError, DataError: for a model or texts that are not there.
    """
    shape = bench_shape(settings, home)
    every = variants(settings, shape)
    texts, tokenizer = corpus(settings, home)
    dense = dense_model(shape, device)
    models: Models = {}
    for precision in precisions:
        base = dense if precision == "fp32" else copy.deepcopy(dense).to(DTYPES[precision])
        models |= {(precision, variant): make_variant(base, variant) for variant in every}
    rows: list[dict[str, Any]] = []
    for batch_size in settings.batch_sizes:
        for length in settings.sequence_lengths:
            rows += _structure(models, batch_size, length, settings.rounds)
    model, length = models[precisions[0], every[0]], max(settings.sequence_lengths)
    return {
        "rows": rows,
        "precision_gains": precision_gains(rows),
        "padding": [
            {"precision": precisions[0], **_padding(model, encode(tokenizer, texts, length), batch_size, length)}
            for batch_size in settings.batch_sizes
        ],
        "tokenization": _tokenization(tokenizer, texts[:CORPUS_TEXTS], length),
    }


def _structure(models: Models, batch_size: int, length: int, rounds: int) -> list[dict[str, Any]]:
    """Time all models in turns; each is compared with the dense one of its precision."""
    rivals = list(models.values())
    latencies = measure_latency(rivals, length, batch_size=batch_size, min_rounds=rounds, max_rounds=rounds)
    timed: dict[tuple[str, Variant], Latency] = dict(zip(models, latencies, strict=True))
    rows = []
    for (precision, variant), model in models.items():
        dense = next(key for key in models if key[0] == precision)
        speedup = timed[dense].p50 / timed[precision, variant].p50
        ceiling = count_flops(models[dense], length) / count_flops(model, length)
        rows.append(
            {
                **describe(model, variant, length),
                "precision": precision,
                "batch_size": batch_size,
                "sequence_length": length,
                "latency_ms": timed[precision, variant].model_dump(),
                "speedup": speedup,
                "speedup_ceiling": ceiling,
                "share_of_ceiling": speedup / ceiling,
            }
        )
    return rows


def precision_gains(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many times faster each model is in half precision than the same model in fp32, where both were timed."""
    place = ("name", "batch_size", "sequence_length")
    single = {tuple(row[key] for key in place): row for row in rows if row["precision"] == "fp32"}
    gains = []
    for row in rows:
        same = single.get(tuple(row[key] for key in place))
        if same is not None and same is not row:
            gain = same["latency_ms"]["p50"] / row["latency_ms"]["p50"]
            gains.append({**{key: row[key] for key in place}, "precision": row["precision"], "gain": gain})
    return gains


def corpus(settings: BenchSettings, home: Path) -> tuple[list[str], PreTrainedTokenizerBase]:
    """Return validation texts, evenly taken, and the model's tokenizer, or one learnt from the training texts.

    Raises:
        CheckpointError, DataError: if there is no such model or dataset.
    """
    data = load_data(DataConfig(source=settings.data), 0, home)
    texts = data.validation.texts
    wanted = min(len(texts), max(CORPUS_TEXTS, *settings.batch_sizes))
    taken = [texts[number * len(texts) // wanted] for number in range(wanted)]
    base = find_base(settings.model, home)
    if base.kind == "random":
        return taken, learn_tokenizer(data.train.texts, COMPACT.vocabulary)
    return taken, load_tokenizer(base.folder or download_tokenizer(base.name, home))


def _padding(
    model: BertForSequenceClassification, ids: list[list[int]], batch_size: int, length: int
) -> dict[str, Any]:
    """Time the same texts in batches of similar length, padded to the longest of each, and padded to the maximum.

    What is padded needs a mask, and with it a slower attention kernel; of that the ceiling, a ratio of FLOPs, knows nothing.
    """
    device, pad_id = model.classifier.weight.device, int(model.config.pad_token_id or 0)
    largest = int(model.config.vocab_size) - 1
    ids = [[min(token, largest) for token in text] for text in ids]
    groups = [[ids[number] for number in group] for group in batches([len(text) for text in ids], batch_size)]
    real = [collate(group, pad_id, device) for group in groups]
    padded = [_fill(inputs, length, pad_id) for inputs in real]
    works: list[Work] = [partial(_forward, model.eval(), some) for some in (real, padded)]
    times = time_in_turns(works, device, min_rounds=CORPUS_ROUNDS, warm_up=1)
    spent, wasted = (spread([value / len(ids) for value in values]) for values in times)
    flops = sum(
        len(group) * count_flops(model, int(some["input_ids"].shape[1]))
        for group, some in zip(groups, real, strict=True)
    )
    return {
        "batch_size": batch_size,
        "sequence_length": length,
        "texts": len(ids),
        "mean_tokens": sum(map(len, ids)) / len(ids),
        "real_ms_per_text": spent,
        "padded_ms_per_text": wasted,
        "gain": wasted["p50"] / spent["p50"],
        "gain_ceiling": len(ids) * count_flops(model, length) / flops,
    }


def _fill(inputs: dict[str, torch.Tensor], length: int, pad_id: int) -> dict[str, torch.Tensor]:
    """Pad a batch to the maximum length, with the mask that this needs."""
    ids = inputs["input_ids"]
    missing = (0, length - ids.shape[1])
    mask = inputs.get("attention_mask", torch.ones_like(ids))
    return {
        "input_ids": torch.nn.functional.pad(ids, missing, value=pad_id),
        "attention_mask": torch.nn.functional.pad(mask, missing, value=0),
    }


@torch.no_grad()
def _forward(model: BertForSequenceClassification, inputs: list[dict[str, torch.Tensor]]) -> None:
    for batch in inputs:
        model(**batch)


def _tokenization(tokenizer: PreTrainedTokenizerBase, texts: list[str], length: int) -> dict[str, Any]:
    """Time the tokenizer on the processor, all texts in one call."""
    (times,) = time_in_turns([partial(encode, tokenizer, texts, length)], torch.device("cpu"), min_rounds=20)
    return {
        "texts": len(texts),
        "tokens": len(tokenizer),
        "ms_per_text": spread([value / len(texts) for value in times]),
    }
