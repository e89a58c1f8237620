"""What turns a loss into a step: AdamW's groups, its rate, and the averages that are reported."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.config import RunConfig


def make_optimizer(
    model: torch.nn.Module, config: RunConfig, learning_rate: float, *, fused: bool
) -> torch.optim.Optimizer:
    """AdamW: no decay for biases, layer norms and mask scores; a rate of their own for the scores.

    Args:
        fused: one kernel for the whole step. Not on a GPU in fp16: it hides from Accelerate which steps the loss scaler skips.
    """
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    score: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        group = score if name.endswith("mask_scores") else decayed if parameter.ndim >= 2 else plain
        group.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.training.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if score:
        groups.append({"params": score, "weight_decay": 0.0, "lr": config.pruning.mask_learning_rate})
    return torch.optim.AdamW(groups, lr=learning_rate, fused=fused or None)


def default_learning_rate(hidden_size: int, *, trained: bool) -> float:
    """Return the peak learning rate for a base: wide pre-trained models want small steps, small random ones large."""
    if hidden_size >= 512:
        return 5e-5
    return 2e-4 if trained else 1e-3


@dataclass
class Window:
    """Sums since the last log, kept on the device so that no step waits for it."""

    steps: int = 0
    texts: int = 0
    tokens: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def add(self, parts: dict[str, Tensor], texts: int, tokens: int) -> None:
        self.steps, self.texts, self.tokens = self.steps + 1, self.texts + texts, self.tokens + tokens
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()

    def mean(self, name: str) -> float | None:
        return float(self.sums[name]) / self.steps if name in self.sums else None
