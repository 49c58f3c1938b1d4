"""Differentiable lower and upper bounds of the mutual information I_q(x; h), in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pixelvae.latents.distributions import DiagonalNormal, Distribution


def pair_log_prob(q: Distribution, h: Tensor) -> Tensor:
    r"""The log density of every draw under every posterior, log q(h_i|x_j), in nats and float64.

    Diagonal normals cost one matrix product, any other posterior a loop over the draws:

    .. math:: -\tfrac12 \sum_d \Big(\frac{h_d^2}{\sigma_d^2} - \frac{2 h_d \mu_d}{\sigma_d^2}\Big) + c_j

    Shape:
        q over (N, D).  h: (M, D) -> (M, N).
    """
    h = h.double()
    if not isinstance(q, DiagonalNormal):
        return torch.stack([q.log_prob(one.expand_as(q.mean)) for one in h]).double()
    loc, scale = q.loc.double(), q.scale.double()
    centre = loc.mean(0)  # centred: without it the terms of the square cancel with a loss of precision
    h, q = h - centre, DiagonalNormal(loc - centre, scale)
    precision = scale.square().reciprocal()  # (N, D)
    constant = q.log_prob(torch.zeros_like(loc))  # (N,), c_j: all that does not depend on h
    weights = torch.cat([-0.5 * precision, q.loc * precision], dim=1)  # (N, 2D)
    return torch.addmm(constant, torch.cat([h.square(), h], dim=1), weights.T)


def information_lower_bound(q: Distribution, h: Tensor, others: Distribution) -> Tensor:
    r"""Lower bound of the mutual information from one draw per example and M other examples (InfoNCE).

    .. math:: \log q(h_i|x_i) - \log \frac{1}{M + 1} \Big(q(h_i|x_i) + \sum_{j=1}^M q(h_i|x_j)\Big) \le \log (M + 1)

    Its expectation is at most I_q(x; h).

    Reference:
        On Variational Bounds of Mutual Information (Poole et al., 2019), eq. 12 with a known conditional density.
        https://arxiv.org/abs/1905.06922

    Args:
        q: Posteriors of the B examples.
        h: (B, D), one draw from each.
        others: Posteriors of M other examples, drawn at random, under the same weights.

    Returns:
        (B,) in nats and float64, differentiable.

    Example:
        >>> far_apart = DiagonalNormal(torch.arange(4.0)[:, None] * 1000, torch.ones(4, 1))
        >>> others = DiagonalNormal(far_apart.loc - 1e6, far_apart.scale)
        >>> information_lower_bound(far_apart, far_apart.loc, others).exp().round(decimals=3).tolist()  # one of five
        [5.0, 5.0, 5.0, 5.0]
    """
    own = q.log_prob(h).double()
    all_pairs = torch.cat([own[:, None], pair_log_prob(others, h)], dim=1)  # (B, M + 1)
    return own - all_pairs.logsumexp(1) + math.log(all_pairs.shape[1])


def normal_information(q: DiagonalNormal) -> Tensor:
    r"""Upper bound of I_q(x; h): the mean KL to the normal, with full covariance, that fits all posteriors best.

    .. math:: I_q(x; h) \le \tfrac12 \log\det \big(\mathrm{Cov}_x(\mu) + E_x[\mathrm{diag}\,\sigma^2]\big)
              - E_x\Big[\sum_d \log \sigma_d\Big]

    Copies of one number in several latents do not raise it. Returns a scalar in nats and float64, differentiable.

    Example:
        >>> loc = torch.tensor([[-3.0, -3.0], [3.0, 3.0]])  # the second latent repeats the first
        >>> q = DiagonalNormal(loc, torch.ones(2, 2))
        >>> round(float(normal_information(q)), 4), round(float(q.information().sum()), 4)
        (1.4722, 2.3026)
    """
    loc, scale = q.loc.double(), q.scale.double()
    centred = loc - loc.mean(0)
    covariance = centred.T @ centred / len(loc) + scale.square().mean(0).diag()
    return 0.5 * torch.linalg.slogdet(covariance)[1] - scale.log().sum(1).mean()
