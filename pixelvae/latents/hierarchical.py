"""Two levels of latents: a vector, and a map whose prior given the vector is autoregressive."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.latents.distributions import DiagonalNormal, Distribution
from pixelvae.latents.priors import Amortised, Prior, StandardNormal
from pixelvae.nn.causal import Pointwise, shift_down, shift_right
from pixelvae.nn.gated import GatedLayer
from pixelvae.ranges import MAX_LAYERS, require_count, require_counts

UNIT = math.log(math.e - 1)  # its softplus, the initial scale, is 1


class Levels(NamedTuple):
    """h = [top, map]. top: (B, T), T may be 0; map: (B, c, H, W)."""

    top: Tensor
    map: Tensor


class HierarchicalPrior(Prior):
    r"""A standard normal vector, and given it a map of latents from a gated PixelCNN with Gaussian outputs.

    .. math:: p(h) = N(z_{top};\ 0, I) \prod_t N\big(z_t;\ \mu(z_{<t}, z_{top}),
              \mathrm{diag}\,\sigma^2(z_{<t}, z_{top})\big)

    h is the concatenation of the vector and the flattened map. t runs over the H·W sites of the map in raster order;
    the c channels of a site are independent given all previous sites. The vector enters every gate. The joint density
    is exact, so the ELBO and the importance-weighted bound are valid bounds. A batch of draws costs H·W forward passes.

    Reference:
        PixelVAE: A Latent Variable Model for Natural Images (Gulrajani et al., 2016), section 3.2.
        https://arxiv.org/abs/1611.05013
        Differs from the paper in: one encoder gives the posteriors of both levels, q(h|x) = q(z_top|x) q(z_map|x);
        the context module turns both levels into one conditioning map.

    Args:
        latent_dim: Width D of h: c·H·W for the map, and the remaining T for the vector.
        encoder: Not used.
        map_shape: c, H and W of the map.
        num_layers: Gated layers of 3x3.
        channels: p, feature maps of each stack.

    Raises:
        ValueError: If the map does not fit into ``latent_dim``, or a size is below 1.

    Example:
        >>> prior = HierarchicalPrior(latent_dim=10, map_shape=(2, 2, 2), num_layers=1, channels=4)
        >>> prior.top_dim, prior.log_prob(torch.zeros(5, 10)).shape
        (2, torch.Size([5]))
    """

    def __init__(
        self,
        latent_dim: int,
        encoder: Amortised | None = None,
        *,
        map_shape: tuple[int, int, int] = (2, 4, 4),
        num_layers: int = 3,
        channels: int = 32,
    ) -> None:
        super().__init__(latent_dim, encoder)
        require_counts("map_shape", map_shape, length=3)
        require_count("num_layers", num_layers, most=MAX_LAYERS)
        require_count("channels", channels)
        c, H, W = self.map_shape = tuple(map_shape)
        self.top_dim = latent_dim - c * H * W
        if self.top_dim < 0:
            raise ValueError(
                f"map_shape={map_shape} holds {c * H * W} latents, more than latent_dim={latent_dim}; "
                "raise latent_dim or make prior.init_args.map_shape smaller"
            )
        self.top = StandardNormal(self.top_dim)
        self.layers = nn.ModuleList(
            GatedLayer(
                channels if i else c,
                channels,
                rows=2 if i else 1,
                columns=3,
                taps=2 if i else 1,
                mask=None,
                first=i == 0,
                last=i == num_layers - 1,
            )
            for i in range(num_layers)
        )
        self.head = Pointwise(num_layers * channels, 2 * c)
        self.gate_widths = [2 * channels] * (2 * num_layers)
        if self.top_dim:
            self.projection = nn.Linear(self.top_dim, sum(self.gate_widths), bias=False)

    def split(self, h: Tensor) -> Levels:
        """Split h into the vector and the map. (B, D) -> (B, T), (B, c, H, W)."""
        return Levels(h[:, : self.top_dim], h[:, self.top_dim :].unflatten(1, self.map_shape))

    def conditionals(self, levels: Levels) -> DiagonalNormal:
        """p(z_t | z_<t, z_top) of all sites at once; loc and scale are (B, c, H, W)."""
        with torch.autocast(levels.map.device.type, enabled=False):  # bfloat16 is too coarse for a density
            return self._conditionals(levels)

    def _conditionals(self, levels: Levels) -> DiagonalNormal:
        gates: list[Tensor] | list[float] = [0.0] * len(self.gate_widths)
        if self.top_dim:
            gates = list(self.projection(levels.top)[:, :, None, None].split(self.gate_widths, dim=1))
        v, h = shift_down(levels.map), shift_right(levels.map)
        skips = []
        for layer, v_context, h_context in zip(self.layers, gates[::2], gates[1::2], strict=True):
            v, h, y = layer(v, h, v_context, h_context)
            skips.append(y)
        loc, raw_scale = self.head(torch.cat(skips, dim=1)).chunk(2, dim=1)
        return DiagonalNormal(loc, F.softplus(raw_scale + UNIT) + 1e-4)

    def log_prob_map(self, levels: Levels) -> Tensor:
        """log p(map | top) in nats, (B,)."""
        return self.conditionals(levels).log_prob(levels.map).flatten(1).sum(1)

    def log_prob(self, h: Tensor) -> Tensor:
        """log p(h) in nats. (B, D) -> (B,)."""
        levels = self.split(h)
        return self.top.log_prob(levels.top) + self.log_prob_map(levels)

    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        """KL(q ‖ p) in nats, (B, T + 1): of each entry of the vector, analytic; of the map, from the draw h."""
        if not isinstance(q, DiagonalNormal):
            return super().kl(q, h)
        of_top, of_map = (DiagonalNormal(q.loc[:, part], q.scale[:, part]) for part in self._parts())
        top = self.top.kl(of_top, h[:, : self.top_dim])
        log_ratio = of_map.log_prob(h[:, self.top_dim :]) - self.log_prob_map(self.split(h))
        return torch.cat([top, log_ratio[:, None]], dim=1)

    def _parts(self) -> tuple[slice, slice]:
        return slice(self.top_dim), slice(self.top_dim, None)

    @torch.no_grad()
    def sample(self, noise: Tensor) -> Tensor:
        """Draw the vector, then the map one site after the other. (B, D) standard normal -> (B, D)."""
        levels = self.split(noise)
        drawn = torch.zeros_like(levels.map)
        for i in range(self.map_shape[1]):
            for j in range(self.map_shape[2]):
                loc, scale = self.conditionals(Levels(levels.top, drawn))
                drawn[:, :, i, j] = loc[:, :, i, j] + scale[:, :, i, j] * levels.map[:, :, i, j]
        return torch.cat([levels.top, drawn.flatten(1)], dim=1)
