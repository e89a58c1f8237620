import os
import subprocess
import sys
import time

import pytest

from engine.runs.processes import is_alive, process_created


def test_a_process_lives_until_it_has_ended_collected_or_not() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    created = process_created(child.pid)
    assert created is not None
    assert created == pytest.approx(time.time(), abs=5)
    assert is_alive(child.pid, created)
    assert is_alive(child.pid, None)
    assert not is_alive(child.pid, created - 100), "another process had this id before"
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert process_created(child.pid) is not None
    assert not is_alive(child.pid, created)
    child.wait()
    assert process_created(child.pid) is None
    assert not is_alive(child.pid, created)
