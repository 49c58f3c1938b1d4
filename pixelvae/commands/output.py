"""Output that never ends the work: missing characters are escaped, and a reader that left is ignored."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _PatientFile(io.FileIO):
    """A file whose write drops what cannot be written: the pipe is closed, the disk full, the terminal gone."""

    def write(self, data: Any, /) -> int:
        """Write what can be written; the rest counts as written."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def keep_working_without_readers() -> None:
    """Make this process's standard output and error streams that never raise.

    Streams that something else has put in their place, such as a notebook's, are left alone.
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
