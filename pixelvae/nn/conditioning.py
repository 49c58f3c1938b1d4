"""The projection of a context to the biases of all layers of a decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ContextProjection(nn.Module):
    r""":math:`V_l^\top c`, the biases of all layers l, in one product.

    Reference:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), eq. 4 and section 2.3.
        https://arxiv.org/abs/1606.05328

    Args:
        context_dim: Width D of the context.
        widths: Width of every layer's bias.

    Shape:
        (B, D) -> (B, width, 1, 1) for every width;  (B, D, H, W) -> (B, width, H, W).
    """

    def __init__(self, context_dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.weight = nn.Parameter(torch.empty(sum(widths), context_dim))
        nn.init.uniform_(self.weight, -(context_dim**-0.5), context_dim**-0.5)

    def forward(self, context: Tensor) -> list[Tensor]:
        """(B, D) or (B, D, H, W) -> one bias for each layer."""
        if context.ndim == 2:
            context = context[:, :, None, None]
        return list(F.conv2d(context, self.weight[:, :, None, None]).split(self.widths, dim=1))
