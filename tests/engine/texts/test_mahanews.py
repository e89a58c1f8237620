"""MahaNews from a small server of our own: whole, broken, resumed, refused, offline."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.config import DataConfig
from engine.data import load_data
from engine.errors import DataError
from engine.texts import mahanews
from engine.texts.mahanews import fetch

NAMES = ("SHC/SHC_Train.csv", "SHC/SHC_Valid.csv", "SHC/SHC_Test.csv")


def table(word: str, count: int) -> bytes:
    rows = [f"{word} बातमी {label} {i},{label}" for label in ("Crime", "Sports") for i in range(count)]
    return "\n".join(["Text,Label", *rows, "Text,Label"]).encode()


class Site:
    """What the server serves, how it misbehaves, and what it was asked."""

    def __init__(self) -> None:
        self.files = {f"/{name}": table(word, 30) for name, word in zip(NAMES, ("शिकू", "तपासू", "मोजू"), strict=True)}
        self.asked: list[tuple[str, str | None]] = []
        self.status = 200
        self.break_after: list[int] = []
        """Bytes after which the next answers break off."""
        self.tags = True
        self.ranges = True


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.asked.append((self.path, wanted))
        body = site.files.get(self.path)
        if body is None or site.status != 200:
            self.send_error(404 if body is None else site.status)
            return
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        start = 0
        if wanted and site.ranges and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if site.tags:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + site.break_after.pop(0) if site.break_after else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    served = Site()
    monkeypatch.setattr(mahanews, "_CHUNK_BYTES", 100)  # these files are small
    handler = type("SiteHandler", (Handler,), {"site": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("CHHATNI_MAHANEWS_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield served
        server.shutdown()
        thread.join()


def cached(home: Path, name: str = NAMES[0]) -> Path:
    return home / "cache" / "mahanews" / name


def leftovers(home: Path) -> list[str]:
    """Names of files that are neither a finished table nor a lock."""
    found = (path for path in (home / "cache").rglob("*") if path.is_file())
    return [path.name for path in found if ".part" in path.name]


def test_files_are_downloaded_once_and_loaded_with_their_splits(site: Site, tmp_path: Path) -> None:
    data = load_data(DataConfig(source="mahanews-shc"), 0, tmp_path)
    assert data.labels == ("Crime", "Sports")
    assert data.report.sizes == {"train": 60, "validation": 60, "test": 60}
    assert data.train.texts[0].startswith("शिकू")
    assert data.validation.texts[0].startswith("तपासू")
    assert data.test.texts[0].startswith("मोजू")
    assert all(report.repeated_headers == 1 for report in data.report.splits.values())
    for name in NAMES:
        assert cached(tmp_path, name).read_bytes() == site.files[f"/{name}"]
    assert leftovers(tmp_path) == []
    asked = list(site.asked)
    assert load_data(DataConfig(source="mahanews-shc"), 1, tmp_path) == data
    assert site.asked == asked, "a second load asks the network nothing"


def test_a_wrong_number_of_rows_is_noted_and_the_licence_named(site: Site, tmp_path: Path) -> None:
    notes = load_data(DataConfig(source="mahanews-shc"), 0, tmp_path).report.notes
    assert "SHC_Train.csv has 60 rows; 22,014 were published." in notes
    assert "SHC_Test.csv has 60 rows; 2,761 were published." in notes
    assert any("CC BY-NC-SA 4.0" in note for note in notes)


@pytest.mark.parametrize("repeated", [0, 1])
def test_the_published_number_of_rows_needs_no_note(site: Site, tmp_path: Path, repeated: int) -> None:
    rows = [f"वेगळी बातमी {i},{'Crime' if i % 2 else 'Sports'}" for i in range(2750)] + ["Text,Label"] * repeated
    site.files[f"/{NAMES[1]}"] = "\n".join(["Text,Label", *rows]).encode()
    notes = load_data(DataConfig(source="mahanews-shc"), 0, tmp_path).report.notes
    assert not any("SHC_Valid.csv has" in note for note in notes)


def test_a_broken_download_goes_on_where_it_broke(site: Site, tmp_path: Path) -> None:
    site.break_after = [500, 700]
    tables = fetch("mahanews-shc", tmp_path)
    assert [wanted for path, wanted in site.asked if path.endswith(NAMES[0])] == [None, "bytes=500-", "bytes=1200-"]
    assert cached(tmp_path).read_bytes() == site.files[f"/{NAMES[0]}"]
    assert len(tables["train"].rows) == 61


def test_a_later_run_goes_on_where_an_earlier_one_was_cut_off(site: Site, tmp_path: Path) -> None:
    site.break_after = [500, 0]
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch("mahanews-shc", tmp_path)
    assert not cached(tmp_path).exists()
    site.asked.clear()
    fetch("mahanews-shc", tmp_path)
    assert site.asked[0][1] == "bytes=500-"
    assert cached(tmp_path).read_bytes() == site.files[f"/{NAMES[0]}"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.break_after = [500, 0]
    with pytest.raises(DataError):
        fetch("mahanews-shc", tmp_path)
    site.files[f"/{NAMES[0]}"] = table("बदललेली", 40)
    fetch("mahanews-shc", tmp_path)
    assert cached(tmp_path).read_bytes() == table("बदललेली", 40)


def test_a_partial_file_longer_than_the_whole_is_thrown_away(site: Site, tmp_path: Path) -> None:
    site.break_after = [500, 0]
    with pytest.raises(DataError):
        fetch("mahanews-shc", tmp_path)
    with cached(tmp_path).with_suffix(".part.csv").open("ab") as partial:
        partial.write(b"x" * 100_000)
    fetch("mahanews-shc", tmp_path)
    assert cached(tmp_path).read_bytes() == site.files[f"/{NAMES[0]}"]


def test_a_server_without_tags_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.tags = False
    site.break_after = [500]
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch("mahanews-shc", tmp_path)
    fetch("mahanews-shc", tmp_path)
    assert all(wanted is None for _, wanted in site.asked)
    assert cached(tmp_path).read_bytes() == site.files[f"/{NAMES[0]}"]


def test_a_server_that_always_breaks_at_the_same_place_is_given_up(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.break_after = [500] * 50
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch("mahanews-shc", tmp_path)
    assert len(site.asked) == 2


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_http_error_says_what_to_do(site: Site, tmp_path: Path, status: int) -> None:
    site.status = status
    with pytest.raises(DataError) as caught:
        fetch("mahanews-shc", tmp_path)
    told = str(caught.value)
    assert f"HTTP status {status}" in told
    assert str(cached(tmp_path)) in told
    assert "'starter'" in told
    assert not cached(tmp_path).exists()


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html>\n<html><body>\nPlease log in\n</body></html>\n",
        b"<html>\n<p>Dear guest, log in, please</p>\n</html>\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        b"",
    ],
)
def test_what_is_no_table_is_not_kept(site: Site, tmp_path: Path, page: bytes) -> None:
    site.files[f"/{NAMES[0]}"] = page
    with pytest.raises(DataError, match="is not the dataset") as caught:
        fetch("mahanews-shc", tmp_path)
    assert str(cached(tmp_path)) in str(caught.value)
    assert ".part" not in str(caught.value)
    assert not cached(tmp_path).exists()
    assert leftovers(tmp_path) == []


def test_without_a_network_a_file_saved_by_hand_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CHHATNI_MAHANEWS_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(DataError) as caught:
            fetch("mahanews-shc", tmp_path)
        told = str(caught.value)
        assert "by hand" in told
        assert "'starter'" in told
        assert str(cached(tmp_path)) in told
        for name in NAMES:
            cached(tmp_path, name).write_bytes(table(name, 5))
        assert [len(found.rows) for found in fetch("mahanews-shc", tmp_path).values()] == [11, 11, 11]


@pytest.mark.parametrize("root", ["file:///nowhere", "no address", "http://[::1"])
def test_a_wrong_address_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    monkeypatch.setenv("CHHATNI_MAHANEWS_URL", root)
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch("mahanews-lpc", tmp_path)


def test_a_home_that_cannot_be_written_is_a_data_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder belongs")
    with pytest.raises(DataError, match="cannot be written"):
        fetch("mahanews-shc", tmp_path)


def test_two_loads_at_once_download_once(site: Site, tmp_path: Path) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(fetch("mahanews-shc", tmp_path)["test"].rows)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [61, 61, 61]
    assert len(site.asked) == 3
