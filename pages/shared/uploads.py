"""Files that a person hands over in the browser, kept in the home folder under names that are safe."""

import hashlib
import re
from pathlib import Path, PurePosixPath

from engine.files.storage import replace_file

KINDS = ("csv", "tsv", "jsonl", "parquet", "xlsx")
"""Tables that a run can learn from."""


def keep_upload(home: Path, name: str, content: bytes) -> Path:
    """Save an upload as ``uploads/<stem>-<hash>.<kind>`` and return its path; the same bytes are saved once.

    Of the name that the browser gives, only letters, digits, ``_`` and ``-`` of the stem survive, and the last suffix.
    """
    given = PurePosixPath(name.replace("\\", "/")).name
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(given).stem).strip("-")[:40] or "file"
    suffix = re.sub(r"[^a-z0-9]", "", PurePosixPath(given).suffix.lower())[:10] or "txt"
    digest = hashlib.sha256(content).hexdigest()[:12]
    path = home / "uploads" / f"{stem}-{digest}.{suffix}"
    if path.is_symlink() or not path.is_file():  # a link is replaced, never followed
        replace_file(path, lambda temporary: temporary.write_bytes(content))
    return path
