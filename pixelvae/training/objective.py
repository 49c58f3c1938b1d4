"""The training objective. Reports always give the ELBO itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pixelvae.latents.distributions import DiagonalNormal, Distribution
from pixelvae.latents.information import information_lower_bound, normal_information
from pixelvae.models.base import Bound
from pixelvae.ranges import MAX_COUNT, require, require_count
from pixelvae.training.multiplier import RATE_TOLERANCE, Multiplier

MIN_WEIGHT = Multiplier.INITIAL_BETA
"""Minimum weight of the KL under a rate, so that the prior fits the posterior; a smaller β rewards information."""

NUM_OTHERS = 256
"""Number of other examples for the lower bound of information. They cost an encoder pass, if β rewards information."""

VERIFIABLE_SHARE = 0.8
"""Share of log(NUM_OTHERS + 1) up to which the lower bound is tight."""


@dataclass(frozen=True)
class Objective:
    r"""The negative of what training maximises, in nats per example.

    .. math:: -E[\log p(x|h)] + \beta_t \sum_g \max(\lambda,\ E[\mathrm{KL}_g])

    The expectation is over the joint batch of all ranks. A group of latents below the floor of λ nats has no gradient
    towards the prior, so it stays active.

    With a ``rate`` R, training maximises E[log p(x|h)] under the constraint KL = R. β is then the Lagrange multiplier
    of the constraint and follows the measured KL (:class:`Multiplier`). It exceeds 1 if the KL at β = 1 would be more
    than R, and falls below 1 if it would be less.

    A strong decoder may ignore its latents even at β = 0. A negative β would then raise the KL without information: a
    posterior far from the prior has a large KL even if it does not depend on x. So β < 0.1 rewards information
    instead, and the weight of the KL stays at 0.1 or more:

    .. math:: -E[\log p(x|h)] + \max(\beta, 0.1)\, E[\mathrm{KL}] - \max(0.1 - \beta, 0)\, \hat I(x; h)

    The estimate Î is a lower bound: :func:`information_lower_bound` of the batch among 256 other examples, with the
    weights of this step. It is at most log 257 = 5.5 nats. Above 0.8 of that, the lower of two upper bounds replaces
    it, because a sample of this size cannot verify more: :func:`normal_information` of the 256, and the KL with
    constant parameters of the prior. Alone, the first grows without information where the means lie on a curve, and
    the second where they are far from the prior. The sum of the information in each latent must not be maximised
    either: it is largest when all latents are copies of one number.

    With a ``consistency`` c, training also keeps the latents of a picture that is turned, shifted or scaled a little,
    see :func:`pixelvae.training.consistency.moved`. The loss gains c E[KL(q(h|moved x) ‖ q(h|x))], which only the
    encoder computes. The bound stays that of the data, because the decoder is not trained on moved pictures.

    Reference:
        Warm-up: Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282
        Free bits: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), eq. 15,
        https://arxiv.org/abs/1606.04934.  β: beta-VAE (Higgins et al., 2017).
        Rate: Taming VAEs (Rezende and Viola, 2018), https://arxiv.org/abs/1810.00597; Fixing a Broken ELBO (Alemi et
        al., 2017), https://arxiv.org/abs/1711.00464. Differs from the first in: the constraint is on the KL, not on
        the reconstruction, and holds with equality, so its multiplier may have either sign.
        Consistency: Consistency Regularization for Variational Auto-Encoders (Sinha and Dieng, 2021),
        https://arxiv.org/abs/2105.14859. Differs in: the decoder is not trained on moved pictures.
        Rewarding information: InfoVAE (Zhao et al., 2017), https://arxiv.org/abs/1706.02262; by a lower bound:
        On Variational Bounds of Mutual Information (Poole et al., 2019), https://arxiv.org/abs/1905.06922

    Args:
        beta: Weight of the KL after warm-up; 1 is the evidence lower bound.
        beta_start: Weight of the KL at step 0.
        warmup_steps: Steps over which the weight goes linearly from ``beta_start`` to ``beta``; 0 for none.
        free_bits: λ, the floor of every group of the KL, in nats; 0 for none.
        rate: R, the KL in nats per example that training holds; None for no constraint. Excludes the other options
            but ``consistency``.
        consistency: c, the weight of the KL between posteriors of a moved picture and of the original; 0 for none.

    Raises:
        ValueError: If an option is negative, or a rate is given together with another weight of the KL.
    """

    beta: float = 1.0
    beta_start: float = 0.0
    warmup_steps: int = 0
    free_bits: float = 0.0
    rate: float | None = None
    consistency: float = 0.0

    def __post_init__(self) -> None:
        for name in ("beta", "beta_start", "free_bits", "consistency"):
            require(f"objective.{name}", getattr(self, name), least=0)
        require_count("objective.warmup_steps", self.warmup_steps, least=0, most=MAX_COUNT)
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

    def loss(
        self,
        bound: Bound,
        beta: Tensor | float,
        mean_over_ranks: Callable[[Tensor], Tensor],
        information: Tensor | None = None,
        inconsistency: Tensor | None = None,
    ) -> Tensor:
        """The scalar to minimise on this rank, in nats per example. DDP averages its gradients over the ranks.

        Args:
            bound: The bound of this rank's batch.
            beta: Weight of the KL.
            mean_over_ranks: The mean of a tensor over all ranks.
            information: :func:`rewarded_information`, if a rate rewards it.
            inconsistency: (B,), KL(q(h|moved x) ‖ q(h|x)) in nats, if ``consistency`` > 0.
        """
        loss = self._bound_loss(bound, beta, mean_over_ranks, information)
        return loss if inconsistency is None else loss + self.consistency * inconsistency.mean()

    def _bound_loss(
        self,
        bound: Bound,
        beta: Tensor | float,
        mean_over_ranks: Callable[[Tensor], Tensor],
        information: Tensor | None,
    ) -> Tensor:
        """The loss without its last term, see :meth:`loss`."""
        kl = bound.kl_groups.mean(0)  # (G,)
        if self.rate is not None:
            excess = mean_over_ranks(kl.detach().sum()) / self.rate - 1
            weight = Multiplier.augmented(beta, excess)
            loss = weight.clamp(min=MIN_WEIGHT) * kl.sum() - bound.log_px.mean()
            return loss if information is None else loss - (MIN_WEIGHT - weight).clamp(min=0) * information
        if self.free_bits > 0:
            alive = mean_over_ranks(kl.detach()) > self.free_bits
            kl = torch.where(alive, kl, torch.full_like(kl, self.free_bits))
        return beta * kl.sum() - bound.log_px.mean()


def rewarded_information(
    q: Distribution, h: Tensor, others: Distribution, kl: Tensor, mean_over_ranks: Callable[[Tensor], Tensor]
) -> Tensor:
    """The estimate of I_q(x; h) that a rate rewards, in nats: see :class:`Objective`. A scalar, differentiable.

    Args:
        q: Posteriors of this rank's batch.
        h: (B, D), one draw from each.
        others: Posteriors of other examples, the same on every rank.
        kl: (B,), KL(q(h|x) ‖ p(h)) with constant parameters of the prior.
        mean_over_ranks: The mean of a tensor over all ranks.
    """
    verified = information_lower_bound(q, h, others).mean()
    if not isinstance(others, DiagonalNormal):
        return verified
    is_below_cap = mean_over_ranks(verified.detach()) < VERIFIABLE_SHARE * math.log(len(others.loc) + 1)
    normal, kl = normal_information(others), kl.double().mean()
    upper = torch.where(normal < mean_over_ranks(kl.detach()), normal, kl)
    return torch.where(is_below_cap, verified, upper)
