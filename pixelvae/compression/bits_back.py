"""Bits back: an example costs minus its ELBO, because h is drawn with bits of the message itself."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from pixelvae.compression.codec import Codec, Examples, Sites
from pixelvae.compression.rounded import SCALES
from pixelvae.latents.priors import Prior, StandardNormal
from pixelvae.sampling.coding import NormalGrid, Stack

BIN_BITS = 12
"""h lies in one of 2^12 bins of equal prior mass in every dimension."""

BINS = 2**BIN_BITS


class BitsBack(Codec):
    r"""A model with a standard normal prior.

    .. math:: \underbrace{-\log_2 p(h)}_{\mathrm{push}\ h} \underbrace{-\log_2 p(x|h)}_{\mathrm{push}\ x}
              \underbrace{+ \log_2 q(h|x)}_{\mathrm{pop}\ h} \text{ bits, whose mean over } q \text{ is } -\mathrm{ELBO}

    The examples form groups: the message so far pays for the h of a whole group, which is then decoded as a batch.

    Reference:
        Practical Lossless Compression with Latent Variables using Bits Back Coding (Townsend et al., 2019).
        https://arxiv.org/abs/1901.04866

    Args:
        sites: p(x | h, y).
        prior: p(h).
        latent_dim: D.

    Raises:
        ValueError: If the prior is no ``StandardNormal``.
    """

    def __init__(self, sites: Sites, prior: Prior, latent_dim: int) -> None:
        if type(prior) is not StandardNormal:
            raise ValueError(f"prior {type(prior).__name__}: compression wants StandardNormal, or no latents")
        self.sites, self.latent_dim = sites, latent_dim

    def push(self, stack: Stack, x: Tensor, y: Tensor | None, lengths: Tensor | None) -> list[int]:
        """Add the levels, in groups as large as the message can pay for."""
        groups: list[int] = []
        while (done := sum(groups)) < len(x):
            size = min(len(x) - done, max(1, stack.bits // (BIN_BITS * self.latent_dim)))
            group = slice(done, done + size)
            self._push(stack, x[group], *(None if a is None else a[group] for a in (y, lengths)))
            groups.append(size)
        return groups

    def pop(self, stack: Stack, groups: list[int], y: Tensor | None, lengths: Tensor | None) -> Tensor:
        """Take the levels, the last group first."""
        end, parts = sum(groups), []
        for size in reversed(groups):
            group = slice(end - size, end)
            parts.append(self._pop(stack, size, *(None if a is None else a[group] for a in (y, lengths))))
            end -= size
        return torch.cat(parts[::-1])

    def _push(self, stack: Stack, x: Tensor, y: Tensor | None, lengths: Tensor | None) -> None:
        q = self.sites.rounded.posteriors(x, y)
        bins = grid().pop(stack, *q)
        self.sites.push(stack, x, Examples(centres()[torch.from_numpy(bins)], y, lengths))
        stack.push_uniform(bins.ravel(), BINS)

    def _pop(self, stack: Stack, n: int, y: Tensor | None, lengths: Tensor | None) -> Tensor:
        bins = stack.pop_uniform(n * self.latent_dim, BINS).reshape(n, self.latent_dim)
        x = self.sites.pop(stack, Examples(centres()[torch.from_numpy(bins)], y, lengths))
        q = self.sites.rounded.posteriors(x, y)
        grid().push(stack, *q, bins)
        return x


@lru_cache
def grid() -> NormalGrid:
    """Normal posteriors on bins of equal mass under N(0, 1), as tables of integers."""
    normal = NormalDist()
    inner = [round(2**16 * normal.inv_cdf(i / BINS)) for i in range(1, BINS)]
    steps = np.arange(4098) - 2048
    return NormalGrid(
        np.array([inner[0], *inner, inner[-1]], np.int64),
        np.array([round(2**30 * normal.cdf(step / 256)) for step in steps.tolist()], np.int64),
        np.array([round(2 ** (16 + power / 8)) for power in range(SCALES[0], SCALES[1] + 1)], np.int64),
    )


@lru_cache
def centres() -> Tensor:
    """The h of every bin: the middle of its prior mass, (BINS,) float64 multiples of 2^-16."""
    normal = NormalDist()
    middle = [round(2**16 * normal.inv_cdf((i + 0.5) / BINS)) for i in range(BINS)]
    return torch.tensor(middle, dtype=torch.float64) / 2**16
