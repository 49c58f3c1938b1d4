"""Fault injection: kills, signals, damaged files of every kind, invalid configurations and options, full disks.

Each trial runs in its own process, so that one that hangs or crashes is counted as failed; so is one that starts a
program. ``python scripts/faults.py --trials 70`` writes results/faults/report.json.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import bad_inputs
import torch
import yaml
from bad_inputs import CODE, counts, cut, flip, same_weights, scribble
from tqdm import tqdm

from pixelvae import Digits
from pixelvae.checkpoint import CheckpointError, load, load_config, load_training
from pixelvae.commands.cli import run_script
from pixelvae.distributed import World
from pixelvae.models.assembly import build
from pixelvae.reporting.provenance import command_line
from pixelvae.sampling import engine
from pixelvae.storage import StorageError, write_json
from pixelvae.training.loop import fit
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.signals import NUMBERS

CONFIG: dict[str, Any] = {
    "data": {"class_path": "Digits", "init_args": {"levels": 2}},
    "likelihood": {"class_path": "Categorical"},
    "decoder": {"class_path": "GatedPixelCNN", "init_args": {"num_layers": 2, "channels": 4, "first_kernel_size": 3}},
    "encoder": {"class_path": "ConvEncoder", "init_args": {"channels": [4, 8]}},
    "prior": {"class_path": "StandardNormal"},
    "context": {"class_path": "VectorContext"},
    "latent_dim": 3,
    "class_conditional": True,
}
OPTIONS: dict[str, Any] = {
    **{"steps": 12, "batch_size": 4, "validate_every": 4, "checkpoint_every": 1, "validation_images": 10},
    **{"compile": "never", "precision": "float32"},
}
CPU = torch.device("cpu")
NOT_NUMBERS: list[Any] = [float("nan"), float("inf"), None, "inf", "", [], [-1], {}, True, "GatedPixelCNN", "os.system"]
WORDS = [-1, 0, 2.5, 10**12, *NOT_NUMBERS]
REFUSED = (CheckpointError, StorageError, ValueError)
SECONDS = 60
"""Processor time that a trial may take; it may wait twenty times as long."""


class Trial(NamedTuple):
    """A kind of fault, and a function (random numbers, empty folder) that raises unless the fault is handled."""

    kind: str
    act: Callable[[random.Random, Path], None]


def main(trials: int = 20, only: list[str] | None = None, out: Path = Path("results/faults"), seed: int = 0) -> None:
    """Run every kind of fault so many times and count.

    Args:
        trials: Of each kind.
        only: Words of kinds, such as kill or picture; the others keep the counts of out/report.json.
        out: Folder for report.json.
        seed: Seed of the random faults.
    """
    if trials < 1:
        raise ValueError(f"trials={trials}; wanted at least 1")
    torch.set_num_threads(1)
    engine.library(engine.NATIVE)  # no trial may start a compiler
    engine.why_not()
    path = out / "report.json"
    report: dict[str, Any] = json.loads(path.read_text())["kinds"] if only and path.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, "whole")
        started = time.perf_counter()
        if failure := in_child(partial(train, whole)):
            raise RuntimeError(failure)
        for kind, act in kinds(whole, time.perf_counter() - started):
            if only and not any(word in kind for word in only):
                continue
            failures = []
            for i in tqdm(range(trials), desc=kind, leave=False):
                with tempfile.TemporaryDirectory(dir=scratch) as folder:
                    if failure := attempt(act, random.Random(f"{seed} {kind} {i}"), Path(folder)):
                        failures.append(f"trial {i}: {failure}")
            report[kind] = {"tried": trials, "held": trials - len(failures), **counts(failures)}
            report[kind] |= {"failures": failures[:10]}
            print(f"{kind:34} tried {trials:5}  held {trials - len(failures):5}  failed {len(failures):5}", flush=True)
            write_json(path, {"command": command_line(), "seed": seed, "kinds": report})


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


def attempt(act: Callable[[random.Random, Path], None], draws: random.Random, folder: Path) -> str:
    """The failure of one trial, or nothing. Kills are made by the trial, which must not be a child for that."""
    if is_interruption(act):
        try:
            act(draws, folder)
        except (AssertionError, RuntimeError) as error:
            return str(error)
        return ""
    return in_child(partial(act, draws, folder))


def is_interruption(act: Callable[..., None]) -> bool:
    """Whether a trial makes processes of its own and kills them."""
    return isinstance(act, partial) and act.func is interrupted


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


def train(out: Path) -> int:
    """Start or resume the tiny run; return its exit code."""
    torch.manual_seed(0)
    data = Digits(levels=2)
    model, training = build(CONFIG, data.spec), TrainingOptions(**OPTIONS)
    world = World(CPU)
    fitted = fit(
        model, data, training, Objective(), out=out, config=CONFIG, seed=0, world=world, resume="auto", progress=False
    )
    return 0 if fitted.signal is None else 128 + fitted.signal


def interrupted(whole: Path, seconds: float, numbers: list[int], draws: random.Random, folder: Path) -> None:
    """Interrupt the run up to three times at random moments; the result must be equal, without remains."""
    out = folder / "run"
    for _ in range(draws.randint(1, 3)):
        process, messages = fork(partial(train, out))
        time.sleep(draws.uniform(0, seconds))
        number = draws.choice(numbers)
        os.kill(process, number)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, -number, 128 + number), f"ended with {code}: {messages.read_text()}"
    if failure := in_child(partial(train, out)):
        raise RuntimeError(failure)
    for name in ("best", "last"):
        ours, theirs = load(out / name).state_dict(), load(whole / name).state_dict()
        different = [key for key in theirs if not torch.equal(ours[key], theirs[key])]
        assert not different, f"{name} differs: {different}"
    remains = {path.name for path in out.iterdir()} - {"best", "last", "history.json", ".lock"}
    assert not remains, f"remains: {remains}"


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
