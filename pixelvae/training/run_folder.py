"""The folder of a run: its lock, remains of killed processes, its history, and allowed changes on resuming."""

from __future__ import annotations

import datetime
import hashlib
import inspect
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import filelock
import torch

from pixelvae.checkpoint import CheckpointError, flatten, is_run, load_config
from pixelvae.data import DATA_SETS, BatchKey, DataSet
from pixelvae.distributed import World
from pixelvae.models.assembly import CLASSES
from pixelvae.storage import explained, tidy_folder, write_json
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions

Resume = bool | Literal["auto"]

FREE = {
    *("out", "device", "resume", "resume_changed", "train.num_workers", "train.checkpoint_every"),
    *("data.root", "data.download"),
}
"""Options that may differ on resuming, besides a larger train.steps. Data are compared by their values."""

FINGERPRINT_IMAGES = 8
"""Examples of each of two splits whose values identify a data set, independent of its folder."""

RELEASE_SECONDS = 15
"""Seconds that the loader processes of a killed run may take to end and to release its lock."""


class RunLockedError(ValueError):
    """Another process trains into the same folder."""


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Lock the run's folder for this process. The operating system releases the lock when the process ends.

    Raises:
        RunLockedError: If another process holds the lock; the message gives its host and process id.
        StorageError: If the folder cannot be written.
    """
    holder = out / ".lock.json"
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            _wait_for(lock, holder)
    try:
        write_json(holder, {"host": socket.gethostname(), "pid": os.getpid()})
        yield
        holder.unlink(missing_ok=True)
    finally:
        lock.release()


def _wait_for(lock: filelock.BaseFileLock, holder: Path) -> None:
    """Wait for the lock of a dead process whose loader processes are still ending."""
    try:
        known = json.loads(holder.read_text())
        host, pid = str(known["host"]), int(known["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        host, pid = "unknown", 0
    try:
        if host != socket.gethostname() or _is_alive(pid):
            raise filelock.Timeout(lock.lock_file)
        lock.acquire(timeout=RELEASE_SECONDS)
    except filelock.Timeout:
        raise RunLockedError(
            f"out={holder.parent} is in use: process {pid} on {host} trains there; wait for it, or choose another --out"
        ) from None


def _is_alive(pid: int) -> bool:
    if os.name != "posix" or pid <= 0:
        return True  # unknown
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def resumes(out: Path, resume: Resume, world: World) -> bool:
    """Whether to resume. Removes remains of killed processes first.

    Raises:
        CheckpointError: If there is no checkpoint to resume from.
        ValueError: If a run or other checkpoints would be overwritten.
    """
    if resume not in (True, False, "auto"):
        raise ValueError(f"resume={resume!r}; wanted true, false or auto")
    if world.is_main:
        for name in ("best", "last", "history.json", ".lock.json"):
            tidy_folder(out / name)
    found = world.any(world.is_main and is_run(out))
    if found and not resume:
        raise ValueError(f"out={out} already holds a run; add --resume to continue it, or choose another --out")
    if resume is True and not found:
        raise CheckpointError(f"{out} holds no checkpoint of a run: nothing to resume; start it without --resume")
    if not found and world.is_main:
        for folder in (out / "best", out / "last"):
            if folder.exists() and not (out / "history.json").is_file():
                raise ValueError(
                    f"{folder} exists, but holds no run that can be resumed; remove it, or choose another --out"
                )
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before its first complete checkpoint
    return found


def fingerprint(data: DataSet) -> str:
    """A hash of the sizes of train and validation and of some of their examples; independent of their folder."""
    digest = hashlib.sha256()
    for split in (data.train, data.validation):
        indices = torch.linspace(0, len(split) - 1, min(FINGERPRINT_IMAGES, len(split))).long()
        digest.update(f"{len(split)} {tuple(data.spec)}".encode())
        for tensor in split[BatchKey(indices, epoch=0)]:
            digest.update(tensor.to(torch.int64).contiguous().numpy().data)
    return digest.hexdigest()


def check_changes(
    out: Path, config: Mapping[str, Any], state: Mapping[str, Any], origin: Mapping[str, Any], *, accept: bool
) -> dict[str, Any]:
    """Compare a configuration with that of the run to resume.

    Args:
        out: The run's folder.
        config: The new configuration.
        state: The training state of the run.
        origin: The new data fingerprint and number of processes, with the names of ``state``.
        accept: Whether to accept differences. Fewer steps than the run has done are never accepted.

    Returns:
        Each option that differs, with the old and the new value.

    Raises:
        ValueError: If ``train.steps`` is less than the run has done, or for differences that are not accepted; the
            message lists them.
    """
    done, steps = state["progress"]["step"], config["train"]["steps"]
    if steps < done:
        raise ValueError(f"train.steps={steps:,}, but the run in {out} has done {done:,}; set train.steps to more")
    run_config = load_config(out / "last")
    run_config.setdefault("seed", state["progress"]["seed"])
    changes = differences(run_config, config)
    names = {"data_fingerprint": "data (their values)", "num_processes": "number of processes"}
    for name, title in names.items():
        if state.get(name) not in (None, origin[name]):
            old, new = (str(value)[:12] for value in (state[name], origin[name]))
            changes[title] = [old, new]
    if changes and not accept:
        listed = "; ".join(f"{name}: {old} -> {new}" for name, (old, new) in changes.items())
        raise ValueError(
            f"the run in {out} has another configuration: {listed}. Resume it with its own values, accept the changes "
            "with --resume_changed, or choose another --out"
        )
    return changes


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Options that differ although they may not, with both values; a missing option has its default.

    Example:
        >>> differences({"latent_dim": 8, "out": "a"}, {"latent_dim": 4, "out": "b"})
        {'latent_dim': [8, 4]}
    """
    flat_old, flat_new = flatten(old), flatten(new)
    found = {}
    for name in [*flat_old, *(name for name in flat_new if name not in flat_old)]:
        a = flat_old[name] if name in flat_old else _default(name, old)
        b = flat_new[name] if name in flat_new else _default(name, new)
        if name == "train.steps" and isinstance(a, int) and isinstance(b, int) and b > a:
            continue
        if name not in FREE and _comparable(a) != _comparable(b):
            found[name] = [a, b]
    return found


def _comparable(value: Any) -> Any:
    """Normalise a value for comparison: pixelvae.MNIST equals MNIST, (4, 8) equals [4, 8], 1 equals 1.0."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = str(list(value)) if isinstance(value, tuple) else str(value)
    return text.rpartition(".")[2] if text.startswith("pixelvae.") else text


def _default(name: str, config: Mapping[str, Any]) -> Any:
    """The default of an option that a configuration, perhaps of an older version, does not contain."""
    part, _, option = name.partition(".")
    options = {"train": TrainingOptions, "objective": Objective}
    if part in options:
        return {field.name: field.default for field in fields(options[part])}.get(option, "not set")
    entry = config.get(part)
    if isinstance(entry, Mapping) and option:
        chosen = _comparable(entry.get("class_path", ""))
        for cls in (*DATA_SETS, *(cls for classes in CLASSES.values() for cls in classes)):
            parameter = inspect.signature(cls).parameters.get(option) if cls.__name__ == chosen else None
            if parameter is not None and parameter.default is not inspect.Parameter.empty:
                return parameter.default
    return "not set"


def remember(out: Path, step: int, changes: Mapping[str, Any]) -> None:
    """Append a start or resumption to OUT/history.json: step, time, host, and changed options."""
    path = out / "history.json"
    try:
        history = json.loads(path.read_text())
        entries = history if isinstance(history, list) else []
    except (OSError, ValueError):
        entries = []
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = {"step": step, "time": now, "host": socket.gethostname(), "changes": dict(changes)}
    write_json(path, [*entries, entry])
