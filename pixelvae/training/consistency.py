"""Consistency of the posterior: pictures that are turned, shifted or scaled a little keep their latents."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pixelvae.latents.distributions import DiagonalNormal, Distribution

MAX_DEGREES = 15.0
"""Largest rotation, in degrees, to either side."""

MAX_SHIFT = 0.07
"""Largest shift along each axis, as a share of its length: two pixels of 28."""

MAX_SCALE = 0.1
"""Largest relative change of the size."""

NUM_DRAWS = 4
"""Uniform draws for each picture."""


def moved(x: Tensor, draws: Tensor) -> Tensor:
    r"""Pictures turned, scaled and shifted at random; a level of the original at every pixel (the nearest one).

    The pixel at p, relative to the centre of the picture, takes the level at

    .. math:: s\,R(\theta)\,p + d, \qquad \theta \in \pm 15°,\quad s \in 1 \pm 0.1,\quad d \in \pm 7\,\%

    of the lengths of the axes, or the nearest one at the edge. The draws are uniform in these intervals.

    Shape:
        x: (B, C, H, W) levels.  draws: (B, 4) in [0, 1): of θ, s and both components of d.  Returns (B, C, H, W).

    Example:
        >>> x = torch.arange(9).reshape(1, 1, 3, 3)
        >>> torch.equal(moved(x, torch.full((1, 4), 0.5)), x)  # the middle of every interval: nothing moves
        True
    """
    height, width = x.shape[2:]
    angle, scale, down, right = (2 * draws - 1).T[..., None, None]  # each (B, 1, 1)
    angle, scale = angle * math.radians(MAX_DEGREES), 1 + MAX_SCALE * scale
    row = (torch.arange(height, device=x.device) - (height - 1) / 2)[:, None]
    column = torch.arange(width, device=x.device) - (width - 1) / 2
    sine, cosine = scale * angle.sin(), scale * angle.cos()
    rows = cosine * row + sine * column + MAX_SHIFT * height * down + (height - 1) / 2  # (B, H, W)
    columns = cosine * column - sine * row + MAX_SHIFT * width * right + (width - 1) / 2
    rows, columns = rows.round().long().clamp(0, height - 1), columns.round().long().clamp(0, width - 1)
    sources = (rows * width + columns).flatten(1)[:, None].expand(-1, x.shape[1], -1)  # (B, C, H * W)
    return x.flatten(2).gather(2, sources).reshape(x.shape)


def divergence(q: Distribution, p: Distribution, noise: Tensor) -> Tensor:
    r"""KL(q ‖ p) in nats: exact for two diagonal normals, otherwise an estimate from one draw of q.

    .. math:: \sum_d \log\frac{s_d}{\sigma_d} + \frac{\sigma_d^2 + (\mu_d - m_d)^2}{2 s_d^2} - \frac12

    Shape:
        q, p over (B, D).  noise: (B, D) standard normal.  Returns (B,).

    Example:
        >>> zero, one = torch.zeros(1, 2), torch.ones(1, 2)
        >>> divergence(DiagonalNormal(zero, one), DiagonalNormal(one, one), noise=zero)
        tensor([1.])
    """
    if isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
        ratio = (q.scale / p.scale).square()
        return 0.5 * (ratio - ratio.log() - 1 + ((q.loc - p.loc) / p.scale).square()).sum(1)
    h = q.rsample(noise)
    return q.log_prob(h) - p.log_prob(h)
