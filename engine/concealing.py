"""Keeps secrets out of what is written: tokens, passwords, and addresses with credentials in them.

Libraries put the address that they could not reach into their errors, and an address of a proxy, a mirror or a dataset may hold
a password. Every error of ours, every failure of a run and every line of a log goes through `conceal`.
"""

import os
import re
from collections.abc import Iterator
from io import TextIOBase
from pathlib import Path
from typing import TextIO
from urllib.parse import quote, unquote

PASSWORD = "CHHATNI_PASSWORD"  # noqa: S105 - the name of the variable
"""Holds the studio's password; no process that works for the studio needs it."""
HIDDEN = "***"
SHORTEST = 6
"""Characters that a secret must have to be looked for: a shorter one would blank out parts of ordinary words."""

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", PASSWORD)
_ADDRESSES = ("HF_ENDPOINT", "CHHATNI_MAHANEWS_URL")
"""Hold addresses that may have a password in them, as does everything that ends in ``_proxy``, in either case."""
_SHAPES = (
    # https://name:password@host, also as a path, which loses a slash
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2})[^/\s?#'\"<>]*@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), f"hf_{HIDDEN}"),
    (re.compile(r"(?i)(\bauthorization\W{1,6}(?:bearer|basic)\s+)[\w.~+/=-]+"), rf"\1{HIDDEN}"),
    # without that word only what is no ordinary word: with a digit, a capital inside or a filled end
    (re.compile(r"\b((?i:bearer)\s+)(?=[\w.~+/-]*[0-9=]|[\w.~+/-]+[A-Z])[\w.~+/=-]{8,}"), rf"\1{HIDDEN}"),
    # base64, and no name of a file that goes on behind a dot or a hyphen
    (
        re.compile(r"\b((?i:basic)\s+)(?=[A-Za-z+/]*[0-9=]|[A-Za-z+/]+[A-Z])[A-Za-z0-9+/]{8,}={0,2}(?![\w+/=-]|\.\w)"),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            r"([?&](?:[\w.-]*(?i:password|passwd|signature|credential)[\w.-]*"
            # these are parts of ordinary words (monkey, keyword, tokenizer), so they must begin and end as words of a name do
            r"|(?:[\w.-]*(?:[._-]|[a-z0-9](?=[A-Z])))?(?i:api|auth|access|aws|client|pass|private|secret|session)*"
            r"(?i:token|key|secret)(?:(?:[._\d-]|(?<=[a-z])[A-Z])[\w.-]*)?)=)[^&\s#'\"<>]+"
        ),
        rf"\1{HIDDEN}",
    ),
)


def conceal(text: str) -> str:
    """Return the text with every secret in it replaced by three stars."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def for_workers() -> dict[str, str]:
    """Return this process's environment without what only the studio must know."""
    return {name: value for name, value in os.environ.items() if name != PASSWORD}


class Concealed(TextIOBase):
    """A stream that conceals what is written to it before it hands it on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text without its secrets; returns the length of the given one."""
        self._stream.write(conceal(text))
        return len(text)

    def flush(self) -> None:
        """Hand on what waits."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the number of the file behind it."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def isatty(self) -> bool:
        """Tell whether a person looks at it."""
        return self._stream.isatty()


def _secrets() -> Iterator[str]:
    """Yield the secrets that this process could know, the longest first, so that none is left as half of another."""
    found = {os.environ.get(name, "").strip() for name in _TOKENS} | {_login()}
    for name, value in os.environ.items():
        if name in _ADDRESSES or name.lower().endswith("_proxy"):
            found |= set(_credentials(value.strip()))
    yield from sorted((secret for secret in found if len(secret) >= SHORTEST), key=len, reverse=True)


def _credentials(address: str) -> Iterator[str]:
    """Yield what must not be told of ``scheme://name:password@host``, as typed, decoded and encoded.

    A password with a slash, a hash or a question mark breaks the address apart for whoever parses it: the shape above does not
    find it, and libraries quote its beginning as a port that is none.
    """
    rest = address.partition("://")[2] or address
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    for part in (rest, authority):
        typed, _, host = part.rpartition("@")
        name, colon, password = typed.partition(":")
        if not (colon and password and host):
            continue
        plain = unquote(password)
        for word in {password, plain, quote(plain, safe="", errors="surrogateescape")}:
            beginning = re.split("[/?#]", word, maxsplit=1)[0]
            yield from (word, f"{name}:{word}", beginning, f"{name}:{beginning}", f"'{beginning}'")


def _login() -> str:
    """Return the token that a login to the hub left behind, if it can be read.

    Where: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    try:
        path = Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RuntimeError):  # none, or no home folder; then the library finds none either
        return ""
