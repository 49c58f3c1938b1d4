"""Causal layers: shifts and one-sided padding; masks only for the order of the colour channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def shift_down(x: Tensor) -> Tensor:
    """Shift the rows down by one; the first row is zero. (B, C, H, W) -> same."""
    return F.pad(x, (0, 0, 1, 0))[:, :, :-1]


def shift_right(x: Tensor) -> Tensor:
    """Shift the columns right by one; the first column is zero. (B, C, H, W) -> same."""
    return F.pad(x, (1, 0))[..., :-1]


class CausalConv2d(nn.Conv2d):
    """A convolution over the rows ``i-rows+1 .. i`` and the columns ``j-columns+1 .. j`` (or centred on j).

    The kernel has the causal shape, so it needs no mask. All padding lies before the site.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        rows: Height of the kernel; its last row is the current one.
        columns: Width of the kernel.
        centred: Whether the columns are centred on j, for the vertical stack; ``columns`` is then odd. Else the
            last column is the current one, for the horizontal stack.
        current_mask: (out_channels, in_channels), the order of the colour channels; it multiplies the weight of
            the current site's tap (the last one) in the forward pass. None for one channel.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W).
    """

    mask: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rows: int,
        columns: int,
        *,
        centred: bool = False,
        current_mask: Tensor | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, (rows, columns))
        half = columns // 2
        sides = (half, half) if centred else (columns - 1, 0)
        self.pad = (*sides, rows - 1, 0)
        mask = None
        if current_mask is not None:
            mask = torch.ones_like(self.weight)
            mask[:, :, -1, -1] = current_mask
        self.register_buffer("mask", mask, persistent=False)

    def causal_weight(self) -> Tensor:
        """The weight that is really applied: masked out of place, so masked entries get no gradient."""
        return self.weight if self.mask is None else self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self._conv_forward(F.pad(x, self.pad), self.causal_weight(), self.bias)


def channel_mask(out_channels: int, in_channels: int, groups: int, *, strict: bool) -> Tensor:
    """Mask of a site's own channels, which orders groups of channels (R, G, B).

    Groups are consecutive blocks of equal size. Group c depends on the groups < c if ``strict`` (mask A, for the input
    x), else on the groups <= c (mask B).

    Shape:
        Returns (out_channels, in_channels) of zeros and ones.

    Raises:
        ValueError: If a number of channels is not a multiple of ``groups``.
    """
    for name, channels in (("out_channels", out_channels), ("in_channels", in_channels)):
        if channels % groups:
            raise ValueError(
                f"{name}={channels} cannot be split among {groups} colour channels; choose a multiple of {groups}, "
                "or where the likelihood orders the colours set decoder.init_args.channel_masked: false"
            )
    to = torch.arange(out_channels) // (out_channels // groups)
    frm = torch.arange(in_channels) // (in_channels // groups)
    return (frm[None, :] < to[:, None] if strict else frm[None, :] <= to[:, None]).float()


class Pointwise(nn.Conv2d):
    """A 1x1 convolution that respects the order of the colour channels.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        mask: (out_channels, in_channels), multiplies the weight in the forward pass. None for no mask.
        bias: Whether to add a bias.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W).
    """

    mask: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, mask: Tensor | None = None, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)
        self.register_buffer("mask", None if mask is None else mask[:, :, None, None], persistent=False)

    def causal_weight(self) -> Tensor:
        """The weight that is really applied: masked out of place, so masked entries get no gradient."""
        return self.weight if self.mask is None else self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self._conv_forward(x, self.causal_weight(), self.bias)


def matrix(conv: Pointwise) -> Tensor:
    """The weight of a 1x1 convolution as a matrix for row vectors of features, (in_channels, out_channels)."""
    return conv.causal_weight()[:, :, 0, 0].mT
