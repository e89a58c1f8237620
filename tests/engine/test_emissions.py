"""The meter on the real machine for some seconds, its errors, its labels and the grid figures."""

import inspect
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from codecarbon.core import gpu, gpu_nvidia, hardware_cache
from codecarbon.emissions_tracker import BaseEmissionsTracker, OfflineEmissionsTracker
from codecarbon.external.hardware import CPU

from engine import tracker as tracker_module
from engine.config import EmissionsConfig
from engine.emissions import EmissionsMeter, EmissionsTotals, countries, grid_intensity, recompute
from engine.errors import ConfigError, TrainingError
from engine.events import EmissionsSampled, EnergySplit
from engine.tracker import FAILURES_IN_A_ROW, Ticker, Tracker, arguments

HOSTILE_CONFIG = """[codecarbon]
country_iso_code = FRA
force_carbon_intensity_g_co2e_kwh = 1
co2_signal_api_token = token
emissions_endpoint = http://localhost:9
output_methods = csv,api
pue = 50
force_cpu_power = 100000
measure_power_secs = 100
api_call_interval = 100
allow_multiple_runs = False
"""


@dataclass
class Ran:
    """What a run of some seconds on the CPU has left behind."""

    meter: EmissionsMeter
    seconds: dict[str, float]
    samples: list[EmissionsSampled] = field(default_factory=list)
    totals: EmissionsTotals | None = None
    files: list[str] = field(default_factory=list)
    connections: list[object] = field(default_factory=list)

    @property
    def final(self) -> Any:
        """CodeCarbon's own final figures."""
        tracker = self.meter._tracker
        assert tracker is not None
        return tracker.final_emissions_data


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Meter 1.2 s of training and 2 s of evaluation, among settings that would falsify it and without a network."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("cwd")
    (home / ".codecarbon.config").write_text(HOSTILE_CONFIG)
    connections: list[object] = []

    def refuse(*address: object) -> NoReturn:
        connections.append(address)
        raise OSError("no network in tests")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("CODECARBON_REGION", "texas")
        patch.chdir(folder)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        ran = Ran(EmissionsMeter(EmissionsConfig(), "cpu"), {}, connections=connections)
        ran.meter.start()
        begin = time.monotonic()
        for phase, seconds in (("training", 1.2), ("evaluation", 2.0)):
            ran.meter.phase(phase)  # type: ignore[arg-type]
            before = time.monotonic()
            while time.monotonic() - before < seconds:
                time.sleep(0.05)
                ran.samples += ran.meter.drain()
            ran.seconds[phase] = time.monotonic() - before
        ran.meter.stop()
        ran.meter.stop()
        ran.seconds["all"] = time.monotonic() - begin
        ran.samples += ran.meter.drain()
        ran.totals = ran.meter.totals()
        ran.files = os.listdir(folder)
    return ran


def test_a_sample_comes_at_least_once_a_second(ran: Ran) -> None:
    times = [sample.duration_s for sample in ran.samples]
    assert len(times) >= 4  # at 1, 2 and 3 s and at the end
    assert all(later - earlier < 1.4 for earlier, later in zip([0.0, *times], times, strict=False))
    assert times[-1] == pytest.approx(ran.seconds["all"], abs=0.3)


def test_samples_only_grow_and_their_power_is_their_growth(ran: Ran) -> None:
    for before, after in zip(ran.samples, ran.samples[1:], strict=False):
        assert after.energy_kwh > before.energy_kwh
        watts = (after.energy_kwh - before.energy_kwh) * 3.6e6 / (after.duration_s - before.duration_s)
        if after.duration_s - before.duration_s > 0.1:
            assert after.power_w == pytest.approx(watts)
    assert all(0 < sample.power_w < 5000 for sample in ran.samples)


def test_phases_add_up_to_what_codecarbon_has_counted(ran: Ran) -> None:
    assert ran.totals is not None
    training, evaluation = ran.totals.training, ran.totals.evaluation
    booked = sum(part.cpu + part.gpu + part.ram for part in (training, evaluation))
    assert booked == pytest.approx(ran.final.energy_consumed, rel=1e-9)
    assert ran.totals.energy_kwh == booked
    assert training.cpu + evaluation.cpu == pytest.approx(ran.final.cpu_energy, rel=1e-9)
    assert ran.samples[-1].energy_kwh == pytest.approx(booked, rel=1e-9)
    # The memory's power is constant, so its energy is split as the time was.
    share = ran.seconds["training"] / (ran.seconds["training"] + ran.seconds["evaluation"])
    assert training.ram / (training.ram + evaluation.ram) == pytest.approx(share, abs=0.05)
    assert {sample.phase for sample in ran.samples} == {"training", "evaluation"}


def test_emissions_are_energy_times_the_grid_as_codecarbon_reckons_too(ran: Ran) -> None:
    assert ran.totals is not None
    for sample in ran.samples:
        assert sample.country == "IND"
        assert sample.emissions_kg == pytest.approx(sample.energy_kwh * sample.grid_g_per_kwh / 1000, rel=1e-12)
    assert ran.totals.emissions_kg == pytest.approx(ran.final.emissions, rel=1e-9)
    assert ran.final.pue == 1.0


def test_nothing_is_written_and_nothing_is_called(ran: Ran) -> None:
    assert ran.files == []
    assert ran.connections == []


def test_the_threads_end(ran: Ran) -> None:
    assert [thread.name for thread in threading.enumerate() if thread.name == "emissions"] == []


def test_labels_of_the_cpu(ran: Ran) -> None:
    # A machine may let its RAPL counter be read; then, and only then, the processor is measured.
    readable = any(os.access(path, os.R_OK) for path in Path("/sys/class/powercap").glob("intel-rapl*/energy_uj"))
    assert ran.meter.basis == {"cpu": "measured" if readable else "estimated", "ram": "estimated"}
    assert ran.meter.notice is None
    assert ran.samples[0].gpu_basis is None
    assert ran.samples[0].gpu_percent is None
    assert 0 <= (ran.samples[0].cpu_percent or 0) <= 100
    assert (ran.samples[0].ram_used_bytes or 0) > 1e6


@pytest.mark.parametrize("mode", ["intel_rapl", "windows_emi", "intel_power_gadget", "cpu_load", "constant"])
def test_a_processor_is_measured_only_by_a_counter(mode: str, tmp_path: Path) -> None:
    tracker = Tracker("IND", 1.0, None, str(tmp_path), lambda reading, load: None)
    part = CPU(str(tmp_path), "constant", "model", 65)
    part._mode = mode
    tracker._hardware = [part]
    expected = "estimated" if mode in ("cpu_load", "constant") else "measured"
    assert tracker.basis() == {"cpu": expected, "ram": "estimated"}


def test_a_second_part_goes_on_from_the_first(ran: Ran) -> None:
    assert ran.totals is not None
    previous = EmissionsTotals.model_validate_json(ran.totals.model_dump_json())
    assert previous == ran.totals
    meter = EmissionsMeter(EmissionsConfig(country="FRA", sample_every_s=0.5), "cpu", previous)
    assert meter.totals().energy_kwh == previous.energy_kwh
    with meter:
        begin = time.monotonic()
        while time.monotonic() - begin < 1.2:
            time.sleep(0.055)
            totals = meter.totals()  # each measures, beside the thread: none may count twice
    totals = meter.totals()
    samples = meter.drain()
    assert samples
    assert samples[0].duration_s > previous.duration_s
    assert samples[0].energy_kwh > previous.energy_kwh
    assert totals.evaluation == previous.evaluation
    assert totals.duration_s == pytest.approx(previous.duration_s + 1.2, abs=0.2)
    watts = previous.training.ram + previous.evaluation.ram
    watts_now = totals.training.ram + totals.evaluation.ram
    assert watts_now / totals.duration_s == pytest.approx(watts / previous.duration_s, rel=0.05)
    # Another country: all energy, that of the first part too, at the new grid.
    assert totals.emissions_kg == pytest.approx(recompute(totals.energy_kwh, "FRA"), rel=1e-12)


def test_one_thread_measures_at_a_time() -> None:
    with EmissionsMeter(EmissionsConfig(sample_every_s=0.5), "cpu") as meter:
        tracker = meter._tracker
        assert tracker is not None
        asked = [threading.Thread(target=call) for call in (meter.totals, tracker.flush)]
        with tracker.turn:
            for thread in asked:
                thread.start()
            time.sleep(0.7)
            assert all(thread.is_alive() for thread in asked)
            assert meter.drain() == []
        for thread in asked:
            thread.join(5)
            assert not thread.is_alive()
        _wait(lambda: meter.drain() != [])


def test_codecarbon_stays_silent() -> None:
    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    records: list[logging.LogRecord] = []
    handler = Heard()
    logger = logging.getLogger("codecarbon")
    logger.setLevel(logging.INFO)  # as its import leaves it
    logger.addHandler(handler)
    try:
        with EmissionsMeter(EmissionsConfig(), "cpu") as meter:
            meter.totals()
    finally:
        logger.removeHandler(handler)
    assert records == []


def test_a_meter_runs_once() -> None:
    meter = EmissionsMeter(EmissionsConfig(), "cpu")
    meter.stop()  # not started: nothing to do
    meter.phase("evaluation")
    with meter, pytest.raises(TrainingError, match="already run"):
        meter.start()
    with pytest.raises(TrainingError, match="already run"):
        meter.start()
    totals = meter.totals()
    assert totals.training == EnergySplit(cpu=0, gpu=0, ram=0)
    assert len(meter.drain()) == 1  # the last sample, however short the run
    with pytest.raises(ValueError, match="phase is 'testing'"):
        meter.phase("testing")  # type: ignore[arg-type]


def _fail(*_: object) -> NoReturn:
    raise RuntimeError("the counter is gone")


def test_what_codecarbon_would_swallow_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseEmissionsTracker, "_prepare_emissions_data", _fail)
        meter = EmissionsMeter(EmissionsConfig(), "cpu")
        with pytest.raises(TrainingError, match=r"could not start \(RuntimeError: the counter is gone\)") as caught:
            meter.start()
        assert isinstance(caught.value.__cause__, RuntimeError)
        meter.stop()
        patch.setattr(tracker_module, "unwrap", _fail)
        with pytest.raises(TrainingError, match="could not start"):
            EmissionsMeter(EmissionsConfig(), "cpu").start()
    meter = EmissionsMeter(EmissionsConfig(), "cpu")
    meter.start()
    monkeypatch.setattr(BaseEmissionsTracker, "_prepare_emissions_data", _fail)
    with pytest.raises(TrainingError, match="could not measure"):
        meter.totals()
    with pytest.raises(TrainingError, match="could not measure"):
        meter.phase("evaluation")
    monkeypatch.setattr(Tracker, "failure", RuntimeError("the counter is gone"))
    with pytest.raises(TrainingError, match="the counter is gone"):
        meter.drain()
    with pytest.raises(TrainingError, match="could not give its final figures"):
        meter.stop()
    meter.stop()
    assert [thread for thread in threading.enumerate() if thread.name == "emissions"] == []


def test_an_end_without_figures_is_an_error_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "stop", Tracker.end_threads)
    meter = EmissionsMeter(EmissionsConfig(), "cpu")
    meter.start()
    with pytest.raises(TrainingError, match="without final figures"):
        meter.stop()
    with pytest.raises(KeyError) as caught, EmissionsMeter(EmissionsConfig(), "cpu"):
        raise KeyError("first")
    assert "without final figures" in caught.value.__notes__[0]


def test_a_ticker_outlives_single_failures_reports_lasting_ones_and_ends() -> None:
    calls: list[float] = []
    broken = threading.Event()

    def call() -> None:
        calls.append(time.monotonic())
        if broken.is_set() or len(calls) == 1:
            raise OSError("busy")

    ticker = Ticker(0.02, call)
    ticker.start()
    _wait(lambda: len(calls) > FAILURES_IN_A_ROW)
    assert ticker.failure is None
    broken.set()
    _wait(lambda: ticker.failure is not None)
    broken.clear()
    _wait(lambda: ticker.failure is None)
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


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


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


def test_another_kind_of_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="Device is 'mps'") as caught:
        EmissionsMeter(EmissionsConfig(), "mps")
    assert list(caught.value.fields) == ["training.device"]


@pytest.mark.parametrize(
    ("code", "grams"), [("IND", 713), ("FRA", 56), ("USA", 369), ("CAN", 170), ("NOR", 30), (" ind ", 713)]
)
def test_bundled_grid_figures(code: str, grams: float) -> None:
    assert grid_intensity(code) == pytest.approx(grams, abs=1)


@pytest.mark.parametrize("code", ["XXX", "IN", "India", "", "ÍND"])
def test_an_unknown_country_is_refused(code: str) -> None:
    with pytest.raises(ConfigError, match="three-letter ISO 3166 code") as caught:
        grid_intensity(code)
    assert list(caught.value.fields) == ["emissions.country"]
    with pytest.raises(ConfigError):
        recompute(1.0, code)


@pytest.mark.parametrize(("code", "name"), [("MCO", "Monaco"), ("CAF", "Central African Republic")])
def test_a_country_without_a_figure_is_refused_by_name(code: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{code} \({name}\); no figure .* Choose") as caught:
        EmissionsMeter(EmissionsConfig(country=code), "cpu")
    assert list(caught.value.fields) == ["emissions.country"]
    assert code not in countries()


def test_countries_are_sorted_and_each_has_a_figure() -> None:
    found = countries()
    assert found["IND"] == "India"
    assert list(found.values()) == sorted(found.values())
    assert len(found) > 200
    assert all(0 < grid_intensity(code) < 2000 for code in found)


def test_recompute_is_linear() -> None:
    assert recompute(1.0, "IND") == pytest.approx(grid_intensity("IND") / 1000)
    assert recompute(3.5, "FRA") == pytest.approx(3.5 * recompute(1.0, "FRA"))
    assert recompute(0.0, "NOR") == 0


def test_grid_figures_load_nothing_heavy() -> None:
    code = (
        "import sys; from engine.emissions import countries, grid_intensity; countries(); grid_intensity('IND');"
        "print(sorted({'torch', 'transformers', 'datasets', 'codecarbon', 'pandas', 'pynvml'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.stdout.strip() == "[]", shown.stderr
