"""One training step: dense, under our masks, and under nn_pruning's own, all in turns in one run on the same batch."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import BertForSequenceClassification

from engine.bench.models import (
    STEP_VOCABULARY,
    TrainingStep,
    Variant,
    bench_shape,
    dense_model,
    make_variant,
    random_texts,
)
from engine.bench.nn_pruning_modules import patched_bert
from engine.bench.settings import BenchSettings
from engine.config import METHODS, PruningConfig, RunConfig
from engine.measuring.timing import Work, median_ratio, spread, time_in_turns
from engine.pruning import DensitySchedule, Pruner, make_pruner
from engine.shapes import Shape, kept_neurons

_PLAIN = RunConfig()


class MaskedStep:
    """A training step of a model that one of our methods masks, the work before and after it included."""

    def __init__(self, model: BertForSequenceClassification, method: Any, density: float, precision: str) -> None:
        config = RunConfig(pruning=PruningConfig(method=method, final_density=density))
        pruner = make_pruner(model, config.pruning, self._held(density))
        if pruner is None:
            raise ValueError(f"method {method!r} at density {density} masks nothing")
        self.pruner: Pruner = pruner
        self._step = TrainingStep(model, config, precision)

    @staticmethod
    def _held(density: float) -> DensitySchedule:
        """Return a schedule that is at this density in step 0, and not at its end."""
        return DensitySchedule(density, warmup_steps=0, cooldown_start=2, name="constant")

    def __call__(self, density: float, ids: torch.Tensor, labels: torch.Tensor) -> None:
        """Take a step at a density."""
        self.pruner.schedule = self._held(density)
        self.pruner.before_step(0)
        self._step(ids, labels, penalty=self.pruner.penalty())
        self.pruner.after_step()


def measure_steps(settings: BenchSettings, home: Path, device: torch.device, precision: str) -> dict[str, Any]:
    """Time a dense step, a step under masks at each density, and nn_pruning's; ratios are within each round.

    nn_pruning's step costs the same at every density, so it is timed at the lowest. Its model is timed in use too: its
    compilation crashes on transformers v5, so that it stays of full size with its masks in it.
    """
    shape = step_shape(settings, home)
    batch_size, length = settings.batch_sizes[0], settings.sequence_lengths[0]
    ids, labels = random_texts(shape, batch_size, length, device)
    lowest = min(settings.densities)
    dense = dense_model(shape, device)
    rivals: list[tuple[dict[str, Any], Work]] = [
        ({"name": "dense", "density": 1.0}, partial(TrainingStep(dense, _PLAIN, precision), ids, labels))
    ]
    for method in settings.methods:
        step = MaskedStep(dense_model(shape, device), method, min(0.5, lowest), precision)
        for density in settings.densities:
            facts = {"name": f"{METHODS[method]}, ours", "method": method, "density": density}  # type: ignore[index]
            rivals.append((facts, partial(step, density, ids, labels)))
    theirs = {}
    for hybrid in sorted({method == "hybrid" for method in settings.methods}):
        name = "nn_pruning, FFN and attention" if hybrid else "nn_pruning, FFN"
        theirs[name], _ = patched_bert(dense_model(shape, device), density=lowest, hybrid=hybrid)
        work = partial(TrainingStep(theirs[name], _PLAIN, precision), ids, labels)
        rivals.append(({"name": name, "density": lowest}, work))
    times = time_in_turns([work for _, work in rivals], device, min_rounds=settings.step_rounds, warm_up=1)
    return {
        "shape": {"layers": shape.layers, "hidden_size": shape.hidden_size, "vocabulary": shape.vocabulary},
        "precision": precision,
        "batch_size": batch_size,
        "sequence_length": length,
        "rounds": settings.step_rounds,
        "rows": [
            {"method": None, **facts, "step_ms": spread(values), "ratio": median_ratio(values, times[0])}
            for (facts, _), values in zip(rivals, times, strict=True)
        ],
        "inference": _inference(dense, theirs, lowest, ids, settings.step_rounds),
    }


def step_shape(settings: BenchSettings, home: Path) -> Shape:
    """Return the shape whose training steps are compared: the model's layers, with a small vocabulary."""
    shape = bench_shape(settings, home)
    return replace(shape, vocabulary=min(shape.vocabulary, STEP_VOCABULARY))


def _inference(
    dense: BertForSequenceClassification,
    theirs: dict[str, BertForSequenceClassification],
    density: float,
    ids: torch.Tensor,
    rounds: int,
) -> list[dict[str, Any]]:
    """Time the models in use: dense, ours made smaller, and nn_pruning's with its masks."""
    width = int(dense.config.intermediate_size)
    heads = int(dense.config.num_attention_heads)
    small = Variant("FFN, ours made smaller", None, heads, kept_neurons(width, density))
    models = {"dense": dense, small.name: make_variant(dense, small), **theirs}

    @torch.no_grad()
    def forward(model: BertForSequenceClassification) -> None:
        model(input_ids=ids)

    works: list[Work] = [partial(forward, model.eval()) for model in models.values()]
    times = time_in_turns(works, ids.device, min_rounds=rounds, warm_up=1)
    return [
        {
            "name": name,
            "density": 1.0 if name == "dense" else density,
            "forward_ms": spread(values),
            "ratio": median_ratio(values, times[0]),
        }
        for name, values in zip(models, times, strict=True)
    ]
