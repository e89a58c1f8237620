"""What a run costs: its energy, live, and the CO2 of the chosen country's grid (CodeCarbon, offline).

    machine -> measuring.tracker.Tracker -> EmissionsMeter -> EmissionsSampled, EmissionsTotals
                country -> measuring.grids.grid_intensity --^

Energy is what the meter counts; emissions are always that energy times the grid, so another country is a multiplication
(`measuring.grids.recompute`). Counted are the whole processor and memory, whoever uses them, and the one GPU the run trains on, of
which NVML counts the whole card; on the CPU no GPU is counted, since the run does not use it. A processor whose counter cannot
be read, and memory, are modelled; `EmissionsMeter.basis` says which. Nothing here touches the network.
"""

import re
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from engine.config import EmissionsConfig
from engine.errors import ConfigError, TrainingError
from engine.events import EmissionsSampled
from engine.measuring.grids import emissions_kg, grid_intensity
from engine.measuring.meter_folder import new_folder
from engine.records import Basis, EnergySplit, Record

if TYPE_CHECKING:
    from engine.measuring.tracker import Load, Reading, Tracker

Phase = Literal["training", "evaluation"]

SHORTEST_S = 0.05
"""A power over less than this many seconds is noise: counters of processors and GPUs move in steps."""

J_PER_KWH = 3.6e6

NO_ENERGY = EnergySplit(cpu=0.0, gpu=0.0, ram=0.0)


class EmissionsTotals(Record):
    """What a run has used so far, over all its parts; the next part starts its meter from it."""

    duration_s: float
    emissions_kg: float
    training: EnergySplit
    evaluation: EnergySplit

    @property
    def energy_kwh(self) -> float:
        return _sum_kwh(self.training, self.evaluation)


class EmissionsMeter:
    """Meters one part of a run, from `start` to `stop`, in the background.

    A thread takes a sample at each interval; the training loop collects them with `drain`, from the thread it likes.
    Energy is booked under the phase that was set when it was used. Where the country differs from that of ``previous``,
    emissions are of all energy at the new country's grid.
    """

    basis: dict[str, Basis]
    """Measured or estimated for ``cpu``, ``ram`` and, where one is metered, ``gpu``; empty before `start`."""
    notice: str | None
    """A sentence for the person where the GPU in use cannot be metered; known after `start`."""

    def __init__(
        self,
        config: EmissionsConfig,
        device: str,
        previous: EmissionsTotals | None = None,
        keep: Callable[[EmissionsTotals], object] = lambda totals: None,
    ) -> None:
        """Prepare a meter for a device (``cpu``, ``cuda`` or ``cuda:N`` in torch's numbering).

        Args:
            config: the country, and how often to take a sample.
            device: what the run computes on.
            previous: what earlier parts of the run have used.
            keep: is given all that has been used before anybody is told of it, so that it can be made to last.

        Raises:
            ConfigError: for a country without a grid figure and for another kind of device.
        """
        self.country = config.country
        self.grid_g_per_kwh = grid_intensity(config.country)
        self.basis = {}
        self.notice = None
        self._ordinal = _ordinal(device)
        self._interval_s = config.sample_every_s
        self._keep = keep
        self._phase: Phase = "training"
        self._booked: dict[Phase, EnergySplit] = {
            "training": previous.training if previous else NO_ENERGY,
            "evaluation": previous.evaluation if previous else NO_ENERGY,
        }
        self._earlier_s = previous.duration_s if previous else 0.0
        self._counted = NO_ENERGY  # by this part's tracker, as of its last reading
        self._counted_s = 0.0
        self._sampled_s = 0.0  # the same two figures at the last sample
        self._sampled_kwh = 0.0
        self._power_w = 0.0
        self._samples: SimpleQueue[EmissionsSampled] = SimpleQueue()
        self._tracker: Tracker | None = None
        self._ended = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except (TrainingError, OSError) as failure:
            if error is None:
                raise
            error.add_note(str(failure))  # the first error is the one to act on

    def start(self) -> None:
        """Find the hardware and begin to measure; takes two or three seconds the first time in a process.

        Raises:
            TrainingError: where CodeCarbon cannot start, and where this meter has already been started.
        """
        if self._tracker is not None or self._ended:
            raise TrainingError("This meter has already run. Make a new one that continues from its totals().")
        self._folder = new_folder()
        tracker = None
        try:
            from engine.measuring.tracker import Tracker

            gpu = self._gpu()
            tracker = Tracker(self.country, self._interval_s, gpu, self._folder.name, self._take)
            tracker.prepare()
            self.basis = tracker.basis()
            if gpu is not None and "gpu" not in self.basis:
                self._miss_gpu("CodeCarbon finds no card to meter; it needs the nvidia-smi command")
            tracker.start()
        except Exception as error:  # whatever a probe of the hardware meets
            self._ended = True
            if tracker is not None:
                tracker.end_threads()
            self._folder.cleanup()
            raise _failed("start", error) from error
        self._tracker = tracker

    def stop(self) -> None:
        """Measure for the last time, queue a last sample and end the threads; further calls do nothing.

        Raises:
            TrainingError: where CodeCarbon has no final figures.
            OSError: where they cannot be kept.
        """
        if self._tracker is None or self._ended:
            return
        self._ended = True
        tracker = self._tracker
        try:
            tracker.stop()
        except Exception as error:
            raise _failed("give its final figures", error) from error
        finally:
            self._folder.cleanup()
        if getattr(tracker, "final_emissions_data", None) is None:
            raise TrainingError("CodeCarbon ended without final figures of energy. Resume the run from its last save.")
        self._sample(tracker.load())
        self._keep(self._totals())

    def phase(self, name: Phase) -> None:
        """Book what was used until now under the former phase and what follows under this one.

        Raises:
            TrainingError: where the energy until now cannot be measured.
        """
        if name not in self._booked:
            raise ValueError(f"phase is {name!r}; it must be one of {', '.join(self._booked)}")
        if name == self._phase:
            return
        if self._tracker is None:
            self._phase = name
            return
        with self._tracker.turn:
            self._flush()
            self._phase = name

    def sample(self) -> None:
        """Take a sample now, besides those at each interval; nothing happens before the start and after the end.

        Raises:
            TrainingError: where the energy until now cannot be measured.
        """
        if self._tracker is None or self._ended:
            return
        with self._tracker.turn:
            self._flush()
            self._sample(self._tracker.load())

    def drain(self) -> list[EmissionsSampled]:
        """Return the samples since the last call, oldest first; their figures count in all earlier parts of the run.

        Raises:
            TrainingError: where measurements keep failing.
        """
        samples = []
        while True:
            try:
                samples.append(self._samples.get_nowait())
            except Empty:
                break
        failure = None if self._tracker is None or self._ended else self._tracker.failure
        if failure is not None and not samples:
            raise _failed("measure", failure) from failure
        if samples and self._tracker is not None:
            with self._tracker.turn:
                totals = self._totals()
            self._keep(totals)
        return samples

    def totals(self) -> EmissionsTotals:
        """Return everything used up to now.

        Raises:
            TrainingError: where the energy until now cannot be measured.
        """
        if self._tracker is None:
            return self._totals()
        with self._tracker.turn:
            self._flush()
            return self._totals()

    def _gpu(self) -> int | None:
        """Return the NVML index of the GPU to meter, or None with a notice where there should be one."""
        if self._ordinal is None:
            return None
        from engine.measuring.tracker import nvml_index

        try:
            return nvml_index(self._ordinal)
        except LookupError as error:
            self._miss_gpu(str(error))
            return None

    def _miss_gpu(self, reason: str) -> None:
        self.notice = f"The energy of cuda:{self._ordinal} is not counted: {reason}. That of processor and memory is."

    def _flush(self) -> None:
        if self._tracker is None or self._ended:
            return
        try:
            self._tracker.flush()
        except Exception as error:
            raise _failed("measure", error) from error

    def _take(self, reading: "Reading", load: "Load | None") -> None:
        """Book what has been counted since the last reading; a load asks for a sample. Called with the tracker's turn."""
        used, counted = self._booked[self._phase], self._counted
        self._booked[self._phase] = EnergySplit(
            cpu=used.cpu + reading.cpu - counted.cpu,
            gpu=used.gpu + reading.gpu - counted.gpu,
            ram=used.ram + reading.ram - counted.ram,
        )
        self._counted = EnergySplit(cpu=reading.cpu, gpu=reading.gpu, ram=reading.ram)
        self._counted_s = reading.duration_s
        if load is not None:
            self._sample(load)

    def _sample(self, load: "Load") -> None:
        """Queue the figures as they stand."""
        counted_kwh = self._counted.cpu + self._counted.gpu + self._counted.ram
        span_s = self._counted_s - self._sampled_s
        if span_s >= SHORTEST_S:  # else the last power stands, as in a last sample right after another
            self._power_w = (counted_kwh - self._sampled_kwh) * J_PER_KWH / span_s
            self._sampled_s, self._sampled_kwh = self._counted_s, counted_kwh
        totals = self._totals()
        parts = (totals.training, totals.evaluation)
        self._samples.put(
            EmissionsSampled(
                duration_s=totals.duration_s,
                energy_kwh=totals.energy_kwh,
                cpu_energy_kwh=sum(part.cpu for part in parts),
                gpu_energy_kwh=sum(part.gpu for part in parts),
                ram_energy_kwh=sum(part.ram for part in parts),
                emissions_kg=totals.emissions_kg,
                power_w=self._power_w,
                phase=self._phase,
                country=self.country,
                grid_g_per_kwh=self.grid_g_per_kwh,
                cpu_basis=self.basis["cpu"],
                gpu_basis=self.basis.get("gpu"),
                ram_basis=self.basis["ram"],
                cpu_percent=load.cpu_percent,
                gpu_percent=load.gpu_percent,
                ram_used_bytes=load.ram_used_bytes,
            )
        )

    def _totals(self) -> EmissionsTotals:
        training, evaluation = self._booked["training"], self._booked["evaluation"]
        return EmissionsTotals(
            duration_s=self._earlier_s + self._counted_s,
            emissions_kg=emissions_kg(_sum_kwh(training, evaluation), self.grid_g_per_kwh),
            training=training,
            evaluation=evaluation,
        )


def find_hardware() -> None:
    """Do ahead what takes a second or two of a process's first meter, on a machine where it is the same for every run.

    Where there is a GPU nothing is done: CodeCarbon keeps what it finds for the whole process, and which card a run will
    use is not known yet.
    """
    from engine.runs.devices import gpu_count

    if gpu_count() == 0:
        with EmissionsMeter(EmissionsConfig(), "cpu"):
            pass


def _sum_kwh(*parts: EnergySplit) -> float:
    return sum(part.cpu + part.gpu + part.ram for part in parts)


def _ordinal(device: str) -> int | None:
    """Return torch's number of a CUDA device, None for the CPU."""
    known = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if known is None:
        raise ConfigError({"training.device": f"Device is {device!r}; it must be cpu, cuda or cuda:N. Try cpu."})
    return None if device == "cpu" else int(known[1] or 0)


def _failed(deed: str, error: Exception) -> TrainingError:
    return TrainingError(
        f"CodeCarbon, which meters the energy, could not {deed} ({type(error).__name__}: {error}). "
        "Check what it names (a file of settings, access to /proc, the GPU driver) and resume the run."
    )
