"""Gated PixelCNN, the default decoder of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec
from pixelvae.decoders.base import AutoregressiveDecoder
from pixelvae.nn.causal import Pointwise, channel_mask, matrix, shift_down, shift_right
from pixelvae.nn.fused_gated import LayerContext, Projection, runs
from pixelvae.nn.gated import GatedLayer
from pixelvae.ranges import MAX_LAYERS, require_count, require_odd, require_one_of
from pixelvae.sampling.plan import Draft, Plan, Source, taps


def limited(reaches: list[int], total: int | None) -> list[int]:
    """Reduce the reaches of the layers' kernels so that they sum to ``total``; the first layers keep theirs.

    Example:
        >>> limited([3, 1, 1, 1], 4)
        [3, 1, 0, 0]
    """
    left = sum(reaches) if total is None else total
    kept = []
    for reach in reaches:
        kept.append(min(reach, left))
        left -= kept[-1]
    return kept


class GatedPixelCNN(AutoregressiveDecoder):
    r"""Vertical and horizontal stacks of gated causal convolutions, without a blind spot.

    .. math:: y = \tanh(W_f * x + V_f^\top c) \odot \sigma(W_g * x + V_g^\top c)

    The context c enters both gates of every layer and the output layer, from one fused projection. It is a
    vector, broadcast over space (the paper's :math:`V^\top h`), or a map (its :math:`V * s`).

    Reference:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), eq. 2-4, figure 2.
        https://arxiv.org/abs/1606.05328
        Differs from the paper in: the stacks are shifted once, at the input, so no kernel is masked; every
        layer has a skip connection to the output.

    Args:
        spec: Shape and number of levels of the data, (C, H, W).
        num_params: Likelihood parameters P per site.
        context_dim: Width D of the context, 0 for none.
        num_layers: Number of gated layers, at least 1.
        channels: p, feature maps of each stack; a multiple of C where ``channel_masked``.
        kernel_size: Odd size n of the kernels after the first layer.
        first_kernel_size: Odd size of the first layer's kernel, whose input is the image.
        head_channels: Width of the output layer.
        channel_masked: Whether the network orders the colour channels (R, then G given R, then B given
            both). Else a site's params depend on no channel of that site, and the likelihood orders them.
        receptive_field: R limits the receptive field to R rows above a pixel, R columns to either side in these
            rows, and R pixels to its left. The first layers reach R; the kernels of the others are 1x1. Local
            details then come from the decoder, and global structure from the latents (Variational Lossy
            Autoencoder, Chen et al., 2016, https://arxiv.org/abs/1611.02731). None for no limit.

    Shape:
        x: (B, C, H, W) integers in [0, K).  context: (B, D) or (B, D, H, W).  Returns (B, P, H, W).

    Raises:
        ValueError: If a kernel size is even, ``num_layers`` < 1, the data are not images, channels cannot
            be split among the colours, or the kernels cannot reach ``receptive_field``.

    Example:
        >>> decoder = GatedPixelCNN(DataSpec((1, 8, 8), levels=2), num_params=1, num_layers=2, channels=4)
        >>> decoder(torch.zeros(3, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([3, 1, 8, 8])
        >>> decoder.receptive_field
        4
        >>> GatedPixelCNN(DataSpec((1, 8, 8), levels=2), num_params=1, num_layers=8, receptive_field=2).receptive_field
        2
    """

    def __init__(
        self,
        spec: DataSpec,
        num_params: int,
        context_dim: int = 0,
        *,
        num_layers: int = 8,
        channels: int = 32,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        head_channels: int = 64,
        channel_masked: bool = True,
        receptive_field: int | None = None,
    ) -> None:
        super().__init__(spec, num_params, context_dim)
        self._check(num_layers, kernel_size, first_kernel_size, receptive_field)
        self._check_widths(channels, head_channels, channel_masked)
        reaches = limited([first_kernel_size // 2] + [kernel_size // 2] * (num_layers - 1), receptive_field)
        self.channels, self.receptive_field = channels, sum(reaches)
        colours = spec.channels
        self.channel_masked = channel_masked and colours > 1

        def mask(out_channels: int, in_channels: int, *, strict: bool = False) -> Tensor | None:
            return channel_mask(out_channels, in_channels, colours, strict=strict) if self.channel_masked else None

        self.layers = nn.ModuleList(
            GatedLayer(
                channels if i else colours,
                channels,
                rows=reach + 1 if i else reach,  # the shift at the input is the first layer's own row and pixel
                columns=2 * reach + 1,
                taps=reach + 1 if i else reach,
                mask=mask(channels, channels),
                first=i == 0,
                last=i == num_layers - 1,
            )
            for i, reach in enumerate(reaches)
        )
        # At the current pixel, group c of the first layer depends on the channels before c.
        strict = mask(channels, colours, strict=True)
        self.current = None if strict is None else Pointwise(colours, 2 * channels, torch.cat([strict, strict]))
        skip = mask(head_channels, channels)
        self.skips = Pointwise(
            num_layers * channels, head_channels, None if skip is None else skip.repeat(1, num_layers)
        )
        self.head = Pointwise(head_channels, num_params, mask(num_params, head_channels))
        self.context_widths = [2 * channels] * (2 * num_layers) + [head_channels]
        if context_dim:
            self.context_projection = nn.Linear(context_dim, sum(self.context_widths), bias=False)

    def _check(self, num_layers: int, kernel_size: int, first_kernel_size: int, receptive_field: int | None) -> None:
        if len(self.spec.shape) != 3:
            raise ValueError(f"data shape {self.spec.shape} is not an image (C, H, W); use an audio decoder")
        require_count("num_layers", num_layers, most=MAX_LAYERS)
        require_odd("kernel_size", kernel_size)
        require_odd("first_kernel_size", first_kernel_size, least=3)
        reach = first_kernel_size // 2 + (num_layers - 1) * (kernel_size // 2)
        if receptive_field is None:
            return
        require_count("receptive_field", receptive_field)
        if receptive_field > reach:
            raise ValueError(
                f"receptive_field={receptive_field}; num_layers={num_layers}, kernel_size={kernel_size} and "
                f"first_kernel_size={first_kernel_size} reach 1 .. {reach}"
            )

    @staticmethod
    def _check_widths(channels: int, head_channels: int, channel_masked: bool) -> None:
        require_count("channels", channels)
        require_count("head_channels", head_channels)
        require_one_of("channel_masked", channel_masked, (True, False))

    def forward_flops(self, *, context_map: bool = False) -> int:
        r"""Floating-point operations of one forward pass of one example; 2 for a multiply-add.

        .. math:: 2 H W \Big[\sum_l 2p\,(k_v + k_h)\,p_{in} + 4p^2 + p^2 \Big] + \ldots

        A training step costs three times as many: the backward pass computes two products for each of these.

        Args:
            context_map: Whether the context is a map (B, D, H, W), projected at every site, or a vector (B, D).
        """
        per_pixel = 0
        for layer in self.layers:
            per_pixel += layer.vertical.weight.numel() + layer.horizontal.weight.numel()
            per_pixel += layer.vertical_to_horizontal.weight.numel()
            per_pixel += 0 if layer.out is None else layer.out.weight.numel()
        per_pixel += self.skips.weight.numel() + self.head.weight.numel()
        per_pixel += 0 if self.current is None else self.current.weight.numel()
        height, width = self.spec.sites
        projections = height * width if context_map else 1
        return 2 * (height * width * per_pixel + projections * self.context_dim * sum(self.context_widths))

    def context_biases(self, context: Tensor | None) -> list[Tensor] | list[float]:
        """V^T c for both gates of every layer and the head: 2L + 1 tensors (B, width, 1, 1) or (B, width, H, W)."""
        self.check_context(context)
        if context is None:
            return [0.0] * len(self.context_widths)
        if context.ndim == 2:
            context = context[:, :, None, None]
        weight = self.context_projection.weight[:, :, None, None]
        return list(F.conv2d(context, weight).split(self.context_widths, dim=1))

    def layer_contexts(self, context: Tensor | None) -> list[LayerContext]:
        """The context of each gate and of the head; for fused layers, maps and weights whose product they compute."""
        if (
            context is None
            or context.ndim == 2
            or self.current is not None
            or not all(runs(layer) for layer in self.layers)
        ):
            return [*self.context_biases(context)]
        self.check_context(context)
        *gates, head = self.context_projection.weight.split(self.context_widths)
        return [*(Projection(context, gate) for gate in gates), Projection(context, head).value()]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """All conditionals at once. (B, C, H, W) integers -> (B, P, H, W)."""
        *gates, head_context = self.layer_contexts(context)
        signal = self.signal(x)
        v, h = shift_down(signal), shift_right(signal)
        if self.current is not None:
            gates[1] = gates[1] + self.current(signal)
        skips = []
        for layer, v_context, h_context in zip(self.layers, gates[::2], gates[1::2], strict=True):
            v, h, y = layer(v, h, v_context, h_context)
            skips.append(y)
        return self.head(F.silu(self.skips(torch.cat(skips, dim=1)) + head_context))

    def plan(self) -> Plan:
        """The vertical stack a row at a time, the horizontal one a pixel at a time."""
        levels = self.signal(torch.arange(self.spec.levels, device=self.head.weight.device))[:, None]
        draft = Draft(self.spec.shape, levels, context_dim=self.context_dim, channel_masked=self.channel_masked)
        *gates, head_context = self.context_matrices()
        ys = draft.map(len(self.layers) * self.channels)
        v, h = draft.x.at(dy=1), draft.x.at(dx=-1)
        for i, layer in enumerate(self.layers):
            half = layer.vertical.kernel_size[1] // 2
            v_sum = draft.row(
                taps(v.at(dx=half), layer.vertical.causal_weight()), bias=layer.vertical.bias, context=gates[2 * i]
            )
            bias, sources = layer.horizontal.bias, taps(h, layer.horizontal.causal_weight())
            if i == 0 and self.current is not None:
                bias = bias + self.current.bias
                sources.append(Source(draft.x, matrix(self.current)))
            to_horizontal = Source(v_sum, matrix(layer.vertical_to_horizontal))
            above = draft.row([to_horizontal], bias=bias, context=gates[2 * i + 1])
            y = draft.site(sources, add=above, act="gate", out=ys.channel(i * self.channels))
            if layer.out is not None:
                v = draft.row(add=v_sum, size=2 * self.channels, act="gate")
                h = draft.site([Source(y, matrix(layer.out))], bias=layer.out.bias, add=None if i == 0 else h)
        skips = Source(ys, matrix(self.skips))
        hidden = draft.site([skips], bias=self.skips.bias, context=head_context, act="silu")
        params = draft.site([Source(hidden, matrix(self.head))], bias=self.head.bias)
        return draft.finish(params, self.num_params)

    def context_matrices(self) -> list[Tensor] | list[None]:
        """V of both gates of every layer and of the head, (D, width) each; None without a context."""
        if not self.context_dim:
            return [None] * len(self.context_widths)
        return list(self.context_projection.weight.mT.split(self.context_widths, dim=1))
