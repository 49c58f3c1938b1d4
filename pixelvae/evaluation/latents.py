"""What the latents of a trained model are worth."""

from __future__ import annotations

import torch
from torch import Tensor

from pixelvae.data.splits import Split, sequential
from pixelvae.evaluation.bounds import default_batch_size
from pixelvae.models import PixelVAE

ACTIVE_VARIANCE = 0.01  # Burda et al. 2015, section 5.2


@torch.inference_mode()
def posterior_means(model: PixelVAE, split: Split, *, batch_size: int | None = None, device: torch.device) -> Tensor:
    """E_q[h] of every example of a split, in order. -> (N, D) on the CPU."""
    means = []
    for key in sequential(split, default_batch_size(split) if batch_size is None else batch_size):
        x, y = (tensor.to(device) for tensor in split[key])
        means.append(model.encoder(x, y).mean.cpu())
    return torch.cat(means)


def active_units(means: Tensor) -> Tensor:
    """Which latents move with x: Var_x(E_q[h_u]) > 0.01. (N, D) posterior means -> (D,) booleans.

    Reference:
        Importance Weighted Autoencoders (Burda et al., 2015), section 5.2. https://arxiv.org/abs/1509.00519
    """
    return means.var(0) > ACTIVE_VARIANCE
