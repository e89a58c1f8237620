"""Activation-aware pruning: neurons that pass on little go first, by their weights and by what runs through them.

Wanda (Sun et al. 2023, https://arxiv.org/abs/2306.11695, section 3) scores a single weight by its magnitude times the L2 norm of
its input over calibration tokens, |W_ij| * ||x_j||, and prunes a finished model without retraining. Here the scores of a neuron's
outgoing weights are summed, sum over i of |W2_ij| * ||a_j||, whole neurons go, and fine-tuning goes on between the iterations
and after them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import BertForSequenceClassification

from engine.compaction import MASK, Kept
from engine.config import PruningConfig
from engine.methods.magnitude import MagnitudePruner
from engine.pruning import DensitySchedule


class Activity(nn.Module):
    """What was seen of the neurons of one layer and is not used yet; it is saved with the model, whatever its size."""

    def __init__(self) -> None:
        super().__init__()
        self.squares = torch.zeros(0)
        """Sum over tokens of the squared activations, fp32, shape (neurons,); empty where nothing was seen."""

    def get_extra_state(self) -> Tensor:
        """Return what is saved."""
        return self.squares

    def set_extra_state(self, state: Tensor) -> None:
        """Take what was saved."""
        self.squares = state


class ActivationPruner(MagnitudePruner):
    """Takes from every layer the FFN neurons whose outgoing weights times activations are smallest.

    Activations are those of the training batch in the step right before an iteration (with its dropout, without its padding),
    so that no other step pays for them. They are part of the saved state: a run that was stopped there prunes the same neurons.
    Before the very first step there are none, and the weights alone decide.
    """

    def __init__(self, model: BertForSequenceClassification, config: PruningConfig, schedule: DensitySchedule) -> None:
        super().__init__(model, config, schedule)
        self._hooks: list[RemovableHandle] = []
        self._attention_mask: Tensor | None = None
        for layer in model.bert.encoder.layer:
            setattr(layer.intermediate, MASK, Activity())
        if 0 in self.iterations:
            blind = "No activations were seen before the first step: the pruning there went by the weights alone."
            self.note = f"{self.note} {blind}" if self.note else blind

    def before_step(self, step: int) -> Kept | None:
        kept = super().before_step(step)
        if step in self.iterations:
            for layer in self.model.bert.encoder.layer:
                _activity(layer).squares = torch.zeros(0)
        if step + 1 in self.iterations:
            self._listen()
        return kept

    def after_step(self) -> None:
        self._stop_listening()

    def detach(self) -> None:
        self._stop_listening()
        for layer in self.model.bert.encoder.layer:
            if hasattr(layer.intermediate, MASK):
                delattr(layer.intermediate, MASK)

    def importance(self, layer: Any) -> Tensor:
        outgoing: Tensor = layer.output.dense.weight.abs().sum(0)
        squares = _activity(layer).squares.to(outgoing.device)
        return outgoing * squares.sqrt() if squares.numel() else outgoing

    def _listen(self) -> None:
        """Take down the activations of the next training step."""
        self._hooks.append(self.model.register_forward_pre_hook(self._see_padding, with_kwargs=True))
        for layer in self.model.bert.encoder.layer:
            self._hooks.append(layer.intermediate.register_forward_hook(self._add_up))

    def _stop_listening(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._attention_mask = None

    def _see_padding(self, model: nn.Module, arguments: Any, inputs: dict[str, Any]) -> None:
        self._attention_mask = inputs.get("attention_mask")  # (batch, tokens), absent where all texts are equally long

    @torch.no_grad()
    def _add_up(self, intermediate: nn.Module, arguments: Any, activations: Tensor) -> None:
        """Add the squares of activations of shape (batch, tokens, neurons)."""
        if not intermediate.training:  # validation texts, while masked and smaller model are compared
            return
        mask = self._attention_mask
        if mask is not None:
            activations = activations * mask.unsqueeze(-1)
        # squares would leave the range of fp16
        squares = torch.linalg.vector_norm(activations, dim=(0, 1), dtype=torch.float32).square()
        activity = getattr(intermediate, MASK)
        activity.squares = activity.squares + squares if activity.squares.numel() else squares


def _activity(layer: Any) -> Activity:
    activity: Activity = getattr(layer.intermediate, MASK)
    return activity
