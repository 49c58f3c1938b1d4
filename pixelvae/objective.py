"""What training maximises. What is reported is always the true bound, never this."""

from __future__ import annotations

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

    Reference:
        Warm-up: Ladder Variational Autoencoders (Sønderby et al., 2016), https://arxiv.org/abs/1602.02282
        Free bits: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), eq. 15,
        https://arxiv.org/abs/1606.04934.  β: beta-VAE (Higgins et al., 2017).

    Args:
        beta: Weight of the KL after warm-up; 1 is the evidence lower bound.
        beta_start: Weight of the KL at step 0.
        warmup_steps: Steps over which the weight goes linearly from ``beta_start`` to ``beta``; 0 for none.
        free_bits: λ, the floor of every group of the KL, in nats; 0 for none.

    Raises:
        ValueError: If an option is negative.
    """

    beta: float = 1.0
    beta_start: float = 0.0
    warmup_steps: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        for name in ("beta", "beta_start", "warmup_steps", "free_bits"):
            if getattr(self, name) < 0:
                raise ValueError(f"objective.{name}={getattr(self, name)}; wanted 0 or more")

    def beta_at(self, step: int) -> float:
        """β_t, the weight of the KL at this step."""
        if step >= self.warmup_steps:
            return self.beta
        return self.beta_start + (self.beta - self.beta_start) * step / self.warmup_steps

    def loss(self, bound: Bound, step: int, mean_over_ranks: Callable[[Tensor], Tensor]) -> Tensor:
        """The scalar to minimise on this rank, in nats per example. DDP averages its gradients over the ranks."""
        kl = bound.kl_groups.mean(0)  # (G,)
        if self.free_bits > 0:
            alive = mean_over_ranks(kl.detach()) > self.free_bits
            kl = torch.where(alive, kl, torch.full_like(kl, self.free_bits))
        return self.beta_at(step) * kl.sum() - bound.log_px.mean()
