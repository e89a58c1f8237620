"""What lies below the meter: the clock that reads it, the settings CodeCarbon gets, and which cards are metered."""

import inspect
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from codecarbon.core import gpu, gpu_nvidia, hardware_cache
from codecarbon.emissions_tracker import BaseEmissionsTracker, OfflineEmissionsTracker

from engine.config import EmissionsConfig
from engine.emissions import EmissionsMeter
from engine.measuring import tracker as tracker_module
from engine.measuring.tracker import FAILURES_IN_A_ROW, Ticker, arguments
from tests.engine.waiting import until


def test_a_ticker_outlives_single_failures_reports_lasting_ones_and_ends() -> None:
    calls: list[float] = []
    broken = threading.Event()

    def call() -> None:
        calls.append(time.monotonic())
        if broken.is_set() or len(calls) == 1:
            raise OSError("busy")

    ticker = Ticker(0.02, call)
    ticker.start()
    until(lambda: len(calls) > FAILURES_IN_A_ROW)
    assert ticker.failure is None
    broken.set()
    until(lambda: ticker.failure is not None)
    broken.clear()
    until(lambda: ticker.failure is None)
    ticker.stop()
    count = len(calls)
    time.sleep(0.06)
    assert len(calls) == count


def test_a_ticker_waits_for_the_call_in_progress() -> None:
    begun, finished = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        time.sleep(0.2)
        finished.set()

    ticker = Ticker(0.01, call)
    ticker.start()
    assert begun.wait(5)
    ticker.stop()
    assert finished.is_set()


def test_no_setting_is_left_to_a_configuration_file() -> None:
    offered = {
        name
        for owner in (BaseEmissionsTracker, OfflineEmissionsTracker)
        for name in inspect.signature(inspect.unwrap(owner.__init__)).parameters
    }
    flags = {"save_to_file", "save_to_api", "save_to_logger", "save_to_prometheus", "save_to_logfire"}
    left = offered - set(arguments("IND", 1.0, None, "")) - flags
    assert left == {"self", "args", "kwargs", "output_handlers", "co2_signal_api_token"}


class FakeNvml:
    """Two cards: number 0 draws 100 W, number 1 draws 300 W; CUDA counts them the other way round."""

    NVMLError = type("NVMLError", (Exception,), {})
    NVML_TEMPERATURE_GPU = 0
    watts = (100, 300)

    def nvmlInit(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetIndex(self, handle: int) -> int:
        return handle

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-card{handle}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid not in ("GPU-card0", "GPU-card1"):
            raise self.NVMLError("Not Found")
        return int(uuid[-1])

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return int(time.monotonic() * 1000 * self.watts[handle])  # mJ

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return self.watts[handle] * 1000

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=10 + handle)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(free=1, used=1, total=2)

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "Card"

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return 700_000

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 40

    def nvmlDeviceGetComputeMode(self, handle: int) -> int:
        return 0

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[object]:
        return []

    nvmlDeviceGetGraphicsRunningProcesses = nvmlDeviceGetComputeRunningProcesses


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    fake = FakeNvml()
    for module in (gpu, gpu_nvidia):
        monkeypatch.setattr(module, "pynvml", fake)
        monkeypatch.setattr(module, "PYNVML_AVAILABLE", True)
    monkeypatch.setattr(gpu, "is_nvidia_system", lambda: True)
    monkeypatch.setattr(tracker_module, "cuda_uuid", lambda ordinal: f"card{1 - ordinal}")
    hardware_cache._plans.clear()
    yield fake
    hardware_cache._plans.clear()


def test_only_the_card_in_use_is_metered(nvml: FakeNvml) -> None:
    meter = EmissionsMeter(EmissionsConfig(sample_every_s=0.5), "cuda:0")
    with meter:
        time.sleep(0.7)
    samples, totals = meter.drain(), meter.totals()
    assert meter.basis["gpu"] == "measured"
    assert meter.notice is None
    watts = totals.training.gpu * 3.6e6 / totals.duration_s
    assert watts == pytest.approx(300, rel=0.05)
    assert samples[-1].gpu_energy_kwh == totals.training.gpu
    assert (samples[-1].gpu_basis, samples[-1].gpu_percent) == ("measured", 11)
    assert samples[-1].power_w > 300 * 0.95


def test_on_the_cpu_no_card_counts_not_even_for_a_second_meter(nvml: FakeNvml) -> None:
    for _ in range(2):
        with EmissionsMeter(EmissionsConfig(), "cpu") as meter:
            time.sleep(0.1)
        assert "gpu" not in meter.basis
        assert meter.totals().training.gpu == 0
        assert meter.totals().training.ram > 0


def test_a_card_that_cannot_be_metered_is_said_to_be_missing(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmissionsMeter(EmissionsConfig(), "cuda:7") as meter:
        assert meter.notice is not None
        assert "cuda:7 is not counted: NVML does not know GPU-card-6" in meter.notice
        assert "gpu" not in meter.basis
    hardware_cache._plans.clear()
    monkeypatch.setattr(gpu, "is_nvidia_system", lambda: False)
    with EmissionsMeter(EmissionsConfig(), "cuda") as meter:
        assert meter.notice is not None
        assert "nvidia-smi" in meter.notice
    monkeypatch.setattr(gpu, "pynvml", None)
    with EmissionsMeter(EmissionsConfig(), "cuda") as meter:
        assert meter.notice is not None
        assert "cannot be used here" in meter.notice
