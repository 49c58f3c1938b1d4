"""Fault injection: kills, signals, damaged files of every kind, invalid configurations and options, full disks.

Each trial runs in its own process, so that one that hangs or crashes is counted as failed; so is one that starts a
program. ``python scripts/faults.py --trials 70`` writes results/faults/report.json.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import bad_inputs
import torch
import yaml
from bad_inputs import counts, cut, flip, same_weights, scribble
from forked import in_child
from interruptions import CONFIG, CPU, interrupted, train
from tqdm import tqdm

from pixelvae.checkpoint import CheckpointError, load, load_config, load_training
from pixelvae.commands.cli import run_script
from pixelvae.reporting.provenance import command_line
from pixelvae.sampling import engine
from pixelvae.storage import StorageError, write_json
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.signals import NUMBERS

NOT_NUMBERS: list[Any] = [float("nan"), float("inf"), None, "inf", "", [], [-1], {}, True, "GatedPixelCNN", "os.system"]
WORDS = [-1, 0, 2.5, 10**12, *NOT_NUMBERS]
REFUSED = (CheckpointError, StorageError, ValueError)


Act = Callable[[random.Random, Path], int | None]


class Trial(NamedTuple):
    """A kind of fault, and a function (random numbers, empty folder) that raises unless the fault is handled."""

    kind: str
    act: Act


def main(
    trials: int = 20,
    only: list[str] | None = None,
    more: bool = False,
    out: Path = Path("results/faults"),
    seed: int = 0,
) -> None:
    """Run every kind of fault so many times and count.

    Args:
        trials: Of each kind.
        only: Words of kinds, such as kill or picture; the others keep the counts of out/report.json.
        more: Add the trials to those of out/report.json, and number them from there.
        out: Folder for report.json.
        seed: Seed of the random faults.
    """
    if trials < 1:
        raise ValueError(f"trials={trials}; wanted at least 1")
    torch.set_num_threads(1)
    engine.library(engine.NATIVE)  # no trial may start a compiler
    engine.why_not()
    path = out / "report.json"
    report: dict[str, Any] = json.loads(path.read_text())["kinds"] if (only or more) and path.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, "whole")
        for kind, act in kinds(whole, undisturbed(whole)):
            if only and not any(word in kind for word in only):
                continue
            before = report.get(kind, {}) if more else {}
            first, interruptions = before.get("tried", 0), before.get("interruptions", 0)
            failures: list[str] = []
            for i in tqdm(range(first, first + trials), desc=kind, leave=False):
                with tempfile.TemporaryDirectory(dir=scratch) as folder:
                    failure, count = attempt(act, random.Random(f"{seed} {kind} {i}"), Path(folder))
                interruptions += count
                failures += [f"trial {i}: {failure}"] * bool(failure)
            found = {"tried": trials, "held": trials - len(failures), **counts(failures)}
            report[kind] = {name: number + before.get(name, 0) for name, number in found.items()}
            report[kind] |= {"interruptions": interruptions} if is_interruption(act) else {}
            report[kind] |= {"failures": [*before.get("failures", []), *failures][:10], "command": command_line()}
            print(f"{kind:34} tried {trials:5}  held {trials - len(failures):5}  failed {len(failures):5}", flush=True)
            write_json(path, {"seed": seed, "kinds": report})


def undisturbed(whole: Path) -> float:
    """Train without a fault; return the seconds that a run takes.

    A first run imports modules. They are then imported here, so that no trial spends its time on them.
    """
    names = whole.with_name("modules")
    for out in (whole.with_name("first"), whole):
        started = time.perf_counter()
        if failure := in_child(partial(trained, out, names)):
            raise RuntimeError(failure)
        seconds = time.perf_counter() - started
        for name in names.read_text().split():
            with suppress(ImportError):
                import_module(name)
    return seconds


def trained(out: Path, names: Path) -> int:
    """Train, and write the names of all imported modules."""
    code = train(out)
    names.write_text("\n".join(sys.modules))
    return code


def kinds(whole: Path, seconds: float) -> Iterator[Trial]:
    """All kinds of faults, given a run that nothing disturbed and how long it took."""
    yield Trial("bit flipped in model.safetensors", partial(damaged, whole, "model.safetensors", flip))
    yield Trial("bit flipped in training.pt", partial(damaged, whole, "training.pt", flip))
    yield Trial("model.safetensors cut", partial(damaged, whole, "model.safetensors", cut))
    yield Trial("training.pt cut", partial(damaged, whole, "training.pt", cut))
    yield Trial("bytes of config.yaml changed", partial(damaged, whole, "config.yaml", scribble))
    yield Trial("entry of config.yaml changed", partial(reconfigured, whole))
    yield Trial("option of training out of range", out_of_range)
    yield Trial("limit of file size", partial(limited, whole))
    for kind, act in bad_inputs.kinds(whole, CONFIG, train):
        yield Trial(kind, act)
    yield Trial("kill -9 at a random moment", partial(interrupted, whole, seconds, [signal.SIGKILL]))
    yield Trial("signal at a random moment", partial(interrupted, whole, seconds, NUMBERS))


def attempt(act: Act, draws: random.Random, folder: Path) -> tuple[str, int]:
    """The failure of one trial, or nothing, and the interruptions of a run.

    A trial that interrupts processes must not be a child itself.
    """
    if not is_interruption(act):
        return in_child(partial(act, draws, folder)), 0
    try:
        return "", act(draws, folder) or 0
    except (AssertionError, RuntimeError) as error:
        return str(error), 0


def is_interruption(act: Callable[..., Any]) -> bool:
    """Whether a trial makes processes of its own and kills them."""
    return isinstance(act, partial) and act.func is interrupted


def damaged(
    whole: Path, name: str, damage: Callable[[random.Random, bytes], bytes], draws: random.Random, folder: Path
) -> None:
    """A damaged file must cause an error of one line, or load equal weights."""
    path = folder / "last" / name
    copy(whole, folder)
    path.write_bytes(damage(draws, path.read_bytes()))
    if name == "training.pt":
        with refusal():
            load_training(folder / "last", CPU)
            raise AssertionError("the damage was not noticed")
        return
    with refusal():
        same_weights(load(folder / "last"), load(whole / "last"))


def reconfigured(whole: Path, draws: random.Random, folder: Path) -> None:
    """A configuration with an invalid entry must cause an error of one line, or load equal weights."""
    copy(whole, folder)
    config = load_config(folder / "last")
    place, name = config, draws.choice(list(CONFIG))
    while isinstance(place[name], dict) and place[name] and draws.random() < 0.8:
        place = place[name]
        name = draws.choice(list(place))
    if draws.random() < 0.2:
        del place[name]
    else:
        place[name] = draws.choice(WORDS)
    (folder / "last/config.yaml").write_text(yaml.safe_dump(config))
    with refusal():
        same_weights(load(folder / "last"), load(whole / "last"))


def out_of_range(draws: random.Random, _folder: Path) -> None:
    """An invalid value must cause an error of one line, or the options must be valid."""
    cls = draws.choice([TrainingOptions, Objective])
    name = draws.choice([field.name for field in fields(cls)])
    with refusal():
        cls(**{name: draws.choice(WORDS)})


def limited(whole: Path, draws: random.Random, folder: Path) -> None:
    """A run under a limit of file size must end with an error of one line, and the earlier run must stay resumable."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    largest = (whole / "last/training.pt").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (draws.randrange(largest), resource.RLIM_INFINITY))
    with refusal():
        train(folder / "run")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert train(folder / "run") == 0
    same_weights(load(folder / "run/last"), load(whole / "last"))


@contextmanager
def refusal() -> Iterator[None]:
    """Require that errors are our own and have one line."""
    message = "refused"
    try:
        yield
    except REFUSED as error:
        message = str(error)
    assert "\n" not in message, f"more than one line: {message}"
    assert 0 < len(message) < 500, f"no message for people: {message:.200}"


def copy(whole: Path, folder: Path) -> None:
    """A copy of a run's last checkpoint."""
    (folder / "last").mkdir()
    for path in (whole / "last").iterdir():
        (folder / "last" / path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    run_script(main)
