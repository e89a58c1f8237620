"""Sessions that watch draw one after the other.

Python runs one thread at a time. Twenty that draw at once take it from one another at every chart, and from the thread that sends
what is drawn, until nothing arrives any more; one after the other they need no longer than their work.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

LONGEST_REST_S = 0.3
"""A session rests after a drawing as long as that took, but no longer than this. Where a drawing takes longer than its timer's
interval, the next one is due at once, and would throw away what has not yet been sent of this one."""
_DRAWING = threading.Lock()
_REST_UNTIL = "rest_until"


@contextmanager
def turn() -> Iterator[None]:
    """Wait for the other sessions, then draw; only for what ends by itself, such as charts, and never while waiting for a disk."""
    time.sleep(max(0.0, min(LONGEST_REST_S, st.session_state.get(_REST_UNTIL, 0.0) - time.monotonic())))
    began = time.monotonic()
    with _DRAWING:
        try:
            yield
        finally:
            ended = time.monotonic()
            st.session_state[_REST_UNTIL] = ended + min(LONGEST_REST_S, ended - began)
