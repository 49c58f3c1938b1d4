"""Files from the web, read whole within a limit, with errors of one line."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException

SECONDS = 60
"""How long a server may be silent."""


class DownloadError(ValueError):
    """A file that cannot be fetched; the message names its address and the reason."""


def fetch(url: str, *, limit: int) -> bytes:
    """The bytes of a file at an http or https address.

    Args:
        url: Its address.
        limit: Most bytes; a longer answer is refused before it fills the memory.

    Raises:
        DownloadError: If the address is no web address, the server does not answer, or the file is cut or too long.
    """
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url} cannot be fetched: wanted an address that starts with https:// or http://")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            content: bytes = answer.read(limit + 1)
            stated = answer.headers.get("Content-Length", "")
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(f"{url} cannot be fetched ({reason})") from error
    if len(content) > limit:
        raise DownloadError(f"{url} has more than {limit:,} bytes, the most that the file may have")
    if stated.isdecimal() and len(content) != int(stated):
        raise DownloadError(f"{url} is cut: {len(content):,} of {int(stated):,} bytes came")
    return content
