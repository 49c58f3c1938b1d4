"""Output streams that never raise: unknown characters are escaped, closed pipes ignored."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _PatientFile(io.FileIO):
    """A file that drops what cannot be written, because a pipe is closed, a disk full or a terminal closed."""

    def write(self, data: Any, /) -> int:
        """Write as much as possible; report the rest as written."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def keep_working_without_readers() -> None:
    """Replace standard output and error of this process by streams that never raise.

    Streams that have been replaced already, such as a notebook's, are not changed.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before this process started
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (stays open as long as the process)
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, patient(stream))


def patient(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """A stream to the same file whose writes never raise."""
    file = io.BufferedWriter(_PatientFile(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        file, encoding=stream.encoding, errors="backslashreplace", line_buffering=stream.line_buffering
    )
