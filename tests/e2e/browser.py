"""A studio's server, a real browser on it, and what no page may ever show: errors, exception boxes, a sideways scroll."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Playwright

from engine.home import REPOSITORY

Scheme = Literal["light", "dark"]

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE, NARROW = 1440, 390
"""The two widths (px) every page has to fit: a desk and a telephone."""
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
MINUTE = 60_000
STREAMLITS_OWN = ("/_stcore/health", "/_stcore/host-config", "favicon")
"""Console errors that are Streamlit's own: on a deep link it first looks for its server below the page's path, is told 404, and
then finds it. The icon of a page is asked for in the same way."""
SETTLED = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    const charts = [...document.querySelectorAll('[data-testid=stVegaLiteChart]')];
    return app !== null && app.dataset.testScriptState === 'notRunning'
        && document.querySelector('h1') !== null
        && document.querySelector('[data-testid=stSkeleton], [data-stale=true]') === null
        && charts.every(chart => chart.querySelector('svg.marks, canvas') !== null);
}"""
"""The script has run, and every chart is drawn."""
BACKGROUNDS: dict[Scheme, str] = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 22)"}
"""Of the page, as `.streamlit/config.toml` sets it."""
PAINTED = """colour => {
    const app = document.querySelector('[data-testid=stApp]');
    const moving = document.getAnimations().filter(
        each => each.playState === 'running' && each.effect.getTiming().iterations !== Infinity);
    return getComputedStyle(app).backgroundColor === colour && moving.length === 0;
}"""
"""The page has a background colour, and no transition is on its way."""
OVERFLOW = """() => Math.max(...['html', '[data-testid=stMain]'].map(name => {
    const box = document.querySelector(name);
    return box === null ? 0 : box.scrollWidth - box.clientWidth;
}))"""
"""How many pixels the page, or the part of it that scrolls, is wider than it shows."""


def chromium() -> str | None:
    """Return the browser's path, or None where there is none."""
    named = os.environ.get("CHHATNI_CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def launch(playwright: Playwright, path: str) -> Browser:
    """Start the browser at a path."""
    return playwright.chromium.launch(executable_path=path, args=list(FLAGS))


@contextmanager
def serve(home: Path, log: Path) -> Iterator[str]:
    """Serve the studio on a home while the block runs; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py"]
    command += ["--server.port", str(port), "--server.headless", "true"]
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "CHHATNI_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_healthy(address, server)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_until_healthy(address: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the studio ended at once"
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("the studio did not answer within 60 s")


def listen(page: Page) -> list[str]:
    """Return a list that fills with whatever goes wrong in a page from now on, but for what is Streamlit's own."""
    noise: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        said = f"{message.text} ({message.location.get('url')})"
        if message.type == "error" and not any(word in said for word in STREAMLITS_OWN):
            noise.append(said)

    def close(dialog: Dialog) -> None:
        noise.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", hear)
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("dialog", close)
    return noise


def settle(page: Page) -> None:
    """Wait until the page has been run and all of its charts are drawn."""
    page.wait_for_function(SETTLED, timeout=MINUTE)


def paint(page: Page, scheme: Scheme) -> None:
    """Change the colour scheme and wait until the page has followed."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(PAINTED, arg=BACKGROUNDS[scheme], timeout=MINUTE)
    settle(page)


def faults(page: Page) -> list[str]:
    """Return what is wrong with a page as it stands: exception boxes and a sideways scroll."""
    found = [f"exception box: {box.inner_text()[:300]}" for box in page.get_by_test_id("stException").all()]
    wider = page.evaluate(OVERFLOW)
    if wider > 0:
        found.append(f"{wider} px wider than the window")
    return found
