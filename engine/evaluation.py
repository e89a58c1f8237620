"""Accuracy, macro-F1, latency, FLOPs and sizes of one model, from its real tensors.

Latency follows one protocol: same device, precision, attention kernel, threads and full-length texts for both rivals; warm
up; alternate between them; report p50, p95 and the minimum. On a GPU CUDA events are the clock.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from engine.data import batches
from engine.measuring.timing import spread, time_in_turns
from engine.records import Latency, Measurement


def collate(ids: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Pad token ids to the longest of the batch.

    Returns:
        ``input_ids`` of shape (batch, tokens), and ``attention_mask`` of the same shape only where some text is shorter:
        without a mask the fast attention kernels apply.
    """
    longest = max(len(text) for text in ids)
    padded = torch.full((len(ids), longest), pad_id, dtype=torch.long)
    for row, text in enumerate(ids):
        padded[row, : len(text)] = torch.tensor(text, dtype=torch.long)
    inputs = {"input_ids": padded}
    if any(len(text) < longest for text in ids):
        lengths = torch.tensor([len(text) for text in ids])
        inputs["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
    return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}


@torch.no_grad()
def predict_logits(
    model: BertForSequenceClassification, ids: Sequence[Sequence[int]], pad_id: int, batch_size: int = 64
) -> Tensor:
    """Return the logits of all texts in their own order, shape (texts, labels), fp32 on the CPU."""
    device = model.classifier.weight.device
    was_training = model.training
    model.eval()
    logits = torch.empty(len(ids), model.config.num_labels)
    for indices in batches([len(text) for text in ids], batch_size):
        inputs = collate([ids[index] for index in indices], pad_id, device)
        logits[indices] = model(**inputs).logits.float().cpu()
    model.train(was_training)
    return logits


def scores(logits: Tensor, labels: Sequence[int]) -> tuple[float, float]:
    """Return accuracy and macro-F1 (0 to 1); macro-F1 averages over the labels that occur or are predicted."""
    predicted: NDArray[np.int64] = logits.argmax(dim=-1).numpy()
    true = np.asarray(labels)
    return float(accuracy_score(true, predicted)), float(f1_score(true, predicted, average="macro", zero_division=0))


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, each shared tensor once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters as they are stored."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def count_flops(model: BertForSequenceClassification, sequence_length: int) -> int:
    """Return the FLOPs of one forward pass of one text, from the shapes of the real matrices (a multiply-add counts 2)."""
    tokens, total = sequence_length, 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            times = tokens if ".encoder." in name else 1  # pooler and head see the first token only
            total += 2 * module.in_features * module.out_features * times
            if name.endswith("attention.self.query"):
                total += 2 * 2 * tokens * tokens * module.out_features  # scores, and their sum over the values
    return total


@torch.no_grad()
def measure_latency(
    models: Sequence[BertForSequenceClassification],
    sequence_length: int,
    *,
    batch_size: int = 1,
    budget_s: float = 1.0,
    min_rounds: int = 5,
    max_rounds: int = 200,
) -> list[Latency]:
    """Time forward passes of full-length texts, alternating between the models.

    Args:
        models: rivals on one device and in one precision.
        sequence_length: tokens in every text; no padding, so no mask.
        budget_s: seconds after which no new round begins, once ``min_rounds`` are done.

    Returns:
        One `Latency` a model, in milliseconds per forward pass of the whole batch.
    """
    device = models[0].classifier.weight.device
    generator = torch.Generator().manual_seed(0)
    vocabulary = min(model.config.vocab_size for model in models)
    ids = torch.randint(5, max(6, vocabulary), (batch_size, sequence_length), generator=generator).to(device)
    was_training = [model.training for model in models]
    for model in models:
        model.eval()
    works = [partial(model, input_ids=ids) for model in models]
    times = time_in_turns(works, device, min_rounds=min_rounds, max_rounds=max_rounds, budget_s=budget_s)
    for model, training in zip(models, was_training, strict=True):
        model.train(training)
    return [Latency(**spread(values), batch_size=batch_size, sequence_length=sequence_length) for values in times]


def measure(
    model: BertForSequenceClassification,
    latency: Latency,
    *,
    validation: tuple[float, float] | None = None,
) -> Measurement:
    """Put one model's figures together; ``validation`` is (accuracy, macro-F1)."""
    return Measurement(
        parameters=count_parameters(model),
        size_bytes=count_bytes(model),
        flops=count_flops(model, latency.sequence_length),
        latency_ms=latency,
        accuracy=None if validation is None else validation[0],
        macro_f1=None if validation is None else validation[1],
    )
