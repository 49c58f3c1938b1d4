"""Bits of every pixel: high where the model assigns a low probability."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pixelvae.context import of_batch
from pixelvae.models.base import GenerativeModel
from pixelvae.walk import log_probs


@torch.inference_mode()
def surprise(model: GenerativeModel, x: Tensor, y: Tensor | None = None) -> Tensor:
    r"""Bits of every site, summed over its channels; h is the mean of the posterior.

    .. math:: -\sum_c \log_2 p(x_{t,c} \mid x_{<t},\, x_{t,<c},\, E_{q(h|x)}[h])

    Args:
        model: On any device.
        x: (B, C, *S) levels.
        y: (B, L) labels of a class-conditional model.

    Shape:
        Returns (B, *S).

    Example:
        >>> from functools import partial
        >>> from pixelvae import AutoregressiveModel, DataSpec, Factorised
        >>> model = AutoregressiveModel.default(DataSpec((1, 8, 8), levels=4), decoder=partial(Factorised))
        >>> surprise(model, torch.zeros(5, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([5, 8, 8])
    """
    labels = y if model.spec.num_classes else None
    h = model.posterior(x, labels).mean if model.has_latents else None
    context = of_batch(model.context(h, labels), len(x))
    return -log_probs(model.decoder, model.likelihood, context, x).sum(1) / math.log(2)
