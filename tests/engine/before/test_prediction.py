"""What the settings say about the outcome, against models that are really made smaller."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.before.prediction import predict_shape
from engine.compaction import compact, whole
from engine.config import METHODS, Method, PruningConfig
from engine.evaluation import count_bytes, count_flops, count_parameters
from engine.methods.dropping import keep_outer_layers, layers_to_drop
from engine.methods.soft_cutoff import rounded_widths
from engine.model import random_model
from engine.shapes import COMPACT, MURIL, Shape, kept_neurons
from engine.views import drawing

SMALL = Shape(3, 32, 4, 48, vocabulary=40, labels=3, positions=16)


@settings(max_examples=25, deadline=None)
@given(
    method=st.sampled_from(["block-movement", "hybrid", "magnitude", "wanda", "layer-dropping"]),
    density=st.floats(0.05, 1),
    dropped=st.integers(0, 4),
    multiple=st.sampled_from([1, 8, 64]),
    base=st.none() | st.lists(st.tuples(st.integers(0, 4), st.integers(1, 48)), min_size=3, max_size=3),
)
def test_numbers_are_those_of_a_model_made_smaller_so(
    method: Method, density: float, dropped: int, multiple: int, base: list[tuple[int, int]] | None
) -> None:
    config = PruningConfig(final_density=density, method=method, drop_layers=dropped, width_multiple=multiple)
    model, dense = random_model(SMALL, ["a", "b", "c"], seed=0), SMALL
    if base is not None:  # a model that has been pruned before, layer by layer
        sizes = zip(whole(model), base, strict=True)
        parts = [
            layer._replace(heads=layer.heads[:heads], neurons=layer.neurons[:width]) for layer, (heads, width) in sizes
        ]
        model, dense = compact(model, tuple(parts)), SMALL.with_sizes(base)
    kept = keep_outer_layers(whole(model), layers_to_drop(config, 3))
    if method != "layer-dropping":
        widths = [kept_neurons(len(layer.neurons), density, multiple) for layer in kept]
        kept = tuple(layer._replace(neurons=layer.neurons[:width]) for layer, width in zip(kept, widths, strict=True))
    if method == "hybrid":
        heads = [kept_neurons(len(layer.heads), density) for layer in kept]
        kept = tuple(layer._replace(heads=layer.heads[:count]) for layer, count in zip(kept, heads, strict=True))
    smaller, found = compact(model, kept), predict_shape(dense, config)
    assert found.exact
    assert found.shape.parameters == count_parameters(smaller)
    assert found.shape.size_bytes() == count_bytes(smaller)
    assert found.shape.flops(16) == count_flops(smaller, 16)
    assert found.kept_layers == tuple(layer.number for layer in kept)
    parts = drawing.parts(dense, found.shape)
    assert sum(parts.values()) == dense.parameters
    assert min(parts.values()) >= 0
    boxes = drawing.layers_frame(dense, found.shape, found.kept_layers)
    assert (boxes["kind"] == "Attention head").sum() == sum(len(layer.heads) for layer in kept)
    assert boxes["layer"].nunique() == 3
    assert (boxes["start"] < boxes["end"]).all()
    assert boxes["end"].max() <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("settings", "layers", "heads", "width", "exact"),
    [
        ({}, 12, 12, 1536, True),
        ({"method": "wanda"}, 12, 12, 1536, True),
        ({"method": "magnitude"}, 12, 12, 1536, True),
        ({"method": "magnitude", "unit": "weight"}, 12, 12, 3072, True),
        ({"method": "hybrid"}, 12, 6, 1536, True),
        ({"method": "hybrid", "attention_unit": "block"}, 12, 12, 1536, False),
        ({"method": "soft-cutoff"}, 12, 12, 1536, False),
        ({"method": "layer-dropping"}, 6, 12, 3072, True),
        ({"drop_layers": 2}, 10, 12, 1536, True),
        ({"final_density": 1.0, "drop_layers": 2, "method": "hybrid"}, 10, 12, 3072, True),
        ({"method": "layer-dropping", "drop_layers": 8}, 4, 12, 3072, True),
    ],
)
def test_half_of_the_papers_model(
    settings: dict[str, object], layers: int, heads: int, width: int, exact: bool
) -> None:
    found = predict_shape(MURIL, PruningConfig.model_validate({"final_density": 0.5} | settings))
    shape = found.shape
    assert (shape.layers, shape.heads, shape.intermediate_size, found.exact) == (layers, heads, width, exact)
    assert shape.vocabulary == MURIL.vocabulary


@pytest.mark.parametrize("method", METHODS)
def test_nothing_goes_at_level_zero(method: Method) -> None:
    found = predict_shape(MURIL, PruningConfig(method=method))
    assert found.shape == MURIL
    assert found.kept_layers == tuple(range(12))
    assert found.exact
    assert not found.notes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "magnitude", "unit": "weight"}, "gains no speed"),
        ({"method": "hybrid", "attention_unit": "block"}, "is rare"),
        ({"method": "soft-cutoff"}, "its own width"),
        ({"method": "soft-cutoff", "cut_off": 0.2}, "the most that goes"),
        ({"final_density": 0.4}, "rounded to a multiple of 64: 62.5 %"),
        ({"final_density": 0.1, "method": "hybrid"}, "Only whole heads go: 3 of 4 in each layer"),
        ({"final_density": 0.9, "method": "layer-dropping"}, "Layers go whole: 0 of 4"),
        ({"drop_layers": 9}, "3 go and not 9"),
        ({"vocabulary": "training"}, "counted in full"),
    ],
)
def test_what_the_numbers_do_not_say_is_said(settings: dict[str, object], words: str) -> None:
    plain = {"final_density": 0.5}
    assert words in " ".join(predict_shape(COMPACT, PruningConfig.model_validate(plain | settings)).notes)
    assert words not in " ".join(predict_shape(COMPACT, PruningConfig.model_validate(plain)).notes)


@pytest.mark.parametrize("density", [0.9, 0.5, 0.25, 0.1])
@pytest.mark.parametrize("multiple", [1, 64])
def test_the_mean_width_of_a_soft_cut_off_is_what_its_rounding_leaves(density: float, multiple: int) -> None:
    config = PruningConfig(final_density=density, method="soft-cutoff", width_multiple=multiple)
    mean = predict_shape(COMPACT, config).shape.intermediate_size
    total = kept_neurons(4 * 1024, density)
    counts = [total // 4 + 70, total // 4 - 80, total // 4 + 9]  # unequal layers, as the scores make them
    counts.append(total - sum(counts))
    assert mean == pytest.approx(sum(rounded_widths(counts, [1024] * 4, multiple)) / 4, abs=0.5)
