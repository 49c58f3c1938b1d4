"""A decoder without autoregression, for comparison with PixelVAE."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec
from pixelvae.decoders.base import Decoder
from pixelvae.ranges import require_count
from pixelvae.sampling.plan import Draft, Plan


class Factorised(Decoder):
    r"""The decoder of a plain VAE: all values are independent given the context.

    .. math:: p(x \mid c) = \prod_t p(x_t \mid c)

    The params are a learnt bias for every site plus convolutions of the context. A vector is first repeated over
    all sites.

    Reference:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013), appendix C.1. https://arxiv.org/abs/1312.6114

    Args:
        spec: Shape and number of levels of the data, (C, H, W).
        num_params: Likelihood parameters P per site.
        context_dim: Width D of the context, 0 for none.
        channels: Width of the hidden convolutions.

    Shape:
        x: (B, C, H, W) integers; only B is used.  context: (B, D) or (B, D, H, W).  Returns (B, P, H, W).

    Example:
        >>> decoder = Factorised(DataSpec((1, 8, 8), levels=2), num_params=1, context_dim=5, channels=4)
        >>> decoder(torch.zeros(3, 1, 8, 8, dtype=torch.long), torch.zeros(3, 5)).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(self, spec: DataSpec, num_params: int, context_dim: int = 0, *, channels: int = 64) -> None:
        super().__init__(spec, num_params, context_dim)
        if len(spec.shape) != 3:
            raise ValueError(f"data shape {spec.shape} is not an image (C, H, W)")
        require_count("channels", channels)
        self.bias = nn.Parameter(torch.zeros(num_params, *spec.sites))
        if context_dim:
            self.hidden = nn.Conv2d(context_dim, channels, 3, padding=1)
            self.head = nn.Conv2d(channels, num_params, 3, padding=1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """All conditionals at once. (B, C, H, W) integers -> (B, P, H, W)."""
        self.check_context(context)
        if context is None:
            return self.bias.expand(len(x), *self.bias.shape)
        if context.ndim == 2:
            context = context[:, :, None, None].expand(*context.shape, *self.spec.sites)
        return self.head(F.silu(self.hidden(F.silu(context)))) + self.bias

    def plan(self) -> Plan:
        """The plan copies its context, which holds the params of all sites."""
        levels = self.bias.new_zeros(self.spec.levels, 1)
        draft = Draft(self.spec.shape, levels, context_dim=self.num_params)
        return draft.finish(
            draft.site(size=self.num_params, context=torch.eye(self.num_params).to(self.bias)), self.num_params
        )

    @torch.no_grad()
    def plan_context(self, context: Tensor | None, batch_size: int) -> Tensor:
        """The params of all sites, from one forward pass."""
        return self(torch.zeros(batch_size, *self.spec.shape, dtype=torch.long, device=self.bias.device), context)
