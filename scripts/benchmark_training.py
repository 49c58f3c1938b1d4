"""Speed of training and evaluation, as ratios within one run: ``python scripts/benchmark_training.py``.

Every row is a whole ``Trainer.update``: loss, gradients, clipping, AdamW and the moving average.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from pixelvae import Categorical, GatedPixelCNN, MNIST5k, SpatialContext, VectorContext
from pixelvae.commands.cli import run_script
from pixelvae.data import Batches, DataSpec
from pixelvae.distributed import Precision, World, has_fast_bfloat16
from pixelvae.evaluation.timing import by_turns, seconds
from pixelvae.memory import keep_freed_memory
from pixelvae.models.assembly import build
from pixelvae.models.base import GenerativeModel
from pixelvae.models.pixelvae import AutoregressiveModel
from pixelvae.nn.gated import GatedLayer
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_json
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer

FLOW = "configs/mnist/pixelvae_flow.yaml"
NETWORK = "9 layers of 32 channels"
SPEC = DataSpec((1, 28, 28), levels=2, num_classes=(10,))
BATCH_SIZE = 64


class Arm(NamedTuple):
    """A variant of the training step."""

    precision: Precision = "bf16-mixed"
    channels_last: bool = True
    compiled: bool = True
    fused: bool = True


ARMS = {
    "eager float32 NCHW": Arm("float32", channels_last=False, compiled=False, fused=False),
    "eager": Arm(compiled=False, fused=False),
    "eager, fused gates": Arm(compiled=False),
    "compiled": Arm(fused=False),
    "compiled, fused gates": Arm(),
}


def main(out: Path = Path("results/benchmark/training.json"), rounds: int = 9, threads: int = 2) -> None:
    """Measure two networks with interleaved steps, and write a JSON file.

    Args:
        out: Output file.
        rounds: Number of interleaved rounds; the median is reported.
        threads: CPU threads.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    precision: Precision = "bf16-mixed" if has_fast_bfloat16(torch.device("cpu")) else "float32"
    result: dict[str, Any] = {"precision": precision, "batch_size": BATCH_SIZE}
    result |= {NETWORK: steps_of(benchmark_network, rounds), FLOW: steps_of(flow_network, rounds)}
    result |= by_batch(rounds) | evaluation(rounds) | loading()
    result |= {"rounds": rounds, "threads": threads, "environment": environment(), "command": command_line()}
    write_json(out, result)
    print(json.dumps(result, indent=2))
    print(f"Written to {out}")


def benchmark_network() -> GenerativeModel:
    """One gated 7x7 layer, then eight gated layers of 3x3, 32 channels; the context is the label of ten classes."""
    decoder = partial(GatedPixelCNN, num_layers=9, channels=32, kernel_size=3, first_kernel_size=7, head_channels=64)
    torch.manual_seed(0)
    return AutoregressiveModel(SPEC, likelihood=Categorical, decoder=decoder, context=VectorContext)


def flow_network() -> GenerativeModel:
    """The model of ``FLOW``: four layers of 16 channels, a map as their context, a flow prior."""
    torch.manual_seed(0)
    return build(yaml.safe_load(Path(FLOW).read_text()), SPEC)


def step_of(make: Callable[[], GenerativeModel], arm: Arm, batch_size: int = BATCH_SIZE) -> Callable[[], float]:
    """One update on random binary images, which returns the loss in nats.

    Raises:
        RuntimeError: If the gated layers cannot be fused on this machine.
    """
    options = TrainingOptions(
        batch_size=batch_size,
        precision=arm.precision,
        channels_last=arm.channels_last,
        compile="always" if arm.compiled else "never",
    )
    trainer = Trainer(make(), options, Objective(), World(torch.device("cpu")), seed=0)
    for layer in trainer.model.modules():
        if isinstance(layer, GatedLayer):
            if arm.fused and not layer.fused:
                raise RuntimeError("gated layers are not fused here: wanted AVX-512 BF16 and a C++ compiler")
            layer.fused = arm.fused
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (batch_size, *SPEC.shape), generator=generator)
    y = torch.randint(0, 10, (batch_size, 1), generator=generator)
    return lambda: float(trainer.update(x, y).values[0])


def peak_product(dtype: torch.dtype, size: int = 1024) -> Callable[[], Tensor]:
    """A product of two large matrices, 2·size³ floating-point operations, for the peak rate of the machine."""
    a, b = torch.randn(2, size, size, generator=torch.Generator().manual_seed(0)).to(dtype)
    return lambda: a @ b


def steps_of(make: Callable[[], GenerativeModel], rounds: int) -> dict[str, Any]:
    """Images/s of every variant, its ratio to the plain step, and its share of the bfloat16 peak."""
    works: dict[str, Callable[[], object]] = {name: step_of(make, arm) for name, arm in ARMS.items()}
    first_seconds = {name: seconds(work, torch.device("cpu")) for name, work in works.items()}
    losses = {name: work() for name, work in works.items()}
    times = by_turns(works | {"peak": peak_product(torch.bfloat16)}, rounds, torch.device("cpu"))
    model = make()
    decoder, context_map = model.decoder, isinstance(model.context, SpatialContext)
    forward = decoder.forward_flops(context_map=context_map) if isinstance(decoder, GatedPixelCNN) else 0
    flops = 3 * BATCH_SIZE * forward
    peak = 2 * 1024**3 / statistics.median(times["peak"])
    rows = {}
    for name in works:
        taken = statistics.median(times[name])
        ratios = [plain / own for plain, own in zip(times["eager float32 NCHW"], times[name], strict=True)]
        rows[name] = {
            "images_per_second": BATCH_SIZE / taken,
            "speedup": statistics.median(ratios),
            "speedup_range": [min(ratios), max(ratios)],
            "decoder_share_of_peak": flops / taken / peak,
            "second_loss_nats": losses[name],
        }
    eager, fast = (statistics.median(times[name]) for name in ("eager, fused gates", "compiled, fused gates"))
    return {
        "peak_gflop_per_second": peak / 1e9,
        "decoder_gflop_per_step": flops / 1e9,
        "compile_seconds": first_seconds["compiled, fused gates"],
        "compile_repays_after_steps": first_seconds["compiled, fused gates"] / max(eager - fast, 1e-9),
        "steps": rows,
    }


def by_batch(rounds: int) -> dict[str, Any]:
    """Milliseconds per image of the fast step, for several batch sizes."""
    works = {str(size): step_of(benchmark_network, Arm(), size) for size in (32, 64, 128, 256)}
    times = by_turns(works, rounds, torch.device("cpu"))
    return {"ms_per_image_by_batch": {size: 1000 * statistics.median(t) / int(size) for size, t in times.items()}}


@torch.inference_mode()
def evaluation(rounds: int, num_samples: int = 8) -> dict[str, Any]:
    """Milliseconds per image of the importance-weighted bound of the flow model, by batch size."""
    model = flow_network().to(memory_format=torch.channels_last).eval()
    works = {}
    for size in (16, 32, 64, 125, 250):
        x = torch.randint(0, 2, (size, *SPEC.shape), generator=torch.Generator().manual_seed(0))
        works[str(size)] = partial(_log_weights, model, x, num_samples)
    times = by_turns(works, rounds, torch.device("cpu"))
    cost = {size: 1000 * statistics.median(t) / int(size) for size, t in times.items()}
    return {"importance_weighted_ms_per_image_by_batch": cost, "importance_samples": num_samples}


def _log_weights(model: GenerativeModel, x: Tensor, num_samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return model.log_weights(x, x.new_zeros(len(x), 1), num_samples=num_samples, generator=generator)


def loading() -> dict[str, Any]:
    """Milliseconds to load one batch of MNIST digits."""
    data = MNIST5k(levels=2).train
    keys = iter(Batches(len(data), BATCH_SIZE, seed=0))
    taken = [seconds(lambda: data[next(keys)], torch.device("cpu")) for _ in range(20)]
    return {"loading_ms_per_batch": 1000 * statistics.median(taken)}


if __name__ == "__main__":
    run_script(main)
