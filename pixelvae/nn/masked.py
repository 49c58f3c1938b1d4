"""The masked convolution and the residual block of PixelCNN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.nn.causal import Pointwise, channel_mask


class MaskedConv2d(nn.Conv2d):
    r"""A k x k convolution over the pixels before the current one in raster order, and over some of its channels.

    .. math:: y = (M \odot W) * x + b

    The mask multiplies the weight in the forward pass, so masked entries get no gradient.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), section 3.4. https://arxiv.org/abs/1601.06759
        Differs from the paper in: the kernel ends with the current row.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd size k.
        current: (out_channels, in_channels), the mask of the current pixel: of ``channel_mask``, ``strict=True`` is
            the paper's mask A, ``strict=False`` its mask B.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W).
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, current: Tensor) -> None:
        half = kernel_size // 2
        super().__init__(in_channels, out_channels, (half + 1, kernel_size))
        self.pad = (half, half, half, 0)
        mask = torch.ones_like(self.weight)
        mask[:, :, -1, half] = current
        mask[:, :, -1, half + 1 :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def causal_weight(self) -> Tensor:
        """The weight times the mask."""
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self._conv_forward(F.pad(x, self.pad), self.causal_weight(), self.bias)


class MaskedBlock(nn.Module):
    r"""The residual block of PixelCNN: 1x1 from 2h to h features, k x k, 1x1 back to 2h.

    .. math:: y = x + W_3\, r\big(W_2 * r(W_1 r(x)) + V^\top c\big), \qquad r = \max(0, \cdot)

    All three convolutions have mask B. With k = 1 the block is pointwise.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), figure 5 left. https://arxiv.org/abs/1601.06759

    Args:
        channels: h.
        kernel_size: Odd size k.
        groups: Number of ordered groups of channels: C where the network orders the colours, else 1.

    Attributes:
        context_width: Width of the context's bias.

    Shape:
        x: (B, 2h, H, W); context: broadcastable to (B, h, H, W).  Returns (B, 2h, H, W).
    """

    def __init__(self, channels: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.context_width = channels
        self.reduce = Pointwise(2 * channels, channels, order(channels, 2 * channels, groups))
        self.conv = MaskedConv2d(
            channels, channels, kernel_size, channel_mask(channels, channels, groups, strict=False)
        )
        self.expand = Pointwise(channels, 2 * channels, order(2 * channels, channels, groups))

    def forward(self, x: Tensor, context: Tensor | float) -> Tensor:
        """(B, 2h, H, W) -> same."""
        reduced = F.relu(self.reduce(F.relu(x)))  # (B, h, H, W)
        return x + self.expand(F.relu(self.conv(reduced) + context))


def order(out_channels: int, in_channels: int, groups: int, *, gates: int = 1) -> Tensor | None:
    """Mask B of one pixel, repeated for ``gates`` blocks of output channels; None for one group.

    Shape:
        Returns (gates * out_channels, in_channels).
    """
    if groups == 1:
        return None
    return channel_mask(out_channels, in_channels, groups, strict=False).repeat(gates, 1)
