"""A Streamlit session without a browser: the protocol of the websocket, as the page in a browser speaks it, and nothing drawn.

It opens ``/_stcore/stream``, asks for a page, reads what is sent, and asks for each timed fragment again when its time has come.
So twenty of them cost the machine little, and what is measured is the server.
"""

import asyncio
import re
import time
from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

STEP = re.compile(rb"Step ([\d,]+) of")
"""How Live says how far a run is."""
FINISHED = frozenset({ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY})


@dataclass
class Session:
    """One session on a page, and what it has seen; times are those of `time.perf_counter`."""

    address: str
    """Of the studio, such as ``http://127.0.0.1:8501``."""
    page: str
    query: str = ""
    opened_s: float | None = None
    """Seconds from the connection to the end of the page's first script."""
    runs: int = 0
    """Scripts and fragments that the server has finished for this session."""
    received_bytes: int = 0
    failures: list[str] = field(default_factory=list)
    steps: dict[int, float] = field(default_factory=dict)
    """When a step of the run was first said."""

    async def follow(self, until: asyncio.Event) -> None:
        """Open the page and stay on it until the event is set."""
        timers: dict[str, asyncio.Task[None]] = {}
        began = time.perf_counter()
        stream = self.address.replace("http", "ws", 1) + "/_stcore/stream"
        async with connect(stream, max_size=None, compression=None, subprotocols=["streamlit"]) as socket:  # type: ignore[list-item]
            await socket.send(self._rerun())
            ended = asyncio.create_task(until.wait())
            try:
                while not until.is_set():
                    reading = asyncio.create_task(socket.recv(decode=False))
                    await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
                    if not reading.done():
                        reading.cancel()
                        break
                    self._take(reading.result(), began, socket, timers)
            finally:
                ended.cancel()
                for timer in timers.values():
                    timer.cancel()

    def _take(
        self, payload: bytes, began: float, socket: ClientConnection, timers: dict[str, "asyncio.Task[None]"]
    ) -> None:
        """Note what one message says, and do what it asks for."""
        now = time.perf_counter()
        self.received_bytes += len(payload)
        message = ForwardMsg.FromString(payload)
        kind = message.WhichOneof("type")
        if kind == "delta":
            for found in STEP.finditer(payload):
                self.steps.setdefault(int(found[1].replace(b",", b"")), now)
            if message.delta.new_element.WhichOneof("type") == "exception":
                self.failures.append(message.delta.new_element.exception.message)
        elif kind == "script_finished" and message.script_finished in FINISHED:
            self.runs += 1
            if self.opened_s is None:
                self.opened_s = now - began
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                if fragment in timers:
                    timers.pop(fragment).cancel()
        elif kind == "auto_rerun":
            fragment = message.auto_rerun.fragment_id
            if fragment not in timers:
                ticking = self._tick(socket, fragment, message.auto_rerun.interval)
                timers[fragment] = asyncio.create_task(ticking)

    async def _tick(self, socket: ClientConnection, fragment: str, interval: float) -> None:
        """Ask for a timed fragment whenever its interval has passed, whether or not the last answer is there."""
        while True:
            await asyncio.sleep(interval)
            await socket.send(self._rerun(fragment))

    def _rerun(self, fragment: str = "") -> bytes:
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_name = self.query, self.page
        if fragment:
            state.fragment_id, state.is_auto_rerun = fragment, True
        return message.SerializeToString()


async def hold(sessions: list[Session], seconds: float, apart_s: float = 0.1) -> None:
    """Open sessions one after the other, and keep all of them for some time after the last has been opened.

    Raises:
        ConnectionError: if a session could not be kept.
    """
    until = asyncio.Event()
    following = []
    for session in sessions:
        following.append(asyncio.create_task(session.follow(until)))
        await asyncio.sleep(apart_s)
    deadline = time.monotonic() + 120
    while any(session.opened_s is None for session in sessions) and time.monotonic() < deadline:
        if any(task.done() for task in following):
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(seconds)
    until.set()
    for found in await asyncio.gather(*following, return_exceptions=True):
        if isinstance(found, BaseException):
            raise ConnectionError(f"A session ended by itself: {found!r}") from found
