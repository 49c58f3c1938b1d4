"""PixelVAE, and AutoregressiveModel, the same without latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from pixelvae.data.spec import DataSpec
from pixelvae.devices import send
from pixelvae.latents.distributions import Distribution, standard_normal_rows
from pixelvae.latents.encoders import Encoder
from pixelvae.latents.priors import Prior
from pixelvae.models.base import Bound, ContextFactory, DecoderFactory, GenerativeModel, LikelihoodFactory

EncoderFactory = Callable[[DataSpec, int], Encoder]  # spec, latent_dim
PriorFactory = Callable[[int, Encoder], Prior]  # latent_dim, encoder
NO_LATENTS = "an AutoregressiveModel has no latents; wanted a PixelVAE"


class PixelVAE(GenerativeModel):
    r"""A variational autoencoder whose decoder is autoregressive.

    .. math:: \log p(x) \ge E_{q(h|x)}[\log p(x|h)] - \mathrm{KL}(q(h|x) \,\|\, p(h)), \qquad
              p(x|h) = \prod_t p(x_t \mid x_{<t}, h)

    Reference:
        PixelVAE: A Latent Variable Model for Natural Images (Gulrajani et al., 2016).
        https://arxiv.org/abs/1611.05013

    Args:
        spec: Shape, number of levels and kinds of label of the data.
        likelihood: Builds the likelihood from the spec.
        decoder: Builds the decoder from spec, num_params and context_dim.
        encoder: Builds the encoder from spec and latent_dim.
        prior: Builds the prior from latent_dim and the encoder.
        context: Builds the context from spec and latent_dim.
        latent_dim: Width D of h.

    Raises:
        ValueError: If ``latent_dim`` < 1.

    Example:
        >>> from functools import partial
        >>> from pixelvae import Categorical, ConvEncoder, GatedPixelCNN, StandardNormal, VectorContext
        >>> model = PixelVAE(
        ...     DataSpec((1, 8, 8), levels=2), likelihood=Categorical, decoder=partial(GatedPixelCNN, num_layers=2),
        ...     encoder=ConvEncoder, prior=StandardNormal, context=VectorContext, latent_dim=4)
        >>> x = torch.zeros(3, 1, 8, 8, dtype=torch.long)
        >>> model(x, noise=model.draw_noise(3, torch.Generator().manual_seed(0))).elbo.shape
        torch.Size([3])
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        likelihood: LikelihoodFactory,
        decoder: DecoderFactory,
        encoder: EncoderFactory,
        prior: PriorFactory,
        context: ContextFactory,
        latent_dim: int,
    ) -> None:
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim}; a PixelVAE wants at least 1 (without latents: encoder: null)")
        super().__init__(spec, likelihood=likelihood, decoder=decoder, context=context, latent_dim=latent_dim)
        self.encoder = encoder(spec, latent_dim)
        self.prior = prior(latent_dim, self.encoder)

    def forward(self, x: Tensor, y: Tensor | None = None, *, noise: Tensor) -> Bound:
        """The bound of every example. x: (B, C, *S) levels, y: (B, L) labels, noise: (B, D) standard normal."""
        q = self.encode(x, y)
        h = q.rsample(noise)
        return Bound(self.log_px(x, h, y), self.kl(q, h), q)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """q(h|x, y) over (B, D). x: (B, C, *S) levels, y: (B, L) labels."""
        self._check(x)
        return self.encoder(x, y)

    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        """KL(q ‖ p(h)) in nats, see :meth:`Prior.kl`. q over (B, D), a draw h ~ q (B, D) -> (B, G)."""
        return self.prior.kl(q, h)

    def draw_latents(self, sources: Sequence[torch.Generator]) -> Tensor:
        """h ~ p(h), one draw from each CPU generator: (B, D), on the model's device."""
        noise = standard_normal_rows(self.prior.noise_dim, sources)
        return self.prior.sample(send(noise.to(next(self.parameters()).dtype), self.device))

    def log_weights(
        self, x: Tensor, y: Tensor | None = None, *, num_samples: int, generator: torch.Generator
    ) -> Tensor:
        """log p(x, h) − log q(h|x) of ``num_samples`` draws h ~ q(h|x), in nats. -> (S, B)."""
        q = self.encode(x, y)
        log_weights = []
        for _ in range(num_samples):
            h = q.rsample(self.draw_noise(len(x), generator))
            log_weights.append(self.log_px(x, h, y) + self.prior.log_prob(h) - q.log_prob(h))
        return torch.stack(log_weights)


class AutoregressiveModel(GenerativeModel):
    """The same decoder without latents: its log-likelihood is exact, its bound is tight.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016). https://arxiv.org/abs/1601.06759

    Args:
        spec: Shape, number of levels and kinds of label of the data.
        likelihood: Builds the likelihood from the spec.
        decoder: Builds the decoder from spec, num_params and context_dim.
        context: Builds the context from spec and latent_dim = 0: the labels, if there are any.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        likelihood: LikelihoodFactory,
        decoder: DecoderFactory,
        context: ContextFactory,
    ) -> None:
        super().__init__(spec, likelihood=likelihood, decoder=decoder, context=context, latent_dim=0)

    def forward(self, x: Tensor, y: Tensor | None = None, *, noise: Tensor) -> Bound:
        """log p(x | y) of every example, and a KL of no groups. noise: (B, 0), which nothing is drawn from."""
        return Bound(self.log_px(x, None, y), noise)

    def log_weights(
        self, x: Tensor, y: Tensor | None = None, *, num_samples: int, generator: torch.Generator
    ) -> Tensor:
        """log p(x | y) in nats, the same for every sample. -> (S, B)."""
        return self.log_px(x, None, y).expand(num_samples, -1)

    def encode(self, x: Tensor, y: Tensor | None = None) -> NoReturn:
        """There is no q(h|x).

        Raises:
            ValueError: Always.
        """
        raise ValueError(NO_LATENTS)

    def kl(self, q: Distribution, h: Tensor) -> NoReturn:
        """There is no p(h).

        Raises:
            ValueError: Always.
        """
        raise ValueError(NO_LATENTS)

    def draw_latents(self, sources: Sequence[torch.Generator]) -> None:
        """None: there are no latents."""
