"""One layer of WaveNet: a gated causal convolution of two distant taps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.nn.gated import gate


def delay(x: Tensor, steps: int) -> Tensor:
    """Shift the samples by ``steps``; the first ones are zero. (B, C, T) -> same.

    Example:
        >>> delay(torch.tensor([[[1.0, 2.0, 3.0]]]), 2)
        tensor([[[0., 0., 1.]]])
    """
    return F.pad(x, (steps, 0))[..., : x.shape[-1]]


class DilatedLayer(nn.Module):
    r"""A gated causal convolution of width 2 and dilation d, with a residual connection.

    .. math:: y_t = \mathrm{gate}(W [h_{t-d}, h_t] + b + V^\top c_t), \qquad h'_t = h_t + W_r\, y_t

    The two taps are one 1x1 convolution of [h_{t−d}, h_t]: equal to a dilated convolution, and a third faster on a
    CPU, forward and backward. W_r has no bias; the next layer's b replaces it.

    Reference:
        WaveNet: A Generative Model for Raw Audio (van den Oord et al., 2016), sections 2.1 to 2.5, figure 4.
        https://arxiv.org/abs/1609.03499

    Args:
        channels: p, of h and y.
        dilation: d, the distance of the two taps.
        last: Whether this is the last layer, which has the gate's output y and no h'.

    Shape:
        h: (B, p, T); context: broadcastable to (B, 2p, T).  Returns h' and y, each (B, p, T).
    """

    def __init__(self, channels: int, dilation: int, *, last: bool = False) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Conv1d(2 * channels, 2 * channels, 1)
        self.out = None if last else nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, h: Tensor, context: Tensor | float) -> tuple[Tensor, Tensor]:
        """h and the context of both gates -> h', y."""
        y = gate(self.taps(torch.cat([delay(h, self.dilation), h], dim=1)) + context)
        return h if self.out is None else h + self.out(y), y
