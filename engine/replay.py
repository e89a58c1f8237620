"""Recordings: a finished run in one file, to be shown again where nothing trains.

    python -m engine.replay RUN assets/recorded/NAME.jsonl.gz

The file is gzipped JSON, one object a line. The first is a `Header`; each other one is a `Moment`: an event and the seconds from
the run's start to it. Time in which a stopped run rested is left out. Nothing of the machine but its device's name goes into the
file: paths are written relative to the home folder, or as the bare name of the file.
"""

import argparse
import gzip
import os
import sys
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from engine.config import RunConfig
from engine.errors import ChhatniError, DataError, JobError
from engine.events import Event, ModelLoaded, RunFinished, RunStarted, StepLogged
from engine.files.storage import replace_file
from engine.home import REPOSITORY, default_home
from engine.records import Record, RunResult
from engine.runs.run import Run, StoredEvent
from engine.store import RunStore

SHIPPED = REPOSITORY / "assets" / "recorded"
"""The folder of the recordings that come with the program."""
SUFFIX = ".jsonl.gz"


class Header(Record):
    """What a recording says before its events."""

    kind: Literal["recording"] = "recording"
    version: Literal[1] = 1
    run_id: str
    config: RunConfig
    recorded_at: float
    """Unix seconds of the run's first event."""
    events: int = Field(ge=2)
    """How many events follow; a file with another number of them is torn."""


class Moment(Record):
    """One event and its place in time."""

    at_s: float = Field(ge=0, allow_inf_nan=False)
    """Seconds since the run's first event."""
    event: Annotated[Event, Field(discriminator="kind")]


@dataclass(frozen=True)
class Recording:
    """A whole recorded run."""

    name: str
    """The file's name without its ending; the address of a page names a recording by it."""
    header: Header
    moments: tuple[Moment, ...]
    """In order; the last one is `RunFinished`."""

    @property
    def title(self) -> str:
        """The run's title."""
        return self.header.config.title

    @property
    def duration_s(self) -> float:
        """Seconds from the first event to the last."""
        return self.moments[-1].at_s

    @cached_property
    def device_name(self) -> str:
        """The device it was recorded on."""
        return next(each.event.device_name for each in self.moments if isinstance(each.event, RunStarted))

    @cached_property
    def _times(self) -> list[float]:
        return [moment.at_s for moment in self.moments]


def events_until(recording: Recording, seconds: float) -> list[Event]:
    """Return what the run had said by this many seconds after its start, oldest first; what came at that very moment counts."""
    return [moment.event for moment in recording.moments[: bisect_right(recording._times, seconds)]]


def run_at(recording: Recording, seconds: float) -> Run:
    """Return the run as its row stood this many seconds after its start; it belongs to no store."""
    header = recording.header
    first = recording.moments[0].event
    state: Literal["starting", "training", "done"] = "starting"
    step, total_steps = 0, 0
    result: RunResult | None = None
    for event in events_until(recording, seconds):
        match event:
            case RunStarted():
                step = event.resumed_at_step or 0
            case ModelLoaded():
                total_steps = event.total_steps
            case StepLogged():
                state, step = "training", event.step
            case RunFinished():
                state, result = "done", event.result
            case _:
                pass
    return Run(
        run_id=header.run_id,
        config=header.config,
        state=state,
        device=first.device if isinstance(first, RunStarted) else "",
        ticket=0,
        created_at=header.recorded_at,
        started_at=header.recorded_at,
        ended_at=header.recorded_at + recording.duration_s if state == "done" else None,
        heartbeat_at=header.recorded_at + seconds,
        pid=None,
        pid_created=None,
        stop_requested=False,
        step=step,
        total_steps=total_steps,
        error=None,
        result=result,
    )


def recordings(folder: Path = SHIPPED) -> dict[str, Path]:
    """Return the recordings in a folder by name, in the order of their names; none where there is no such folder."""
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def record(run: Run, events: Sequence[StoredEvent], home: Path) -> Recording:
    """Make the recording of a finished run, without paths of this machine.

    Raises:
        JobError: if the run is not done.
    """
    if run.state != "done" or not events:
        raise JobError(
            f"Run {run.run_id} is {run.state}, so there is no whole run to record. Wait until it is done, or name "
            "another one: python -m engine runs"
        )
    places = _places(run.config, home)
    header = Header(run_id=run.run_id, config=run.config, recorded_at=events[0].at, events=len(events))
    rested, before = 0.0, events[0].at
    moments: list[Moment] = []
    for stored in events:
        if isinstance(stored.event, RunStarted):
            rested += stored.at - before
        before = stored.at
        raw = Moment(at_s=round(stored.at - events[0].at - rested, 3), event=stored.event).model_dump(mode="json")
        moments.append(Moment.model_validate(_without_paths(raw, places)))
    clean = Header.model_validate(_without_paths(header.model_dump(mode="json"), places))
    return Recording(name=run.run_id, header=clean, moments=tuple(moments))


def write_recording(recording: Recording, path: Path) -> None:
    """Write a recording; equal recordings become equal files.

    Raises:
        DataError: if the name of the file does not end as it must for a page to find it.
    """
    if not path.name.endswith(SUFFIX):
        raise DataError(f"{path.name} does not end in {SUFFIX}. Name the recording so, such as starter{SUFFIX}.", path)
    lines = [recording.header.model_dump_json(), *(moment.model_dump_json() for moment in recording.moments)]
    packed = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
    replace_file(path, lambda temporary: temporary.write_bytes(packed))


def read_recording(path: Path) -> Recording:
    """Read a recording and check the whole of it.

    Raises:
        DataError: if it cannot be read, is torn, or is no recording of this version of the program; ``row`` counts its lines.
    """
    lines = _lines(path)
    try:
        header = Header.model_validate_json(lines[0])
    except ValidationError as problem:
        raise DataError(_foreign(path, 1, problem), path, 1) from problem
    if len(lines) - 1 != header.events:
        raise DataError(
            f"{path.name} is torn: it should hold {header.events:,} events and holds {len(lines) - 1:,}. Record the run again.",
            path,
        )
    moments: list[Moment] = []
    for row, line in enumerate(lines[1:], start=2):
        try:
            moments.append(Moment.model_validate_json(line))
        except ValidationError as problem:
            raise DataError(_foreign(path, row, problem), path, row) from problem
        if len(moments) > 1 and moments[-1].at_s < moments[-2].at_s:
            raise DataError(
                f"Line {row} of {path.name} goes back in time, from {moments[-2].at_s:g} s to {moments[-1].at_s:g} s. "
                "Record the run again.",
                path,
                row,
            )
    if not isinstance(moments[0].event, RunStarted) or not isinstance(moments[-1].event, RunFinished):
        raise DataError(f"{path.name} does not hold a run from its start to its end. Record a finished run.", path)
    return Recording(name=path.name.removesuffix(SUFFIX), header=header, moments=tuple(moments))


def _lines(path: Path) -> list[str]:
    """Return the lines of a gzipped text, at least one."""
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
    except (EOFError, zlib.error) as problem:
        raise DataError(
            f"{path.name} is torn: it ends or breaks within its data. Record the run again.", path
        ) from problem
    except (gzip.BadGzipFile, UnicodeDecodeError) as problem:
        raise DataError(
            f"{path.name} is no recording: it is not gzipped text. `python -m engine.replay` writes recordings.", path
        ) from problem
    except OSError as problem:
        raise DataError(
            f"{path} cannot be read ({problem.strerror}). Check the path and its permissions.", path
        ) from problem
    return text.removesuffix("\n").split("\n")


def _foreign(path: Path, row: int, problem: ValidationError) -> str:
    first = problem.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    return (
        f"Line {row} of {path.name} cannot be read ({place}: {first['msg']}): it is no recording, or one by another version of "
        "the program. Record the run again with `python -m engine.replay`."
    )


def _places(config: RunConfig, home: Path) -> list[tuple[str, str]]:
    """Return the paths of this machine that a run may have named, the longest first, and what stands in for each."""
    named = [config.data.source, config.data.test_path or "", config.model.base]
    places = {path: os.path.basename(path) for path in named if os.path.isabs(path)}
    for folder, short in ((home, ""), (home.resolve(), ""), (REPOSITORY, ""), (Path.home(), "~/")):
        places.setdefault(f"{folder}{os.sep}", short)
    return sorted(places.items(), key=lambda place: -len(place[0]))


def _without_paths(value: Any, places: Sequence[tuple[str, str]]) -> Any:
    """Return a JSON value in which no text names a place on this machine."""
    if isinstance(value, dict):
        return {key: _without_paths(each, places) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_paths(each, places) for each in value]
    if not isinstance(value, str):
        return value
    for path, short in places:
        value = value.replace(path, short)
    return os.path.basename(value.rstrip("/\\")) if os.path.isabs(value) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Record one finished run, and say what the file holds; 2 where that cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.replay", description="Record a finished run for Live to replay."
    )
    parser.add_argument("run_id", metavar="RUN", help="id, unique beginning of an id, or unique name")
    parser.add_argument("file", metavar="FILE", type=Path, help=f"such as assets/recorded/starter{SUFFIX}")
    options = parser.parse_args(arguments)
    home = default_home()
    store = RunStore(home / "runs.db")
    try:
        run = store.find(options.run_id)
        write_recording(record(run, store.events(run.run_id), home), options.file)
        made = read_recording(options.file)
    except ChhatniError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Error: {options.file}: {error.strerror}. Check that path and its permissions.", file=sys.stderr)
        return 2
    kilobytes = options.file.stat().st_size / 1000
    print(
        f"{made.title}: {len(made.moments):,} events in {made.duration_s:,.0f} s on {made.device_name} ({kilobytes:,.0f} kB)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
