"""The shapes that a benchmark compares, as models with random weights: these do not change how long a product takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertForSequenceClassification

from engine.bench.settings import BenchSettings
from engine.compaction import KeptLayer, compact
from engine.config import RunConfig
from engine.distillation import distillation_loss
from engine.evaluation import count_bytes, count_flops, count_parameters
from engine.files.bases import base_shape, find_base, look_up
from engine.loop.optimization import make_optimizer
from engine.measuring.yardstick import DTYPES
from engine.model import random_model
from engine.shapes import Shape, kept_neurons

STEP_VOCABULARY = 4000
"""Tokens of the models whose training steps are compared: a large embedding would blur what the layers cost."""
LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Variant:
    """Heads and FFN neurons of every layer."""

    name: str
    level: float | None
    """Share of the FFN neurons that is missing where all heads are there, else None."""
    heads: int
    neurons: int


def bench_shape(settings: BenchSettings, home: Path) -> Shape:
    """Return the dense shape that is measured.

    Raises:
        CheckpointError: for a model that is not there.
    """
    base = find_base(settings.model, home)
    shape = base_shape(base) or look_up(base.name, home)
    return replace(shape, layers=settings.layers or shape.layers)


def variants(settings: BenchSettings, shape: Shape) -> list[Variant]:
    """Return the dense shape first, then the pruned ones."""
    found = [Variant("dense", 0.0, shape.heads, shape.intermediate_size)]
    for level in settings.levels:
        if level:
            neurons = kept_neurons(shape.intermediate_size, 1.0 - level)
            found.append(Variant(f"{level * 100:g} %", level, shape.heads, neurons))
    for heads, neurons in settings.shapes:
        found.append(Variant(f"{heads} heads, {neurons} neurons", None, heads, neurons))
    return found


def dense_model(shape: Shape, device: torch.device) -> BertForSequenceClassification:
    """Make the dense model, the same at every call."""
    return random_model(shape, [f"LABEL_{number}" for number in range(shape.labels)], seed=0).to(device)


def make_variant(dense: BertForSequenceClassification, variant: Variant) -> BertForSequenceClassification:
    """Return the dense model compacted to a variant, or itself."""
    if variant.name == "dense":
        return dense
    layers = range(dense.config.num_hidden_layers)
    heads, neurons = tuple(range(variant.heads)), tuple(range(variant.neurons))
    return compact(dense, tuple(KeptLayer(number, heads, neurons) for number in layers))


def describe(model: BertForSequenceClassification, variant: Variant, sequence_length: int) -> dict[str, Any]:
    """Return a variant's figures that are counted from its real tensors."""
    return {
        "name": variant.name,
        "level": variant.level,
        "heads": variant.heads,
        "intermediate_size": variant.neurons,
        "parameters": count_parameters(model),
        "size_bytes": count_bytes(model),
        "flops": count_flops(model, sequence_length),
    }


def random_texts(
    shape: Shape, batch_size: int, sequence_length: int, device: torch.device, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return token ids, shape (batch, tokens), and labels, shape (batch,)."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(
        min(5, shape.vocabulary - 1), shape.vocabulary, (batch_size, sequence_length), generator=generator
    )
    labels = torch.randint(0, shape.labels, (batch_size,), generator=generator)
    return ids.to(device), labels.to(device)


class TrainingStep:
    """Forward, backward, clipping and AdamW on one batch, as in loop/steps.py but for Accelerate, which costs all the same."""

    def __init__(self, model: BertForSequenceClassification, config: RunConfig, precision: str) -> None:
        self.model = model.train()
        self.device = model.classifier.weight.device
        self._config, self._precision = config, precision
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        # a fused AdamW that unscales by itself would hide from the scaler which steps to leave out
        self.optimizer = make_optimizer(model, config, LEARNING_RATE, fused=precision != "fp16")

    def __call__(
        self,
        ids: Tensor,
        labels: Tensor,
        *,
        penalty: Tensor | None = None,
        teacher: Tensor | None = None,
    ) -> None:
        """Take one step; ``teacher`` are logits to learn from beside the labels."""
        distillation = self._config.distillation
        with torch.autocast(self.device.type, DTYPES[self._precision], enabled=self._precision != "fp32"):
            logits = self.model(input_ids=ids).logits.float()
        loss = functional.cross_entropy(logits, labels)
        if teacher is not None:
            weight = distillation.distillation_weight
            loss = (1.0 - weight) * loss + weight * distillation_loss(logits, teacher, distillation.temperature)
        if penalty is not None:
            loss = loss + penalty
        torch.autograd.backward(self._scaler.scale(loss))
        self._scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._config.training.max_grad_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
