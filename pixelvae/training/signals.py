"""Signals that end a run. They are collected, so that the current step finishes and is saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

NUMBERS = [
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # Windows has the first two
    if (number := getattr(signal, name, None)) is not None
]
"""Ctrl-C, kill and schedulers, a closed terminal, and the advance notice of schedulers."""


class AbandonedError(Exception):
    """A signal aborted work that a resumed run repeats."""


class Signals:
    """Signals received so far.

    Attributes:
        received: Their numbers, in order.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._raises = False

    def __bool__(self) -> bool:
        return bool(self.received)

    @contextmanager
    def abandoning(self, enabled: bool) -> Iterator[None]:
        """Abort the work in this context at the first signal.

        Args:
            enabled: False where other processes wait for this one.

        Raises:
            AbandonedError: At the first signal.
        """
        self._raises = enabled
        try:
            yield
        finally:
            self._raises = False

    def receive(self, number: int, _frame: object = None) -> None:
        """The signal handler. A second Ctrl-C interrupts at once; the last checkpoint stays intact."""
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received.append(number)
        if self._raises and len(self.received) == 1:
            raise AbandonedError


@contextmanager
def collected_signals() -> Iterator[Signals]:
    """Collect the signals in ``NUMBERS``, except those that are ignored (nohup). Main thread only."""
    signals, previous = Signals(), {}
    try:
        for number in NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, signals.receive)
    except ValueError:  # only the main thread may set handlers
        pass
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_signals(_worker: int) -> None:
    """Ignore signals in a loader process: the training process ends it, not a signal to the process group."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
