"""A server on this machine that speaks as much of the hub's protocol as downloading a model takes."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What is served, and what was asked for."""

    def __init__(self) -> None:
        self.models: dict[str, Path] = {}
        self.status: int | None = None
        """Answer everything with this status instead."""
        self.delay_s = 0.0
        self.torn: set[str] = set()
        """Files that break off in the middle."""
        self.requests: list[str] = []
        self.url = ""

    def fetched(self) -> list[str]:
        """Return the names of the files whose bytes were asked for."""
        return sorted(
            {line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/resolve/" in line}
        )


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(" ".join(self.requestline.split()[:2]))  # as it was sent, with every slash
            time.sleep(hub.delay_s)
            if hub.status is not None:
                return self._send(hub.status, b"{}", {}, body)
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                return self._describe("/".join(parts[2:4]), parts[4:], body)
            folder = hub.models.get("/".join(parts[:2]))
            if folder is None:
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
            file = folder / "/".join(parts[4:])
            if not file.is_file():
                return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body)
            data = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self._send(200, data, headers, body, torn=file.name in hub.torn)

        def _describe(self, name: str, rest: list[str], body: bool) -> None:
            folder = hub.models.get(name)
            if folder is None:
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
            files = sorted(path for path in folder.iterdir() if path.is_file())
            if rest[:1] == ["tree"]:
                found: object = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40} for path in files
                ]
            else:
                found = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path.name} for path in files]}
            return self._send(200, json.dumps(found).encode(), {}, body)

        def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool, torn: bool = False) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data[: len(data) // 2] if torn else data)
            if torn:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
