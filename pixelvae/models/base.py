"""GenerativeModel, the base of all models: a decoder, its likelihood and its context; forward is the bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pixelvae import generation
from pixelvae.context import Context
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.decoders.base import Decoder
from pixelvae.devices import send
from pixelvae.latents.distributions import Distribution, standard_normal_noise
from pixelvae.likelihoods import Likelihood

# What builds each part, given the sizes that the parts share; so shape, levels and widths are written once.
LikelihoodFactory = Callable[[DataSpec], Likelihood]
DecoderFactory = Callable[[DataSpec, int, int], Decoder]  # spec, num_params, context_dim
ContextFactory = Callable[[DataSpec, int], Context]  # spec, latent_dim


class Bound(NamedTuple):
    r"""The evidence lower bound of every example and its two terms, in nats.

    .. math:: \log p(x) \ge \mathrm{elbo} = E_q[\log p(x|h)] - \mathrm{KL}(q(h|x) \,\|\, p(h))

    Shape:
        log_px: (B,).  kl_groups: (B, G), which add up to the KL; G = 0 without latents, where elbo is exact.
        posterior: q(h|x) over (B, D), None without latents.
    """

    log_px: Tensor
    kl_groups: Tensor
    posterior: Distribution | None = None

    @property
    def kl(self) -> Tensor:
        """KL(q(h|x) ‖ p(h)) in nats, (B,)."""
        return self.kl_groups.sum(1)

    @property
    def elbo(self) -> Tensor:
        """log_px − kl in nats, (B,): the true bound, whatever training maximises."""
        return self.log_px - self.kl


class GenerativeModel(nn.Module, ABC):
    """A decoder with its likelihood and whatever conditions it.

    Args:
        spec: What the model may know about its data; labels that it must not see are left out of it.
        likelihood: Builds the likelihood from the spec.
        decoder: Builds the decoder from spec, num_params and context_dim.
        context: Builds the context from spec and latent_dim.
        latent_dim: Width D of h, 0 without latents.

    Raises:
        ValueError: If the decoder and the likelihood both order the channels of a site.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        likelihood: LikelihoodFactory,
        decoder: DecoderFactory,
        context: ContextFactory,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.spec, self.latent_dim = spec, latent_dim
        self.likelihood = likelihood(spec)
        self.context = context(spec, latent_dim)
        self.decoder = decoder(spec, self.likelihood.num_params, self.context.context_dim)
        if self.decoder.channel_masked and self.likelihood.orders_channels:
            raise ValueError(
                f"{type(self.likelihood).__name__} orders the colour channels itself, so its params may see no channel "
                f"of their own site, but {type(self.decoder).__name__} has channel_masked=True; "
                "set decoder.init_args.channel_masked: false"
            )

    # The verbs of generation as methods: model.sample(10, seed=0) is sample(model, 10, seed=0).
    decode = generation.decode
    sample = generation.sample
    reconstruct = generation.reconstruct
    interpolate = generation.interpolate
    complete = generation.complete
    score = generation.score

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def has_latents(self) -> bool:
        """Whether there is an h: then it has ``latent_dim`` dimensions."""
        return self.latent_dim > 0

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None, *, noise: Tensor) -> Bound:
        """The bound of every example. x: (B, C, *S) levels, y: (B, L) labels, noise: (B, D) standard normal."""

    @abstractmethod
    def log_weights(
        self, x: Tensor, y: Tensor | None = None, *, num_samples: int, generator: torch.Generator
    ) -> Tensor:
        """log p(x, h) − log q(h|x) of ``num_samples`` draws h ~ q(h|x), in nats. -> (S, B)."""

    @abstractmethod
    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """q(h|x, y) over (B, D). x: (B, C, *S) levels, y: (B, L) labels.

        Raises:
            ValueError: If the model has no latents.
        """

    @abstractmethod
    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        """KL(q ‖ p(h)) in nats, see :meth:`Prior.kl`. q over (B, D), a draw h ~ q (B, D) -> (B, G).

        Raises:
            ValueError: If the model has no latents.
        """

    @abstractmethod
    def draw_latents(self, sources: Sequence[torch.Generator]) -> Tensor | None:
        """h ~ p(h), one draw from each CPU generator: (B, D), on the model's device; None without latents."""

    def log_px(self, x: Tensor, h: Tensor | None, y: Tensor | None = None) -> Tensor:
        """log p(x | h, y) in nats, 0 for absent sites. x: (B, C, *S), h: (B, D) or None, y: (B, L) or None -> (B,)."""
        self._check(x)
        present, x = (x != ABSENT).all(1), x.clamp(min=0)  # absent sites come last, so no other site sees them
        params = self.decoder(x, self.context(h, y))  # (B, P, *S)
        return self.likelihood.log_prob(params, x).where(present, 0).flatten(1).sum(1)

    def draw_noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The (B, D) standard normal noise that forward wants; (B, 0) without latents.

        Drawn on the CPU and copied to the model's device: the numbers are the same on every device.
        """
        return send(standard_normal_noise(batch_size, self.latent_dim, generator), self.device)

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.spec.shape or x.dtype != torch.int64:
            raise ValueError(
                f"x is {x.dtype} of shape {tuple(x.shape)}; the model wants int64 levels "
                f"0 .. {self.spec.levels - 1} of shape (B, {', '.join(map(str, self.spec.shape))})"
            )
