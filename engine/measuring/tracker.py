"""CodeCarbon's offline tracker, with its silences, its races and its outside settings taken away.

`emissions` imports this module when a meter starts, and nothing else does: importing CodeCarbon reaches for NVML.
What is changed, and why (CodeCarbon 3.3.2, https://mlco2.github.io/codecarbon/):

- `start`, `stop` and `flush` are wrapped in ``suppress(Exception)``; here the unwrapped methods run, so errors surface.
- Its timer arms the next tick before it works, so ticks can overlap, and one that fires during `stop` re-arms itself for
  ever. `Ticker` is one thread that `stop` waits for.
- `flush` and the timer may measure the same span at once and count it twice; here one of them has the turn.
- ``.codecarbon.config`` in the home or working folder and ``CODECARBON_*`` variables fill in every argument that is not
  given, among them the grid, the power of the processor and a token that opens the network. All arguments are given.
- On the second tracker of a process an empty list of GPUs means all GPUs (its cache of the hardware takes both for the
  same). Hardware that is not to be metered is therefore taken out after the detection.
"""

import logging
import threading
import time
from collections.abc import Callable
from inspect import unwrap
from typing import Any, NamedTuple

import psutil
from codecarbon.core import gpu as cards
from codecarbon.emissions_tracker import OfflineEmissionsTracker
from codecarbon.external.hardware import CPU, GPU, AppleSiliconChip, Raspberry, SystemCPULoadMeter
from codecarbon.external.scheduler import PeriodicScheduler
from codecarbon.input import DataSource
from codecarbon.output_methods.base_output import BaseOutput
from codecarbon.output_methods.emissions_data import EmissionsData

from engine.records import Basis

MEASURED_MODES = ("intel_rapl", "windows_emi", "intel_power_gadget")
"""Modes of CodeCarbon's processor meter that read a counter; its other modes multiply load or time with a rated power."""
MONITOR_EVERY_S = 1.0
FAILURES_IN_A_ROW = 3
"""Ticks that may fail one after another; counters catch up at the next tick that works."""
JOIN_WITHIN_S = 30.0


class Reading(NamedTuple):
    """What a tracker has counted since its start: seconds and kWh."""

    duration_s: float
    cpu: float
    gpu: float
    ram: float


class Load(NamedTuple):
    """How busy the machine is: percent since the last look, percent now, bytes now."""

    cpu_percent: float
    gpu_percent: float | None
    ram_used_bytes: int


Heard = Callable[[Reading, Load | None], None]


class Ticker(PeriodicScheduler):
    """Calls a function at fixed times on one thread, never twice at once, until `stop` has seen the thread end."""

    def __init__(self, interval: float, function: Callable[[], None]) -> None:
        super().__init__(interval, function)  # type: ignore[no-untyped-call]
        self.failure: Exception | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="emissions", daemon=True)

    def start(self, from_run: bool = False) -> None:
        self._stopped = False  # the tracker reads it to tell a late timer from an ended one
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it.

        Raises:
            TimeoutError: where a measurement hangs.
        """
        self._stopped = True
        self._ending.set()
        if self._thread.ident is None or self._thread is threading.current_thread():
            return
        self._thread.join(JOIN_WITHIN_S)
        if self._thread.is_alive():
            raise TimeoutError(f"a measurement of power has not ended within {JOIN_WITHIN_S:g} s")

    def _tick(self) -> None:
        failures = 0
        due = time.monotonic() + self.interval
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            # Ticks missed by a machine that slept or starved are left out, not made up for.
            due += self.interval * (1 + max(0.0, time.monotonic() - due) // self.interval)
            try:
                self.function()
                failures, self.failure = 0, None
            except Exception as error:  # noqa: BLE001  # anything a probe meets; told by `Tracker.failure`
                failures += 1
                self.failure = error if failures >= FAILURES_IN_A_ROW else self.failure


class Listener(BaseOutput):
    """Hands CodeCarbon's totals on: on time with the machine's load, else (at start, flush and stop) without."""

    def __init__(self, heard: Heard, load: Callable[[], Load | None]) -> None:
        self._heard = heard
        self._load = load

    def live_out(self, total: EmissionsData, delta: EmissionsData) -> None:
        self._heard(_reading(total), self._load())

    def out(self, total: EmissionsData, delta: EmissionsData) -> None:
        self._heard(_reading(total), None)


class Tracker(OfflineEmissionsTracker):
    """An `OfflineEmissionsTracker` that raises, takes turns and ends; it measures the whole machine, not one process."""

    def __init__(self, country: str, interval_s: float, gpu: int | None, output_dir: str, heard: Heard) -> None:
        """Prepare to meter processor, memory and at most one GPU, given by its NVML index."""
        # Before its own setting takes effect the constructor already talks at the level of the import.
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        self.turn = threading.RLock()  # held while anything measures; `heard` is always called under it
        self._gpu = gpu
        self._cpu_load = SystemCPULoadMeter()  # type: ignore[no-untyped-call]
        self._on_time = False
        given = arguments(country, interval_s, gpu, output_dir)
        listener = Listener(heard, lambda: self.load() if self._on_time else None)
        unwrap(OfflineEmissionsTracker.__init__)(self, **given, output_handlers=[listener])
        self._tickers = (Ticker(interval_s, self._sample), Ticker(MONITOR_EVERY_S, self._monitor_power))
        self._scheduler, self._scheduler_monitor_power = self._tickers

    def prepare(self) -> None:
        """Find the hardware and read the tables: seconds, the first time in a process."""
        self.get_detected_hardware()
        self._hardware = [part for part in self._hardware if self._is_metered(part)]
        # Else it is read, with pandas, between the first measurement and its timestamp.
        DataSource().get_global_energy_mix_data()  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Begin to measure."""
        self._cpu_load.reset()
        with self.turn:
            unwrap(OfflineEmissionsTracker.start)(self)

    def flush(self) -> None:
        """Measure up to now and tell the listener."""
        with self.turn:
            unwrap(OfflineEmissionsTracker.flush)(self)

    def stop(self) -> None:
        """Measure for the last time and end both threads; without the turn, which a thread may need to end."""
        self.end_threads()
        unwrap(OfflineEmissionsTracker.stop)(self)

    def end_threads(self) -> None:
        for ticker in self._tickers:
            ticker.stop()

    @property
    def failure(self) -> Exception | None:
        """What has made the timer fail several times in a row, if anything has."""
        return next((ticker.failure for ticker in self._tickers if ticker.failure is not None), None)

    def basis(self) -> dict[str, Basis]:
        """Return for cpu, ram and, where one is metered, gpu whether its energy is read or modelled."""
        found: dict[str, Basis] = {"cpu": "estimated", "ram": "estimated"}
        for part in self._hardware:
            if isinstance(part, CPU):
                found["cpu"] = "measured" if part._mode in MEASURED_MODES else "estimated"
            elif isinstance(part, (AppleSiliconChip, Raspberry)):
                found[part.chip_part.lower()] = "measured"
            elif isinstance(part, GPU):
                found["gpu"] = "measured"
        return found

    def load(self) -> Load:
        """Look at the machine's load; CodeCarbon's own percentages are averages over the whole run."""
        used = [
            entry["gpu_utilization"]
            for part in self._hardware
            if isinstance(part, GPU)
            for entry in part.devices.get_gpu_utilization_list()
            if entry["gpu_index"] == self._gpu
        ]
        return Load(self._cpu_load.percent(), float(used[0]) if used else None, int(psutil.virtual_memory().used))

    def _sample(self) -> None:
        with self.turn:
            self._on_time = True
            try:
                self._measure_power_and_energy()
            finally:
                self._on_time = False

    def _is_metered(self, part: object) -> bool:
        if isinstance(part, GPU):
            return self._gpu is not None and part._get_gpu_ids() == [self._gpu]
        return not (isinstance(part, AppleSiliconChip) and part.chip_part == "GPU")


def arguments(country: str, interval_s: float, gpu: int | None, output_dir: str) -> dict[str, Any]:
    """Return every argument that a configuration file or variable could otherwise fill in.

    Left out are only ``output_handlers`` and the deprecated ones: the ``save_to_*`` flags are not read beside
    ``output_methods``, nor the old token beside an empty new one.
    """
    return {
        # What it measures, and with which grid.
        "country_iso_code": country,
        "gpu_ids": [] if gpu is None else [gpu],
        "measure_power_secs": interval_s,
        "tracking_mode": "machine",
        "region": None,
        "country_2letter_iso_code": None,
        "cloud_provider": None,
        "cloud_region": None,
        "force_carbon_intensity_g_co2e_kwh": None,
        "force_cpu_power": None,
        "force_ram_power": None,
        "force_mode_cpu_load": False,
        "rapl_include_dram": False,
        "rapl_prefer_psys": False,
        "pue": 1.0,
        "wue": 0.0,
        # Where it reports: to the listener at each measurement, to no file, log or address.
        "api_call_interval": 1,
        "output_methods": [],
        "output_dir": output_dir,  # power gadget and powermetrics keep their logs in it
        "output_file": "emissions.csv",
        "on_csv_write": "append",
        "emissions_endpoint": None,
        "api_endpoint": "",
        "api_key": "",
        "electricitymaps_api_token": "",  # empty and not None: None would fall back to a configured token
        "prometheus_url": "",
        "logging_logger": None,
        "log_level": "critical",
        "logger_preamble": "",
        "project_name": "chhatni",
        "experiment_id": "",
        "experiment_name": "",
        "metadata": None,
        # No lock: it lives in the temporary folder of all users and takes over SIGINT and SIGTERM.
        "allow_multiple_runs": True,
    }


def nvml_index(ordinal: int) -> int:
    """Return the NVML index of a CUDA device.

    The two differ under CUDA_VISIBLE_DEVICES, and by default CUDA counts the fastest card first, so the card is found by
    its UUID. (CodeCarbon's own lookup by UUID strips the letters of ``MIG-`` off ``GPU-...`` and finds nothing.)

    Raises:
        LookupError: where NVML cannot be used or does not know the device, as with a slice of a card (MIG), which has no
            energy counter of its own.
    """
    nvml = cards.pynvml
    if nvml is None:
        raise LookupError("NVML, the library that reads the energy counter of a card, cannot be used here")
    uuid = f"GPU-{cuda_uuid(ordinal)}"
    try:
        return int(nvml.nvmlDeviceGetIndex(nvml.nvmlDeviceGetHandleByUUID(uuid)))
    except nvml.NVMLError as error:
        raise LookupError(f"NVML does not know {uuid} ({error})") from error


def cuda_uuid(ordinal: int) -> str:
    """Return the UUID of a CUDA device as torch counts devices, without a prefix."""
    import torch  # training has it loaded by now; the grid figures do without

    return str(torch.cuda.get_device_properties(ordinal).uuid)


def _reading(total: EmissionsData) -> Reading:
    return Reading(total.duration, total.cpu_energy, total.gpu_energy, total.ram_energy)
