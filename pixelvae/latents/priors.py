"""p(h): what the latents are without an image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
import zuko
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec
from pixelvae.latents.distributions import DiagonalNormal, Distribution, standard_normal_noise


class Amortised(Protocol):
    """What a prior may ask of the encoder that it stands beside."""

    spec: DataSpec
    num_classes: tuple[int, ...]

    def posterior(self, signal: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        """q(h|x, y) of any signal of the data's shape."""


class Prior(nn.Module, ABC):
    """A density over latents that can be sampled.

    Args:
        latent_dim: Width D of h.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def meet(self, encoder: Amortised) -> None:
        """Called once by the model, with the encoder whose posterior some priors are made of."""

    @abstractmethod
    def log_prob(self, h: Tensor) -> Tensor:
        """log p(h) in nats. (B, D) -> (B,)."""

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator) -> Tensor:
        """(n, D) draws."""

    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        r"""KL(q ‖ p) in nats, split into G groups that add up to it. q over (B, D), a draw h ~ q (B, D) -> (B, G).

        The default is the estimate log q(h) − log p(h) from the one draw, unbiased, as a single group.
        """
        return (q.log_prob(h) - self.log_prob(h))[:, None]


class StandardNormal(Prior):
    r"""p(h) = N(0, I), with the analytic KL of a diagonal normal posterior, one group for each dimension.

    .. math:: \mathrm{KL}_d = \tfrac12 (\mu_d^2 + \sigma_d^2 - 1) - \log \sigma_d

    Reference:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013), appendix B. https://arxiv.org/abs/1312.6114

    Example:
        >>> prior = StandardNormal(latent_dim=2)
        >>> prior.log_prob(torch.zeros(1, 2))
        tensor([-1.8379])
    """

    def log_prob(self, h: Tensor) -> Tensor:
        """log p(h) in nats. (B, D) -> (B,)."""
        return (-0.5 * h.square() - 0.5 * math.log(2 * math.pi)).sum(1)

    def sample(self, n: int, *, generator: torch.Generator) -> Tensor:
        """(n, D) draws."""
        return standard_normal_noise(n, self.latent_dim, generator)

    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        """KL(q ‖ p) of every dimension in nats, (B, D): analytic for a diagonal normal q, else from the draw h."""
        if not isinstance(q, DiagonalNormal):
            return super().kl(q, h)
        return 0.5 * (q.loc.square() + q.scale.square() - 1) - q.scale.log()


class FlowPrior(Prior):
    r"""A masked autoregressive flow: a standard normal that the data bend into shape. Its density is exact.

    .. math:: p(h) = N(f(h);\ 0, I)\ \Big|\det \frac{\partial f}{\partial h}\Big|, \qquad
              f = f_T \circ \dots \circ f_1, \qquad f_t(h)_d = h_d\, e^{s_d(h_{<d})} + m_d(h_{<d})

    The latents are taken in the opposite order by every other f_t. A density costs one pass through T networks; a
    draw is exact too and costs one for every latent and f_t.

    Reference:
        Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017). https://arxiv.org/abs/1705.07057
        As a prior: Variational Lossy Autoencoder (Chen et al., 2016), section 3.2. https://arxiv.org/abs/1611.02731

    Args:
        latent_dim: Width D of h.
        num_transforms: T.
        hidden_channels: Widths of the hidden layers of each network.

    Raises:
        ValueError: If ``num_transforms`` < 1.

    Example:
        >>> prior = FlowPrior(latent_dim=2, num_transforms=2, hidden_channels=(8,))
        >>> prior.log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(
        self, latent_dim: int, *, num_transforms: int = 4, hidden_channels: Sequence[int] = (128, 128)
    ) -> None:
        super().__init__(latent_dim)
        if num_transforms < 1:
            raise ValueError(f"num_transforms={num_transforms}; wanted at least 1")
        self.flow = zuko.flows.MAF(
            latent_dim, transforms=num_transforms, hidden_features=list(hidden_channels), activation=nn.SiLU
        )

    def log_prob(self, h: Tensor) -> Tensor:
        """log p(h) in nats. (B, D) -> (B,)."""
        with torch.autocast(h.device.type, enabled=False):  # a density of rounded numbers is none
            log_det = h.new_zeros(len(h))
            for f in self.flow.transform.transforms:  # self.flow().log_prob would break torch.compile's graph
                h, log_det_f = f().call_and_ladj(h)
                log_det = log_det + log_det_f
            return log_det - (0.5 * h.square() + 0.5 * math.log(2 * math.pi)).sum(1)

    def sample(self, n: int, *, generator: torch.Generator) -> Tensor:
        """(n, D) draws."""
        return self.flow().transform.inv(standard_normal_noise(n, self.latent_dim, generator))


class VampPrior(Prior):
    r"""The posterior of K learnt pseudo-inputs, mixed: near the aggregate posterior, which is the best prior there is.

    .. math:: p(h) = \frac1K \sum_{k=1}^{K} q(h|u_k)

    The pseudo-inputs u_k = tanh(a_k) have the shape and range of the signal that the encoder sees, and share its
    weights. A density costs K passes of the encoder, whatever the batch.

    Reference:
        VAE with a VampPrior (Tomczak and Welling, 2017), eq. 9. https://arxiv.org/abs/1705.07120

    Args:
        latent_dim: Width D of h.
        num_pseudo_inputs: K.

    Raises:
        ValueError: If ``num_pseudo_inputs`` < 1; when it meets an encoder that sees labels, which pseudo-inputs lack.
    """

    pseudo_inputs: nn.Parameter

    def __init__(self, latent_dim: int, *, num_pseudo_inputs: int = 500) -> None:
        super().__init__(latent_dim)
        if num_pseudo_inputs < 1:
            raise ValueError(f"num_pseudo_inputs={num_pseudo_inputs}; wanted at least 1")
        self.num_pseudo_inputs = num_pseudo_inputs

    def meet(self, encoder: Amortised) -> None:
        """Take the encoder's posterior, and pseudo-inputs of its signal's shape."""
        if encoder.num_classes:
            raise ValueError(
                "VampPrior has pseudo-inputs without labels, but the encoder looks at labels; "
                "set encoder.init_args.sees_label: false"
            )
        self.pseudo_inputs = nn.Parameter(torch.randn(self.num_pseudo_inputs, *encoder.spec.shape))
        self.posterior = encoder.posterior  # a method, so the encoder's weights stay the encoder's; a deep copy follows

    def components(self) -> DiagonalNormal:
        """q(h|u_k) over (K, D)."""
        return self.posterior(self.pseudo_inputs.tanh())

    def log_prob(self, h: Tensor) -> Tensor:
        """log p(h) in nats. (B, D) -> (B,)."""
        loc, scale = self.components()
        standard = (h[:, None] - loc) / scale  # (B, K, D)
        log_q = (-0.5 * standard.square() - scale.log() - 0.5 * math.log(2 * math.pi)).sum(2)
        return log_q.logsumexp(1) - math.log(self.num_pseudo_inputs)

    def sample(self, n: int, *, generator: torch.Generator) -> Tensor:
        """(n, D) draws: a pseudo-input each, then its posterior."""
        k = torch.randint(self.num_pseudo_inputs, (n,), generator=generator, device=generator.device)
        loc, scale = self.components()
        return loc[k] + scale[k] * standard_normal_noise(n, self.latent_dim, generator)
