"""What training maximises. What is reported is always the true bound, never this."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.models.base import Bound

LEAST = 0.01
"""The least weight of a KL that is to be held; by as much as β is less, information is rewarded."""

NEAR = 0.1
"""By what share of the rate the KL of a validation may be off in a model that is kept as the best."""

ENOUGH = 1.5
"""The share of the rate up to which information is rewarded: past it, it is the prior that must follow."""


@dataclass(frozen=True)
class Objective:
    r"""The negative of what training maximises, in nats per example.

    .. math:: -E[\log p(x|h)] + \beta_t \sum_g \max(\lambda,\ E[\mathrm{KL}_g])

    The expectation is over the joint batch of all ranks, so a group of latents below the floor of λ nats feels no
    pull towards the prior and stays alive.

    With a ``rate`` R, training maximises E[log p(x|h)] under the constraint KL = R instead: β is the constraint's
    Lagrange multiplier, which follows the measured KL (:class:`Multiplier`). It rises above 1 where the latents would
    hold more than was asked for, and falls below 1, even below 0, where a strong decoder would ignore them.

    The KL is what h tells about x, and besides how far the latents of all x together are from the prior. The second
    part is worth nothing: a posterior that is narrow and the same for every x has any KL. So β < 1 weighs the first
    part alone, and the second counts in full:

    .. math:: -E[\log p(x|h)] + \beta\, I_q(x; h) + \max(1, \beta)\, \mathrm{KL}(q(h) \,\|\, p(h)), \qquad
              E[\mathrm{KL}] = I_q(x; h) + \mathrm{KL}(q(h) \,\|\, p(h))

    I is not known, but two bounds of it are: the KL itself, and the sum of :meth:`DiagonalNormal.information`, which is
    0 where the posterior stands still. The smaller of the two, over the joint batch, is taken for I. Where β is below
    0.01 it is the sum that is rewarded by what is missing, as long as it is less than 1.5 R: no prior is in it, and a
    prior must never learn to be far away.

    Reference:
        Warm-up: Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282
        Free bits: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), eq. 15,
        https://arxiv.org/abs/1606.04934.  β: beta-VAE (Higgins et al., 2017).
        Rate: Taming VAEs (Rezende and Viola, 2018), https://arxiv.org/abs/1810.00597; Fixing a Broken ELBO (Alemi et
        al., 2017), https://arxiv.org/abs/1711.00464. Differs from the first in: the constraint is on the KL, not on
        the reconstruction, and holds with equality, so its multiplier may have either sign.
        The two parts of the KL: ELBO surgery (Hoffman and Johnson, 2016), eq. 10-12,
        http://approximateinference.org/accepted/HoffmanJohnson2016.pdf; with weights of their own: InfoVAE (Zhao et
        al., 2017), https://arxiv.org/abs/1706.02262; as Lagrange multipliers: The Information Autoencoding Family
        (Zhao et al., 2018), https://arxiv.org/abs/1806.06514

    Args:
        beta: Weight of the KL after warm-up; 1 is the evidence lower bound.
        beta_start: Weight of the KL at step 0.
        warmup_steps: Steps over which the weight goes linearly from ``beta_start`` to ``beta``; 0 for none.
        free_bits: λ, the floor of every group of the KL, in nats; 0 for none.
        rate: R, the KL in nats per example that training holds; None leaves the KL free. Exclusive with the others.

    Raises:
        ValueError: If an option is negative, or a rate is given beside another way to weigh the KL.
    """

    beta: float = 1.0
    beta_start: float = 0.0
    warmup_steps: int = 0
    free_bits: float = 0.0
    rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("beta", "beta_start", "warmup_steps", "free_bits"):
            if getattr(self, name) < 0:
                raise ValueError(f"objective.{name}={getattr(self, name)}; wanted 0 or more")

        if self.rate is None:
            return
        if self.rate <= 0:
            raise ValueError(f"objective.rate={self.rate}; wanted more than 0 nats, or null for a free KL")
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
        """Whether a mean KL, in nats per example, is within a tenth of the rate; always so where none is asked for."""
        return self.rate is None or abs(kl / self.rate - 1) <= NEAR

    def loss(self, bound: Bound, beta: float, mean_over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
        """The scalar to minimise on this rank, in nats per example. DDP averages its gradients over the ranks."""
        if self.rate is not None:
            return self._constrained(bound, beta, mean_over_ranks)
        kl = bound.kl_groups.mean(0)  # (G,)
        if self.free_bits > 0:
            alive = mean_over_ranks(kl.detach()) > self.free_bits
            kl = torch.where(alive, kl, torch.full_like(kl, self.free_bits))
        return beta * kl.sum() - bound.log_px.mean()

    def _constrained(self, bound: Bound, beta: float, mean_over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
        assert self.rate is not None
        kl = bound.kl.mean()
        told = kl.detach()  # at most so much; of a posterior that is not normal this is all that is known
        if isinstance(bound.posterior, DiagonalNormal):
            told = bound.posterior.information(mean_over_ranks).sum()
        joint_kl, joint_told = (mean_over_ranks(part.detach()) for part in (kl, told))
        information = torch.where(joint_told < joint_kl, told, kl)
        weight = Multiplier.augmented(beta, joint_kl / self.rate - 1)
        penalty = weight.clamp(min=LEAST) * information + weight.clamp(min=1) * (kl - information)
        reward = (LEAST - weight).clamp(min=0) * torch.where(joint_told < ENOUGH * self.rate, told, 0)
        return penalty - reward - bound.log_px.mean()


class Multiplier:
    r"""β as the Lagrange multiplier of the constraint KL = R, which rises while the KL is above R and falls below it.

    .. math:: \beta = \beta_0 \sinh u, \qquad
              u \leftarrow u + \mathrm{clip}\Big(0.4\,\frac{\overline{\mathrm{KL}} - R}{R},\ -0.04,\ 0.04\Big)

    (up to 0.2 where the KL is above 1.3 R). The bar is a moving average, each step counted for 2R at most. In relative
    units of R, one speed serves every rate, data set and decoder. Away from 0, β changes by a share of itself. From
    0.1, where it begins, it takes 130 steps without a KL to pass 0: most latents are found before that, by the
    likelihood alone, and are the better for it.

    To a decoder that does without its latents every nat has the same price: nothing stands between a β just above 0,
    where they die, and one just below, where the KL grows for ever. So the weight of a step follows its own batch, the
    augmented Lagrangian, the less so the less KL there is yet:

    .. math:: \beta + c\, \max(1, |\beta|)\, \frac{\mathrm{KL} - R}{R}\, \min\Big(1, \frac{\mathrm{KL}}{R}\Big)

    Reference:
        Taming VAEs (Rezende and Viola, 2018), algorithm 1. https://arxiv.org/abs/1810.00597
        Multiplier and Gradient Methods (Hestenes, 1969). https://doi.org/10.1007/BF00927673

    Args:
        rate: R in nats per example.
    """

    START = 0.1  # below 1, so that the latents are found before the decoder
    SMALL = 0.001  # β₀, where the steps of β turn from equal shares to equal lengths
    GAIN = 0.4  # low, for at the end of training the weights follow slowly
    SPEED = 0.04  # the most that u changes in a step: patient with latents that are not yet found
    HASTE, FAR = 0.2, 0.3  # the most where the KL is above R by such a share, which is no noise
    DECAY = 0.9  # of the moving average of the KL
    RANGE = 1e4  # of |β|
    DAMPING = 3.0  # c

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.u, self.kl = math.asinh(self.START / self.SMALL), rate

    @property
    def beta(self) -> float:
        """The weight of the KL now; below 0, information is rewarded that the decoder does without."""
        return self.SMALL * math.sinh(self.u)

    @classmethod
    def augmented(cls, beta: float, excess: Tensor) -> Tensor:
        """The weight in a step whose KL is above R by this share of R, or if negative below."""
        return beta + cls.DAMPING * max(1, abs(beta)) * excess * (1 + excess).clamp(0, 1)

    def update(self, kl: float) -> None:
        """Follow the mean KL of one step's joint batch, in nats per example."""
        self.kl = self.DECAY * self.kl + (1 - self.DECAY) * min(kl, 2 * self.rate)  # one batch alone says little
        bound = math.asinh(self.RANGE / self.SMALL)
        excess = self.kl / self.rate - 1
        most = self.SPEED if excess < self.FAR else self.HASTE
        self.u = min(max(self.u + min(max(self.GAIN * excess, -self.SPEED), most), -bound), bound)

    def state_dict(self) -> dict[str, float]:
        """All that the next step depends on."""
        return {"u": self.u, "kl": self.kl}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on exactly where ``state_dict`` stood."""
        self.u, self.kl = state["u"], state["kl"]
