"""Priors p(h). The constructor of a prior takes the model's encoder, which VampPrior uses."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import zuko
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec
from pixelvae.latents.distributions import DiagonalNormal, Distribution
from pixelvae.ranges import MAX_LAYERS, require_count, require_counts


class Amortised(Protocol):
    """The part of an encoder's interface that a prior may use."""

    spec: DataSpec
    num_classes: tuple[int, ...]

    def posterior(self, signal: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        """q(h|x, y) of any signal of the data's shape, in [-1, 1]."""


class Prior(nn.Module, ABC):
    """A density over latents that can be sampled.

    Args:
        latent_dim: Width D of h.
        encoder: The model's encoder. A prior does not register its weights.
    """

    def __init__(self, latent_dim: int, encoder: Amortised | None = None) -> None:
        super().__init__()
        require_count("latent_dim", latent_dim, least=0)
        self.latent_dim = latent_dim

    @property
    def noise_dim(self) -> int:
        """Number of normal draws per sample; D by default."""
        return self.latent_dim

    @abstractmethod
    def log_prob(self, h: Tensor) -> Tensor:
        """log p(h) in nats. (B, D) -> (B,)."""

    @abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """Draw h ~ p(h), one for each row of noise. (B, noise_dim) standard normal -> (B, D)."""

    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        r"""KL(q ‖ p) in nats as the sum of G groups. q over (B, D), a draw h ~ q (B, D) -> (B, G).

        The default is the unbiased estimate log q(h) − log p(h) from one draw, as a single group.
        """
        return (q.log_prob(h) - self.log_prob(h))[:, None]


class StandardNormal(Prior):
    r"""The standard normal prior; its KL to a diagonal normal posterior is analytic, with one group per dimension.

    .. math:: p(h) = N(h;\ 0, I), \qquad \mathrm{KL}_d = \tfrac12 (\mu_d^2 + \sigma_d^2 - 1) - \log \sigma_d

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

    def sample(self, noise: Tensor) -> Tensor:
        """The noise itself. (B, D) -> (B, D)."""
        return noise

    def kl(self, q: Distribution, h: Tensor) -> Tensor:
        """KL(q ‖ p) of every dimension in nats, (B, D): analytic for a diagonal normal q, else from the draw h."""
        if not isinstance(q, DiagonalNormal):
            return super().kl(q, h)
        return 0.5 * (q.loc.square() + q.scale.square() - 1) - q.scale.log()


class FlowPrior(Prior):
    r"""A masked autoregressive flow: a learnt invertible transformation of a standard normal, with an exact density.

    .. math:: p(h) = N(f(h);\ 0, I)\ \Big|\det \frac{\partial f}{\partial h}\Big|, \qquad
              f = f_T \circ \dots \circ f_1, \qquad f_t(h)_d = h_d\, e^{s_d(h_{<d})} + m_d(h_{<d})

    Every other f_t takes the latents in the opposite order. A density costs one pass through T networks. Draws are
    exact; a batch of them costs T·D passes.

    Reference:
        Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017). https://arxiv.org/abs/1705.07057
        As a prior: Variational Lossy Autoencoder (Chen et al., 2016), section 3.2. https://arxiv.org/abs/1611.02731

    Args:
        latent_dim: Width D of h.
        encoder: Not used.
        num_transforms: Number T of transformations f_t.
        hidden_channels: Widths of the hidden layers of each network.

    Raises:
        ValueError: If ``num_transforms`` < 1.

    Example:
        >>> prior = FlowPrior(latent_dim=2, num_transforms=2, hidden_channels=(8,))
        >>> prior.log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        latent_dim: int,
        encoder: Amortised | None = None,
        *,
        num_transforms: int = 4,
        hidden_channels: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__(latent_dim, encoder)
        require_count("num_transforms", num_transforms, most=MAX_LAYERS)
        require_counts("hidden_channels", hidden_channels, least=0)
        self.flow = zuko.flows.MAF(
            latent_dim, transforms=num_transforms, hidden_features=list(hidden_channels), activation=nn.SiLU
        )
        # The mean 0 and variance 1 of its base are constants, whose names differ among versions of zuko.
        for name, constant in list(self.flow.base.named_buffers()):
            self.flow.base.register_buffer(name, constant, persistent=False)
        self.register_load_state_dict_pre_hook(_without_base)

    def log_prob(self, h: Tensor) -> Tensor:
        """log p(h) in nats. (B, D) -> (B,)."""
        with torch.autocast(h.device.type, enabled=False):  # bfloat16 is too coarse for a density
            log_det = h.new_zeros(len(h))
            for f in self.flow.transform.transforms:  # self.flow().log_prob would break torch.compile's graph
                h, log_det_f = f().call_and_ladj(h)
                log_det = log_det + log_det_f
            return log_det - (0.5 * h.square() + 0.5 * math.log(2 * math.pi)).sum(1)

    def sample(self, noise: Tensor) -> Tensor:
        """The inverse of f, in T·D passes. (B, D) standard normal -> (B, D)."""
        with torch.autocast(noise.device.type, enabled=False):
            return self.flow().transform.inv(noise)


def _without_base(_module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Remove the constants of the flow's base, which earlier versions saved, from the state to load."""
    for name in [name for name in state if name.startswith(f"{prefix}flow.base.")]:
        del state[name]


class VampPrior(Prior):
    r"""A mixture of the posteriors of K learnt pseudo-inputs, which approximates the aggregate posterior.

    .. math:: p(h) = \frac1K \sum_{k=1}^{K} q(h|u_k)

    The aggregate posterior maximises the ELBO over all priors. The pseudo-inputs u_k = tanh(a_k) have the shape and
    range of the encoder's signal. A density, or a batch of draws, costs K passes of the encoder.

    Reference:
        VAE with a VampPrior (Tomczak and Welling, 2017), eq. 9. https://arxiv.org/abs/1705.07120

    Args:
        latent_dim: Width D of h.
        encoder: The model's encoder, which gives q(h|u_k).
        num_pseudo_inputs: Number K of pseudo-inputs.

    Raises:
        ValueError: If ``num_pseudo_inputs`` < 1, or the encoder is conditioned on labels, which pseudo-inputs lack.
    """

    def __init__(self, latent_dim: int, encoder: Amortised, *, num_pseudo_inputs: int = 500) -> None:
        super().__init__(latent_dim, encoder)
        require_count("num_pseudo_inputs", num_pseudo_inputs)
        if encoder.num_classes:
            raise ValueError(
                "VampPrior has pseudo-inputs without labels, but the encoder is conditioned on labels; "
                "set encoder.init_args.sees_label: false"
            )
        self.num_pseudo_inputs = num_pseudo_inputs
        self.pseudo_inputs = nn.Parameter(torch.randn(num_pseudo_inputs, *encoder.spec.shape))
        self.posterior = encoder.posterior  # a bound method: not registered as a submodule, and copied by deepcopy

    @property
    def noise_dim(self) -> int:
        """D + 1: the first draw chooses the component."""
        return self.latent_dim + 1

    def components(self) -> DiagonalNormal:
        """q(h|u_k) over (K, D)."""
        return self.posterior(self.pseudo_inputs.tanh())

    def log_prob(self, h: Tensor) -> Tensor:
        """log p(h) in nats. (B, D) -> (B,)."""
        loc, scale = self.components()
        standard = (h[:, None] - loc) / scale  # (B, K, D)
        log_q = (-0.5 * standard.square() - scale.log() - 0.5 * math.log(2 * math.pi)).sum(2)
        return log_q.logsumexp(1) - math.log(self.num_pseudo_inputs)

    def sample(self, noise: Tensor) -> Tensor:
        r"""Draw component :math:`k = \lfloor K\, \Phi(\epsilon_0) \rfloor`, then h ~ q(h|u_k). (B, D + 1) -> (B, D)."""
        k = (torch.special.ndtr(noise[:, 0]) * self.num_pseudo_inputs).long().clamp(max=self.num_pseudo_inputs - 1)
        loc, scale = self.components()
        return loc[k] + scale[k] * noise[:, 1:]
