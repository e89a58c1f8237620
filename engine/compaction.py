"""From a masked model to a smaller dense one, as a copy or in place while it is being trained.

Where a neuron is masked, its row of the first FFN matrix, its bias and its column of the second do nothing; where a head is,
its rows of query, key and value and its columns of the output matrix. Leaving them out changes no logit beyond the order of
summation. Layers that are left out pass their input on. Where all layers stay alike and no head goes, the result is an
ordinary BERT; otherwise its ``config.pruned_layers`` tells heads and width of each layer, and only `skeleton` can rebuild it.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

MASK = "pruning_mask"
"""Name of the submodules that belong to pruning and not to the model."""


class KeptLayer(NamedTuple):
    """What stays of one layer: its number, its heads and its FFN neurons, each ascending."""

    number: int
    heads: tuple[int, ...]
    neurons: tuple[int, ...]


Kept = tuple[KeptLayer, ...]
"""The layers that stay, from bottom to top, in the numbering of the model they are taken from."""


class NoAttention(nn.Module):
    """Takes the place of a self-attention without heads: nothing comes of it but the output matrix's bias."""

    num_attention_heads = 0

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        """Return an output of shape (batch, tokens, 0)."""
        return hidden_states.new_zeros(*hidden_states.shape[:-1], 0), None


def layer_sizes(model: BertForSequenceClassification) -> list[tuple[int, int]]:
    """Return (heads, FFN width) of each layer, from the real modules."""
    return [
        (int(layer.attention.self.num_attention_heads), int(layer.intermediate.dense.out_features))
        for layer in model.bert.encoder.layer
    ]


def is_stock(model: BertForSequenceClassification) -> bool:
    """Tell whether stock transformers can hold the model: all layers alike, with all their heads, and not without neurons."""
    sizes = set(layer_sizes(model))
    return len(sizes) == 1 and sizes == {(model.config.num_attention_heads, max(1, model.config.intermediate_size))}


def whole(model: BertForSequenceClassification) -> Kept:
    """Return everything that a model has now."""
    return tuple(
        KeptLayer(number, tuple(range(heads)), tuple(range(width)))
        for number, (heads, width) in enumerate(layer_sizes(model))
    )


def compose(first: Kept, second: Kept) -> Kept:
    """Return what stays of the original after keeping ``first`` of it and then ``second`` of the outcome."""
    return tuple(
        KeptLayer(
            first[layer.number].number,
            tuple(first[layer.number].heads[head] for head in layer.heads),
            tuple(first[layer.number].neurons[neuron] for neuron in layer.neurons),
        )
        for layer in second
    )


def skeleton(config: BertConfig) -> BertForSequenceClassification:
    """Build a model without memory or numbers (on the ``meta`` device) with the layers that ``config`` tells."""
    config = copy.deepcopy(config)
    with torch.device("meta"):
        model = BertForSequenceClassification(config)
        for layer, size in zip(model.bert.encoder.layer, getattr(config, "pruned_layers", None) or (), strict=False):
            _resize(layer, int(size["heads"]), int(size["intermediate_size"]), config)
    return model


def _resize(layer: nn.Module, heads: int, width: int, config: BertConfig) -> None:
    anyway: Any = layer
    hidden, head_size = config.hidden_size, config.hidden_size // config.num_attention_heads
    attention = anyway.attention
    if heads == 0:
        attention.self = NoAttention()
    else:
        attention.self.num_attention_heads, attention.self.all_head_size = heads, heads * head_size
        for name in ("query", "key", "value"):
            setattr(attention.self, name, _empty_linear(hidden, heads * head_size))
    attention.output.dense = _empty_linear(heads * head_size, hidden)
    anyway.intermediate.dense = _empty_linear(hidden, width)
    anyway.output.dense = _empty_linear(width, hidden)


def _empty_linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(1, 1, device="meta")  # torch warns about matrices without elements where it is to fill them
    linear.in_features, linear.out_features = inputs, outputs
    linear.weight = nn.Parameter(torch.empty(outputs, inputs, device="meta"))
    linear.bias = nn.Parameter(torch.empty(outputs, device="meta"))
    return linear


def plain_copy(model: BertForSequenceClassification) -> BertForSequenceClassification:
    """Copy a model without masks and hooks, in evaluation mode, on its device and in its precision."""
    twin = skeleton(model.config)
    tensors = {name: value for name, value in model.state_dict().items() if f".{MASK}." not in name}
    twin.load_state_dict({name: value.clone() for name, value in tensors.items()}, strict=True, assign=True)
    for name, buffer in model.named_buffers():  # position ids are not saved in the state
        if buffer is not None and f".{MASK}." not in name:
            owner, _, leaf = name.rpartition(".")
            twin.get_submodule(owner).register_buffer(leaf, buffer.clone(), persistent=False)
    for theirs, ours in zip(model.parameters(), twin.parameters(), strict=False):
        ours.requires_grad_(theirs.requires_grad)
    return twin.to(model.classifier.weight.device).eval()


def compact(model: BertForSequenceClassification, kept: Kept) -> BertForSequenceClassification:
    """Build the smaller model; the given one stays as it is.

    Args:
        model: a BERT, with or without masks.
        kept: the units that stay.

    Returns:
        A plain model in evaluation mode, on the same device and in the same precision.
    """
    twin = plain_copy(model)
    compact_in_place(twin, kept)
    return twin


def compact_in_place(
    model: BertForSequenceClassification, kept: Kept, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Make a model smaller, and the moments that its optimizer keeps of every weight along with it.

    Masks must be detached before. Parameters that are gone leave the optimizer.
    """
    layers = model.bert.encoder.layer
    head_size = model.config.hidden_size // model.config.num_attention_heads
    swaps: dict[Tensor, nn.Parameter] = {}
    moments: dict[Tensor, tuple[int, Tensor]] = {}

    def narrow(linear: nn.Linear, dimension: int, index: Sequence[int]) -> None:
        """Keep rows (dimension 0, with their biases) or columns (1) of a matrix."""
        size = linear.weight.shape[dimension]
        if len(index) == size:
            return
        where = torch.tensor(index, dtype=torch.long, device=linear.weight.device)
        for name in ("weight", "bias") if dimension == 0 else ("weight",):
            old = getattr(linear, name)
            new = nn.Parameter(old.detach().index_select(dimension, where), requires_grad=old.requires_grad)
            setattr(linear, name, new)
            swaps[old], moments[old] = new, (dimension, where)
        if dimension == 0:
            linear.out_features = len(index)
        else:
            linear.in_features = len(index)

    for unit in kept:
        layer: Any = layers[unit.number]
        attention = layer.attention
        if len(unit.heads) < attention.self.num_attention_heads:
            rows = [head * head_size + place for head in unit.heads for place in range(head_size)]
            narrow(attention.output.dense, 1, rows)
            if rows:
                for name in ("query", "key", "value"):
                    narrow(getattr(attention.self, name), 0, rows)
                attention.self.num_attention_heads = len(unit.heads)
                attention.self.all_head_size = len(rows)
            else:
                attention.self = NoAttention()
        narrow(layer.intermediate.dense, 0, unit.neurons)
        narrow(layer.output.dense, 1, unit.neurons)
    model.bert.encoder.layer = nn.ModuleList([layers[unit.number] for unit in kept])
    for number, layer in enumerate(model.bert.encoder.layer):
        if hasattr(layer.attention.self, "layer_idx"):
            layer.attention.self.layer_idx = number
    _tell_config(model)
    if optimizer is not None:
        _follow(optimizer, model, swaps, moments)


def _tell_config(model: BertForSequenceClassification) -> None:
    """Write the sizes of the real layers into the config."""
    sizes = layer_sizes(model)
    config: Any = model.config
    config.num_hidden_layers = len(sizes)
    widths = {width for _, width in sizes}
    if widths and 0 not in widths:  # of differing layers the stock field can hold only one
        config.intermediate_size = max(widths)
    if is_stock(model):
        config.pruned_layers = None
        del config.pruned_layers
    else:
        config.pruned_layers = [{"heads": heads, "intermediate_size": width} for heads, width in sizes]


def _follow(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    swaps: dict[Tensor, nn.Parameter],
    moments: dict[Tensor, tuple[int, Tensor]],
) -> None:
    """Let an optimizer go on with the parameters a model has now, each with the moments of what stayed of it."""
    # a row swapped for its own swap: both FFN and attention matrices are narrowed once only, so one look suffices
    alive = {id(parameter) for parameter in model.parameters()}
    for group in optimizer.param_groups:
        group["params"] = [new for old in group["params"] if id(new := swaps.get(old, old)) in alive]
    for old in list(optimizer.state):
        state = optimizer.state.pop(old)
        new = swaps.get(old, old)
        if id(new) not in alive:
            continue
        if old in moments:
            dimension, where = moments[old]
            shape = old.shape
            state = {
                name: value.index_select(dimension, where)
                if isinstance(value, Tensor) and value.shape == shape
                else value
                for name, value in state.items()
            }
        optimizer.state[new] = state


@torch.no_grad()
def max_logit_difference(
    first: BertForSequenceClassification, second: BertForSequenceClassification, batches: Sequence[dict[str, Tensor]]
) -> tuple[float, float]:
    """Compare two models over batches of inputs, both in evaluation mode; their modes are put back.

    Returns:
        The largest absolute difference of their logits, and the largest absolute logit of the first.
    """
    modes = [(model, model.training) for model in (first, second)]
    first.eval()
    second.eval()
    worst, largest = 0.0, 0.0
    for batch in batches:
        one, other = _plain_logits(first, batch), _plain_logits(second, batch)
        worst = max(worst, float((one - other).abs().max()))
        largest = max(largest, float(one.abs().max()))
    for model, training in modes:
        model.train(training)
    return worst, largest


def _plain_logits(model: BertForSequenceClassification, batch: dict[str, Tensor]) -> Tensor:
    """Run the class's own forward: what mixed precision wraps around a model's is not to be compared."""
    logits: Tensor = type(model).forward(model, **batch).logits.float()
    return logits
