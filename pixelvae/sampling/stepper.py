"""Steppers: the conditionals of one walk, site by site. FullForward is the reference for the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Walked(NamedTuple):
    """The result of one walk.

    Shape:
        x: (B, C, *S) levels.  log_p: (B, C, *S), log p of each in nats at temperature 1.
    """

    x: Tensor
    log_p: Tensor


class Stepper(ABC):
    """The conditionals of one walk in raster order. The state of the walk is here, not in the module.

    For every site the walk calls :meth:`params` once (once per channel where the decoder is ``channel_masked``) and
    then :meth:`push`.
    """

    @abstractmethod
    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its previous channels. (B, C) levels -> (B, P)."""

    @abstractmethod
    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and advance to the next site."""


class FullForward(Stepper):
    """One whole forward pass for every site: the slow reference for the other steppers.

    Args:
        forward: (B, C, *S) levels -> (B, P, *S) params of all sites.
        shape: (C, *S).
        batch_size: B.
        device: Device of the levels.
    """

    def __init__(
        self, forward: Callable[[Tensor], Tensor], shape: Sequence[int], batch_size: int, device: torch.device
    ) -> None:
        self.forward = forward
        self.x = torch.zeros(batch_size, *shape, dtype=torch.long, device=device)
        self.sites = product(*map(range, shape[1:]))
        self.site: tuple[Any, ...] = next(self.sites)

    @torch.no_grad()
    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, from a whole forward pass. (B, C) levels -> (B, P)."""
        self.x[:, :, *self.site] = x_site
        return self.forward(self.x)[:, :, *self.site]

    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and move on to the next."""
        self.x[:, :, *self.site] = x_site
        self.site = next(self.sites, self.site)
