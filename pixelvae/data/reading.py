"""Read many files in parallel, in order, with the errors of those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from pixelvae.data.files import FileError

T = TypeVar("T")

_BLOCK = 16  # files per task of a thread
_AHEAD = 8  # blocks per thread that may be finished in advance


def read_all(
    root: Path, files: Sequence[str], read: Callable[[Path], T], what: str
) -> Iterator[tuple[str, T | FileError]]:
    """Yield each file with its content or its error, in order.

    Reading uses threads, because decoders of pictures and sounds release Python's lock. A progress bar appears after a
    second.

    Args:
        root: The folder.
        files: Paths within it.
        read: Reads one file.
        what: Plural of the content of a file, for the progress bar.

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
                waiting[i] = Future()  # frees the memory of finished blocks
                progress.update(len(block))
    finally:
        pool.shutdown(cancel_futures=True)
