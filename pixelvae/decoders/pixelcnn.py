"""PixelCNN: masked convolutions, fast and with a blind spot."""

from __future__ import annotations

from torch import Tensor

from pixelvae.data.spec import DataSpec
from pixelvae.decoders.residual import ResidualDecoder, masked_product
from pixelvae.nn.causal import matrix
from pixelvae.nn.masked import MaskedBlock
from pixelvae.ranges import require_odd
from pixelvae.sampling.plan import Draft, Ref, Source


class PixelCNN(ResidualDecoder):
    r"""Residual blocks of masked convolutions, with a blind spot above and to the right of every pixel.

    .. math:: y = x + W_3\, r\big(W_2 * r(W_1 r(x)) + V^\top c\big), \qquad r = \max(0, \cdot)

    With its lower half masked, a k x k kernel reaches k // 2 columns to the right only one row or more up. So
    stacked layers never reach pixels further to the right: up to a quarter of the potential receptive field.
    `GatedPixelCNN` has no blind spot.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), sections 3.3-3.5, table 1.
        https://arxiv.org/abs/1601.06759
        The blind spot: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), figure 1.
        https://arxiv.org/abs/1606.05328
        Differs from the paper in: a context c enters every block as a bias.

    Args:
        spec: Shape and number of levels of the data, (C, H, W).
        num_params: Likelihood parameters P per site.
        context_dim: Width D of the context, 0 for none.
        num_layers: Number of residual blocks, at least 1.
        channels: h; the blocks have 2h features outside and h inside. A multiple of C where ``channel_masked``.
        kernel_size: Odd size k of the blocks' kernels.
        first_kernel_size: Odd size of the first layer's kernel, with mask A.
        head_channels: Width of the output layer.
        channel_masked: Whether the network orders the colour channels (R, then G given R, then B given
            both). Else a site's params depend on no channel of that site, and the likelihood orders them.

    Shape:
        x: (B, C, H, W) integers in [0, K).  context: (B, D) or (B, D, H, W).  Returns (B, P, H, W).

    Raises:
        ValueError: If a kernel size is even, ``num_layers`` < 1, the data are not images, or channels cannot
            be split among the colours.

    Example:
        >>> import torch
        >>> decoder = PixelCNN(DataSpec((1, 8, 8), levels=2), num_params=1, num_layers=2, channels=4)
        >>> decoder(torch.zeros(3, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        spec: DataSpec,
        num_params: int,
        context_dim: int = 0,
        *,
        num_layers: int = 15,
        channels: int = 32,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        head_channels: int = 64,
        channel_masked: bool = True,
    ) -> None:
        require_odd("kernel_size", kernel_size)
        super().__init__(
            spec,
            num_params,
            context_dim,
            lambda groups: MaskedBlock(channels, kernel_size, groups),
            num_layers=num_layers,
            channels=channels,
            first_kernel_size=first_kernel_size,
            head_channels=head_channels,
            channel_masked=channel_masked,
        )

    def plan_layer(self, draft: Draft, layer: MaskedBlock, features: Ref, context: Tensor | None) -> Ref:  # type: ignore[override]
        """Three products and a rectifier. See :meth:`ResidualDecoder.plan_layer`."""
        rectified = draft.site(add=features, size=layer.reduce.in_channels, act="relu")
        reduced = draft.site([Source(rectified, matrix(layer.reduce))], bias=layer.reduce.bias, act="relu")
        seen = masked_product(draft, reduced, layer.conv, context, own=True, act="relu")
        return draft.site([Source(seen, matrix(layer.expand))], bias=layer.expand.bias, add=features)
