"""The gate, and the gated layer of two stacks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pixelvae.nn import fused_gated
from pixelvae.nn.causal import CausalConv2d, Pointwise
from pixelvae.nn.fused_gated import LayerContext, Projection


def gate(a: Tensor) -> Tensor:
    r"""The gated activation unit.

    .. math:: y = \tanh(a_f) \odot \sigma(a_g)

    tanh(a) is computed as 2σ(2a) − 1: equal to rounding, and several times faster on a CPU.

    Reference:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), eq. 2.
        https://arxiv.org/abs/1606.05328

    Shape:
        (B, 2p, ...), first the filter's p channels, then the gate's -> (B, p, ...).

    Example:
        >>> gate(torch.tensor([[1.0, 0.0]]))
        tensor([[0.3808]])
    """
    f, g = a.chunk(2, dim=1)
    return (2 * (2 * f).sigmoid() - 1) * g.sigmoid()


class GatedLayer(nn.Module):
    r"""One layer of the vertical and the horizontal stack.

    .. math::
        a_v = W_v * v + V_v^\top c, \quad v' = \mathrm{gate}(a_v); \qquad
        a_h = W_h * h + W_{vh} a_v + V_h^\top c, \quad h' = h + W_r\, \mathrm{gate}(a_h)

    The inputs are shifted once, before the first layer: v holds rows above, h the pixels to the left. So the
    kernels have causal shapes and no mask. Colour channels need one, at the current pixel of the horizontal stack.

    Args:
        in_channels: Channels of v and h at the input.
        channels: p, of v' and h'.
        rows: Rows of the vertical kernel.
        columns: Width of the vertical kernel, odd.
        taps: Width of the horizontal kernel.
        mask: (p, p) order of the colour channels, None for one channel.
        first: Whether this is the first layer; its h is the image and is not added to h'.
        last: Whether this is the last layer, which computes y alone.

    Attributes:
        fused: Whether bfloat16 training on the CPU runs in native code, :mod:`pixelvae.nn.fused_gated`.

    Shape:
        v, h: (B, in_channels, H, W); v_context, h_context: broadcastable to (B, 2p, H, W), or projections of maps.
        Returns v', h' and y = gate(a_h), each (B, p, H, W); y feeds the skip connection.
    """

    fused = False

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        rows: int,
        columns: int,
        taps: int,
        mask: Tensor | None,
        first: bool = False,
        last: bool = False,
    ) -> None:
        super().__init__()
        both = None if mask is None or first else torch.cat([mask, mask])  # filter's half, gate's half
        self.vertical = CausalConv2d(in_channels, 2 * channels, rows, columns, centred=True)
        self.horizontal = CausalConv2d(in_channels, 2 * channels, 1, taps, current_mask=both)
        self.vertical_to_horizontal = Pointwise(2 * channels, 2 * channels, bias=False)
        self.out = None if last else Pointwise(channels, channels, mask)
        self.first = first

    def forward(
        self, v: Tensor, h: Tensor, v_context: LayerContext, h_context: LayerContext
    ) -> tuple[Tensor, Tensor, Tensor]:
        """v, h and the contexts of both gates -> v', h', y."""
        learned = self.first and (
            v.requires_grad or h.requires_grad
        )  # the native code gives the first layer's input no gradient
        if fused_gated.runs(self) and fused_gated.takes(v_context, h_context) and not learned:
            return fused_gated.gated_layer(self, v, h, v_context, h_context)
        v_context = v_context.value() if isinstance(v_context, Projection) else v_context
        h_context = h_context.value() if isinstance(h_context, Projection) else h_context
        v_sum = self.vertical(v) + v_context  # (B, 2p, H, W)
        h_sum = self.horizontal(h) + self.vertical_to_horizontal(v_sum) + h_context
        y = gate(h_sum)  # (B, p, H, W)
        if self.out is None:
            return v, h, y
        return gate(v_sum), self.out(y) if self.first else h + self.out(y), y


def fuse(model: nn.Module) -> None:
    """Train the gated layers of suitable sizes in native code, given AVX-512 BF16 and a C++ compiler."""
    layers = [m for m in model.modules() if isinstance(m, GatedLayer) and fused_gated.fits(m)]
    if layers and fused_gated.library() is not None:
        for layer in layers:
            layer.fused = True
