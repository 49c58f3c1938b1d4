"""Trials in forked processes: a crash, a hang or a started program fails one trial only."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CODE = "code was run"
SECONDS = 60
"""Processor time that a trial may take; it may wait twenty times as long."""


def in_child(act: Callable[[], int | None]) -> str:
    """Run in a forked process with a time limit; return its error, or an empty string."""
    process, messages = fork(act)
    deadline = time.monotonic() + 20 * SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return messages.read_text() if os.waitstatus_to_exitcode(status) == 1 else code_failure(status)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return f"took longer than {20 * SECONDS} s"


def code_failure(status: int) -> str:
    """A message unless the exit code is 0."""
    code = os.waitstatus_to_exitcode(status)
    return "" if code == 0 else f"ended with {code}"


def fork(act: Callable[[], int | None]) -> tuple[int, Path]:
    """Start a process. Its exit code is 0, 128 + signal for an interrupted run, or 1 with a message."""
    descriptor, name = tempfile.mkstemp()
    os.close(descriptor)
    process = os.fork()
    if process:
        return process, Path(name)
    code = 0
    sys.addaudithook(tripwire)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        code = act() or 0
    except KeyboardInterrupt:  # before training collects signals
        code = 128 + signal.SIGINT
    except BaseException:
        Path(name).write_text(traceback.format_exc(limit=-3))
        code = 1
    finally:
        os._exit(code)


def tripwire(event: str, arguments: Any) -> None:
    """No trial starts a program; whatever does was made to."""
    if event in ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen"):
        raise AssertionError(f"{CODE}: {arguments[:2]}")
