"""Distributions over latents; draws take their noise as an argument. Noise from generators."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
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

    def information(self) -> Tensor:
        r"""Upper bound of I_q(x; h_d) for x uniform over the B examples, in nats. Returns (D,).

        This is the mean KL to the normal that fits the mixture of all B posteriors. It is 0 if all B are equal, and
        no normal prior has a smaller KL.

        .. math:: I_q(x; h_d) \le E_x\,\mathrm{KL}\big(q(h_d|x) \,\|\, N(\bar\mu_d, a_d^2)\big) =
                  \log a_d - E_x[\log \sigma_d], \qquad a_d^2 = \mathrm{Var}_x(\mu_d) + E_x[\sigma_d^2]

        Example:
            >>> q = DiagonalNormal(torch.tensor([[-3.0, 1.0], [3.0, 1.0]]), torch.ones(2, 2))
            >>> q.information()  # the first is ½ log(1 + 9), the second does not depend on x
            tensor([1.1513, 0.0000])
        """
        variance = (self.loc - self.loc.mean(0)).square() + self.scale.square()
        return 0.5 * variance.mean(0).log() - self.scale.log().mean(0)


def standard_normal_noise(batch_size: int, dim: int, generator: torch.Generator) -> Tensor:
    """(batch_size, dim) standard normal draws of one CPU generator, on the CPU: the same for every device."""
    return torch.randn(batch_size, dim, generator=generator, device="cpu")


def standard_normal_rows(dim: int, sources: Sequence[torch.Generator]) -> Tensor:
    """(B, dim) standard normal draws on the CPU, one row from each of B CPU generators."""
    return torch.stack([torch.randn(dim, generator=source, device="cpu") for source in sources])
