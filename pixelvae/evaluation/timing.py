"""Interleaved measurements of time, whose ratios are robust on a noisy machine; the speed of sampling."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pixelvae.decoders.base import StepperKind
from pixelvae.generation import decode, generators
from pixelvae.models.base import GenerativeModel
from pixelvae.progress import tqdm


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call in seconds, including all queued work of the device."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def by_turns(works: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each function in every round. The functions alternate, so that a slow phase affects all equally."""
    for work in tqdm(works.values(), desc="warm-up", leave=False):
        work()
    taken = [{name: seconds(work, device) for name, work in works.items()} for _ in tqdm(range(rounds), leave=False)]
    return {name: [times[name] for times in taken] for name in works}


def interleaved(works: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each function, interleaved."""
    return {name: statistics.median(times) for name, times in by_turns(works, repeats, device).items()}


def sampling_row(
    model: GenerativeModel,
    batch_size: int,
    kinds: Sequence[StepperKind],
    repeats: int,
    device: torch.device,
    *,
    forward_flops: int | None = None,
) -> dict[str, Any]:
    """Seconds of a forward pass and of each stepper's whole walk at one batch size, and their ratios.

    Args:
        model: A model; with latents, every example has its own h.
        batch_size: Batch size B.
        kinds: Kinds of stepper.
        repeats: Number of interleaved repeats; the median is returned.
        device: Device to measure on.
        forward_flops: Floating-point operations of a forward pass of one example. The arithmetic floor is the time of
            these operations at the float32 rate of a large matrix product in the same run.
    """
    spec = model.spec
    visits = spec.num_dims if model.decoder.channel_masked else spec.num_dims // spec.channels
    x = torch.zeros(batch_size, *spec.shape, dtype=torch.long, device=device)
    h = torch.randn(batch_size, model.latent_dim, device=device) if model.has_latents else None
    a, b = torch.randn(2, 1024, 1024, device=device)

    def walk(stepper: StepperKind) -> Callable[[], Tensor]:
        return lambda: decode(model, h, None, generators(0, batch_size), stepper=stepper)

    def forward() -> Tensor:
        with torch.inference_mode():
            return model.decoder(x, model.context(h, None))

    works = {"forward": forward, "peak": lambda: a @ b} | {kind: walk(kind) for kind in kinds}
    times = interleaved(works, repeats, device)
    naive, floor = times["forward"] * visits, (forward_flops or 0) * batch_size * times["peak"] / (2 * 1024**3)
    return {
        "forward_seconds": times["forward"],
        "naive_seconds": naive,
        **{f"{kind}_seconds": times[kind] for kind in kinds},
        **{f"{kind}_speedup": naive / times[kind] for kind in kinds},
        **{f"{kind}_forward_passes": times[kind] / times["forward"] for kind in kinds},
        **{f"{kind}_sites_per_second": batch_size * visits / times[kind] for kind in kinds},
        **({f"{kind}_share_of_floor": floor / times[kind] for kind in kinds} if forward_flops else {}),
    }


def use_rows(
    models: Mapping[str, GenerativeModel], batch_size: int, repeats: int, device: torch.device
) -> dict[str, float]:
    """Seconds that sampling, completion of the lower half and scoring take, for each model."""
    works: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        x = torch.zeros(batch_size, *model.spec.shape, dtype=torch.long, device=device)
        known = torch.zeros_like(x, dtype=torch.bool)
        known[:, :, : x.shape[2] // 2] = True
        works[f"{name}: sample"] = partial(model.sample, batch_size, seed=0)
        works[f"{name}: complete"] = partial(model.complete, x, known, seed=0)
        works[f"{name}: score"] = partial(model.score, x)
    return interleaved(works, repeats, device)
