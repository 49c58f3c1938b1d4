"""Distributions over latents whose every draw takes a generator (torch.distributions takes none)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor


class Distribution(ABC):
    """A batch of densities over latents: what an encoder returns."""

    @abstractmethod
    def rsample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw. noise: (B, D) standard normal -> (B, D), differentiable."""

    @abstractmethod
    def log_prob(self, h: Tensor) -> Tensor:
        """log q(h) in nats. (B, D) -> (B,)."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """E[h], (B, D)."""


class _LocScale(NamedTuple):
    loc: Tensor
    scale: Tensor


class DiagonalNormal(_LocScale, Distribution):
    r"""Independent normal coordinates.

    .. math:: q(h) = \prod_d N(h_d;\ \mathrm{loc}_d,\ \mathrm{scale}_d^2)

    Shape:
        loc, scale: (B, D), scale > 0.

    Example:
        >>> q = DiagonalNormal(torch.zeros(2, 3), torch.ones(2, 3))
        >>> q.log_prob(torch.zeros(2, 3))
        tensor([-2.7568, -2.7568])
    """

    def rsample(self, noise: Tensor) -> Tensor:
        """Loc + scale · noise."""
        return self.loc + self.scale * noise

    def log_prob(self, h: Tensor) -> Tensor:
        """log q(h) in nats. (B, D) -> (B,)."""
        standard = (h - self.loc) / self.scale
        return (-0.5 * standard.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)).sum(1)

    @property
    def mean(self) -> Tensor:
        """loc, (B, D)."""
        return self.loc


def standard_normal_noise(batch_size: int, dim: int, generator: torch.Generator) -> Tensor:
    """(batch_size, dim) standard normal draws on the generator's device."""
    return torch.randn(batch_size, dim, generator=generator, device=generator.device)
