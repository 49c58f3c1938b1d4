"""Latents from bins of noise: each part of h is normal given the parts before, and every bin has equal prior mass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pixelvae.compression.rounded import SCALES, Normals, in_float64, on_grid
from pixelvae.latents.hierarchical import HierarchicalPrior, Levels
from pixelvae.latents.priors import Prior, StandardNormal
from pixelvae.sampling.coding import NormalGrid

LIMIT = 32 * 2**16
"""Largest location of a posterior in units of the prior's scale, times 2^16."""

Integers = npt.NDArray[np.int64]
BinsOf = Callable[[Integers, Normals], Integers]
"""From columns of h, and their normals given the columns before, to bins (N, d)."""


class Drawn(NamedTuple):
    """Latents, and the prior of each given those before.

    Shape:
        h: (N, D) float64 multiples of 2^-16.  prior: (N, D).
    """

    h: Tensor
    prior: Normals


class Ancestral(ABC):
    r"""A prior as a map of noise, part after part.

    .. math:: h_s = \mu(h_{<s}) + \sigma(h_{<s})\, \varepsilon_s, \qquad \varepsilon \sim N(0, I)

    Args:
        prior: Its weights are copied.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = in_float64(prior)
        self.parts = self.columns()

    @abstractmethod
    def columns(self) -> list[Integers]:
        """The columns of h that each part is made of, in their order; the first part is standard normal."""

    @abstractmethod
    def normals(self, h: Tensor, part: int) -> Normals:
        """p(h_s | h_<s) of a later part, from the columns of h before it. (N, D) -> (N, d)."""

    def draw(self, n: int, precision: int, bins_of: BinsOf) -> Drawn:
        """h from bins, which ``bins_of`` gives for each part in turn."""
        shape = (n, self.prior.latent_dim)
        h, locs, scales = (np.zeros(shape, np.int64) for _ in range(3))
        for i, columns in enumerate(self.parts):
            p = self.normals(torch.from_numpy(h / 2**16), i) if i else unit(n, len(columns))
            bins = bins_of(columns, p)
            h[:, columns] = p.locs + (centres(precision)[bins] * grids(precision).scales[p.scales] >> 16)
            locs[:, columns], scales[:, columns] = p
        return Drawn(torch.from_numpy(h / 2**16), Normals(locs, scales))


class Independent(Ancestral):
    """``StandardNormal``: a single part."""

    def columns(self) -> list[Integers]:
        """All of h."""
        return [np.arange(self.prior.latent_dim)]

    def normals(self, h: Tensor, part: int) -> Normals:
        """Not reached: there is no later part."""
        raise AssertionError("a standard normal has one part")


class TopDown(Ancestral):
    """``HierarchicalPrior``: the vector, then the map one place after the other."""

    def columns(self) -> list[Integers]:
        """The vector (which may be empty), and the channels of each place in raster order."""
        assert isinstance(self.prior, HierarchicalPrior)
        top, (c, height, width) = self.prior.top_dim, self.prior.map_shape
        places = top + np.arange(c * height * width).reshape(c, -1).T  # (H W, c)
        return [np.arange(top), *places]

    @torch.no_grad()
    def normals(self, h: Tensor, part: int) -> Normals:
        """p(z_t | z_<t, z_top), an example at a time."""
        assert isinstance(self.prior, HierarchicalPrior)
        place = divmod(part - 1, self.prior.map_shape[2])
        found = []
        for row in h.split(1):
            q = self.prior.conditionals(Levels(*self.prior.split(row)))
            found.append(on_grid(q.loc[:, :, *place], q.scale[:, :, *place]))
        return Normals(*(np.concatenate(a) for a in zip(*found, strict=True)))


KINDS: dict[type[Prior], type[Ancestral]] = {StandardNormal: Independent, HierarchicalPrior: TopDown}


def ancestral(prior: Prior) -> Ancestral:
    """A prior as a map of noise.

    Raises:
        ValueError: If it is none.
    """
    if type(prior) not in KINDS:
        wanted = ", ".join(kind.__name__ for kind in KINDS)
        raise ValueError(f"prior {type(prior).__name__}: compression wants {wanted}, or no latents")
    return KINDS[type(prior)](prior)


def unit(n: int, d: int) -> Normals:
    """Standard normals, (n, d)."""
    return Normals(np.zeros((n, d), np.int64), np.full((n, d), -SCALES[0], np.int64))


def of_noise(q: Normals, p: Normals) -> Normals:
    r"""q(h) as a law of the noise: :math:`N((\mu_q - \mu_p) / \sigma_p,\ \sigma_q / \sigma_p)`."""
    locs = (q.locs - p.locs) * grids(1).inverses[p.scales] >> 16
    return Normals(locs.clip(-LIMIT, LIMIT), (q.scales - p.scales - SCALES[0]).clip(0, SCALES[1] - SCALES[0]))


class Grids(NamedTuple):
    """Normals on bins of equal mass under N(0, 1), as tables of integers; scales, 1 / scales in units of 2^-16."""

    grid: NormalGrid
    scales: Integers
    inverses: Integers


@lru_cache
def grids(precision: int) -> Grids:
    """Tables of 2^precision bins."""
    normal, bins = NormalDist(), 2**precision
    inner = [round(2**16 * normal.inv_cdf(i / bins)) for i in range(1, bins)]
    steps = (np.arange(4098) - 2048).tolist()
    powers = range(SCALES[0], SCALES[1] + 1)
    inverses = np.array([round(2 ** (16 + power / 8)) for power in powers], np.int64)
    grid = NormalGrid(
        np.array([inner[0], *inner, inner[-1]], np.int64),
        np.array([round(2**30 * normal.cdf(step / 256)) for step in steps], np.int64),
        inverses,
    )
    return Grids(grid, np.array([round(2 ** (16 - power / 8)) for power in powers], np.int64), inverses)


@lru_cache
def centres(precision: int) -> Integers:
    """The noise of every bin: the middle of its prior mass, in units of 2^-16."""
    normal, bins = NormalDist(), 2**precision
    return np.array([round(2**16 * normal.inv_cdf((i + 0.5) / bins)) for i in range(bins)], np.int64)
