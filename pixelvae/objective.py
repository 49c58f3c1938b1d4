"""What training maximises. What is reported is always the true bound, never this."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pixelvae.models import Bound


@dataclass(frozen=True)
class Objective:
    r"""The negative of what training maximises, in nats per example.

    .. math:: -E[\log p(x|h)] + \beta_t \sum_g \max(\lambda,\ E[\mathrm{KL}_g])

    The expectation is over the joint batch of all ranks, so a group of latents below the floor of λ nats feels no
    pull towards the prior and stays alive.

    With a ``rate`` R, training maximises E[log p(x|h)] under the constraint KL = R instead: β is the constraint's
    Lagrange multiplier, which follows the measured KL (:class:`Multiplier`). It falls below 1 where a strong decoder
    would ignore its latents, and rises above 1 where they would hold more than was asked for.

    Reference:
        Warm-up: Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282
        Free bits: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), eq. 15,
        https://arxiv.org/abs/1606.04934.  β: beta-VAE (Higgins et al., 2017).
        Rate: Taming VAEs (Rezende and Viola, 2018), https://arxiv.org/abs/1810.00597; Fixing a Broken ELBO (Alemi et
        al., 2017), https://arxiv.org/abs/1711.00464. Differs from the first in: the constraint is on the KL, not on
        the reconstruction, and holds with equality.

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

    def loss(self, bound: Bound, beta: float, mean_over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
        """The scalar to minimise on this rank, in nats per example. DDP averages its gradients over the ranks."""
        kl = bound.kl_groups.mean(0)  # (G,)
        if self.free_bits > 0:
            alive = mean_over_ranks(kl.detach()) > self.free_bits
            kl = torch.where(alive, kl, torch.full_like(kl, self.free_bits))
        return beta * kl.sum() - bound.log_px.mean()


class Multiplier:
    r"""β as the Lagrange multiplier of the constraint KL = R, which rises while the KL is above R and falls below it.

    .. math:: \log\beta \leftarrow \log\beta + \eta\,
              \mathrm{clip}\Big(\frac{\overline{\mathrm{KL}} - R}{0.2\,R},\ -1,\ 1\Big)

    The bar is a moving average over steps. In relative units of R, one η serves every rate, data set and decoder.

    Reference:
        Taming VAEs (Rezende and Viola, 2018), algorithm 1. https://arxiv.org/abs/1810.00597

    Args:
        rate: R in nats per example.
    """

    SPEED = 0.02  # η: β changes by at most 2 % a step, slower than the weights follow it
    FULL = 0.2  # the share of R by which the KL is off when β changes at full speed
    DECAY = 0.9  # of the moving average of the KL
    RANGE = math.log(1e4)  # of |log β|

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.log_beta, self.kl = math.log(0.1), rate  # begins below 1, so that the latents are found before the decoder

    @property
    def beta(self) -> float:
        """The weight of the KL now."""
        return math.exp(self.log_beta)

    def update(self, kl: float) -> None:
        """Follow the mean KL of one step's joint batch, in nats per example."""
        self.kl = self.DECAY * self.kl + (1 - self.DECAY) * kl
        excess = min(max((self.kl - self.rate) / (self.FULL * self.rate), -1.0), 1.0)
        self.log_beta = min(max(self.log_beta + self.SPEED * excess, -self.RANGE), self.RANGE)

    def state_dict(self) -> dict[str, float]:
        """All that the next step depends on."""
        return {"log_beta": self.log_beta, "kl": self.kl}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on exactly where ``state_dict`` stood."""
        self.log_beta, self.kl = state["log_beta"], state["kl"]
