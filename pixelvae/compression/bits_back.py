"""Bits back: an example costs minus its ELBO, because h is drawn with bits of the message itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pixelvae.compression.ancestral import Integers, ancestral, grids, of_noise
from pixelvae.compression.codec import Codec, Examples, Sites
from pixelvae.compression.groups import MAX_GROUP, MAX_PRECISION, Group, parts_of
from pixelvae.compression.rounded import Normals
from pixelvae.latents.priors import Prior
from pixelvae.sampling.coding import Stack, random_words

MASKS = 2**32
"""Where the random words of the masks begin."""

MIN_PRECISION = 2
"""Of the first example of a block, whose h costs initial bits. A coarser grid costs fewer, and x a few more."""


class BitsBack(Codec):
    r"""A model whose prior maps noise to h, :class:`Ancestral`.

    .. math:: \underbrace{-\log_2 p(h)}_{\mathrm{push}\ h} \underbrace{-\log_2 p(x|h)}_{\mathrm{push}\ x}
              \underbrace{+ \log_2 q(h|x)}_{\mathrm{pop}\ h} \text{ bits, whose mean over } q \text{ is } -\mathrm{ELBO}

    The examples form groups: the message so far pays for the h of a whole group, which is then decoded as a batch. It
    cannot pay for the first examples, whose noise is on a coarser grid: what they borrow is what a block costs more.

    Reference:
        Practical Lossless Compression with Latent Variables using Bits Back Coding (Townsend et al., 2019).
        https://arxiv.org/abs/1901.04866
        Bins of the prior's conditionals: Bit-Swap (Kingma et al., 2019). https://arxiv.org/abs/1905.06845

    Args:
        sites: p(x | h, y).
        prior: p(h).
        latent_dim: D.

    Raises:
        ValueError: If the prior is neither ``StandardNormal`` nor ``HierarchicalPrior``.
    """

    def __init__(self, sites: Sites, prior: Prior, latent_dim: int) -> None:
        self.sites, self.prior, self.latent_dim = sites, ancestral(prior), latent_dim

    def push(self, stack: Stack, x: Tensor, y: Tensor | None, lengths: Tensor | None) -> list[Group]:
        """Add the levels, in groups as large as the message can pay for."""
        groups: list[Group] = []
        done = 0
        while done < len(x):
            group = self._next(stack.bits, len(x) - done, groups[-1] if groups else Group(1, MIN_PRECISION))
            part = slice(done, done + group.size)
            self._push(stack, group, part, x[part], *(None if a is None else a[part] for a in (y, lengths)))
            groups.append(group)
            done = part.stop
        return groups

    def pop(self, stack: Stack, groups: list[Group], y: Tensor | None, lengths: Tensor | None) -> Tensor:
        """Take the levels, the last group first."""
        parts = [
            self._pop(stack, group, part, *(None if a is None else a[part] for a in (y, lengths)))
            for group, part in zip(groups[::-1], parts_of(groups)[::-1], strict=True)
        ]
        return torch.cat(parts[::-1])

    def _next(self, bits: int, left: int, last: Group) -> Group:
        """The group that so many bits pay for, not smaller than the last one."""
        size = max(last.size, min(bits // (MAX_PRECISION * self.latent_dim), MAX_GROUP))
        precision = max(last.precision, min(bits // self.latent_dim, MAX_PRECISION))
        return Group(min(size, left), precision)

    def _push(
        self, stack: Stack, group: Group, part: slice, x: Tensor, y: Tensor | None, lengths: Tensor | None
    ) -> None:
        q, normals = self.sites.rounded.posteriors(x, y), grids(group.precision).grid
        bins = np.zeros((group.size, self.latent_dim), np.int64)

        def popped(columns: Integers, p: Normals) -> Integers:
            bins[:, columns] = normals.pop(stack, *of_noise(q.part(columns), p))
            return bins[:, columns]

        h = self.prior.draw(group.size, group.precision, popped).h
        self.sites.push(stack, x, Examples(h, y, lengths))
        stack.push_uniform((bins + self._masks(group, part)).ravel() % 2**group.precision, 2**group.precision)

    def _pop(self, stack: Stack, group: Group, part: slice, y: Tensor | None, lengths: Tensor | None) -> Tensor:
        masked = stack.pop_uniform(group.size * self.latent_dim, 2**group.precision).reshape(group.size, -1)
        bins = (masked - self._masks(group, part)) % 2**group.precision
        h, p = self.prior.draw(group.size, group.precision, lambda columns, _: bins[:, columns])
        x = self.sites.pop(stack, Examples(h, y, lengths))
        q = self.sites.rounded.posteriors(x, y)
        for columns in self.prior.parts[::-1]:
            noise = of_noise(q.part(columns), p.part(columns))
            grids(group.precision).grid.push(stack, *noise, bins[:, columns])
        return x

    def _masks(self, group: Group, part: slice) -> Integers:
        """Numbers that are added to bins. The next h are drawn with these bits, and bins are not uniform unless masked.

        They would be if the prior were the aggregate posterior.
        """
        if not group.masked:
            return np.zeros((group.size, self.latent_dim), np.int64)
        begin, end = part.start * self.latent_dim, part.stop * self.latent_dim
        return np.array(random_words(MASKS + begin, end - begin) >> (32 - group.precision)).reshape(group.size, -1)
