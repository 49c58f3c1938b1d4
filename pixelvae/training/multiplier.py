"""The Lagrange multiplier that holds the KL at a rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Multiplier:
    r"""β as the Lagrange multiplier of the constraint KL = R: it rises while the KL is above R and falls below it.

    .. math:: \beta = \beta_0 \sinh u, \qquad
              u \leftarrow u + \mathrm{clip}\Big(0.4\,\frac{\overline{\mathrm{KL}} - R}{R},\ -0.04,\ 0.04\Big)

    (up to 0.2 where the KL is above 1.3 R). The bar is a moving average in which a step counts for 2R at most. The
    excess is relative to R, so one gain serves every rate, data set and decoder. Far from 0, β changes by a constant
    factor per step. It starts at 0.1 and needs 130 steps without KL to pass 0: until then the likelihood alone finds
    most latents, and such latents are better.

    A decoder that ignores its latents is indifferent to the KL: with β just above 0 the latents die, with β just
    below 0 the KL grows without limit. The weight of a step therefore also follows the KL of its own batch, as in the
    augmented Lagrangian; the correction vanishes as the KL goes to 0:

    .. math:: \beta + c\, \max(1, |\beta|)\, \frac{\mathrm{KL} - R}{R}\, \min\Big(1, \frac{\mathrm{KL}}{R}\Big)

    Reference:
        Taming VAEs (Rezende and Viola, 2018), algorithm 1. https://arxiv.org/abs/1810.00597
        Multiplier and Gradient Methods (Hestenes, 1969). https://doi.org/10.1007/BF00927673

    Args:
        rate: R in nats per example.
        device: Where β is; it depends on the KL of every step, so reading it would make the step wait for the device.
    """

    INITIAL_BETA = 0.1  # below 1, so that training uses the latents before the decoder has learnt to ignore them
    LINEAR_BELOW = 0.001  # β₀: below it β changes by equal lengths, above it by equal factors
    GAIN = 0.4  # low, because the weights follow slowly at the end of training
    MAX_CHANGE = 0.04  # of u in a step: slow enough for latents that are still to be found
    MAX_CHANGE_FAR_ABOVE = 0.2  # of u in a step where the KL is far above R
    FAR_ABOVE = 0.3  # the relative excess that is beyond noise
    KL_DECAY = 0.9  # of the moving average of the KL
    MAX_BETA = 1e4  # of |β|
    DAMPING = 3.0  # c

    def __init__(self, rate: float, device: torch.device | str = "cpu") -> None:
        self.rate = rate
        self.u = torch.tensor(math.asinh(self.INITIAL_BETA / self.LINEAR_BELOW), device=device)
        self.kl = torch.tensor(float(rate), device=device)

    @property
    def beta(self) -> Tensor:
        """The weight of the KL, on the device; below 0 it rewards information that the decoder does not use."""
        return self.LINEAR_BELOW * self.u.sinh()

    @classmethod
    def augmented(cls, beta: Tensor | float, excess: Tensor) -> Tensor:
        """The weight of the KL in a step whose KL exceeds R by this fraction of R (negative: falls short)."""
        beta = torch.as_tensor(beta)
        return beta + cls.DAMPING * beta.abs().clamp(min=1) * excess * (1 + excess).clamp(0, 1)

    def update(self, kl: Tensor) -> None:
        """Follow the mean KL of one step's joint batch, in nats per example. Does not wait for the device."""
        self.kl = self.KL_DECAY * self.kl + (1 - self.KL_DECAY) * kl.detach().clamp(max=2 * self.rate)
        excess = self.kl / self.rate - 1
        most = torch.where(excess < self.FAR_ABOVE, self.MAX_CHANGE, self.MAX_CHANGE_FAR_ABOVE)
        change = torch.minimum((self.GAIN * excess).clamp(min=-self.MAX_CHANGE), most)
        bound = math.asinh(self.MAX_BETA / self.LINEAR_BELOW)
        self.u = (self.u + change).clamp(-bound, bound)

    def state_dict(self) -> dict[str, float]:
        """Everything that the next step depends on."""
        return {"u": self.u.item(), "kl": self.kl.item()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue exactly from ``state_dict``."""
        self.u, self.kl = self.u.new_tensor(state["u"]), self.kl.new_tensor(state["kl"])
