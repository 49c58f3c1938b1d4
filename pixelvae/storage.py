"""Atomic writes of files and folders, and safe reading of plain YAML."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

PREVIOUS = ".previous"
"""Suffix of a folder while a new one replaces it."""

MAX_YAML_BYTES = 100_000
"""Maximum size of a configuration; ours have about 2,000 bytes."""

_CURES = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EFBIG: "the file is larger than the limit: raise it (ulimit -f unlimited)",
    errno.EACCES: "no permission: choose another folder, or change its permissions",
    errno.EPERM: "no permission: choose another folder, or change its permissions",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.EEXIST: "a file is in the place of a folder: choose another folder",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


class StorageError(OSError):
    """A file or folder cannot be written or read; the message gives its path and a remedy."""


@contextmanager
def explained(path: Path, action: str = "write") -> Iterator[None]:
    """Convert errors of the operating system to one line with the path and a remedy.

    Raises:
        StorageError: Instead of any OSError.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        cure = _CURES.get(error.errno or 0, f"{error.strerror or error}: check the disk and its permissions")
        raise StorageError(f"cannot {action} {path}: {cure}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: if the process is killed, the file is either the complete old or new one.

    Raises:
        StorageError: If it cannot be written; the old file remains.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                _write(file.fileno(), content)
            Path(temporary).chmod(0o666 & ~_umask())  # mkstemp makes files that only the owner can read
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        _sync_folder(path.parent)  # makes the rename itself durable


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically.

    Raises:
        ValueError: If it contains a number that is not finite, which JSON cannot represent.
        StorageError: If it cannot be written.
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except ValueError as error:
        names = ", ".join(_not_finite(content)) or str(error)
        raise ValueError(f"{path} is not written: {names} would not be finite; are the model's weights?") from error
    write_atomically(path, (text + "\n").encode())


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace a folder by a new one with these files; at any moment the complete old or new folder exists.

    The new folder is written beside the old one. Then the old one is renamed to ``FOLDER.previous``, the new one to
    ``FOLDER``, and the old one is removed. Open files of the old folder stay readable.

    Raises:
        StorageError: If it cannot be written; the old folder remains.
    """
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        tidy_folder(folder)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            for name, content in files.items():
                descriptor = os.open(temporary / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                try:
                    _write(descriptor, content)
                finally:
                    os.close(descriptor)
            temporary.chmod(0o777 & ~_umask())
            _sync_folder(temporary)
            previous = previous_of(folder)
            if folder.is_dir():
                os.rename(folder, previous)
            os.rename(temporary, folder)
            _sync_folder(folder.parent)
        except OSError:
            with suppress(OSError):
                tidy_folder(folder)
            raise
        shutil.rmtree(previous, ignore_errors=True)


def previous_of(folder: Path) -> Path:
    """The path of the old folder during its replacement."""
    return folder.with_name(folder.name + PREVIOUS)


def whole_folder(folder: Path) -> Path:
    """The folder; the old one, if a process was killed between the two renames."""
    return previous_of(folder) if not folder.exists() and previous_of(folder).is_dir() else folder


def tidy_folder(folder: Path) -> None:
    """Restore a folder whose replacement was interrupted, and remove remains of killed processes.

    Only the single writer of the folder may call this.
    """
    previous = previous_of(folder)
    if previous.is_dir() and not folder.exists():
        os.rename(previous, folder)
    shutil.rmtree(previous, ignore_errors=True)
    for remains in folder.parent.glob(f".{folder.name}.*"):
        if remains.is_dir():
            shutil.rmtree(remains, ignore_errors=True)
        else:
            remains.unlink(missing_ok=True)


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk if possible; Windows and some network file systems do not support it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _not_finite(content: Any, name: str = "") -> Iterator[str]:
    """Names of the numbers that are not finite."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _not_finite(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, (list, tuple)):
        for i, value in enumerate(content):
            yield from _not_finite(value, f"{name}[{i}]")
    elif isinstance(content, float) and content - content != 0:
        yield f"{name}={content}"


class _PlainLoader(yaml.SafeLoader):
    """A YAML loader without aliases, which could make loading recursive or exponentially slow."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"the alias *{event.anchor} is not allowed", event.start_mark)
        return super().compose_node(parent, index)


class _PlainDumper(yaml.SafeDumper):
    """A YAML dumper without aliases: it writes repeated lists in full."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_yaml(content: Any) -> bytes:
    """Serialise plain types to YAML without aliases.

    Raises:
        ValueError: If it contains anything but plain types, or itself.

    Example:
        >>> dump_yaml({"steps": 3, "rate": None})
        b'steps: 3\\nrate: null\\n'
    """
    try:
        return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True).encode()
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not a configuration of plain types: {_one_line(error)}") from error


def read_yaml(path: Path) -> Any:
    """Read plain YAML from a file: no code, no aliases, at most 100 kB.

    Raises:
        ValueError: If the file is too large, not UTF-8, not YAML, or too deep; in one line.
        StorageError: If the file cannot be read.
    """
    with explained(path, "read"):
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("not a regular file")
        if (size := path.stat().st_size) > MAX_YAML_BYTES:
            raise ValueError(f"{size:,} bytes; a configuration has at most {MAX_YAML_BYTES:,}")
        content = path.read_bytes()
    try:
        return yaml.load(content.decode(), Loader=_PlainLoader)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"not plain YAML: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
