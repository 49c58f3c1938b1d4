"""WaveNet one sample at a time in plain PyTorch: one ring buffer for each layer, nothing is computed twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.decoders.base import Stepper

if TYPE_CHECKING:
    from pixelvae.decoders.wavenet import WaveNet


class Matrices(NamedTuple):
    """The weights of a WaveNet as matrices (inputs, outputs) for row vectors of features.

    Shape, for L layers of p channels:
        embedding: (K, p).  taps: L of (2p, 2p), for [h_{t−d}, h_t].  bias: (L·2p,), of all gates.
        out: L − 1 of (p, p).  skips: (L·p, head_channels).  skips_bias: (head_channels,), and so on.
        context: (D, L·2p).
    """

    embedding: Tensor
    taps: list[Tensor]
    bias: Tensor
    out: list[Tensor]
    skips: Tensor
    skips_bias: Tensor
    hidden: Tensor
    hidden_bias: Tensor
    head: Tensor
    head_bias: Tensor
    context: Tensor | None


@torch.no_grad()
def matrices(decoder: WaveNet) -> Matrices:
    """The weights as they are now."""
    layers = [*decoder.layers]
    return Matrices(
        embedding=decoder.embedding.weight.clone(),
        taps=[matrix(layer.taps) for layer in layers],
        bias=torch.cat([layer.taps.bias for layer in layers]),
        out=[matrix(layer.out) for layer in layers[:-1]],
        skips=matrix(decoder.skips),
        skips_bias=decoder.skips.bias.clone(),
        hidden=matrix(decoder.hidden),
        hidden_bias=decoder.hidden.bias.clone(),
        head=matrix(decoder.head),
        head_bias=decoder.head.bias.clone(),
        context=decoder.context_projection.weight.mT.contiguous() if decoder.context_dim else None,
    )


def matrix(conv: nn.Conv1d) -> Tensor:
    """A 1x1 convolution for row vectors of features. -> (in_channels, out_channels)."""
    return conv.weight[:, :, 0].mT.contiguous()


class Turn(NamedTuple):
    """What one layer reads and writes at one time: views of its ring buffer."""

    both: Tensor  # (B, 2p) h_{t−d} and h_t, in the order of the weight
    now: Tensor  # (B, p) h_t
    weight: Tensor  # (2p, 2p)


class EagerStepper(Stepper):
    r"""Keeps, per layer of dilation d, the last d values of its input h in a ring of d places.

    A place holds h_{t−d} beside h_t, side by side as one product wants them, and h_t stays where it is: when the
    ring comes round, at t + d, it is the past, and the other half of the place is overwritten. So nothing is ever
    moved; the weight's two halves change places instead. A site costs two products and a gate per layer, whatever
    the receptive field. Memory is O(B · channels · receptive field), whatever the length.

    Args:
        decoder: Its weights are packed as they are now.
        context: (B, D), (B, D, T) or None.
        batch_size: B.
    """

    @torch.inference_mode(False)  # so that the buffers can be written in any mode
    @torch.no_grad()
    def __init__(self, decoder: WaveNet, context: Tensor | None, batch_size: int) -> None:
        self.matrices = m = matrices(decoder)
        p, B, self.time = decoder.channels, batch_size, 0
        self.sums = m.bias.new_zeros(B, 2 * p)
        self.ys = m.bias.new_zeros(B, len(m.taps) * p)
        self.bias = m.bias.repeat(B, 1)  # (B, L·2p), and with a context Vᵀ c on top
        self.map: Tensor | None = None
        if m.context is not None and context is not None:
            if context.ndim == 2:
                self.bias += context.detach() @ m.context
            else:
                self.map = context.detach().permute(2, 0, 1).contiguous()  # (T, B, D)
        self.layer_bias = self.bias.split(2 * p, dim=1)
        self.layer_y = self.ys.split(p, dim=1)
        self.rings = [_ring(dilation, weight, B) for dilation, weight in zip(decoder.dilations, m.taps, strict=True)]

    @torch.no_grad()
    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, of which no channel matters. (B, 1) levels -> (B, P)."""
        m, sums = self.matrices, self.sums
        if self.map is not None and m.context is not None:
            torch.addmm(m.bias, self.map[self.time], m.context, out=self.bias)
        turns = [ring[self.time % len(ring)] for ring in self.rings]
        f, g = sums.chunk(2, dim=1)
        for i, turn in enumerate(turns):
            torch.addmm(self.layer_bias[i], turn.both, turn.weight, out=sums)
            torch.mul(f.tanh_(), g.sigmoid_(), out=self.layer_y[i])
            if i < len(m.out):
                torch.addmm(turn.now, self.layer_y[i], m.out[i], out=turns[i + 1].now)
        skips = F.silu(torch.addmm(m.skips_bias, self.ys, m.skips), inplace=True)
        hidden = F.silu(torch.addmm(m.hidden_bias, skips, m.hidden), inplace=True)
        return torch.addmm(m.head_bias, hidden, m.head)

    @torch.no_grad()
    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, 1) levels and move on to the next."""
        self.time += 1
        first = self.rings[0]
        first[self.time % len(first)].now.copy_(F.embedding(x_site[:, 0], self.matrices.embedding))


def _ring(dilation: int, weight: Tensor, batch_size: int) -> list[Turn]:
    """Two rounds of a ring of so many places, after which all repeats. Before the first sample h is 0."""
    p = len(weight) // 2
    places = weight.new_zeros(dilation, batch_size, 2 * p).unbind()
    swapped = weight.roll(p, 0)  # for [h_t, h_{t−d}]
    first = [Turn(place, place[:, p:], weight) for place in places]
    return first + [Turn(place, place[:, :p], swapped) for place in places]
