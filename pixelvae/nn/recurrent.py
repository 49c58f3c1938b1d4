"""The two LSTM layers of PixelRNN: over rows, and over diagonals in two directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pixelvae.nn.causal import CausalConv2d, Pointwise, shift_down
from pixelvae.nn.masked import order
from pixelvae.nn.skew import skew, unskew


def lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    r"""One step of an LSTM, from the sums before its gates.

    .. math:: c' = \sigma(a_f) \odot c + \sigma(a_i) \odot \tanh(a_g), \qquad h = \sigma(a_o) \odot \tanh(c')

    Where all sums and the cell are zero, h and c' are zero too. So the padding stays zero.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), eq. 3. https://arxiv.org/abs/1601.06759

    Shape:
        gates: (..., 4h) in the paper's order o, f, i, g; cell: (..., h).  Returns h and c', (..., h) each.

    Example:
        >>> lstm(torch.tensor([0.0, 100.0, 0.0, 0.0]), torch.tensor([1.0]))
        (tensor([0.3808]), tensor([1.]))
    """
    o, f, i, g = gates.chunk(4, dim=-1)
    cell = f.sigmoid() * cell + i.sigmoid() * _tanh(g)
    return o.sigmoid() * _tanh(cell), cell


def _tanh(a: Tensor) -> Tensor:
    return 2 * (2 * a).sigmoid() - 1  # equal to rounding, faster on a CPU


class StateToState(nn.Module):
    r"""The recurrence: a convolution of the line before, added to the input-to-state sums of this one.

    .. math:: [o_t, f_t, i_t, g_t] = K^{ss} \circledast h_{t-1} + (K^{is} \circledast x)_t

    A line is a row or a diagonal. The taps of the convolution begin ``before`` places to the left of the current
    one. Several recurrences (the two directions) run in parallel, each with its own weight.

    Args:
        channels: h.
        taps: Width K of the convolution.
        before: Number of taps to the left of the current place.
        directions: Number D of recurrences.

    Shape:
        (D, N, T, B, 4h): T lines of N places.  Returns h of every place, (D, N, T, B, h).
    """

    def __init__(self, channels: int, taps: int, *, before: int, directions: int = 1) -> None:
        super().__init__()
        self.channels, self.taps, self.pad = channels, taps, (0, 0, 0, 0, before, taps - 1 - before)
        self.weight = nn.Parameter(torch.empty(directions, taps * channels, 4 * channels))
        nn.init.uniform_(self.weight, -((taps * channels) ** -0.5), (taps * channels) ** -0.5)

    def sums(self, h: Tensor) -> Tensor:
        """State-to-state sums of a line, from the states of the line before. (D, N, B, h) -> (D, N, B, 4h)."""
        padded, places = F.pad(h, self.pad), h.shape[1:3]
        seen = torch.cat([padded[:, k : k + places[0]] for k in range(self.taps)], dim=-1)  # (D, N, B, K·h)
        return torch.bmm(seen.flatten(1, 2), self.weight).unflatten(1, places)

    def forward(self, gates: Tensor) -> Tensor:
        """(D, N, T, B, 4h) -> (D, N, T, B, h)."""
        if torch.compiler.is_compiling():  # torch.compile would unroll the loop, for hours
            return torch.compiler.disable(self._recur)(gates)  # not a decorator: it imports torch._dynamo, a second
        return self._recur(gates)

    def _recur(self, gates: Tensor) -> Tensor:
        gates = gates if gates.dtype == torch.float64 else gates.float()  # the cell's sums stay in float32
        lines, states = gates.unbind(2), []
        h = cell = torch.zeros_like(lines[0][..., : self.channels])
        for line in lines:
            h, cell = lstm(line + self.sums(h), cell)
            states.append(h)
        return torch.stack(states, dim=2)


class RowLSTMLayer(nn.Module):
    r"""An LSTM over the rows; each place reads the states of k places of the row above.

    .. math::
        [o_i, f_i, i_i, g_i] = K^{ss} \circledast h_{i-1} + K^{is} \circledast x_i + V^\top c, \qquad y = x + W h

    K^ss and K^is are 1-D convolutions along the row; K^is has mask B. The 1x1 convolution W has 2h outputs.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), sections 3.1 and 3.3, eq. 3.
        https://arxiv.org/abs/1601.06759

    Args:
        channels: h, the width of the LSTM.
        kernel_size: Odd size k of both convolutions.
        groups: Number of ordered groups of channels: C where the network orders the colours, else 1.

    Attributes:
        context_width: Width of the context's bias.

    Shape:
        x: (B, 2h, H, W); context: broadcastable to (B, 4h, H, W).  Returns (B, 2h, H, W).
    """

    def __init__(self, channels: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.context_width = 4 * channels
        mask = order(channels, 2 * channels, groups, gates=4)
        self.input_to_state = CausalConv2d(2 * channels, 4 * channels, 1, kernel_size // 2 + 1, current_mask=mask)
        self.state_to_state = StateToState(channels, kernel_size, before=kernel_size // 2)
        self.expand = Pointwise(channels, 2 * channels, order(2 * channels, channels, groups))

    def forward(self, x: Tensor, context: Tensor | float) -> Tensor:
        """(B, 2h, H, W) -> same."""
        gates = self.input_to_state(x) + context  # (B, 4h, H, W)
        states = self.state_to_state(rearrange(gates, "b g h w -> 1 w h b g"))
        return x + self.expand(rearrange(states, "1 w h b c -> b c h w"))


class DiagonalBiLSTMLayer(nn.Module):
    r"""Two LSTMs over the diagonals, from the upper left and from the upper right.

    .. math::
        [o_{ij}, f_{ij}, i_{ij}, g_{ij}] = K^{ss} [h_{i-1,j}, h_{i,j-1}] + K^{is} x_{ij} + V^\top c, \qquad
        y_{ij} = x_{ij} + W (h^{left}_{ij} + h^{right}_{i-1,j})

    The left one covers everything above and to the left. The right one, its mirror image, covers everything above
    and to the right; it is shifted down by one row, as later pixels lie to the right in the current row.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), sections 3.2 and 3.3, figure 3.
        https://arxiv.org/abs/1601.06759

    Args:
        channels: h, the width of each LSTM.
        groups: Number of ordered groups of channels: C where the network orders the colours, else 1.

    Attributes:
        context_width: Width of the context's bias.

    Shape:
        x: (B, 2h, H, W); context: broadcastable to (B, 8h, H, W).  Returns (B, 2h, H, W).
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.context_width = 8 * channels
        self.input_to_state = Pointwise(2 * channels, 8 * channels, order(channels, 2 * channels, groups, gates=8))
        self.state_to_state = StateToState(channels, 2, before=1, directions=2)  # the taps: above, beside
        self.expand = Pointwise(channels, 2 * channels, order(2 * channels, channels, groups))

    def forward(self, x: Tensor, context: Tensor | float) -> Tensor:
        """(B, 2h, H, W) -> same."""
        left, right = rearrange(self.input_to_state(x) + context, "b (d g) h w -> d h w b g", d=2)
        diagonals = skew(torch.stack([left, right.flip(1)]))  # (2, H, T, B, 4h)
        left, right = rearrange(unskew(self.state_to_state(diagonals)), "d h w b c -> d b c h w")
        return x + self.expand(left + shift_down(right.flip(-1)))  # (B, h, H, W) each
