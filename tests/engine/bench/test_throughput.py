"""The benchmark of throughput: its share of what the card can do, and the energy of classifying."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.bench import throughput as bench_throughput
from engine.bench.tables import print_bench
from engine.shapes import read_shape
from tests.engine.small_bench import CPU, FakeClock, bench, settings_of


def test_throughput_and_its_share_of_the_peak(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_throughput, "time_in_turns", FakeClock())
    monkeypatch.setattr(bench_throughput, "device_name", lambda device: "Tesla T4")
    counter = iter(range(0, 1000, 36))  # joules
    monkeypatch.setattr(bench_throughput, "energy_counter", lambda device: lambda: float(next(counter)))
    monkeypatch.setattr(bench_throughput, "METERED_S", 0.0)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    looks = iter([0.0, -1.0, 1.0] * 100)  # one pass, then time is up
    monkeypatch.setattr("engine.bench.throughput.time.perf_counter", lambda: next(looks))
    settings = settings_of(checkpoint, levels=(0.5,), batch_sizes=(4,))
    section = bench_throughput.measure_throughput(settings, tmp_path, CPU, ["fp32", "bf16"])
    shape = read_shape(checkpoint)
    assert section["peak_source"].endswith("/tesla-t4/")
    assert [(row["name"], row["precision"]) for row in section["rows"]] == [
        ("dense", "fp32"),
        ("dense", "bf16"),
        ("50 %", "fp32"),
        ("50 %", "bf16"),
    ]
    first, second, small = section["rows"][:3]
    assert first["tokens_per_s"] == 4 * 16 * 1000, "four texts of 16 tokens in a millisecond"
    assert second["tokens_per_s"] == 4 * 16 * 500
    assert first["flops_per_s"] == 3 * shape.flops(16) * 4 * 1000
    assert small["flops_per_s"] == 3 * shape.pruned(0.5).flops(16) * 4 * 1000
    assert first["share_of_peak"] == first["flops_per_s"] / 8.1e12
    assert (second["peak_flops_per_s"], second["share_of_peak"]) == (None, None), "that card knows no bf16"
    assert first["energy_kwh_per_1000_texts"] == pytest.approx(36 / 4 * 1000 / 3.6e6)


def test_a_size_without_memory_has_no_figures_and_ends_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = FakeClock()

    def full(works: Any, device: torch.device, **options: Any) -> Any:
        times = clock(works, device, **options)
        if len(clock.seen) == 1:
            raise torch.OutOfMemoryError("full")
        return times

    monkeypatch.setattr(bench_throughput, "time_in_turns", full)
    result = bench(checkpoint, tmp_path, sections=("throughput",), levels=(), batch_sizes=(4, 2))
    large, small = result["sections"]["throughput"]["rows"]
    assert (large["batch_size"], large["step_ms"], large["tokens_per_s"], large["flops_per_s"]) == (4, None, None, None)
    assert small["tokens_per_s"] == 2 * 16 * 1000
    assert small["energy_kwh_per_1000_texts"] is None, "no counter on a processor"
    assert (small["peak_flops_per_s"], small["share_of_peak"]) == (None, None)
    print_bench(result)
    shown = capsys.readouterr().out
    assert "no memory" in shown
    assert "The peak is" not in shown
    result["sections"]["throughput"]["peak_source"] = "https://maker.example/card"
    print_bench(result)
    assert "The peak is the maker's figure: https://maker.example/card" in capsys.readouterr().out


def test_the_counter_of_the_card_in_use_is_read_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        uuid = "abc"

    class Refusal(Exception):
        pass

    class Nvml:
        NVMLError = Refusal
        counts = True

        def nvmlInit(self) -> None: ...

        def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
            return uuid

        def nvmlDeviceGetTotalEnergyConsumption(self, card: str) -> int:
            if not self.counts:
                raise Refusal
            return {"GPU-abc": 5000}[card]

    nvml = Nvml()
    monkeypatch.setattr(bench_throughput, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card())
    counter = bench_throughput.energy_counter(torch.device("cuda", 1))
    assert counter is not None
    assert counter() == 5.0
    nvml.counts = False
    assert bench_throughput.energy_counter(torch.device("cuda", 1)) is None
    assert bench_throughput.energy_counter(CPU) is None
