"""Training steps with gated layers fused and plain, by turns: ``python scripts/benchmark_fused.py``.

Both with torch.compile for the rest, bfloat16 and memory that the C library keeps.
"""

from __future__ import annotations

import ctypes
import json
import shlex
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonargparse
import torch
from tqdm import tqdm

from pixelvae import Categorical, GatedPixelCNN, VectorContext
from pixelvae.commands.train import parser
from pixelvae.data import DataSpec
from pixelvae.distributed import World
from pixelvae.evaluation.timing import seconds
from pixelvae.models.assembly import assemble
from pixelvae.models.base import GenerativeModel
from pixelvae.models.pixelvae import AutoregressiveModel
from pixelvae.nn.gated import GatedLayer
from pixelvae.reporting.provenance import environment
from pixelvae.storage import write_atomically
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer

# One gated 7x7 layer, then eight gated layers of 3x3, 32 channels.
decoder = partial(GatedPixelCNN, num_layers=9, channels=32, kernel_size=3, first_kernel_size=7, head_channels=64)
FLOW = "configs/mnist/pixelvae_flow.yaml"
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
BATCH_SIZE, WARM_UP = 64, 4


def main(
    root: Path = Path("data"),
    out: Path = Path("results/benchmark/fused.json"),
    rounds: int = 12,
    steps: int = 4,
    threads: int = 2,
) -> None:
    """Measure both networks and write a JSON file.

    Args:
        root: Folder of MNIST.
        out: The file.
        rounds: Interleaved rounds, of which the medians count.
        steps: Steps of a round.
        threads: CPU threads.
    """
    keep_memory()
    torch.set_num_threads(threads)
    networks: dict[str, Callable[[], GenerativeModel]] = {
        FLOW: partial(small_window, root),
        "9 layers of 32 channels": benchmark_network,
    }
    result: dict[str, Any] = {name: compare(make, rounds, steps) for name, make in networks.items()}
    result |= {"precision": "bf16-mixed", "batch_size": BATCH_SIZE, "rounds": rounds, "steps_per_round": steps}
    result |= {"threads": threads, "environment": environment(), "command": shlex.join(["python", *sys.argv])}
    write_atomically(out, (json.dumps(result, indent=2) + "\n").encode())
    print(json.dumps(result, indent=2))


def keep_memory() -> None:
    """Let glibc keep what is freed, so that steps do not fault in their memory anew."""
    libc = ctypes.CDLL("libc.so.6")
    if not (libc.mallopt(M_MMAP_THRESHOLD, 1 << 30) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        raise RuntimeError("mallopt failed: wanted the GNU C library")


def small_window(root: Path) -> GenerativeModel:
    """The model of the long run: 4 layers of 16 channels, a map as their context."""
    options = parser()
    given = options.instantiate(options.parse_args(["--config", FLOW, f"--data.init_args.root={root}"]))
    parts = ("likelihood", "decoder", "encoder", "prior", "context", "latent_dim", "class_conditional")
    return assemble(given["data"].spec, **{name: given[name] for name in parts})


def benchmark_network() -> GenerativeModel:
    """The network of benchmark.py, its context the label of ten classes."""
    spec = DataSpec((1, 28, 28), levels=2, num_classes=(10,))
    return AutoregressiveModel(spec, likelihood=Categorical, decoder=decoder, context=VectorContext)


def compare(make: Callable[[], GenerativeModel], rounds: int, steps: int) -> dict[str, Any]:
    """Median milliseconds of a step of each arm, the median of the ratios of the rounds, and the losses."""
    updates = {arm: updater(make, fused=arm == "fused") for arm in ("plain", "fused")}
    for update in updates.values():
        for _ in range(WARM_UP):
            update()
    times: dict[str, list[float]] = {arm: [] for arm in updates}
    for _ in tqdm(range(rounds), leave=False):
        for arm, update in updates.items():
            taken = [seconds(update, torch.device("cpu")) for _ in range(steps)]
            times[arm].append(1000 * statistics.median(taken))
    ratios = [plain / fused for plain, fused in zip(times["plain"], times["fused"], strict=True)]
    return {
        **{f"{arm}_ms": statistics.median(of) for arm, of in times.items()},
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "loss_nats_after_equal_steps": {arm: update() for arm, update in updates.items()},
    }


def updater(make: Callable[[], GenerativeModel], *, fused: bool) -> Callable[[], float]:
    """One update through the Trainer on random binary images, which returns the loss.

    Raises:
        RuntimeError: If the layers cannot be fused on this machine.
    """
    torch.manual_seed(0)
    training = TrainingOptions(batch_size=BATCH_SIZE, precision="bf16-mixed", compile="always")
    trainer = Trainer(make(), training, Objective(), World(torch.device("cpu")), seed=0)
    for layer in trainer.model.modules():
        if isinstance(layer, GatedLayer):
            if not layer.fused:
                raise RuntimeError("gated layers are not fused here: wanted a CPU with AMX, and g++")
            layer.fused = fused
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (BATCH_SIZE, 1, 28, 28), generator=generator)
    y = torch.randint(0, 10, (BATCH_SIZE, 1), generator=generator)
    return lambda: float(trainer.update(x, y).values[0])


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
