"""From a masked model to a smaller dense one that stock transformers loads.

Where a neuron is masked, its row of the first FFN matrix, its bias and its column of the second do nothing; leaving them out
changes no logit beyond the order of summation. The same number of neurons in every layer keeps it an ordinary BERT with a
smaller ``intermediate_size``.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from engine.errors import CheckpointError


def compact(model: BertForSequenceClassification, kept: Sequence[Tensor]) -> BertForSequenceClassification:
    """Build the smaller model; the given one stays as it is.

    Args:
        model: a BERT, with or without masks.
        kept: for each layer the indices of the neurons that stay, shape (kept,), the same number in every layer.

    Returns:
        A stock model in evaluation mode, on the same device and in the same precision.

    Raises:
        CheckpointError: if the layers would differ in width, which the stock format cannot hold.
    """
    widths = {int(index.numel()) for index in kept}
    if len(widths) != 1 or len(kept) != model.config.num_hidden_layers:
        raise CheckpointError(f"A stock BERT needs one width for all layers; the masks ask for {sorted(widths)}.")
    config = copy.deepcopy(model.config)
    config.intermediate_size = widths.pop()
    weight = model.classifier.weight
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        smaller = BertForSequenceClassification(config)
    tensors = {name: value for name, value in model.state_dict().items() if ".neuron_mask." not in name}
    for number, index in enumerate(kept):
        prefix = f"bert.encoder.layer.{number}"
        for name in (f"{prefix}.intermediate.dense.weight", f"{prefix}.intermediate.dense.bias"):
            tensors[name] = tensors[name].index_select(0, index)
        name = f"{prefix}.output.dense.weight"
        tensors[name] = tensors[name].index_select(1, index)
    smaller.load_state_dict({name: value.clone() for name, value in tensors.items()}, strict=True, assign=True)
    for name, buffer in model.named_buffers():  # position ids are not saved in the state
        if buffer is not None and ".neuron_mask." not in name:
            owner, _, leaf = name.rpartition(".")
            smaller.get_submodule(owner).register_buffer(leaf, buffer.clone(), persistent=False)
    return smaller.to(weight.device).eval()


def compact_whole(model: BertForSequenceClassification) -> BertForSequenceClassification:
    """Copy a model without pruning anything, for runs of level 0."""
    width = model.config.intermediate_size
    every = torch.arange(width, device=model.classifier.weight.device)
    return compact(model, [every] * model.config.num_hidden_layers)


@torch.no_grad()
def max_logit_difference(
    first: nn.Module, second: nn.Module, batches: Sequence[dict[str, Tensor]]
) -> tuple[float, float]:
    """Compare two models over batches of inputs, both in evaluation mode.

    Returns:
        The largest absolute difference of their logits, and the largest absolute logit of the first.
    """
    first.eval()
    second.eval()
    worst, largest = 0.0, 0.0
    for batch in batches:
        one, other = first(**batch).logits.float(), second(**batch).logits.float()
        worst = max(worst, float((one - other).abs().max()))
        largest = max(largest, float(one.abs().max()))
    return worst, largest
