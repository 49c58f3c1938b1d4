"""Checks of latents h and of their noise."""

from __future__ import annotations

import torch
from torch import Tensor

from pixelvae.boundary.tensors import may_read


def require_latents(
    h: Tensor | None, latent_dim: int, n: int | None, device: torch.device, dtype: torch.dtype, *, name: str = "h"
) -> Tensor | None:
    """Latents, or their noise, in the model's dtype on its device. (n, D) -> (n, D); None without latents.

    Args:
        h: (n, D) finite floating-point numbers.
        latent_dim: D, 0 without latents.
        n: Number of examples; None to accept any.
        device: Device of the model.
        dtype: The dtype of the model's weights.
        name: Name of h in the message.

    Raises:
        ValueError: If h is missing, of another type or shape, not finite, or given to a model without latents.
    """
    if h is not None and not isinstance(h, Tensor):
        raise ValueError(f"{name} is a {type(h).__name__}; wanted a tensor: torch.as_tensor({name})")
    given = None if h is None else tuple(h.shape)
    if not latent_dim:
        if given is None:
            return None
        raise ValueError(f"{name} has shape {given}; wanted None, as the model has no latents")
    rows = n or (given[0] if given else 1) or 1
    if h is None or given != (rows, latent_dim):
        raise ValueError(
            f"{name} has shape {given}; wanted ({n or 'B'}, {latent_dim}): a row for each of x, or of sources"
        )
    if not h.dtype.is_floating_point:
        raise ValueError(f"{name} is {h.dtype}; wanted floating-point numbers: {name}.float()")
    if may_read(h, synchronise=False) and not bool(h.isfinite().all()):
        raise ValueError(f"{name} holds numbers that are not finite; wanted finite ones: did training diverge?")
    return h.to(device, dtype)


def require_ends(
    start: Tensor | None, end: Tensor | None, latent_dim: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Two ends of paths in the model's dtype on its device. (B, D), (B, D) -> the same.

    Raises:
        ValueError: As :func:`require_latents`; also if the model has no latents.
    """
    first = require_latents(start, latent_dim, None, device, dtype, name="start")
    last = None if first is None else require_latents(end, latent_dim, len(first), device, dtype, name="end")
    if first is None or last is None:
        raise ValueError("start is None, and the model has no latents to interpolate; wanted a PixelVAE")
    return first, last
