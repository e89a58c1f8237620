"""One process times two shapes: ``python -m engine.lab.worker FOLDER``; the benchmark's models, clock and protocol.

It reads ``settings.json`` in the folder, says in ``stage.json`` what it does, and leaves ``answer.json``.
"""

import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.errors import ChhatniError, JobError
from engine.files.storage import replace_file
from engine.lab.plan import LIMIT_S, WARM_UP_ROUNDS, LabResult, LabSettings, plan_rounds
from engine.lab.process import ANSWER, SETTINGS, STAGE, Stage, to_json
from engine.runs.failures import is_out_of_memory

Announce = Callable[[Stage, float], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the folder on the command line asks for; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 1:
        print("usage: python -m engine.lab.worker FOLDER", file=sys.stderr)
        return 2
    folder = Path(given[0])

    def announce(stage: Stage, left_s: float) -> None:
        _write(folder / STAGE, json.dumps({"stage": stage, "left_s": left_s}))

    settings = LabSettings.from_json((folder / SETTINGS).read_text(encoding="utf-8"))
    try:
        answer = to_json(measure(settings, announce))
    except Exception as error:
        if is_out_of_memory(error):
            words = "The memory is used up. Try a smaller vocabulary, fewer layers or a smaller batch."
            answer = json.dumps({"error": words, "memory": True})
        elif isinstance(error, ChhatniError):
            answer = json.dumps({"error": str(error), "memory": False})
        else:
            raise  # its traceback goes to the log, whose last line the asking process shows
    _write(folder / ANSWER, answer)
    return 0


def measure(settings: LabSettings, announce: Announce = lambda stage, left_s: None) -> list[LabResult]:
    """Time both shapes in turns, in each precision; ``announce`` hears the stage and, where known, the seconds left.

    Raises:
        ConfigError: if the device is not there or cannot compute in the precision.
        JobError: if the timing would take longer than a measurement may.
    """
    began = time.monotonic()
    import torch

    from engine.bench.models import dense_model
    from engine.evaluation import measure_latency
    from engine.loop.preparation import choose_device, device_name
    from engine.measuring.yardstick import DTYPES
    from engine.precision import choose_precision

    announce("building", 0.0)
    device = choose_device(settings.device)
    for precision in settings.precisions:
        choose_precision(precision, device.type)  # type: ignore[arg-type]
    threads_before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        pair = [dense_model(shape, device) for shape in (settings.dense, settings.other)]
        models = []
        for precision in settings.precisions:
            both = pair if precision == "fp32" else [copy.deepcopy(model).to(DTYPES[precision]) for model in pair]
            models += both
        length, batch_size = settings.sequence_length, settings.batch_size
        pilot = measure_latency(models, length, batch_size=batch_size, min_rounds=1, max_rounds=1)
        round_s = sum(latency.p50 for latency in pilot) / 1000
        rounds = plan_rounds(round_s)
        left_s = (WARM_UP_ROUNDS + rounds) * round_s
        if time.monotonic() - began + left_s > LIMIT_S:
            raise JobError(
                f"One pass of both shapes takes {round_s:.1f} s here, so {rounds} rounds would not end within {LIMIT_S / 60:.0f} "
                "minutes. Try a smaller batch, shorter texts or fewer layers."
            )
        announce("timing", left_s)
        timed = measure_latency(models, length, batch_size=batch_size, min_rounds=rounds, max_rounds=rounds)
        name = device_name(device)
    finally:
        torch.set_num_threads(threads_before)
    results = []
    for number, precision in enumerate(settings.precisions):
        dense, other = timed[2 * number : 2 * number + 2]
        gain = timed[-1].p50 / other.p50 if number < len(settings.precisions) - 1 else None
        results.append(LabResult(settings, precision, name, rounds, dense, other, gain))
    return results


def _write(path: Path, text: str) -> None:
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
