"""What a pruning setting will make of a model, told before anything is trained, by arithmetic alone and without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.config import PruningConfig
from engine.methods.dropping import layers_to_drop, outer_layers
from engine.shapes import Shape, kept_neurons


@dataclass(frozen=True)
class Prediction:
    """The shape a run ends with, as far as it follows from the settings."""

    shape: Shape
    """The student's shape; where layers will differ, one whose layers have the mean width."""
    kept_layers: tuple[int, ...]
    """Layers that stay, from 0, in the base's numbering."""
    exact: bool
    """False where the scores decide how many units a layer keeps, and not only which."""
    notes: tuple[str, ...]
    """Sentences about what the numbers do not say."""


def predict_shape(dense: Shape, pruning: PruningConfig) -> Prediction:
    """Say what will be left of a model: layers, heads and FFN width.

    The vocabulary is left whole here: how many tokens stay is known when the training texts have been read.
    """
    kept = outer_layers(dense.layers, layers_to_drop(pruning, dense.layers))
    shape = dense.with_sizes([dense.sizes[number] for number in kept])
    notes: list[str] = []
    exact = True
    if pruning.final_density < 1.0:
        shape, exact, said = _by_method(shape, pruning)
        notes += said
    if pruning.method == "layer-dropping" and abs(len(kept) / dense.layers - pruning.final_density) >= 0.005:
        notes.append(f"Layers go whole: {dense.layers - len(kept)} of {dense.layers}.")
    elif pruning.drop_layers > dense.layers - len(kept):
        notes.append(f"At least one layer stays, so {dense.layers - len(kept)} go and not {pruning.drop_layers}.")
    if pruning.vocabulary == "training":
        notes.append(
            "The vocabulary is counted in full here: how many tokens stay is known when the training texts have been read."
        )
    return Prediction(shape, kept, exact, tuple(notes))


def _by_method(shape: Shape, pruning: PruningConfig) -> tuple[Shape, bool, list[str]]:
    """Return the shape without what the method removes, whether that is exact, and what to say about it."""
    density = pruning.final_density
    if pruning.method == "layer-dropping":
        return shape, True, []
    if pruning.method == "magnitude" and pruning.unit == "weight":
        words = (
            f"{pruning.level * 100:g} % of the single weights in the layers become zero. The matrices keep their size, so "
            "parameters, bytes and FLOPs stay as they are, and dense hardware gains no speed."
        )
        return shape, True, [words]
    if pruning.method == "soft-cutoff":
        return _soft(shape, pruning)
    widths = [kept_neurons(width, density, pruning.width_multiple) for _, width in shape.sizes]
    notes = _rounding(shape, widths, pruning)
    smaller = shape.with_sizes([(heads, width) for (heads, _), width in zip(shape.sizes, widths, strict=True)])
    if pruning.method != "hybrid":
        return smaller, True, notes
    if pruning.attention_unit == "block":
        notes.append(
            "Blocks of attention weights become zero wherever they stand. A head goes only where all of its blocks went, which "
            "is rare, so all heads are counted here."
        )
        return smaller, False, notes
    heads = [kept_neurons(before, density) for before, _ in shape.sizes]
    alike = shape.heads and len(set(shape.sizes)) == 1
    if alike and abs(heads[0] / shape.heads - density) >= 0.005:
        notes.append(f"Only whole heads go: {shape.heads - heads[0]} of {shape.heads} in each layer.")
    return shape.with_sizes(list(zip(heads, widths, strict=True))), True, notes


def _soft(shape: Shape, pruning: PruningConfig) -> tuple[Shape, bool, list[str]]:
    """Spread over all layers alike what one cut-off for all of them will leave."""
    before, multiple = sum(width for _, width in shape.sizes), pruning.width_multiple
    total = kept_neurons(before, pruning.final_density)
    if shape.intermediate_size > multiple:
        total = max(multiple, multiple * round(total / multiple))
    sizes = [(heads, round(width * total / max(1, before))) for heads, width in shape.sizes]
    notes = ["Each layer finds its own width; drawn is the mean."]
    if pruning.cut_off is not None:
        notes.append("With a cut-off of your own the level is the most that goes; what stays above the cut-off stays.")
    return shape.with_sizes(sizes), False, notes


def _rounding(shape: Shape, widths: Sequence[int], pruning: PruningConfig) -> list[str]:
    """Say where rounding to a multiple changes the level that was asked for."""
    kept = sum(widths) / max(1, sum(width for _, width in shape.sizes))
    if abs(kept - pruning.final_density) < 0.005:
        return []
    removed = f"{100 * (1 - kept):.1f} %"
    if any(width % pruning.width_multiple for width in widths):
        return [f"Only whole neurons go: {removed} of them."]
    return [f"The width is rounded to a multiple of {pruning.width_multiple}: {removed} of the neurons go."]
