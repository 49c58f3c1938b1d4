"""Time as benchmarks take it: by turns within one run, so that ratios hold on a noisy machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from tqdm import tqdm


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
