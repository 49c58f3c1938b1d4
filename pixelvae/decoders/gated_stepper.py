"""GatedPixelCNN one pixel at a time in plain PyTorch: nothing is computed twice, on any device."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelvae.decoders.base import Stepper
from pixelvae.nn.gated import gate

if TYPE_CHECKING:
    from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
    from pixelvae.nn.causal import Pointwise


class Matrices(NamedTuple):
    r"""The weights of a GatedPixelCNN as matrices (inputs, outputs) for row vectors of features.

    The residual stream h is kept without the biases b of its 1x1 convolutions, so that a layer adds to it by one
    product. What layer l misses, :math:`\beta_l = \sum_{m<l} b_m`, is constant: the bias of its gates holds what
    it contributes, and left of the image, where h is 0, the stream shows :math:`-\beta_l`.

    Shape, for L layers of p channels, c = C in the first layer and p in the others:
        vertical: L of (columns, rows·c, 2p).  to_horizontal: L of (2p, 2p).
        horizontal: L of (taps·c, 2p); the last tap is the pixel itself, whose earlier colours layer 0 sees.
        out: L - 1 of (p, p).  padding: L of (c,), −β.  skips: (L·p, head_channels).
        head: (head_channels, P).  head_bias: (P,).
        bias: (S,) and context: (D, S), of all gates and the head's hidden layer: v, h, v, h, ..., head.
    """

    vertical: list[Tensor]
    to_horizontal: list[Tensor]
    horizontal: list[Tensor]
    out: list[Tensor]
    padding: list[Tensor]
    skips: Tensor
    head: Tensor
    head_bias: Tensor
    bias: Tensor
    context: Tensor | None

    def row_bias(self, context: Tensor | None, row: int) -> Tensor:
        """Bias + Vᵀ context of a row of pixels. context: (B, D), (B, D, H, W) or None -> (B or 1, W or 1, S)."""
        if self.context is None or context is None:
            return self.bias[None, None]
        here = context[:, None] if context.ndim == 2 else context[:, :, row].mT  # (B, W or 1, D)
        return self.bias + here @ self.context


@torch.no_grad()
def matrices(decoder: GatedPixelCNN) -> Matrices:
    """The weights as they are now."""
    layers = [*decoder.layers]
    taps = [layer.horizontal.causal_weight()[:, :, 0].permute(2, 1, 0) for layer in layers]  # (taps, c, 2p)
    h_bias = [layer.horizontal.bias for layer in layers]
    current = taps[0].new_zeros(1, *taps[0].shape[1:])
    if decoder.current is not None:
        current = decoder.current.causal_weight()[:, :, 0].permute(2, 1, 0)
        h_bias[0] = h_bias[0] + decoder.current.bias
    taps[0] = torch.cat([taps[0], current])
    out = [layer.out for layer in layers[:-1]]
    beta = list(accumulate((conv.bias for conv in out), initial=torch.zeros_like(h_bias[0][: decoder.channels])))
    for i in range(1, len(layers)):
        h_bias[i] = h_bias[i] + beta[i] @ taps[i].sum(0)
    gate_bias = [b for layer, h in zip(layers, h_bias, strict=True) for b in (layer.vertical.bias, h)]
    return Matrices(
        vertical=[layer.vertical.causal_weight().permute(3, 2, 1, 0).flatten(1, 2).contiguous() for layer in layers],
        to_horizontal=[matrix(layer.vertical_to_horizontal) for layer in layers],
        horizontal=[tap.flatten(0, 1).contiguous() for tap in taps],
        out=[matrix(conv) for conv in out],
        padding=[taps[0].new_zeros(decoder.spec.channels), *(-b for b in beta[1:])],
        skips=matrix(decoder.skips),
        head=matrix(decoder.head),
        head_bias=decoder.head.bias.clone(),
        bias=torch.cat([*gate_bias, decoder.skips.bias]),
        context=decoder.context_projection.weight.mT.contiguous() if decoder.context_dim else None,
    )


def matrix(conv: Pointwise) -> Tensor:
    """A 1x1 convolution for row vectors of features. -> (in_channels, out_channels)."""
    return conv.causal_weight()[:, :, 0, 0].mT.clone(memory_format=torch.contiguous_format)


def with_sigmoids(m: Matrices) -> Matrices:
    r"""The same network, if a horizontal gate's output is the pair (σ(f)σ(g), σ(g)) of what enters it.

    .. math:: \tanh(f)\,\sigma(g) = 2\,\sigma(2f)\,\sigma(g) - \sigma(g)

    All that is done to a gate's output is a product, so the numbers move into the matrices, and a gate costs two
    operations instead of three. out: L - 1 of (2p, p).  skips: (L·2p, head_channels).
    """
    p = len(m.skips) // len(m.vertical)
    double = m.bias.new_tensor([2.0, 1.0]).repeat_interleave(p)
    bias_double = torch.cat([torch.ones_like(double), double]).repeat(len(m.vertical))
    bias_double = F.pad(bias_double, (0, len(m.head)), value=1.0)
    return m._replace(
        to_horizontal=[weight * double for weight in m.to_horizontal],
        horizontal=[weight * double for weight in m.horizontal],
        out=[torch.cat([2 * weight, -weight]) for weight in m.out],
        skips=torch.cat([part for weight in m.skips.split(p) for part in (2 * weight, -weight)]),
        bias=m.bias * bias_double,
        context=None if m.context is None else m.context * bias_double,
    )


class Step(NamedTuple):
    """What one layer reads and writes at one column of the image: views of the stepper's buffers."""

    base: Tensor  # (B, 2p) what the vertical stack and the context say to the horizontal gates
    taps: Tensor  # (B, taps·c) the last pixels of h, this one included
    weight: Tensor  # (taps·c, 2p)
    y: Tensor  # (B, 2p) the gates, before and after
    f: Tensor  # (B, p) its halves
    g: Tensor  # (B, p)
    h: Tensor  # (B or 1, p) this pixel of h
    out: Tensor | None  # (2p, p), None in the last layer
    h_next: Tensor | None  # (B, p) this pixel of the next layer's h


class EagerStepper(Stepper):
    r"""Keeps, per layer, the last rows of the vertical stack and one row of the horizontal stack.

    The vertical stack sees only rows above. So it is computed a row at a time for the whole width, together with
    all that it and the context say to the horizontal stack, and a pixel takes two products and a gate per layer.
    Memory is O(B · width · layers), whatever the height.

    Args:
        decoder: Its weights are packed as they are now.
        context: (B, D), (B, D, H, W) or None.
        batch_size: B.
    """

    @torch.inference_mode(False)  # so that the buffers can be written in any mode
    @torch.no_grad()
    def __init__(self, decoder: GatedPixelCNN, context: Tensor | None, batch_size: int) -> None:
        self.matrices = m = with_sigmoids(matrices(decoder))
        self.context = None if context is None else context.detach()
        self.channel_masked, self.scale = decoder.channel_masked, 2 / (decoder.spec.levels - 1)
        self.height, self.width = decoder.spec.sites
        self.row, self.column = 0, 0
        B, layers = batch_size, len(m.vertical)
        self.minus_one = m.head.new_full((1,), -1)
        self.ys = m.head.new_zeros(B, len(m.skips))
        self.base = m.head.new_zeros(layers, self.width, B, len(m.skips) // layers)
        self.v = [
            m.head.new_zeros(self.width + len(weight) - 1, B, weight.shape[1] // len(padding), len(padding))
            for weight, padding in zip(m.vertical, m.padding, strict=True)
        ]
        self.h = [
            padding.repeat(B, len(weight) // len(padding) - 1 + self.width, 1)
            for weight, padding in zip(m.horizontal, m.padding, strict=True)
        ]
        self.x = self.h[0][:, -self.width :]  # (B, W, C) the image's current row
        self.x_sites = self.x.unbind(1)
        self.steps = [self._steps(column) for column in range(self.width)]
        self._begin_row()

    def _steps(self, column: int) -> list[Step]:
        m = self.matrices
        ys = self.ys.chunk(len(self.h), dim=1)
        windows = [h[:, column : h.shape[1] - self.width + 1 + column] for h in self.h]  # L of (B, taps, c)
        here = [m.head.new_zeros(1, ys[0].shape[1] // 2)] + [window[:, -1] for window in windows[1:]]
        return [
            Step(
                base=self.base[i, column],
                taps=windows[i].flatten(1),
                weight=m.horizontal[i],
                y=y,
                f=y.chunk(2, dim=1)[0],
                g=y.chunk(2, dim=1)[1],
                h=here[i],  # zero in the first layer: the image itself is not added to h
                out=m.out[i] if i < len(m.out) else None,
                h_next=here[i + 1] if i < len(m.out) else None,
            )
            for i, y in enumerate(ys)
        ]

    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its channels known so far. (B, C) levels -> (B, P)."""
        if self.channel_masked:
            self._show(x_site)
        m = self.matrices
        for base, taps, weight, y, f, g, h, out, h_next in self.steps[self.column]:
            torch.addmm(base, taps, weight, out=y)
            y.sigmoid_()
            f.mul_(g)
            if out is not None:
                torch.addmm(h, y, out, out=h_next)
        hidden = torch.addmm(self.head_base[self.column % len(self.head_base)], self.ys, m.skips)
        return torch.addmm(m.head_bias, F.silu(hidden, inplace=True), m.head)

    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and move on to the next."""
        self._show(x_site)
        self.column += 1
        if self.column == self.width and self.row + 1 < self.height:
            self.row, self.column = self.row + 1, 0
            self._begin_row()

    def _show(self, x_site: Tensor) -> None:
        torch.add(self.minus_one, x_site, alpha=self.scale, out=self.x_sites[self.column])

    def _begin_row(self) -> None:
        """The vertical stack of the row that begins, from the rows above: v, and what it says to h."""
        m, width = self.matrices, self.width
        bias = m.row_bias(self.context, self.row).transpose(0, 1)  # (W or 1, B or 1, S)
        *gates, head = bias.split([self.base.shape[3]] * (2 * len(self.v)) + [len(m.head)], dim=2)
        self.head_base = head.unbind()
        newest = self.x.transpose(0, 1)  # the row above: zeros, then the image's
        for i, v in enumerate(self.v):
            margin = (len(v) - width) // 2
            v[:, :, :-1] = v[:, :, 1:].clone()
            v[margin : margin + width, :, -1] = newest
            sums = gates[2 * i].expand_as(self.base[i]).flatten(0, 1).clone()  # (W·B, 2p)
            for offset, weight in enumerate(m.vertical[i]):
                sums.addmm_(v[offset : offset + width].view(len(sums), -1), weight)
            self.base[i] = gates[2 * i + 1]
            self.base[i].flatten(0, 1).addmm_(sums, m.to_horizontal[i])
            newest = gate(sums).unflatten(0, (width, -1))
