"""The files of a folder with their classes and splits."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pixelvae.data.splits import SplitName

OnError = Literal["raise", "skip"]

_SPLIT_FOLDERS: Mapping[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_LOG = logging.getLogger("pixelvae")


class FileError(ValueError):
    """A file cannot be read; the message gives its path, the reason and a remedy.

    Args:
        message: The whole message. It is the only required argument, so that the error can be pickled.
        reason: The reason alone.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    @classmethod
    def of(cls, what: str, file: Path, error: Exception) -> FileError:
        """The error for a file that should contain `what`, from the error of its decoder."""
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = " ".join(text.split()) or type(error).__name__
        return cls(f"cannot read the {what} {file}: {reason}; mend or remove the file", reason)


class DividedFiles(NamedTuple):
    """The files of a folder with their classes and splits.

    Args:
        root: The folder.
        splits: Split by path within `root`, with ``/``, in the order of paths.
        classes: Names of the classes, in order; empty without classes.
        hashed: Splits that are selected by a hash.
        has_split_folders: Whether the first folder of a path is its split.
    """

    root: Path
    splits: Mapping[str, SplitName]
    classes: tuple[str, ...]
    hashed: frozenset[SplitName]
    has_split_folders: bool

    def members(self, name: SplitName) -> list[str]:
        """Files of one split."""
        return [file for file, split in self.splits.items() if split == name]

    def labels(self, name: SplitName) -> Tensor:
        """Classes of the files of one split. -> (N, 1), (N, 0) without classes."""
        number = {name: i for i, name in enumerate(self.classes)}
        files = self.members(name)
        y = [number[str(_class_of(file, self.has_split_folders))] for file in files] if number else []
        return torch.tensor(y, dtype=torch.int64).reshape(len(files), int(bool(number)))

    def without(self, unreadable: Mapping[str, str], what: str, on_error: OnError) -> DividedFiles:
        """Remove files that cannot be read; keep at least one example in every split.

        Args:
            unreadable: Error by path.
            what: Plural of the content of such a file, for the message.
            on_error: ``raise`` if there are any, or ``skip`` them with a line in the log.

        Raises:
            ValueError: If files cannot be read and ``on_error`` is ``raise``, or too few remain.
        """
        if unreadable:
            listed = "".join(f"\n  {file}: {reason}" for file, reason in unreadable.items())
            count = f"{len(unreadable)} of {len(self.splits)} {what} in {self.root} cannot be read"
            if on_error == "raise":
                raise ValueError(f"{count}; mend or remove them, or set `on_error: skip`:{listed}")
            _LOG.warning("%s and are left out:%s", count, listed)
        kept = {file: name for file, name in self.splits.items() if file not in unreadable}
        return self._replace(splits=_without_empty_splits(self.root, kept, self.hashed, what))


def find_files(root: Path, extensions: Collection[str], what: str) -> list[str]:
    """Paths within `root` of all files of some extensions, in the same order on every machine.

    Links to folders are followed. Files of other kinds are counted in the log.

    Args:
        root: The folder, searched to any depth. Hidden files and folders are left out.
        extensions: In lower case, with their dots.
        what: Content of such a file, for the message.

    Raises:
        ValueError: If there is no file, or a folder cannot be read.
    """
    wanted = ", ".join(sorted(extensions))
    if not root.is_dir():
        raise ValueError(f"root={str(root)!r}: no such folder; want a folder with files of {wanted}")
    files: list[str] = []
    others: Counter[str] = Counter()
    for path, entry in _walk(root, "", frozenset({_identity(root)})):
        extension = os.path.splitext(entry.name)[1].lower()
        # Excludes pipes, whose reader would wait for ever. The reader reports broken links.
        if extension not in extensions or not (entry.is_file() or entry.is_symlink()):
            others[extension or "without extension"] += 1
            continue
        if not entry.name.isprintable():  # surrogates of a name that is not UTF-8, or control characters
            raise ValueError(f"{str(root / path)!r}: want a name that can be printed; rename the file")
        files.append(path)
    if others:
        kinds = ", ".join(f"{kind} ({count:,})" for kind, count in others.most_common(5))
        _LOG.warning("%s: %s files of other kinds are left out: %s", root, f"{others.total():,}", kinds)
    if not files:
        raise ValueError(f"root={str(root)!r}: no {what}; want a folder with files of {wanted}")
    return sorted(files)


def _walk(folder: str | Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All visible files below a folder, with their paths within the root.

    A link to a parent folder is not followed, since the search would not end.
    """
    try:
        with os.scandir(folder) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
        inner = {entry.name: _identity(entry.path) for entry in entries if entry.is_dir()}
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be read ({error.strerror}): allow reading, or move it") from error
    for entry in entries:
        if entry.name not in inner:
            yield prefix + entry.name, entry
        elif inner[entry.name] not in above:
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {inner[entry.name]})


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def divide(root: Path, files: list[str], splits: str | Path | None = None) -> DividedFiles:
    """Assign every file to a split: by a csv file, by folders named after splits, or by a hash of its path.

    A validation or test split that is not given is a hashed tenth of the training files; without any, the splits are
    80 / 10 / 10. The hash assigns each file independently, so adding one moves no other to another split. Folders
    directly below `root`, or below the folder of a split, are classes.

    Args:
        root: The folder.
        files: Paths within it.
        splits: A csv file, absolute or within `root`, with columns ``path`` and ``split``. Files that are not in it
            are ignored.

    Raises:
        ValueError: If the csv file is invalid, folders are ambiguous, or only some files lie in class folders.
    """
    has_split_folders = splits is None and _has_split_folders(root, files)
    if splits is not None:
        given = _read_csv(root / splits, set(files))
        if left_out := len(files) - len(given):
            _LOG.warning("%s: %s files that it does not name are left out", root / splits, f"{left_out:,}")
    elif has_split_folders:
        given = {file: _SPLIT_FOLDERS[file.partition("/")[0].lower()] for file in files}
    else:
        given = dict.fromkeys(files, "train")
    named = set(given.values())
    if "train" not in named:
        raise ValueError(f"{root}: no file is in the training split; name one `train`")
    others: tuple[SplitName, SplitName] = ("validation", "test")
    hashed = frozenset(name for name in others if name not in named)
    divided: dict[str, SplitName] = {}
    for file, name in sorted(given.items()):
        divided[file] = split_of(file) if name == "train" and split_of(file) in hashed else name
    return DividedFiles(root, divided, _classes(root, given, has_split_folders), hashed, has_split_folders)


def _has_split_folders(root: Path, files: list[str]) -> bool:
    """Whether the folders directly below `root` are splits."""
    tops = {file.partition("/")[0] if "/" in file else "" for file in files}
    split_folders = {top for top in tops if top.lower() in _SPLIT_FOLDERS}
    names = Counter(_SPLIT_FOLDERS[top.lower()] for top in split_folders)
    if split_folders == tops and (len(names) == 1 or not names["train"]):
        found = " and ".join(sorted(tops))
        raise ValueError(f"{root} holds {found} alone: add train and test, or set `root` to a folder that holds files")
    if len(names) < 2 or not names["train"]:
        return False  # a class may be called train
    if tops != split_folders or names.total() > len(names):
        found = ", ".join(sorted(top or "files outside of folders" for top in tops))
        raise ValueError(
            f"{root} holds {found}: want train, validation (or val, valid) and test, each once, and no other folder "
            "of such files; move the others, or give the division as a csv file, `splits`"
        )
    return True


def _read_csv(path: Path, files: set[str]) -> dict[str, SplitName]:
    """Split by path, from a csv file with those two columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"splits: {path} cannot be read as a csv file ({error})") from error
    given: dict[str, SplitName] = {}
    for line, row in enumerate(rows, start=2):
        name, split = row.get("path"), row.get("split")
        if name is None or split is None:
            raise ValueError(f"splits: {path}, line {line}: want the columns path and split in every line")
        name = name.replace("\\", "/").removeprefix("./")
        if split.strip().lower() not in _SPLIT_FOLDERS:
            raise ValueError(f"splits: {path}, line {line}: split {short(split)!r}; want train, validation or test")
        if name not in files:
            raise ValueError(
                f"splits: {path}, line {line}: {short(name)} is not among the {len(files)} files of the folder"
            )
        if name in given:
            raise ValueError(f"splits: {path}, line {line}: {name} comes twice")
        given[name] = _SPLIT_FOLDERS[split.strip().lower()]
    return given


def short(text: str) -> str:
    """A text for a message: at most 200 characters of it."""
    return text if len(text) <= 200 else f"{text[:200]}..."


def _class_of(file: str, has_split_folders: bool) -> str | None:
    """The class folder of a file, if it lies in one."""
    within = file.partition("/")[2] if has_split_folders else file
    name, _, rest = within.partition("/")
    return name if rest else None


def _classes(root: Path, given: Mapping[str, SplitName], has_split_folders: bool) -> tuple[str, ...]:
    class_of = {file: _class_of(file, has_split_folders) for file in given}
    inside = sorted({name for name in class_of.values() if name is not None})
    if inside and None in class_of.values():
        within = next(file for file, name in class_of.items() if name is not None)
        outside = next(file for file, name in class_of.items() if name is None)
        raise ValueError(
            f"{root}: {within} lies in a class folder, {outside} does not: move one, so that all do or none"
        )
    trained = {class_of[file] for file, name in given.items() if name == "train"}
    if foreign := [name for name in inside if name not in trained]:
        raise ValueError(f"{root}: class {foreign[0]} is in no training file: rename its folder, or add files to train")
    return tuple(inside)


def split_of(file: str) -> SplitName:
    """The split of a file, 80 / 10 / 10 by a hash of its path within the folder.

    Example:
        >>> split_of("0.png"), split_of("9.png")
        ('train', 'validation')
    """
    tenth = _hash(file) * 10 >> 64  # 0..9, each a tenth of all paths
    return "train" if tenth < 8 else "validation" if tenth == 8 else "test"


def _hash(file: str) -> int:
    return int.from_bytes(hashlib.sha256(os.fsencode(file)).digest()[:8], "big")


def _without_empty_splits(
    root: Path, splits: dict[str, SplitName], hashed: frozenset[SplitName], what: str
) -> dict[str, SplitName]:
    """Move the training file with the nearest hash to each empty hashed split, so that few files suffice."""
    names: tuple[SplitName, ...] = ("test", "validation")
    train = sorted((file for file, name in splits.items() if name == "train"), key=_hash)
    for name in names:
        if name in hashed and name not in splits.values() and len(train) > 1:
            splits[train.pop()] = name
    if missing := {"train", "validation", "test"} - set(splits.values()):
        raise ValueError(
            f"{len(splits)} {what} in {root} leave the {min(missing)} split empty: root needs more, at least 3"
        )
    return splits
