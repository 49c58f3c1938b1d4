"""The base of PixelCNN, Row LSTM and Diagonal BiLSTM, which differ in their residual layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec
from pixelvae.decoders.base import AutoregressiveDecoder
from pixelvae.nn.causal import Pointwise, channel_mask, matrix
from pixelvae.nn.conditioning import ContextProjection
from pixelvae.nn.masked import MaskedBlock, MaskedConv2d, order
from pixelvae.nn.recurrent import DiagonalBiLSTMLayer, RowLSTMLayer
from pixelvae.ranges import MAX_LAYERS, require_count, require_odd, require_one_of
from pixelvae.sampling.plan import Activation, Draft, Plan, Ref, Source, taps

ResidualLayer = MaskedBlock | RowLSTMLayer | DiagonalBiLSTMLayer


class ResidualDecoder(AutoregressiveDecoder, ABC):
    r"""A masked convolution with mask A, residual layers of 2h features, and two 1x1 convolutions with mask B.

    .. math:: \mathrm{params} = W_2\, r(W_1\, r(f_L) + V^\top c), \qquad f_0 = (M_A \odot W_0) * x + V^\top c

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), table 1. https://arxiv.org/abs/1601.06759
        Differs from the paper in: a context c enters the first layer, every residual layer and the output layer
        as a bias, as in the Gated PixelCNN.

    Args:
        spec: Shape and number of levels of the data, (C, H, W).
        num_params: Likelihood parameters P per site.
        context_dim: Width D of the context, 0 for none.
        make_layer: Makes a residual layer, given the number of ordered groups of channels. It has a
            ``context_width`` and maps (features, context) to features.
        num_layers: Number of residual layers, at least 1.
        channels: h; the layers have 2h features.
        first_kernel_size: Odd size of the first convolution.
        head_channels: Width of the output layer.
        channel_masked: Whether the network orders the colour channels.

    Attributes:
        columns_beyond: Number of columns that the layers need to the right of the image; 0 or 1.

    Raises:
        ValueError: If the first kernel's size is even, there are no layers, the data are not images, or channels
            cannot be split among the colours.
    """

    columns_beyond: int = 0

    def __init__(
        self,
        spec: DataSpec,
        num_params: int,
        context_dim: int,
        make_layer: Callable[[int], ResidualLayer],
        *,
        num_layers: int,
        channels: int,
        first_kernel_size: int,
        head_channels: int,
        channel_masked: bool,
    ) -> None:
        super().__init__(spec, num_params, context_dim)
        if len(spec.shape) != 3:
            raise ValueError(f"data shape {spec.shape} is not an image (C, H, W); use an audio decoder")
        require_odd("first_kernel_size", first_kernel_size, least=3)
        require_count("num_layers", num_layers, most=MAX_LAYERS)
        require_count("channels", channels)
        require_count("head_channels", head_channels)
        require_one_of("channel_masked", channel_masked, (True, False))
        self.channel_masked = channel_masked and spec.channels > 1
        groups = spec.channels if self.channel_masked else 1
        self.first_kernel_size = first_kernel_size
        unseen = channel_mask(2 * channels, spec.channels, groups, strict=True)
        self.first = MaskedConv2d(spec.channels, 2 * channels, first_kernel_size, unseen)
        layers = [make_layer(groups) for _ in range(num_layers)]
        self.layers = nn.ModuleList(layers)
        self.hidden = Pointwise(2 * channels, head_channels, order(head_channels, 2 * channels, groups))
        self.head = Pointwise(head_channels, num_params, order(num_params, head_channels, groups))
        self.context_widths = [2 * channels, *(layer.context_width for layer in layers), head_channels]
        if context_dim:
            self.context_projection = ContextProjection(context_dim, self.context_widths)

    def context_biases(self, context: Tensor | None) -> list[Tensor] | list[float]:
        """Vᵀ c of the first layer, every residual layer and the output layer: (B, width, 1, 1) or (B, width, H, W)."""
        self.check_context(context)
        if context is None:
            return [0.0] * len(self.context_widths)
        return self.context_projection(self.widened(context))

    def widened(self, context: Tensor) -> Tensor:
        """A map with its last column repeated in the columns beyond the image; a vector as it is."""
        if context.ndim == 2:
            return context
        return F.pad(context, (0, self.columns_beyond, 0, 0), mode="replicate")

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """All conditionals at once. (B, C, H, W) integers -> (B, P, H, W)."""
        first, *biases, head = self.context_biases(context)
        features = self.first(F.pad(self.signal(x), (0, self.columns_beyond))) + first  # (B, 2h, H, W + beyond)
        for layer, bias in zip(self.layers, biases, strict=True):
            features = layer(features, bias)
        params = self.head(F.relu(self.hidden(F.relu(features)) + head))
        return params[..., : x.shape[-1]]

    def plan(self) -> Plan:
        """The sums over the rows above a row at a time, the rest a pixel at a time."""
        levels = self.signal(torch.arange(self.spec.levels, device=self.head.weight.device))[:, None]
        draft = Draft(
            self.spec.shape,
            levels,
            context_dim=self.context_dim,
            channel_masked=self.channel_masked,
            columns_beyond=self.columns_beyond,
        )
        first, *contexts, head = self.context_matrices()
        features = masked_product(draft, draft.x, self.first, first, own=self.channel_masked)
        for layer, context in zip(self.layers, contexts, strict=True):
            features = self.plan_layer(draft, layer, features, context)
        features = draft.site(add=features, size=self.hidden.in_channels, act="relu")
        hidden = draft.site([Source(features, matrix(self.hidden))], bias=self.hidden.bias, context=head, act="relu")
        params = draft.site([Source(hidden, matrix(self.head))], bias=self.head.bias)
        return draft.finish(params, self.num_params)

    @abstractmethod
    def plan_layer(self, draft: Draft, layer: nn.Module, features: Ref, context: Tensor | None) -> Ref:
        """The products of one residual layer. context: V, (D, layer.context_width) -> the place of its features."""

    def context_matrices(self) -> list[Tensor] | list[None]:
        """V of the first layer, every residual layer and the output layer, (D, width) each; None without a context."""
        if not self.context_dim:
            return [None] * len(self.context_widths)
        return list(self.context_projection.weight.mT.split(self.context_widths, dim=1))


def masked_product(
    draft: Draft, features: Ref, conv: MaskedConv2d, context: Tensor | None, *, own: bool, act: Activation = "none"
) -> Ref:
    """A masked convolution: the rows above once a row, then the pixels to the left, and the current one if ``own``."""
    half, weight = conv.pad[0], conv.causal_weight()
    left = taps(features.at(dx=0 if own else -1), weight[:, :, -1:, : half + own])
    if half == 0:
        return draft.site(left, bias=conv.bias, context=context, act=act)
    above = taps(features.at(dy=1, dx=half), weight[:, :, :-1])
    return draft.site(left, add=draft.row(above, bias=conv.bias, context=context), act=act)
