"""Processes as the queue sees them.

A process is known by its id together with the time it was created, because the system gives ids out again.
"""

import psutil

CLOCK_SLACK_S = 2.0
"""psutil adds a rounded boot time to each creation time, so two readings of one process may differ by a second."""


def process_created(pid: int) -> float | None:
    """Return when the process was created, in unix seconds; None if there is no such process."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_alive(pid: int, created: float | None) -> bool:
    """Tell whether this very process still runs; a zombie does not.

    Args:
        pid: the process id.
        created: what `process_created` said when the process was young; None believes the id alone.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        return created is None or abs(process.create_time() - created) <= CLOCK_SLACK_S
    except psutil.AccessDenied:
        return True  # it exists and belongs to somebody else; do not declare it dead on a guess
    except psutil.Error:
        return False
