"""Time by turns within one run, so that ratios hold on a noisy machine; and the speed of sampling."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pixelvae.decoders.base import StepperKind
from pixelvae.generation import decode, generators
from pixelvae.models.base import GenerativeModel


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def interleaved(works: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each work, taken in turns so that a slow minute of the machine hits all alike."""
    for work in tqdm(works.values(), desc="warm-up", leave=False):
        work()
    rounds = [{name: seconds(work, device) for name, work in works.items()} for _ in tqdm(range(repeats), leave=False)]
    return {name: statistics.median(times[name] for times in rounds) for name in works}


def sampling_row(
    model: GenerativeModel, batch_size: int, kinds: Sequence[StepperKind], repeats: int, device: torch.device
) -> dict[str, Any]:
    """One batch size: seconds of a forward pass, of each stepper's whole walk, and their ratios."""
    spec = model.spec
    visits = spec.num_dims if model.decoder.channel_masked else spec.num_dims // spec.channels
    x = torch.zeros(batch_size, *spec.shape, dtype=torch.long, device=device)

    def walk(stepper: StepperKind) -> Callable[[], Tensor]:
        return lambda: decode(model, None, None, generators(0, batch_size), stepper=stepper)

    def forward() -> Tensor:
        with torch.inference_mode():
            return model.decoder(x)

    times = interleaved({"forward": forward} | {kind: walk(kind) for kind in kinds}, repeats, device)
    naive = times["forward"] * visits
    return {
        "forward_seconds": times["forward"],
        "naive_seconds": naive,
        **{f"{kind}_seconds": times[kind] for kind in kinds},
        **{f"{kind}_speedup": naive / times[kind] for kind in kinds},
        **{f"{kind}_forward_passes": times[kind] / times["forward"] for kind in kinds},
        **{f"{kind}_sites_per_second": batch_size * visits / times[kind] for kind in kinds},
    }
