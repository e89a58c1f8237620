"""The drawing of a model before and after, and where its parameters lie."""

import pytest

from engine.before.prediction import predict_shape
from engine.config import PruningConfig
from engine.shapes import COMPACT, MURIL, Shape
from engine.views import drawing


@pytest.mark.parametrize("shape", [MURIL, COMPACT], ids=["muril", "compact"])
@pytest.mark.parametrize("density", [1.0, 0.75, 0.25, 0.01])
def test_parts_add_up_to_the_dense_model(shape: Shape, density: float) -> None:
    pruned = shape.pruned(density)
    parts = drawing.parts(shape, pruned)
    assert sum(parts.values()) == shape.parameters
    assert sum(parts.values()) - parts["Removed"] == pruned.parameters
    assert all(count >= 0 for count in parts.values())


def test_drawing_has_a_box_for_every_head_and_ffn() -> None:
    boxes = drawing.layers_frame(MURIL, MURIL.pruned(0.25))
    assert (boxes["kind"] == "Attention head").sum() == 144
    kept = boxes[boxes["kind"] == "FFN kept"]
    assert len(kept) == 12
    share = (kept["end"] - kept["start"]) / (drawing.FFN_END - drawing.FFN_START)
    assert share.tolist() == pytest.approx([0.25] * 12)
    assert (boxes["end"] <= 1.0).all()
    assert (boxes["start"] < boxes["end"]).all()


def test_drawing_shows_layers_and_heads_that_go() -> None:
    found = predict_shape(MURIL, PruningConfig(final_density=0.5, method="hybrid", drop_layers=2))
    boxes = drawing.layers_frame(MURIL, found.shape, found.kept_layers)
    assert (boxes["kind"] == "Attention head").sum() == 10 * 6
    assert (boxes["kind"] == "FFN kept").sum() == 10
    whole = boxes[boxes["detail"] == "The layer goes"]
    assert sorted(set(whole["layer"])) == [6, 7]
    assert set(whole["kind"]) == {"Removed"}
    headings = " ".join(drawing.headings_frame(MURIL, found.shape)["text"])
    assert headings == "6 of 12 heads FFN: 1,536 of 3,072 neurons, 10 of 12 layers"
    parts = drawing.parts(MURIL, found.shape)
    assert sum(parts.values()) == MURIL.parameters
    assert parts["Attention"] == 10 * 4 * (768 * 384) + 10 * (3 * 384 + 768)
