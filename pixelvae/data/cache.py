"""A cache of decoded pictures, in files that are mapped into memory."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import platformdirs
import torch
from torch import Tensor

from pixelvae.data.files import FileError
from pixelvae.data.reading import read_all
from pixelvae.storage import write_json

UNUSED_DAYS = 30
"""Days after which an entry that no data set has opened is removed."""

_LOG = logging.getLogger("pixelvae")


class CachedPictures:
    """Rows of 8-bit values in a memory-mapped file, which processes share.

    Args:
        path: The file, one row after the other.
        shape: (C, H, W) of a row.
        rows: The rows of the file to use, in order.

    Shape:
        ``pictures[indices]``: (B,) -> (B, C, H, W) uint8.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], rows: Sequence[int]) -> None:
        self.path = path
        self.shape = shape
        self.rows = np.asarray(rows, dtype=np.int64)
        self._values = np.memmap(path, np.uint8, mode="r").reshape(-1, *shape)

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        return torch.from_numpy(np.asarray(self._values[self.rows[indices.numpy()]]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the map, which would be copied; a worker process maps the file again."""
        return CachedPictures, (self.path, self.shape, self.rows)


class Decoded(NamedTuple):
    """The result of decoding all pictures once.

    Args:
        unreadable: Error by path within the folder.
        file: The file of rows, in the order of the readable pictures; None without a cache.
    """

    unreadable: Mapping[str, str]
    file: Path | None


def decode_all(
    root: Path,
    files: Sequence[str],
    read: Callable[[Path], npt.NDArray[np.uint8]],
    settings: str,
    shape: tuple[int, ...],
    cache: bool,
) -> Decoded:
    """Decode every picture of a folder once, or open the decoded pictures in the cache.

    The cache is the folder ``PIXELVAE_CACHE``, or the user's cache folder. The name of an entry is a hash of
    `settings` and of path, size and time of every picture. If it cannot be written, a line is logged. With each new
    entry, those that were not used for ``UNUSED_DAYS`` are removed.

    Args:
        root: The folder.
        files: Paths of the pictures within it.
        read: Decodes one picture.
        settings: All options that affect the values.
        shape: (C, H, W) of a picture.
        cache: Whether to use the cache.
    """
    if not cache:
        return Decoded(_decode(root, files, read, None), None)
    entry = _cache_folder() / f"{_key(root, files, settings)}.json"
    values = entry.with_suffix(".uint8")
    unreadable = _unreadable_of(entry, values, len(files), math.prod(shape))
    if unreadable is not None:
        with suppress(OSError):  # a read-only cache
            os.utime(entry)
        return Decoded(unreadable, values)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=entry.parent) as temporary:
            made = Path(temporary) / values.name
            with made.open("wb") as out:
                unreadable = _decode(root, files, read, out)
            made.replace(values)
        write_json(entry, {"root": str(root), "settings": settings, "unreadable": unreadable})
        _remove_unused(entry.parent)
    except OSError as error:
        _LOG.warning(
            "pictures are decoded whenever they are asked for, which is slower: %s cannot be written (%s); "
            "PIXELVAE_CACHE names another folder",
            entry.parent,
            error.strerror,
        )
        return Decoded(_decode(root, files, read, None), None)
    return Decoded(unreadable, values)


def _decode(
    root: Path,
    files: Sequence[str],
    read: Callable[[Path], npt.NDArray[np.uint8]],
    out: BinaryIO | None,
) -> dict[str, str]:
    """Write every readable picture in order; return the errors of the others."""
    unreadable = {}
    for file, picture in read_all(root, files, read, "pictures"):
        if isinstance(picture, FileError):
            unreadable[file] = picture.reason
        elif out is not None:
            out.write(picture.tobytes())
    return unreadable


def _unreadable_of(entry: Path, values: Path, num_files: int, row_size: int) -> dict[str, str] | None:
    """Errors of the unreadable pictures of a complete entry; None if the entry is missing or incomplete."""
    try:
        unreadable = json.loads(entry.read_text())["unreadable"]
        whole = values.stat().st_size == (num_files - len(unreadable)) * row_size
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: made again
    return unreadable if whole else None


def _remove_unused(folder: Path) -> None:
    """Remove entries, and remains of builds, unused for ``UNUSED_DAYS``; log their number.

    The time of an entry is that of its json file, which every use renews.
    """
    oldest = time.time() - UNUSED_DAYS * 86_400
    count = size = 0
    for path in list(folder.iterdir()):
        with suppress(OSError):  # in use on Windows, or removed by another process
            entry = path.with_suffix(".json")
            if max(path.stat().st_mtime, entry.stat().st_mtime if entry.exists() else 0) >= oldest:
                continue
            if path.is_dir():
                shutil.rmtree(path)
                continue
            size += path.stat().st_size
            path.unlink()
            count += path != entry
    if count:
        _LOG.warning(
            "removed the decoded pictures of %s folders, %s MB, that were not used for %s days: %s",
            count,
            f"{size / 1e6:,.0f}",
            UNUSED_DAYS,
            folder,
        )


def _key(root: Path, files: Sequence[str], settings: str) -> str:
    described: list[Any] = [1, str(root.resolve()), settings]  # 1: the version of the format
    for file in files:
        try:
            status = os.stat(f"{root}/{file}")
        except OSError:  # such as a broken link, which the reader reports
            described.append([file])
        else:
            described.append([file, status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:32]


def _cache_folder() -> Path:
    return Path(os.environ.get("PIXELVAE_CACHE") or platformdirs.user_cache_dir("pixelvae")) / "pictures"
