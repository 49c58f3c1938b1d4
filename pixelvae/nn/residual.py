"""The residual blocks of encoders and contexts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    r"""x + W_2 * silu(W_1 * silu(x)), kernels 3x3.

    Reference:
        Identity Mappings in Deep Residual Networks (He et al., 2016), the pre-activation unit.
        https://arxiv.org/abs/1603.05027

    Shape:
        (B, channels, H, W) -> same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> same."""
        return x + self.second(F.silu(self.first(F.silu(x))))


class Residual1d(nn.Module):
    r"""x + W_2 * silu(W_1 * silu(x)), kernels of 3 samples, for sounds.

    Shape:
        (B, channels, T) -> same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, 3, padding=1)
        self.second = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) -> same."""
        return x + self.second(F.silu(self.first(F.silu(x))))
