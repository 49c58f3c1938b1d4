"""PixelVAE, and AutoregressiveModel, the same without latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from pixelvae.boundary import Labels, require_batch, require_latents
from pixelvae.context import VectorContext
from pixelvae.data.spec import DataSpec
from pixelvae.devices import send
from pixelvae.latents.distributions import Distribution, standard_normal_rows
from pixelvae.latents.encoders import Encoder
from pixelvae.latents.priors import Prior, StandardNormal
from pixelvae.models import defaults
from pixelvae.models.base import (
    Bound,
    ContextFactory,
    DecoderFactory,
    GenerativeModel,
    LikelihoodFactory,
    build_part,
)

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
        ValueError: If ``latent_dim`` < 1, or a part is given instead of its factory.

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
        self.parts |= {"encoder": encoder, "prior": prior}
        self.encoder = build_part("encoder", encoder, Encoder, spec, latent_dim)
        self.prior = build_part("prior", prior, Prior, latent_dim, self.encoder)

    @classmethod
    def default(
        cls,
        spec: DataSpec,
        *,
        latent_dim: int = 32,
        likelihood: LikelihoodFactory | None = None,
        decoder: DecoderFactory | None = None,
        encoder: EncoderFactory | None = None,
        prior: PriorFactory | None = None,
        context: ContextFactory | None = None,
        class_conditional: bool = True,
        seed: int = 0,
    ) -> PixelVAE:
        """A PixelVAE with default parts for images or sounds; given parts replace the defaults.

        The receptive field of the default decoder is a few rows (an eighth of a sound), so that the latents encode
        the global structure.

        Args:
            spec: Shape, number of levels and kinds of label of the data.
            latent_dim: Width D of h.
            likelihood: By default ``Categorical``; of several channels ``DiscretizedLogisticMixture``.
            decoder: By default ``GatedPixelCNN`` or ``WaveNet``.
            encoder: By default ``ConvEncoder`` or ``SpectrogramEncoder``.
            prior: By default ``StandardNormal``.
            context: By default ``SpatialContext`` or ``TemporalContext``.
            class_conditional: Whether the model is conditioned on the labels, if the data have any.
            seed: Seed of the initial weights.

        Example:
            >>> from functools import partial
            >>> from pixelvae import GatedPixelCNN
            >>> spec = DataSpec((1, 8, 8), levels=4)
            >>> model = PixelVAE.default(spec, latent_dim=2, decoder=partial(GatedPixelCNN, num_layers=2))
            >>> model.sample(3, seed=0).shape
            torch.Size([3, 1, 8, 8])
        """
        spec = spec if class_conditional else spec._replace(num_classes=())
        likelihood = likelihood or defaults.likelihood(spec)
        decoder = decoder or defaults.decoder(spec, num_layers=4, first_kernel_size=3)
        with defaults.seeded(seed):
            return cls(
                spec,
                likelihood=likelihood,
                decoder=defaults.unmasked(decoder, likelihood, spec),
                encoder=encoder or defaults.encoder(spec),
                prior=prior or StandardNormal,
                context=context or defaults.context(spec),
                latent_dim=latent_dim,
            )

    def encode(self, x: Tensor, y: Labels | None = None) -> Distribution:
        """q(h|x, y) over (B, D). x: (B, C, *S) levels, y: (B, L) labels, needed if the encoder depends on them."""
        x, y = require_batch(x, y, self.spec, self.device, labels_optional=not self.encoder.num_classes)
        return self.posterior(x, y)

    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        """KL(q ‖ p(h)) in nats, see :meth:`Prior.kl`. q over (B, D), a draw h ~ q (B, D) -> (B, G)."""
        draw = require_latents(h, self.latent_dim, len(q.mean), self.device, self.dtype)
        assert draw is not None  # there are latents
        return self.prior.kl(q, draw)

    def posterior(self, x: Tensor, y: Tensor | None) -> Distribution:
        """:meth:`encode` for checked x and y."""
        return self.encoder(x, y)

    def _bound(self, x: Tensor, y: Tensor | None, noise: Tensor) -> Bound:
        q = self.posterior(x, y)
        h = q.rsample(noise)
        return Bound(self._log_px(x, h, y), self.prior.kl(q, h), q)

    def _log_weights(self, x: Tensor, y: Tensor | None, num_samples: int, generator: torch.Generator) -> Tensor:
        q = self.posterior(x, y)
        log_weights = []
        for _ in range(num_samples):
            h = q.rsample(self.draw_noise(len(x), generator))
            log_weights.append(self._log_px(x, h, y) + self.prior.log_prob(h) - q.log_prob(h))
        return torch.stack(log_weights)

    def _draw_latents(self, sources: Sequence[torch.Generator]) -> Tensor:
        noise = standard_normal_rows(self.prior.noise_dim, sources)
        return self.prior.sample(send(noise.to(self.dtype), self.device))


class AutoregressiveModel(GenerativeModel):
    r"""An autoregressive model without latents, whose log-likelihood is exact.

    .. math:: \log p(x) = \sum_t \log p(x_t \mid x_{<t}, y)

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016). https://arxiv.org/abs/1601.06759

    Args:
        spec: Shape, number of levels and kinds of label of the data.
        likelihood: Builds the likelihood from the spec.
        decoder: Builds the decoder from spec, num_params and context_dim.
        context: Builds the context from spec and latent_dim = 0; it encodes the labels, if there are any.
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
        self.parts |= {"encoder": None, "prior": None}

    @classmethod
    def default(
        cls,
        spec: DataSpec,
        *,
        likelihood: LikelihoodFactory | None = None,
        decoder: DecoderFactory | None = None,
        context: ContextFactory | None = None,
        class_conditional: bool = True,
        seed: int = 0,
    ) -> AutoregressiveModel:
        """A model with default parts for images or sounds; given parts replace the defaults.

        Args:
            spec: Shape, number of levels and kinds of label of the data.
            likelihood: By default ``Categorical``; of several channels ``DiscretizedLogisticMixture``.
            decoder: By default ``GatedPixelCNN`` or ``WaveNet``.
            context: By default ``VectorContext``.
            class_conditional: Whether the model is conditioned on the labels, if the data have any.
            seed: Seed of the initial weights.

        Example:
            >>> AutoregressiveModel.default(DataSpec((1, 7, 7), levels=512))
            AutoregressiveModel(1x7x7, 512 levels: Categorical, GatedPixelCNN, VectorContext; 207,136 parameters)
        """
        spec = spec if class_conditional else spec._replace(num_classes=())
        likelihood = likelihood or defaults.likelihood(spec)
        decoder = decoder or defaults.decoder(spec, num_layers=8, first_kernel_size=7)
        with defaults.seeded(seed):
            return cls(
                spec,
                likelihood=likelihood,
                decoder=defaults.unmasked(decoder, likelihood, spec),
                context=context or VectorContext,
            )

    def encode(self, x: Tensor, y: Labels | None = None) -> NoReturn:
        """Raise an error: the model has no q(h|x).

        Raises:
            ValueError: Always.
        """
        raise ValueError(NO_LATENTS)

    def kl(self, q: Distribution, h: Tensor) -> NoReturn:
        """Raise an error: the model has no p(h).

        Raises:
            ValueError: Always.
        """
        raise ValueError(NO_LATENTS)

    def posterior(self, x: Tensor, y: Tensor | None) -> NoReturn:
        """Raise an error: the model has no q(h|x).

        Raises:
            ValueError: Always.
        """
        raise ValueError(NO_LATENTS)

    def _bound(self, x: Tensor, y: Tensor | None, noise: Tensor) -> Bound:
        return Bound(self._log_px(x, None, y), noise)  # a KL of no groups, (B, 0)

    def _log_weights(self, x: Tensor, y: Tensor | None, num_samples: int, generator: torch.Generator) -> Tensor:
        return self._log_px(x, None, y).expand(num_samples, -1)  # the same for every sample

    def _draw_latents(self, sources: Sequence[torch.Generator]) -> None:
        return None
