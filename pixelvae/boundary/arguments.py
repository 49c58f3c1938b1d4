"""Checks of numbers, generators and splits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch

from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import Split


def require_seed(seed: int, n: int = 1) -> int:
    """Check a seed whose n - 1 successors must also be valid seeds.

    Raises:
        ValueError: If it is not an integer, or out of range.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed <= 2**63 - max(n, 1):
        raise ValueError(f"seed={seed!r}; wanted an integer from 0 to 2^63 - {max(n, 1)}")
    return int(seed)


def require_temperature(temperature: float) -> float:
    """Check a temperature.

    Raises:
        ValueError: If it is not a finite number of at least 0.
    """
    if not isinstance(temperature, Real) or isinstance(temperature, bool) or not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature!r}; wanted 0 (most probable) or more, and finite")
    return float(temperature)


def require_sources(sources: Sequence[torch.Generator], name: str = "sources") -> list[torch.Generator]:
    """Check a list of CPU generators, one for each sample.

    Raises:
        ValueError: If the list is empty, or contains anything else.
    """
    if not isinstance(sources, Sequence) or not sources:
        raise ValueError(f"{name}={sources!r}; wanted a list of generators: generators(seed, n)")
    for source in sources:
        if not isinstance(source, torch.Generator) or source.device.type != "cpu":
            raise ValueError(f"{name} holds {source!r}; wanted CPU generators: torch.Generator().manual_seed(0)")
    return list(sources)


def require_split(split: Split, spec: DataSpec) -> None:
    """Check that a split matches the spec of a model.

    Raises:
        ValueError: If it is not a split, shape, levels or labels differ, or it is empty.
    """
    if not isinstance(split, Split):
        raise ValueError(f"the split is a {type(split).__name__}; wanted a split of a data set, such as data.test")
    has = split.spec
    if has.shape != spec.shape:
        raise ValueError(f"the split has examples of shape {has.shape}; the model wants {spec.shape}")
    if has.levels != spec.levels:
        cure = f"set data.init_args.levels: {spec.levels}"
        raise ValueError(f"the split has {has.levels} levels; the model wants {spec.levels}: {cure}")
    if spec.num_classes and has.num_classes != spec.num_classes:
        raise ValueError(f"the split has labels of {has.num_classes} classes; the model wants {spec.num_classes}")
    if len(split) == 0:
        raise ValueError("the split is empty; wanted at least one example")
