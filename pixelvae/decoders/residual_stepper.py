"""A ResidualDecoder one pixel at a time in plain PyTorch: nothing is computed twice, on any device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelvae.decoders.base import Stepper
from pixelvae.nn.causal import CausalConv2d, Pointwise
from pixelvae.nn.masked import MaskedBlock, MaskedConv2d

if TYPE_CHECKING:
    from pixelvae.decoders.residual import ResidualDecoder


class LayersStepper(ABC):
    """The residual layers of one walk. A row begins with ``start_row``; then its pixels come from left to right.

    A pixel may come several times, as more of its channels are known. What a row leaves behind is O(width).
    """

    @abstractmethod
    def start_row(self, contexts: Sequence[Tensor]) -> None:
        """Take leave of the last row, if there is one. contexts: Vᵀ c of each layer, (W or 1, B or 1, width)."""

    @abstractmethod
    def pixel(self, features: Tensor, column: int) -> Tensor:
        """Features of the current pixel before all layers -> after them. (B, 2h) -> (B, 2h)."""


class ConvStepper:
    """A causal convolution: what the rows above say once a row, what this row says pixel by pixel.

    Args:
        conv: Its weight is packed as it is now.
        batch_size: B.
        width: W.
    """

    def __init__(self, conv: MaskedConv2d | CausalConv2d, batch_size: int, width: int) -> None:
        assert conv.bias is not None
        weight, self.bias = conv.causal_weight(), conv.bias  # (out, in, rows, columns)
        left, right, above, _ = conv.pad
        self.taps = weight[:, :, -1, : left + 1].permute(2, 1, 0).flatten(0, 1).contiguous()  # (taps·in, out)
        self.above = weight[:, :, :-1] if above else None
        self.seen = weight.new_zeros(batch_size, above + 1, left + width + right, weight.shape[1])
        self.num_taps, self.width = left + 1, width

    def start_row(self, context: Tensor) -> None:
        """Forget the oldest row and begin a new one. context: (W or 1, B or 1, out), added to every pixel."""
        self.seen[:, :-1] = self.seen[:, 1:].clone()
        self.seen[:, -1] = 0
        base = context + self.bias
        if self.above is not None:
            rows = self.seen[:, :-1].permute(0, 3, 1, 2)  # (B, in, rows, columns)
            base = base + F.conv2d(rows, self.above)[:, :, 0].permute(2, 0, 1)
        self.base = base.expand(self.width, len(self.seen), -1)  # (W, B, out)

    def write(self, features: Tensor, column: int) -> None:
        """What the pixels to come will see of this one. (B, in)."""
        self.seen[:, -1, column + self.num_taps - 1] = features

    def pixel(self, features: Tensor, column: int) -> Tensor:
        """(B, in) of the current pixel -> (B, out)."""
        self.write(features, column)
        taps = self.seen[:, -1, column : column + self.num_taps].flatten(1)
        return torch.addmm(self.base[column], taps, self.taps)


class PointwiseStepper:
    """A 1x1 convolution of one pixel. (B, in) -> (B, out)."""

    def __init__(self, conv: Pointwise) -> None:
        assert conv.bias is not None
        self.weight, self.bias = conv.causal_weight()[:, :, 0, 0].mT.contiguous(), conv.bias

    def __call__(self, features: Tensor) -> Tensor:
        """(B, in) -> (B, out)."""
        return torch.addmm(self.bias, features, self.weight)


class MaskedBlocks(LayersStepper):
    """The residual blocks of a PixelCNN: keeps the last k // 2 rows of h features before every k x k convolution."""

    def __init__(self, blocks: Sequence[MaskedBlock], batch_size: int, width: int) -> None:
        self.blocks = [
            (PointwiseStepper(block.reduce), ConvStepper(block.conv, batch_size, width), PointwiseStepper(block.expand))
            for block in blocks
        ]

    def start_row(self, contexts: Sequence[Tensor]) -> None:
        """One convolution over the rows above for every block."""
        for (_, conv, _), context in zip(self.blocks, contexts, strict=True):
            conv.start_row(context)

    def pixel(self, features: Tensor, column: int) -> Tensor:
        """Three products for every block. (B, 2h) -> (B, 2h)."""
        for reduce, conv, expand in self.blocks:
            reduced = reduce(features.relu()).relu_()  # (B, h)
            features = features + expand(conv.pixel(reduced, column).relu_())
        return features


class ResidualStepper(Stepper):
    """The first convolution, the layers and the output of one pixel after the other. Memory is O(B · width · layers).

    Args:
        decoder: Its weights are packed as they are now.
        context: (B, D), (B, D, H, W) or None.
        batch_size: B.
    """

    @torch.inference_mode()
    def __init__(self, decoder: ResidualDecoder, context: Tensor | None, batch_size: int) -> None:
        self.decoder, self.batch_size = decoder, batch_size
        self.height, self.width = decoder.spec.sites
        self.wide = self.width + decoder.columns_beyond
        if context is not None:  # (B, D, H, W) or (B, D, 1, 1)
            context = context[:, :, None, None] if context.ndim == 2 else decoder.widened(context)
        self.context = context
        self.first = ConvStepper(decoder.first, batch_size, self.wide)
        self.layers = decoder.layers_stepper(batch_size)
        self.hidden, self.head = PointwiseStepper(decoder.hidden), PointwiseStepper(decoder.head)
        self.row = self.column = 0
        self._start_row()

    def _start_row(self) -> None:
        first, *layers, hidden = self._contexts()
        self.first.start_row(first)
        self.layers.start_row(layers)
        self.hidden_context = hidden.expand(self.wide, -1, -1)

    def _contexts(self) -> Sequence[Tensor]:
        """Vᵀ c of every layer in this row, (W or 1, B or 1, width) each."""
        widths = self.decoder.context_widths
        if self.context is None:
            return self.first.taps.new_zeros(1, 1, sum(widths)).split(widths, dim=2)
        here = self.context[:, :, min(self.row, self.context.shape[2] - 1)].permute(2, 0, 1)  # (W or 1, B, D)
        return (here @ self.decoder.context_projection.weight.mT).split(widths, dim=2)

    def _features(self, signal: Tensor) -> Tensor:
        """Of the current pixel after all layers. (B, C) -> (B, 2h)."""
        return self.layers.pixel(self.first.pixel(signal, self.column), self.column)

    @torch.inference_mode()
    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its channels known so far. (B, C) levels -> (B, P)."""
        features = self._features(self.decoder.signal(x_site))
        return self.head((self.hidden(features.relu()) + self.hidden_context[self.column]).relu_())

    @torch.inference_mode()
    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and move on to the next."""
        signal = self.decoder.signal(x_site)
        self.first.write(signal, self.column)
        self.column += 1
        if self.column < self.width:
            return
        while self.column < self.wide:
            self._features(torch.zeros_like(signal))
            self.column += 1
        self.row, self.column = self.row + 1, 0
        if self.row < self.height:
            self._start_row()
