"""Small models under hybrid masks, and what a run does to them."""

import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from engine.compaction import Kept, compact_in_place
from engine.config import PruningConfig
from engine.methods.hybrid import HybridPruner, MaskedBlocks
from engine.model import random_model
from engine.pruning import DensitySchedule
from engine.shapes import Shape

LABELS = ["a", "b", "c"]
STEPS = 10
UNITS = ("head", "block")


def made(
    unit: str,
    density: float = 0.5,
    *,
    layers: int = 2,
    heads: int = 4,
    head_size: int = 8,
    width: int = 24,
    seed: int = 0,
    score: bool = True,
) -> tuple[BertForSequenceClassification, HybridPruner]:
    """Return a small model with large random weights under a hybrid pruner with random scores, at its final density."""
    shape = Shape(layers, heads * head_size, heads, width, vocabulary=60, labels=3, positions=32)
    model = random_model(shape, LABELS, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # random biases too, so that a forgotten one shows
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    config = PruningConfig(method="hybrid", attention_unit=unit, final_density=density, width_multiple=1)
    pruner = HybridPruner(model, config, DensitySchedule.of(config, STEPS))
    if score:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("mask_scores"):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
    pruner.set_density(density, final=True)
    return model, pruner


def texts(seed: int = 0) -> list[dict[str, Tensor]]:
    """Return a batch without and one with padding."""
    ids = torch.randint(0, 60, (3, 11), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return [{"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}]


def without_dropout(model: BertForSequenceClassification) -> BertForSequenceClassification:
    """Return the same model, in training and yet the same at every call."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train()


def smaller(model: BertForSequenceClassification, pruner: HybridPruner) -> BertForSequenceClassification:
    """Make a smaller copy as the student of a run does."""
    from engine.compaction import plain_copy

    twin = plain_copy(model)
    pruner.bake(twin)
    compact_in_place(twin, pruner.kept())
    return twin


def shrink(
    model: BertForSequenceClassification, pruner: HybridPruner, optimizer: torch.optim.Optimizer | None = None
) -> Kept:
    """Go from masks to a smaller model in place, as the student of a run does."""
    kept = pruner.kept()
    with torch.no_grad():
        pruner.bake(model)
    pruner.detach()
    compact_in_place(model, kept, optimizer)
    pruner.settle()
    return kept


def silence(pruner: HybridPruner, layer: int, head: int, place: str) -> None:
    """Mask all blocks of one head in its value rows or its output columns, whatever the scores say."""
    attention = pruner.attentions[layer]
    assert isinstance(attention, MaskedBlocks)
    matrix = attention._matrices[place]
    selection = matrix.mask.selection.view(matrix._blocks).clone()
    size = pruner.model.config.hidden_size // pruner.model.config.num_attention_heads // matrix._size  # blocks a head
    own = slice(head * size, (head + 1) * size)
    if place == "output.dense":
        selection[:, own] = 0
    else:
        selection[own, :] = 0
    matrix.mask.keep(selection.flatten(), int(selection.sum()))
