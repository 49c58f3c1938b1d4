"""Parts of a training step, its memory, and how cost grows: ``python scripts/benchmark_growth.py``.

The network is that of ``scripts/benchmark.py``. One of its sizes changes at a time: image, layers or channels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from pixelvae import Categorical, ConvEncoder, GatedPixelCNN, StandardNormal, VectorContext
from pixelvae.commands.cli import run_script
from pixelvae.data import DataSpec
from pixelvae.distributed import World
from pixelvae.evaluation.timing import interleaved
from pixelvae.memory import keep_freed_memory
from pixelvae.models.assembly import build
from pixelvae.models.base import GenerativeModel
from pixelvae.models.pixelvae import PixelVAE
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_json
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer

BATCH_SIZE = 16
PROFILE_BATCH, PROFILE_STEPS = 64, 5
FLOW = "configs/mnist/pixelvae_flow.yaml"
CPU = torch.device("cpu")
# Parts of a step: the names of operators contain one of these; the first match counts.
PARTS = {
    "gated layers": ("pixelvae::gated", "pixelvae_gated"),
    "convolutions": ("conv",),
    "matrix products": ("mm", "linear", "matmul"),
    "optimiser": ("_foreach", "_fused_adam", "lerp", "addcmul", "addcdiv"),
    "copies and conversions": ("copy", "clone", "_to_copy", "contiguous", "cat", "pad"),
}


class Size(NamedTuple):
    """What grows."""

    image: int = 28
    layers: int = 9
    channels: int = 32


BASE = Size()
SIZES = [
    *(Size(image=n) for n in (14, 28, 42, 56)),
    *(Size(layers=n) for n in (5, 9, 17)),
    *(Size(channels=n) for n in (16, 31, 32, 33, 48, 64)),
]


def main(out: Path = Path("results/benchmark/growth.json"), repeats: int = 5, threads: int = 2) -> None:
    """Measure the parts of a step, its memory and its growth, and write a JSON file.

    Args:
        out: The file.
        repeats: Interleaved repeats, of which the median counts.
        threads: CPU threads.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    result: dict[str, Any] = {"profile": profiles(), "growth": growth(repeats), "pictures": pictures(repeats)}
    result |= {"batch_size": BATCH_SIZE, "profile_batch_size": PROFILE_BATCH, "repeats": repeats, "threads": threads}
    result |= {"environment": environment(), "command": command_line()}
    write_json(out, result)
    print(json.dumps(result, indent=2))
    print(f"Written to {out}")


def network(size: Size, num_classes: tuple[int, ...] = ()) -> PixelVAE:
    """The benchmark network with 32 latents in every gate, untrained."""
    spec = DataSpec((1, size.image, size.image), levels=2, num_classes=num_classes)
    decoder = partial(GatedPixelCNN, num_layers=size.layers, channels=size.channels, first_kernel_size=7)
    torch.manual_seed(0)
    return PixelVAE(
        spec,
        likelihood=Categorical,
        decoder=partial(decoder, kernel_size=3, head_channels=64),
        encoder=partial(ConvEncoder, channels=(4,)),
        prior=StandardNormal,
        context=VectorContext,
        latent_dim=32,
    )


def flow_network() -> GenerativeModel:
    """The model of ``FLOW``, untrained."""
    torch.manual_seed(0)
    return build(yaml.safe_load(Path(FLOW).read_text()), DataSpec((1, 28, 28), levels=2, num_classes=(10,)))


def step_of(model: GenerativeModel, batch_size: int) -> Callable[[], object]:
    """One update of the trainer, without torch.compile, on random images."""
    trainer = Trainer(model, TrainingOptions(batch_size=batch_size, compile="never"), Objective(), World(CPU), seed=0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (batch_size, *model.spec.shape), generator=generator)
    return lambda: trainer.update(x, x.new_zeros(batch_size, 0))


def profiles() -> dict[str, dict[str, float]]:
    """Share of a step's CPU time that each of its parts takes, by the names of operators."""
    return {"9 layers of 32 channels": parts_of(network(BASE)), FLOW: parts_of(flow_network())}


def parts_of(model: GenerativeModel) -> dict[str, float]:
    """Shares of the time of all operators; ``other`` is mostly pointwise."""
    step = step_of(model, PROFILE_BATCH)
    step()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as run:
        for _ in range(PROFILE_STEPS):
            step()
    times: Counter[str] = Counter()
    for event in run.key_averages():
        part = next((part for part, words in PARTS.items() if any(word in event.key for word in words)), "other")
        times[part] += event.self_cpu_time_total
    return {part: time / times.total() for part, time in times.most_common()}


def growth(repeats: int) -> list[dict[str, Any]]:
    """A row for each size: a step, a compiled walk, their ratios to the base's, and megabytes kept for backward."""
    models = {size: network(size) for size in dict.fromkeys(SIZES)}
    works: dict[str, Callable[[], object]] = {}
    for size, model in models.items():
        works[f"step {size}"] = step_of(model, BATCH_SIZE)
        works[f"sample {size}"] = partial(network(size).eval().sample, BATCH_SIZE, seed=0)
    times = interleaved(works, repeats, CPU)
    rows = []
    for size, model in models.items():
        row: dict[str, Any] = size._asdict()
        for kind in ("step", "sample"):
            row[f"{kind}_ms_per_image"] = 1000 * times[f"{kind} {size}"] / BATCH_SIZE
            row[f"{kind}_in_base"] = times[f"{kind} {size}"] / times[f"{kind} {BASE}"]
        rows.append(row | {"kept_mb_per_image": kept_bytes(model) / BATCH_SIZE / 1e6})
    return rows


def kept_bytes(model: GenerativeModel) -> int:
    """Bytes of all activations that one bound keeps for its backward pass; parameters and shared storage count once."""
    seen = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    total = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
        return tensor

    x = torch.zeros(BATCH_SIZE, *model.spec.shape, dtype=torch.long)
    model.train()
    precision = torch.autocast("cpu", torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), precision:
        bound = model(x, x.new_zeros(BATCH_SIZE, 0), noise=torch.Generator().manual_seed(0))
        (bound.kl - bound.log_px).mean()
    return total


def pictures(repeats: int) -> list[dict[str, Any]]:
    """Images/s from labels to pictures, by the whole PixelVAE: draws of h, context and walk."""
    model = network(BASE, num_classes=(10,)).eval()
    sizes = (1, 16, 64, 256)
    works = {str(n): partial(model.sample, n, y=[i % 10 for i in range(n)], seed=0) for n in sizes}
    times = interleaved(works, repeats, CPU)
    return [{"batch": n, "images_per_second": n / times[str(n)]} for n in sizes]


if __name__ == "__main__":
    run_script(main)
