"""The Lagrange multiplier that holds the KL at a rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATE_TOLERANCE = 0.1
"""Relative deviation of the KL from the rate at which the speed of β saturates. A best model deviates less."""


class Multiplier:
    r"""β as the Lagrange multiplier of the constraint KL = R: it rises while KL > R and falls while KL < R.

    .. math:: \beta \leftarrow \beta + 0.04\, \max(|\beta|, 0.1)\,
              \mathrm{clip}\Big(\frac{\mathrm{KL} - R}{0.1 R},\ -1,\ 1\Big)

    The excess is relative to R, so one gain suits all rates, data sets and decoders. Where |β| > 0.1, β changes by a
    constant factor per step; otherwise by a constant. It starts at 0.1 and stays positive for at least 25 steps. In
    these steps only the likelihood activates latents; such latents are better.

    The weight of a step also follows the KL of its own batch, as in the augmented Lagrangian, which damps oscillations.
    The correction vanishes as the KL goes to 0:

    .. math:: \beta + 3 \max(1, |\beta|)\, \frac{\mathrm{KL} - R}{R}\, \min\Big(1, \frac{\mathrm{KL}}{R}\Big)

    Reference:
        Taming VAEs (Rezende and Viola, 2018), algorithm 1. https://arxiv.org/abs/1810.00597
        Multiplier and Gradient Methods (Hestenes, 1969). https://doi.org/10.1007/BF00927673

    Args:
        rate: R in nats per example.
        device: Device of β. β depends on the KL of every step; on the CPU each step would wait for the device.
    """

    INITIAL_BETA = 0.1  # below 1, so that the latents become active before the decoder models x without them
    MAX_CHANGE = 0.04  # relative change per step: slow, because latents need time to become active
    DAMPING = 3.0

    def __init__(self, rate: float, device: torch.device | str = "cpu") -> None:
        self.rate = rate
        self.beta = torch.tensor(self.INITIAL_BETA, device=device)

    @classmethod
    def augmented(cls, beta: Tensor | float, excess: Tensor) -> Tensor:
        """The weight of the KL in a step whose KL exceeds R by this fraction of R (negative if it is below R)."""
        beta = torch.as_tensor(beta)
        return beta + cls.DAMPING * beta.abs().clamp(min=1) * excess * (1 + excess).clamp(0, 1)

    def update(self, kl: Tensor) -> None:
        """Update β from the mean KL of one step's joint batch, in nats per example, without waiting for the device."""
        excess = ((kl.detach().to(self.beta) / self.rate - 1) / RATE_TOLERANCE).clamp(-1, 1)
        self.beta = self.beta + self.MAX_CHANGE * self.beta.abs().clamp(min=self.INITIAL_BETA) * excess

    def state_dict(self) -> dict[str, float]:
        """The complete state, on which the next step depends."""
        return {"beta": self.beta.item()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue exactly from ``state_dict``."""
        beta = state["beta"] if "beta" in state else 0.001 * math.sinh(state["u"])  # "u": runs of version 0.1
        self.beta = self.beta.new_tensor(beta)
