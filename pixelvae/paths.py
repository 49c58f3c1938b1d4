"""Ways from one point of the latent space to another."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """(1 − t) start + t end. (B, D), (B, D) -> (steps, B, D), both ends included."""
    t = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)[:, None, None]
    return (1 - t) * start + t * end


def spherical_path(start: Tensor, end: Tensor, steps: int) -> Tensor:
    r"""Along the great arc, which keeps the norm that a normal prior's draws have.

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
