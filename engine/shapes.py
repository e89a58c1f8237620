"""The arithmetic of BERT shapes: parameters, bytes, FLOPs and speed-up ceilings, without torch.

Source of the layout: Devlin et al. 2018, section 3; checked against the real tensors in the tests. MuRIL-BERT-base
(Khanuja et al. 2021) has 197,285 tokens, which makes 237,565,452 parameters with 12 labels.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError

OWN_TYPE = "chhatni-bert"
"""What ``config.json`` of a checkpoint of our own format calls the model, so that no other program takes it for stock."""
OWN_WEIGHTS = "chhatni.safetensors"
"""Its weights, under a name that stock transformers does not look for."""


@dataclass(frozen=True)
class Shape:
    """One BERT classifier."""

    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    vocabulary: int
    labels: int
    positions: int = 512
    token_types: int = 2
    head_size: int | None = None
    """Values of one attention head; None divides the hidden size among the heads, which holds until heads are removed."""

    layer_sizes: tuple[tuple[int, int], ...] | None = None
    """Heads and FFN width of each layer where they differ; ``heads`` and ``intermediate_size`` are then the largest."""

    @property
    def values_per_head(self) -> int:
        """Values of one attention head."""
        return self.head_size or self.hidden_size // self.heads

    @property
    def attention_size(self) -> int:
        """Values of all heads of a layer together; of the largest layer where they differ."""
        return self.heads * self.values_per_head

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heads and FFN width of each layer, from bottom to top."""
        return self.layer_sizes or ((self.heads, self.intermediate_size),) * self.layers

    def with_sizes(self, sizes: Sequence[tuple[int, int]]) -> "Shape":
        """Return the shape with these layers: heads of the same size as now, and FFN width, of each."""
        heads, width = max(heads for heads, _ in sizes), max(width for _, width in sizes)
        each = self.values_per_head
        return replace(
            self,
            layers=len(sizes),
            heads=heads,
            intermediate_size=width,
            head_size=None if heads * each == self.hidden_size else each,
            layer_sizes=None if len(set(sizes)) == 1 else tuple(sizes),
        )

    def pruned(self, density: float) -> "Shape":
        """Return the shape with ``density`` of the FFN neurons of every layer."""
        return self.with_sizes([(heads, kept_neurons(width, density)) for heads, width in self.sizes])

    @property
    def embedding_parameters(self) -> int:
        """Values of the tables of tokens, positions and token types."""
        return (self.vocabulary + self.positions + self.token_types) * self.hidden_size

    @property
    def attention_parameters(self) -> int:
        """Weights and biases of query, key, value and output matrices of all layers."""
        hidden = self.hidden_size
        values = [heads * self.values_per_head for heads, _ in self.sizes]
        return sum(3 * (hidden * size + size) + size * hidden + hidden for size in values)

    @property
    def feed_forward_parameters(self) -> int:
        """Weights and biases of both FFN matrices of all layers."""
        return sum(2 * self.hidden_size * width + width + self.hidden_size for _, width in self.sizes)

    @property
    def parameters(self) -> int:
        """Number of weights, biases and layer-norm values."""
        hidden = self.hidden_size
        norms = (1 + 2 * self.layers) * 2 * hidden
        head = hidden * hidden + hidden + hidden * self.labels + self.labels
        return self.embedding_parameters + self.attention_parameters + self.feed_forward_parameters + norms + head

    def size_bytes(self, bytes_per_parameter: int = 4) -> int:
        """Return the bytes of all tensors."""
        return self.parameters * bytes_per_parameter

    def flops(self, sequence_length: int) -> int:
        """Return the floating-point operations of one forward pass of one text (a multiply-add counts 2)."""
        hidden, tokens, total = self.hidden_size, sequence_length, 0
        for heads, width in self.sizes:
            values = heads * self.values_per_head
            projections = 2 * 4 * hidden * values * tokens
            scores_and_values = 2 * 2 * tokens * tokens * values
            feed_forward = 2 * 2 * hidden * width * tokens
            total += projections + scores_and_values + feed_forward
        return total + 2 * (hidden * hidden + hidden * self.labels)

    def speedup_ceiling(self, smaller: "Shape", sequence_length: int) -> float:
        """Return how many times faster ``smaller`` can be by its FLOPs alone."""
        return self.flops(sequence_length) / smaller.flops(sequence_length)


def kept_neurons(width: int, density: float, multiple: int = 1) -> int:
    """Return how many of ``width`` neurons stay at ``density``: the nearest multiple, and at least one where there is any.

    A width that is not above ``multiple`` is not rounded: there would be nothing left to choose.
    """
    if density >= 1 or width <= multiple:
        multiple = 1
    return min(width, max(multiple, multiple * round(width * density / multiple)))


MURIL = Shape(layers=12, hidden_size=768, heads=12, intermediate_size=3072, vocabulary=197_285, labels=12)
COMPACT = Shape(layers=4, hidden_size=256, heads=4, intermediate_size=1024, vocabulary=4000, labels=12, positions=512)


def read_shape(folder: Path) -> Shape:
    """Read the shape of a local checkpoint from its ``config.json``.

    Raises:
        CheckpointError: if the file is missing, torn or not of a BERT.
    """
    path, values = folder / "config.json", _read_config(folder)
    own = values["model_type"] == OWN_TYPE
    again = "Copy the folder again or repeat the run." if own else "Save the model again with save_pretrained."
    try:
        shape = Shape(
            layers=int(values["num_hidden_layers"]),
            hidden_size=int(values["hidden_size"]),
            heads=int(values["num_attention_heads"]),
            intermediate_size=int(values["intermediate_size"]),
            vocabulary=int(values["vocab_size"]),
            labels=len(values.get("id2label") or {0: "", 1: ""}),
            positions=int(values.get("max_position_embeddings", 512)),
            token_types=int(values.get("type_vocab_size", 2)),
        )
        sizes = (
            [(int(size["heads"]), int(size["intermediate_size"])) for size in values["pruned_layers"]] if own else []
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} lacks or garbles {error}. {again}") from None
    wrong = {name: value for name, value in asdict(shape).items() if value is not None and value < 1}
    if wrong or shape.hidden_size % shape.heads:
        raise CheckpointError(
            f"{path} describes a model that cannot be ({wrong or f'{shape.heads} heads in {shape.hidden_size} values'}). {again}"
        )
    if not own:
        return shape
    impossible = [size for size in sizes if not 0 <= size[0] <= shape.heads or size[1] < 0]
    if impossible or len(sizes) != shape.layers:
        said = (
            f"heads and width {impossible[0]}" if impossible else f"the sizes of {len(sizes)} of {shape.layers} layers"
        )
        raise CheckpointError(f"{path} describes a model that cannot be ({said}). {again}")
    return shape.with_sizes(sizes)


def in_own_format(folder: Path) -> bool:
    """Tell whether a local checkpoint is one that only our own loader can read.

    Raises:
        CheckpointError: as `read_shape` does.
    """
    return bool(_read_config(folder)["model_type"] == OWN_TYPE)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}). Give a folder with config.json, tokenizer and weights."
        ) from None
    if not isinstance(values, dict) or values.get("model_type") not in ("bert", OWN_TYPE):
        kind = values.get("model_type") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(
            f"{path} describes a model of type {kind!r}; only 'bert' is supported. Choose a BERT model."
        )
    return values
