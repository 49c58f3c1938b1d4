"""A small training run, interrupted at random moments and resumed."""

from __future__ import annotations

import os
import random
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from forked import fork, in_child
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixelvae import Digits
from pixelvae.checkpoint import load
from pixelvae.distributed import World
from pixelvae.models.assembly import build
from pixelvae.reporting.tensorboard import TensorBoardObserver
from pixelvae.training.loop import fit
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions

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
CPU = torch.device("cpu")
EVENTS = "tfevents"


def train(out: Path) -> int:
    """Start or resume the tiny run; return its exit code."""
    torch.manual_seed(0)
    data = Digits(levels=2)
    model, training = build(CONFIG, data.spec), TrainingOptions(**OPTIONS)
    options: dict[str, Any] = {"config": CONFIG, "seed": 0, "world": World(CPU), "resume": "auto", "progress": False}
    with closing(TensorBoardObserver(out, data, CONFIG, scalars_every=1, pictures_every=0)) as observer:
        fitted = fit(model, data, training, Objective(), out=out, observer=observer, **options)
    return 0 if fitted.signal is None else 128 + fitted.signal


def interrupted(whole: Path, seconds: float, numbers: list[int], draws: random.Random, folder: Path) -> int:
    """Interrupt the run up to three times at random moments; the result must be equal, without remains.

    Returns the number of interruptions before the end of the run.
    """
    out, count = folder / "run", 0
    for _ in range(draws.randint(1, 3)):
        process, messages = fork(partial(train, out))
        time.sleep(draws.uniform(0, seconds))
        number = draws.choice(numbers)
        os.kill(process, number)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code in (0, -number, 128 + number), f"ended with {code}: {messages.read_text()}"
        count += code != 0
    if failure := in_child(partial(train, out)):
        raise RuntimeError(failure)
    for name in ("best", "last"):
        ours, theirs = load(out / name).state_dict(), load(whole / name).state_dict()
        different = [key for key in theirs if not torch.equal(ours[key], theirs[key])]
        assert not different, f"{name} differs: {different}"
    remains = {path.name for path in out.iterdir() if EVENTS not in path.name} - {
        "best",
        "last",
        "history.json",
        ".lock",
    }
    assert not remains, f"remains: {remains}"
    steps = curve(out)
    assert steps == sorted(set(steps)), f"a doubled curve: {steps}"
    assert steps[-1] == OPTIONS["steps"], f"the curve ends at {steps[-1:]}"
    return count


def curve(out: Path) -> list[int]:
    """The steps at which TensorBoard shows a point of the training curve."""
    return [event.step for event in EventAccumulator(str(out)).Reload().Scalars("train/elbo_nats")]
