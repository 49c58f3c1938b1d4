"""Many files read in parallel, in order, with those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from pixelvae.data.files import FileError

T = TypeVar("T")

_BLOCK = 16  # files that a thread reads at a time
_AHEAD = 8  # blocks for each thread that may wait to be taken


def read_all(
    root: Path, files: Sequence[str], read: Callable[[Path], T], what: str
) -> Iterator[tuple[str, T | FileError]]:
    """Each file with what it holds, or with the error that it raises, in order.

    Threads read, because decoders of pictures and sounds release Python's lock. A progress bar appears after a
    second.

    Args:
        root: The folder.
        files: Paths within it.
        read: Reads one file.
        what: Plural of what a file holds, for the progress bar.

    Example:
        >>> [(name, size) for name, size in read_all(Path("nowhere"), ["a", "b"], lambda path: path.name, "names")]
        [('a', 'a'), ('b', 'b')]
    """

    def attempt(file: str) -> T | FileError:
        try:
            return read(root / file)
        except FileError as error:
            return error

    def attempt_all(block: Sequence[str]) -> list[T | FileError]:
        return [attempt(file) for file in block]

    blocks = [files[begin : begin + _BLOCK] for begin in range(0, len(files), _BLOCK)]
    threads = 2 * (os.cpu_count() or 1)  # half of them wait for the lock
    pool = ThreadPoolExecutor(threads)
    waiting: list[Future[list[T | FileError]]] = []
    try:
        with tqdm(total=len(files), desc=f"read {what}", unit="file", delay=1, leave=False) as progress:
            for i, block in enumerate(blocks):
                while len(waiting) < len(blocks) and len(waiting) <= i + _AHEAD * threads:
                    waiting.append(pool.submit(attempt_all, blocks[len(waiting)]))
                yield from zip(block, waiting[i].result(), strict=True)
                waiting[i] = Future()  # what has been taken needs no memory
                progress.update(len(block))
    finally:
        pool.shutdown(cancel_futures=True)
