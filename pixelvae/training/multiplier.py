"""The Lagrange multiplier that holds the KL at a rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATE_TOLERANCE = 0.1
"""Relative deviation of the KL from the rate from which on β changes at full speed. A best model deviates less."""


class Multiplier:
    r"""β as the Lagrange multiplier of the constraint KL = R: it rises while the KL is above R and falls below it.

    .. math:: \beta \leftarrow \beta + 0.04\, \max(|\beta|, 0.1)\,
              \mathrm{clip}\Big(\frac{\mathrm{KL} - R}{0.1 R},\ -1,\ 1\Big)

    The excess is relative to R, so one gain serves every rate, data set and decoder. Beyond 0.1, β changes by a
    constant factor per step; below, by equal lengths. It starts at 0.1 and needs 25 steps without KL to pass 0: until
    then the likelihood alone finds latents, and such latents are better.

    The weight of a step also follows the KL of its own batch, as in the augmented Lagrangian, which damps oscillations.
    The correction vanishes as the KL goes to 0:

    .. math:: \beta + 3 \max(1, |\beta|)\, \frac{\mathrm{KL} - R}{R}\, \min\Big(1, \frac{\mathrm{KL}}{R}\Big)

    Reference:
        Taming VAEs (Rezende and Viola, 2018), algorithm 1. https://arxiv.org/abs/1810.00597
        Multiplier and Gradient Methods (Hestenes, 1969). https://doi.org/10.1007/BF00927673

    Args:
        rate: R in nats per example.
        device: Where β is; it depends on the KL of every step, so reading it would make the step wait for the device.
    """

    INITIAL_BETA = 0.1  # below 1, so that training uses the latents before the decoder has learnt to ignore them
    MAX_CHANGE = 0.04  # relative, in a step: slow enough for latents that are still to be found
    DAMPING = 3.0

    def __init__(self, rate: float, device: torch.device | str = "cpu") -> None:
        self.rate = rate
        self.beta = torch.tensor(self.INITIAL_BETA, device=device)

    @classmethod
    def augmented(cls, beta: Tensor | float, excess: Tensor) -> Tensor:
        """The weight of the KL in a step whose KL exceeds R by this fraction of R (negative: falls short)."""
        beta = torch.as_tensor(beta)
        return beta + cls.DAMPING * beta.abs().clamp(min=1) * excess * (1 + excess).clamp(0, 1)

    def update(self, kl: Tensor) -> None:
        """Follow the mean KL of one step's joint batch, in nats per example. Does not wait for the device."""
        excess = ((kl.detach() / self.rate - 1) / RATE_TOLERANCE).clamp(-1, 1)
        self.beta = self.beta + self.MAX_CHANGE * self.beta.abs().clamp(min=self.INITIAL_BETA) * excess

    def state_dict(self) -> dict[str, float]:
        """Everything that the next step depends on."""
        return {"beta": self.beta.item()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue exactly from ``state_dict``."""
        beta = state["beta"] if "beta" in state else 0.001 * math.sinh(state["u"])  # "u": runs of version 0.1
        self.beta = self.beta.new_tensor(beta)
