"""The training objective; reports always give the true bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.models.base import Bound
from pixelvae.ranges import require, require_count
from pixelvae.training.multiplier import Multiplier

MIN_WEIGHT = 0.01
"""Minimum weight of the information under a rate; where β is less, the difference is a reward for information."""

RATE_TOLERANCE = 0.1
"""Relative deviation of the validation KL from the rate up to which a model may become the best one."""

MAX_REWARDED_SHARE = 1.5
"""Information is rewarded up to this multiple of the rate; beyond it the prior has to adapt."""


@dataclass(frozen=True)
class Objective:
    r"""The negative of what training maximises, in nats per example.

    .. math:: -E[\log p(x|h)] + \beta_t \sum_g \max(\lambda,\ E[\mathrm{KL}_g])

    The expectation is over the joint batch of all ranks. A group of latents below the floor of λ nats has no gradient
    towards the prior and stays active.

    With a ``rate`` R, training maximises E[log p(x|h)] under the constraint KL = R. β is then the Lagrange multiplier
    of the constraint and follows the measured KL (:class:`Multiplier`). It rises above 1 where the latents would hold
    more than R, and falls below 1, even below 0, where a strong decoder would ignore them.

    The KL is the sum of the mutual information of x and h and the KL of the aggregate posterior to the prior. The
    second term carries no information: a narrow posterior that is the same for every x can have any KL. So β < 1
    weighs the first term only, and the second counts in full:

    .. math:: -E[\log p(x|h)] + \beta\, I_q(x; h) + \max(1, \beta)\, \mathrm{KL}(q(h) \,\|\, p(h)), \qquad
              E[\mathrm{KL}] = I_q(x; h) + \mathrm{KL}(q(h) \,\|\, p(h))

    I is intractable, but has two upper bounds: the KL itself, and the sum of :meth:`DiagonalNormal.information`, which
    is 0 where the posterior does not depend on x. The smaller of the two, over the joint batch, replaces I. Where β is
    below 0.01, the difference rewards that sum, while it is less than 1.5 R. The reward excludes the prior, which
    would otherwise learn to be far from the posterior.

    Reference:
        Warm-up: Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282
        Free bits: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), eq. 15,
        https://arxiv.org/abs/1606.04934.  β: beta-VAE (Higgins et al., 2017).
        Rate: Taming VAEs (Rezende and Viola, 2018), https://arxiv.org/abs/1810.00597; Fixing a Broken ELBO (Alemi et
        al., 2017), https://arxiv.org/abs/1711.00464. Differs from the first in: the constraint is on the KL, not on
        the reconstruction, and holds with equality, so its multiplier may have either sign.
        The two terms of the KL: ELBO surgery (Hoffman and Johnson, 2016), eq. 10-12,
        http://approximateinference.org/accepted/HoffmanJohnson2016.pdf; with weights of their own: InfoVAE (Zhao et
        al., 2017), https://arxiv.org/abs/1706.02262; as Lagrange multipliers: The Information Autoencoding Family
        (Zhao et al., 2018), https://arxiv.org/abs/1806.06514

    Args:
        beta: Weight of the KL after warm-up; 1 is the evidence lower bound.
        beta_start: Weight of the KL at step 0.
        warmup_steps: Steps over which the weight goes linearly from ``beta_start`` to ``beta``; 0 for none.
        free_bits: λ, the floor of every group of the KL, in nats; 0 for none.
        rate: R, the KL in nats per example that training holds; None leaves the KL free. Excludes the other options.

    Raises:
        ValueError: If an option is negative, or a rate is given beside another way to weigh the KL.
    """

    beta: float = 1.0
    beta_start: float = 0.0
    warmup_steps: int = 0
    free_bits: float = 0.0
    rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("beta", "beta_start", "free_bits"):
            require(f"objective.{name}", getattr(self, name), least=0)
        require_count("objective.warmup_steps", self.warmup_steps, least=0, most=2**31 - 1)
        if self.rate is None:
            return
        require("objective.rate", self.rate, above=0)
        if (self.beta, self.warmup_steps, self.free_bits) != (1, 0, 0):
            raise ValueError(
                f"objective.rate={self.rate} sets the weight of the KL by itself, but beta={self.beta}, "
                f"warmup_steps={self.warmup_steps}, free_bits={self.free_bits} were given; leave them out"
            )

    def beta_at(self, step: int) -> float:
        """β_t, the weight of the KL at this step."""
        if step >= self.warmup_steps:
            return self.beta
        return self.beta_start + (self.beta - self.beta_start) * step / self.warmup_steps

    def is_held(self, kl: float) -> bool:
        """Whether a mean KL, in nats per example, is within a tenth of the rate; always true without a rate."""
        return self.rate is None or abs(kl / self.rate - 1) <= RATE_TOLERANCE

    def loss(self, bound: Bound, beta: Tensor | float, mean_over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
        """The scalar to minimise on this rank, in nats per example. DDP averages its gradients over the ranks."""
        if self.rate is not None:
            return self._constrained(bound, beta, mean_over_ranks)
        kl = bound.kl_groups.mean(0)  # (G,)
        if self.free_bits > 0:
            alive = mean_over_ranks(kl.detach()) > self.free_bits
            kl = torch.where(alive, kl, torch.full_like(kl, self.free_bits))
        return beta * kl.sum() - bound.log_px.mean()

    def _constrained(self, bound: Bound, beta: Tensor | float, mean_over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
        assert self.rate is not None
        kl = bound.kl.mean()
        at_most = kl.detach()  # an upper bound of the information; the only one of a posterior that is not normal
        if isinstance(bound.posterior, DiagonalNormal):
            at_most = bound.posterior.information(mean_over_ranks).sum()
        joint_kl, joint_at_most = (mean_over_ranks(part.detach()) for part in (kl, at_most))
        information = torch.where(joint_at_most < joint_kl, at_most, kl)
        weight = Multiplier.augmented(beta, joint_kl / self.rate - 1)
        penalty = weight.clamp(min=MIN_WEIGHT) * information + weight.clamp(min=1) * (kl - information)
        rewarded = torch.where(joint_at_most < MAX_REWARDED_SHARE * self.rate, at_most, 0)
        return penalty - (MIN_WEIGHT - weight).clamp(min=0) * rewarded - bound.log_px.mean()
