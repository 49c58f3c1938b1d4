"""A codec is a pair push, pop on a message: pop after push gives back the message and the data, exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pixelvae.compression.groups import MAX_GROUP, Group, parts_of
from pixelvae.compression.rounded import Rounded
from pixelvae.data.spec import ABSENT
from pixelvae.models.base import GenerativeModel
from pixelvae.sampling.coding import SLOT_BITS, Setting, Stack, intervals_of, pop_levels
from pixelvae.sampling.engine import reason_against


class Examples(NamedTuple):
    """What a message says of x: everything but x itself is known to both sides.

    Shape:
        h: (N, D) float64, D = 0 without latents.  y: (N, L) or None.  lengths: (N,) of sounds, else None.
    """

    h: Tensor
    y: Tensor | None
    lengths: Tensor | None


class Codec(ABC):
    r"""Levels of N examples on a message, in :math:`-\log_2 p(x)` bits, or so many as the bound says."""

    @abstractmethod
    def push(self, stack: Stack, x: Tensor, y: Tensor | None, lengths: Tensor | None) -> list[Group]:
        """Add (N, C, *S) levels to the message. Returns the groups of the message."""

    @abstractmethod
    def pop(self, stack: Stack, groups: list[Group], y: Tensor | None, lengths: Tensor | None) -> Tensor:
        """Take the levels from the message again."""


class Sites:
    r"""p(x | h, y) of a decoder, site after site: :math:`-\log_2 p(x|h,y)` bits.

    Args:
        model: Whose decoder has a plan, and whose likelihood the engine has.
        setting: How the engine runs.

    Raises:
        ValueError: If the engine cannot run the model, with the reason.
    """

    def __init__(self, model: GenerativeModel, setting: Setting) -> None:
        self.spec, self.setting = model.spec, setting
        prepared, native = model.decoder.prepared(), model.likelihood.native
        if prepared is None or native is None:
            part = type(model.decoder if prepared is None else model.likelihood).__name__
            raise ValueError(f"{part} is not a part that the sampling engine runs, on which compression stands")
        if reason := reason_against(prepared.plan):
            raise ValueError(f"compression stands on the compiled sampling engine, which {reason}")
        if max(model.spec.levels, *model.spec.shape, *model.spec.num_classes) > 2 ** (SLOT_BITS - 8):
            raise ValueError(f"{model.spec.summary}; compression wants at most {2 ** (SLOT_BITS - 8):,} of each")
        self.packed, self.native, self.rounded = prepared.packed, native, Rounded(model)

    def push(self, stack: Stack, x: Tensor, given: Examples) -> None:
        """Add (N, C, *S) levels to the message."""
        stack.push(
            intervals_of(self.packed, self.native, self.context(given), x.clamp(min=0), given.lengths, self.setting)
        )

    def pop(self, stack: Stack, given: Examples) -> Tensor:
        """Take (N, C, *S) levels from the message."""
        shape = (len(given.h), *self.spec.shape)
        return pop_levels(self.packed, self.native, self.context(given), shape, given.lengths, stack, self.setting)

    def context(self, given: Examples) -> Tensor | None:
        """The context of the plan."""
        return self.rounded.contexts(given.h, given.y)


class Exact(Codec):
    """A model without latents: one group after the other.

    Args:
        sites: p(x | y).
    """

    def __init__(self, sites: Sites) -> None:
        self.sites = sites

    def push(self, stack: Stack, x: Tensor, y: Tensor | None, lengths: Tensor | None) -> list[Group]:
        """Add the levels."""
        sizes = [len(part) for part in x.split(MAX_GROUP)]
        groups = [Group(size) for size in sizes]
        for part in parts_of(groups):
            self.sites.push(stack, x[part], self._given(part, y, lengths))
        return groups

    def pop(self, stack: Stack, groups: list[Group], y: Tensor | None, lengths: Tensor | None) -> Tensor:
        """Take the levels, the last group first."""
        parts = [self.sites.pop(stack, self._given(part, y, lengths)) for part in parts_of(groups)[::-1]]
        return torch.cat(parts[::-1])

    def _given(self, part: slice, y: Tensor | None, lengths: Tensor | None) -> Examples:
        h = torch.zeros(part.stop - part.start, 0, dtype=torch.float64)
        return Examples(h, *(None if a is None else a[part] for a in (y, lengths)))


def push_labels(stack: Stack, y: Tensor | None, num_classes: tuple[int, ...]) -> None:
    """Add (N, L) labels, all equally probable."""
    for kind, classes in enumerate(num_classes):
        assert y is not None
        stack.push_uniform(y[:, kind].numpy(), classes)


def pop_labels(stack: Stack, n: int, num_classes: tuple[int, ...]) -> Tensor | None:
    """Take (N, L) labels; None without kinds of label."""
    kinds = [stack.pop_uniform(n, classes) for classes in reversed(num_classes)]
    return torch.from_numpy(np.stack(kinds[::-1], axis=1)) if kinds else None


def lengths_of(x: Tensor) -> Tensor | None:
    """Number of samples of every sound, (N,); None of pictures."""
    return (x[:, 0] != ABSENT).sum(-1) if x.ndim == 3 else None
