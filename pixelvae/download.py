"""Download files within a limit of size, with errors of one line."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException

SECONDS = 60
"""Timeout of a server in seconds."""


class DownloadError(ValueError):
    """A file cannot be downloaded; the message gives its address and the reason."""


def fetch(url: str, *, limit: int) -> bytes:
    """Download the bytes of a file.

    Args:
        url: Its http or https address.
        limit: Maximum number of bytes; a longer answer is rejected before it fills the memory.

    Raises:
        DownloadError: If the address is not http or https, the server does not answer, or the file is truncated or too
            long.
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
