"""L3Cube-MahaNews: Marathi news in 12 topics, downloaded once and kept in the home folder.

Short headlines (SHC), paragraphs (LPC) and long documents (LDC). Source: Mittal et al. 2023,
https://github.com/l3cube-pune/MarathiNLP. The licence, CC BY-NC-SA 4.0, forbids shipping it here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import DataError
from engine.texts.columns import find_columns
from engine.texts.reading import Table, read_table

PUBLISHED_URL = "https://raw.githubusercontent.com/l3cube-pune/MarathiNLP/main/L3Cube-MahaNews"
LICENCE_NOTE = "L3Cube-MahaNews may be used under CC BY-NC-SA 4.0: with credit, alike, and not for profit."

_FILES = {"train": "Train", "validation": "Valid", "test": "Test"}
_PUBLISHED_ROWS = {
    "SHC": {"train": 22_014, "validation": 2_750, "test": 2_761},
    "LPC": {"train": 42_870, "validation": 5_357, "test": 5_366},
    "LDC": {"train": 22_014, "validation": 2_750, "test": 2_761},
}
_CONNECT_S, _READ_S = 10, 30
_LOCK_S = 1800
"""Longest wait for another process that is downloading the same file."""
_CHUNK_BYTES = 1 << 14
"""Bytes written at once; a connection that breaks loses at most as many."""


def fetch(source: str, home: Path) -> dict[str, Table]:
    """Return the published splits of ``mahanews-shc``, ``-lpc`` or ``-ldc``: train, validation and test.

    Files that are already in ``home/cache/mahanews`` are not asked for again.

    Raises:
        DataError: if a file can neither be found nor downloaded, or is no table of texts.
    """
    part = source.removeprefix("mahanews-").upper()
    return {split: _fetch_file(part, split, home) for split in _FILES}


def count_note(source: str, split: str, rows: int, repeated_headers: int) -> str | None:
    """Return a sentence if a file does not hold as many rows as were published.

    The published numbers leave out the headers that some files repeat, so a count with or without them will do.
    """
    part = source.removeprefix("mahanews-").upper()
    published = _PUBLISHED_ROWS[part][split]
    if published in (rows, rows - repeated_headers):
        return None
    return f"{part}_{_FILES[split]}.csv has {rows - repeated_headers:,} rows; {published:,} were published."


def _fetch_file(part: str, split: str, home: Path) -> Table:
    from filelock import FileLock, Timeout

    name = f"{part}_{_FILES[split]}.csv"
    target = home / "cache" / "mahanews" / part / name
    if not target.exists():
        root = os.environ.get("CHHATNI_MAHANEWS_URL", "").strip() or PUBLISHED_URL
        url = f"{root.rstrip('/')}/{part}/{name}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock"), timeout=_LOCK_S):
                if not target.exists():  # another process may have fetched it meanwhile
                    _download(url, target)
        except Timeout:
            raise DataError(
                f"Another process has been downloading {name} for over {_LOCK_S // 60} minutes. Stop it and try again.",
                target,
            ) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(
                f"{target} cannot be written: {reason}. Free some space or set CHHATNI_HOME.", target
            ) from None
    return read_table(target)


def _download(url: str, target: Path) -> None:
    """Download to a partial file, check that it is a table, and give it its name in one step."""
    partial = target.with_suffix(".part.csv")
    with _explained(url, target):
        while not _continue_download(url, partial):
            pass
    try:
        find_columns(read_table(partial))
    except DataError as error:
        partial.unlink(missing_ok=True)
        _tag_path(partial).unlink(missing_ok=True)
        problem = str(error).replace(str(partial), target.name)
        raise DataError(f"What {url} sent is not the dataset: {problem} {_by_hand(url, target)}", target) from None
    os.replace(partial, target)
    _tag_path(partial).unlink(missing_ok=True)


def _continue_download(url: str, partial: Path) -> bool:
    """Ask for what is still missing of a file and append it; tell whether the file is whole.

    A broken connection is no error as long as the partial file has grown. ``If-Range`` makes the server send the whole
    file again if it has changed since the partial file was begun.

    Raises:
        requests.RequestException: if nothing more can be had.
    """
    import requests

    tag = _tag_path(partial)
    have = partial.stat().st_size if partial.exists() and tag.exists() else 0
    # Ranges count the bytes on the wire, so compression must be off.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="ascii")}
    with requests.get(url, headers=headers, stream=True, timeout=(_CONNECT_S, _READ_S)) as response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            tag.unlink()  # longer than the server's file: begin anew
            return False
        response.raise_for_status()
        resumed = have > 0 and response.status_code == requests.codes.partial_content
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            tag.unlink()
            return False
        _write_tag(tag, response.headers.get("ETag", ""))
        try:
            with partial.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            if not tag.exists() or partial.stat().st_size <= have:
                raise
            return False
    return True


def _tag_path(partial: Path) -> Path:
    return partial.with_suffix(".etag")


def _write_tag(path: Path, tag: str) -> None:
    """Keep the server's name for this version of the file; only a strong one allows resuming (RFC 9110, 13.1.5)."""
    if tag.isascii() and tag.startswith('"'):
        path.write_text(tag, encoding="ascii")
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _explained(url: str, target: Path) -> Iterator[None]:
    """Turn every way a download can fail into one DataError that says what to do."""
    import requests

    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "unknown"
        raise DataError(f"{url} answered with HTTP status {status}. {_by_hand(url, target)}", target) from None
    except requests.RequestException as error:
        reason = type(error).__name__
        raise DataError(f"{url} cannot be downloaded ({reason}). {_by_hand(url, target)}", target) from None


def _by_hand(url: str, target: Path) -> str:
    return (
        f"Check the network and try again, or save {url} by hand as {target}, "
        "or choose the dataset 'starter', which is already here."
    )
