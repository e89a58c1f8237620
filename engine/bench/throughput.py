"""Training throughput as a share of what the card can do, and the energy of classifying.

A training step counts three times the FLOPs of a forward pass (the backward pass is two products for each of its one).
Energy is the whole card's own counter (NVML), read before and after some seconds of nothing but forward passes.
"""

import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pynvml  # type: ignore[import-untyped]
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from engine.bench.models import TrainingStep, bench_shape, dense_model, describe, make_variant, random_texts, variants
from engine.bench.peaks import find_peak, peak_flops
from engine.bench.settings import BenchSettings
from engine.config import RunConfig
from engine.loop.preparation import device_name
from engine.measuring.timing import Work, spread, time_in_turns
from engine.measuring.yardstick import DTYPES
from engine.shapes import Shape

METERED_S = 2.0
"""Seconds of forward passes whose energy is read: the counter moves some ten times a second."""
J_PER_KWH = 3.6e6


def measure_throughput(
    settings: BenchSettings, home: Path, device: torch.device, precisions: list[str]
) -> dict[str, Any]:
    """Time training steps of every variant at each batch size and length, its precisions in turns, and meter forward passes.

    Mixed precision is torch's autocast over fp32 weights, with loss scaling in fp16. A size that the card has no memory for
    has no figures.
    """
    shape = bench_shape(settings, home)
    counter = energy_counter(device)
    name = device_name(device)
    peak = find_peak(name)
    rows: list[dict[str, Any]] = []
    for variant in variants(settings, shape):
        model = make_variant(dense_model(shape, device), variant)
        for batch_size in settings.batch_sizes:
            for length in settings.sequence_lengths:
                facts = {**describe(model, variant, length), "batch_size": batch_size, "sequence_length": length}
                for precision, measured in _sizes(
                    model, shape, batch_size, length, precisions, settings.rounds, counter
                ):
                    rows.append({**facts, "precision": precision, **_rates(facts, precision, measured, name)})
    return {"peak_source": peak.source if peak else None, "rows": rows}


def _sizes(
    model: BertForSequenceClassification,
    shape: Shape,
    batch_size: int,
    length: int,
    precisions: list[str],
    rounds: int,
    counter: Callable[[], float] | None,
) -> list[tuple[str, dict[str, Any]]]:
    """Return for each precision the times of training steps and the energy of forward passes; empty without memory."""
    device = model.classifier.weight.device
    ids, labels = random_texts(shape, batch_size, length, device)
    try:
        works: list[Work] = [partial(TrainingStep(model, RunConfig(), name), ids, labels) for name in precisions]
        times = time_in_turns(works, device, min_rounds=rounds)
        works.clear()  # lets go of the optimizers' memory
        return [
            (name, {"step_ms": spread(values), **_meter(model, name, ids, counter)})
            for name, values in zip(precisions, times, strict=True)
        ]
    except torch.OutOfMemoryError:
        pass  # until here the error holds on to what was on the card
    model.zero_grad()
    torch.cuda.empty_cache()
    return [(name, {"step_ms": None, "energy_j": None, "texts": 0}) for name in precisions]


def _meter(
    model: BertForSequenceClassification, precision: str, ids: Tensor, counter: Callable[[], float] | None
) -> dict[str, Any]:
    """Classify for some seconds; return the energy in joules, and the texts it was used for."""
    if counter is None:
        return {"energy_j": None, "texts": 0}
    timed = (copy.deepcopy(model).to(DTYPES[precision]) if precision != "fp32" else model).eval()
    passes = 0
    with torch.no_grad():
        timed(input_ids=ids)
        torch.cuda.synchronize(ids.device)
        began, before = time.perf_counter(), counter()
        while time.perf_counter() - began < METERED_S:
            timed(input_ids=ids)
            torch.cuda.synchronize(ids.device)
            passes += 1
        used = counter() - before
    return {"energy_j": used, "texts": passes * len(ids)}


def _rates(facts: dict[str, Any], precision: str, measured: dict[str, Any], card: str) -> dict[str, Any]:
    """Turn times into tokens and FLOPs per second, and energy into kWh for 1,000 texts."""
    step_ms, energy_j, texts = measured["step_ms"], measured["energy_j"], measured["texts"]
    peak = peak_flops(card, precision)
    per_second = None if step_ms is None else 1000.0 * facts["batch_size"] / step_ms["p50"]  # texts
    rate = None if per_second is None else 3.0 * facts["flops"] * per_second
    return {
        "step_ms": step_ms,
        "tokens_per_s": None if per_second is None else per_second * facts["sequence_length"],
        "flops_per_s": rate,
        "peak_flops_per_s": peak,
        "share_of_peak": None if rate is None or peak is None else rate / peak,
        "energy_kwh_per_1000_texts": None if energy_j is None else 1000.0 * energy_j / J_PER_KWH / texts,
    }


def energy_counter(device: torch.device) -> Callable[[], float] | None:
    """Return a function that reads the card's energy counter in joules, or None where there is none to read."""
    if device.type != "cuda":
        return None
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"  # NVML and CUDA may number cards differently
    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(card)
    except pynvml.NVMLError:  # no driver, a slice of a card (MIG), or a card before Volta
        return None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(card)) / 1000.0  # it counts millijoules
