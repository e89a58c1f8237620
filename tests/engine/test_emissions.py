"""The meter on the real machine for some seconds, its errors and its labels."""

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from codecarbon.emissions_tracker import BaseEmissionsTracker
from codecarbon.external.hardware import CPU

from engine import emissions
from engine.config import EmissionsConfig
from engine.emissions import EmissionsMeter, EmissionsTotals
from engine.errors import ConfigError, TrainingError
from engine.events import EmissionsSampled
from engine.measuring import tracker as tracker_module
from engine.measuring.grids import recompute
from engine.measuring.tracker import Tracker
from engine.records import EnergySplit
from engine.runs import devices
from tests.engine.waiting import until

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
        until(lambda: meter.drain() != [])


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


def test_another_kind_of_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="Device is 'mps'") as caught:
        EmissionsMeter(EmissionsConfig(), "mps")
    assert list(caught.value.fields) == ["training.device"]


def test_a_sample_is_there_when_it_is_asked_for() -> None:
    meter = EmissionsMeter(EmissionsConfig(sample_every_s=60), "cpu")
    meter.sample()
    assert meter.drain() == [], "nothing has been metered"
    with meter:
        time.sleep(0.2)
        meter.sample()
        (first,) = meter.drain()
        meter.sample()
        (second,) = meter.drain()
    assert 0 < first.energy_kwh <= second.energy_kwh
    assert 0 < first.power_w < 5000
    assert 0.2 <= first.duration_s < second.duration_s


@pytest.mark.parametrize("gpus", [0, 1])
def test_hardware_is_found_ahead_only_where_no_gpu_makes_a_difference(
    monkeypatch: pytest.MonkeyPatch, gpus: int
) -> None:
    started = []
    monkeypatch.setattr(devices, "gpu_count", lambda: gpus)
    monkeypatch.setattr(EmissionsMeter, "start", lambda meter: started.append(meter))
    emissions.find_hardware()
    assert len(started) == (gpus == 0)
