"""Paths, grids and traversals in the latent space."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def linear_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Linear interpolation (1 − t) start + t end. (B, D), (B, D) -> (steps, B, D), both ends included."""
    t = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)[:, None, None]
    return (1 - t) * start + t * end


def spherical_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    r"""Spherical interpolation, which keeps the norm that is typical of draws from a standard normal prior.

    .. math:: \frac{\sin((1-t)\,\omega)}{\sin\omega} a + \frac{\sin(t\,\omega)}{\sin\omega} b

    Reference:
        Animating rotation with quaternion curves (Shoemake, 1985); for latents: Sampling Generative Networks
        (White, 2016), https://arxiv.org/abs/1609.04468

    Shape:
        (B, D), (B, D) -> (steps, B, D), both ends included.
    """
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    omega = cosine.acos()[:, None]  # (B, 1)
    t = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)[:, None, None]
    return (((1 - t) * omega).sin() * start + (t * omega).sin() * end) / omega.sin()


def switch_half_way(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Labels along a path: those of its start in the first half, those of its end in the second.

    Shape:
        start, end: (B, L).  Returns (steps, B, L); the first half is one step longer if ``steps`` is odd.

    Example:
        >>> switch_half_way(torch.tensor([[3]]), torch.tensor([[5]]), steps=5).flatten().tolist()
        [3, 3, 3, 5, 5]
    """
    in_first_half = torch.arange(steps, device=start.device) < -(-steps // 2)
    return torch.where(in_first_half[:, None, None], start, end)


def path_grid(
    corners: Tensor, rows: int, columns: int, path: Callable[[Tensor, Tensor, int], Tensor] = spherical_path
) -> Tensor:
    """A grid between four points: interpolate along the left and right edges, then along every row.

    With ``linear_path`` this is bilinear interpolation; with ``switch_half_way`` every point has the labels of its
    nearest corner.

    Shape:
        corners: (4, D), top left, top right, bottom left, bottom right.  Returns (rows, columns, D).
    """
    edges = path(corners[:2], corners[2:], rows)  # (rows, 2, D)
    return path(edges[:, 0], edges[:, 1], columns).transpose(0, 1)


def traverse(h: Tensor, dims: Tensor, scale: Tensor, steps: int, width: float = 3.0) -> Tensor:
    r"""Vary one dimension at a time by −width to +width scales; all others keep their values.

    .. math:: h_d + t\,\mathrm{scale}_d, \qquad t = -\mathrm{width} \ldots \mathrm{width}

    Shape:
        h: (D,).  dims: (M,) indices.  scale: (D,).  Returns (M, steps, D), h itself in the middle.

    Raises:
        ValueError: If ``steps`` is even or less than 3.

    Example:
        >>> traverse(torch.tensor([5.0, 1.0]), torch.tensor([1]), torch.ones(2), steps=3).tolist()
        [[[5.0, -2.0], [5.0, 1.0], [5.0, 4.0]]]
    """
    if steps < 3 or steps % 2 == 0:
        raise ValueError(f"steps={steps}; wanted an odd number of at least 3, so that h itself is in the middle")
    t = (torch.arange(steps, device=h.device) - steps // 2) * (width / (steps // 2))  # exactly 0 in the middle
    moves = torch.nn.functional.one_hot(dims, len(h)) * scale  # (M, D)
    return h + t.to(h.dtype)[:, None] * moves[:, None]
