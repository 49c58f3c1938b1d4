"""A folder of files as a data set: which files, which classes, and which split each file is in."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from pixelvae.data.splits import SplitName


def visible_files(root: Path, extensions: Collection[str], what: str) -> list[str]:
    """Paths within `root` of all files of some extensions, in an order that is the same on every machine.

    Args:
        root: The folder, searched to any depth. Hidden files and folders are left out.
        extensions: In lower case, with their dots.
        what: What such a file holds, for the message.

    Raises:
        ValueError: If there is none.
    """
    files = sorted(
        file.relative_to(root).as_posix()
        for file in root.rglob("*")
        if file.suffix.lower() in extensions and file.is_file()
    )
    visible = [file for file in files if not any(part.startswith(".") for part in file.split("/"))]
    if not visible:
        found = f"no {what}" if root.is_dir() else "no such folder"
        raise ValueError(f"root={str(root)!r}: {found}; want a folder with files of {', '.join(sorted(extensions))}")
    return visible


def class_folders(root: Path, files: Sequence[str]) -> list[str]:
    """Names of the class folders, directly below `root`; none if all files lie in `root` itself.

    Raises:
        ValueError: If some files lie in class folders and others do not.
    """
    inside = [file for file in files if "/" in file]
    if inside and len(inside) < len(files):
        outside = next(file for file in files if "/" not in file)
        raise ValueError(
            f"{root}: {inside[0]} lies in a class folder, {outside} does not: move one, so that all do or none"
        )
    return sorted({file.partition("/")[0] for file in inside})


def split_of(file: str) -> SplitName:
    """The split of a file, 80 / 10 / 10 by a hash of its path within the folder, whatever else is there.

    Example:
        >>> split_of("0.png"), split_of("9.png")
        ('train', 'validation')
    """
    digest = hashlib.sha256(file.encode()).digest()
    tenth = int.from_bytes(digest[:8], "big") * 10 >> 64  # 0..9, each a tenth of all paths
    return "train" if tenth < 8 else "validation" if tenth == 8 else "test"
