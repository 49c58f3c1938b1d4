"""Encoder and context with the same results on every machine: float64, an example at a time, rounded to a grid."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.models.base import GenerativeModel
from pixelvae.models.pixelvae import PixelVAE

STEPS = 2**10
"""Steps of the grid in one unit: float64 rounds 1e-13 apart, so that a value crosses an edge once in 1e9 values."""

SCALES = (-24, 88)
"""Powers of 2^(-1/8) that a scale of a normal is rounded to: 8 down to 2^-11."""

WIDEST = 2**10
"""Largest location of a normal."""


Part = TypeVar("Part", bound=nn.Module)


class Normals(NamedTuple):
    """Diagonal normals on the grid.

    Shape:
        locs: (N, D) in units of 2^-16.  scales: (N, D) indices of 2^(-i/8), from ``SCALES[0]`` on.
    """

    locs: npt.NDArray[np.int64]
    scales: npt.NDArray[np.int64]

    def part(self, columns: npt.NDArray[np.int64]) -> Normals:
        """Those of some columns."""
        return Normals(self.locs[:, columns], self.scales[:, columns])


class Rounded:
    """The float parts of a model beside its decoder's plan.

    Args:
        model: Its weights are copied.
    """

    def __init__(self, model: GenerativeModel) -> None:
        self.conditional = model.context.context_dim > 0
        self.context, self.decoder = in_float64(model.context), in_float64(model.decoder)
        self.encoder = in_float64(model.encoder) if isinstance(model, PixelVAE) else None

    @torch.no_grad()
    def contexts(self, h: Tensor, y: Tensor | None) -> Tensor | None:
        """The context of the decoder's plan. (N, D) float64, D = 0 without latents; (N, L) -> (N, D') or (N, D', *S).

        None if the plan has none.
        """
        rows = [self._context(h[i : i + 1], None if y is None else y[i : i + 1]) for i in range(len(h))]
        found = [row for row in rows if row is not None]
        return torch.cat(found).float() if found else None

    def _context(self, h: Tensor, y: Tensor | None) -> Tensor | None:
        context = self.context(h, y) if self.conditional else None
        plan_context = self.decoder.plan_context(None if context is None else _rounded(context), 1)
        return None if plan_context is None else _rounded(plan_context)

    @torch.no_grad()
    def posteriors(self, x: Tensor, y: Tensor | None) -> Normals:
        """q(h|x, y) of each example. x: (N, C, *S), y: (N, L).

        Raises:
            ValueError: If q is no diagonal normal.
        """
        assert self.encoder is not None
        found: list[Normals] = []
        for i in range(len(x)):
            q = self.encoder(x[i : i + 1], None if y is None else y[i : i + 1])
            if not isinstance(q, DiagonalNormal):
                raise ValueError(f"the encoder gives a {type(q).__name__}; compression wants a DiagonalNormal")
            found.append(on_grid(q.loc, q.scale))
        return Normals(*(np.concatenate(a) for a in zip(*found, strict=True)))


def on_grid(loc: Tensor, scale: Tensor) -> Normals:
    """Normals (N, D) on the grid."""
    locs = (loc.clamp(-WIDEST, WIDEST) * STEPS).round().long() * (2**16 // STEPS)
    scales = (-8 * scale.log2()).round().clamp(*SCALES).long() - SCALES[0]
    return Normals(locs.numpy(), scales.numpy())


def in_float64(part: Part) -> Part:
    """A copy whose results one example at a time do not depend on how its weights were loaded."""
    return deepcopy(part).cpu().double().to(memory_format=torch.contiguous_format).eval()


def _rounded(values: Tensor) -> Tensor:
    return (values * STEPS).round() / STEPS
