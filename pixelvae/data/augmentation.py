"""Random flips and shifts of training pictures, as functions of seed, epoch and example."""

from __future__ import annotations

import torch
from torch import Tensor

from pixelvae.data.draws import uniform

_STREAM = 3  # 0 to 2 are the draws of binary pixels of the three splits


class Augmentation:
    r"""Mirror a picture with probability ½, and shift it by up to s pixels in each direction.

    .. math:: \mathrm{flip} \sim \mathrm{Bernoulli}(1/2), \qquad d_y, d_x \sim \mathrm{Uniform}\{-s, \dots, s\}

    The pixels at the edges are repeated. The draws are a function of (seed, epoch, index of the example).

    Args:
        flip: Whether to mirror left and right.
        shift: s, in pixels.
        seed: Seed of all draws.

    Shape:
        Called with x: (B, C, H, W) and indices: (B,).  Returns (B, C, H, W).

    Raises:
        ValueError: If ``shift`` is negative.

    Example:
        >>> x = torch.arange(3).reshape(1, 1, 1, 3)
        >>> flip = Augmentation(flip=True, shift=0, seed=0)
        >>> sorted({tuple(flip(x, torch.tensor([0]), epoch).flatten().tolist()) for epoch in range(9)})
        [(0, 1, 2), (2, 1, 0)]
    """

    def __init__(self, flip: bool, shift: int, seed: int) -> None:
        if shift < 0:
            raise ValueError(f"shift={shift} must be at least 0 pixels")
        self.flip = flip
        self.shift = shift
        self.seed = seed

    def __call__(self, x: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """The batch, augmented."""
        if not self.flip and not self.shift:
            return x
        height, width = x.shape[2:]
        draws = torch.from_numpy(uniform(indices.numpy(), 3, self.seed, _STREAM, epoch))  # (B, 3) in [0, 1)
        shifts = (draws[:, 1:] * (2 * self.shift + 1)).long() - self.shift  # (B, 2)
        rows = (torch.arange(height) - shifts[:, :1]).clamp(0, height - 1)  # (B, H): source of each row
        columns = (torch.arange(width) - shifts[:, 1:]).clamp(0, width - 1)  # (B, W)
        if self.flip:
            columns = columns.where(draws[:, :1] < 0.5, width - 1 - columns)
        examples = torch.arange(len(x))[:, None, None]
        return x.permute(0, 2, 3, 1)[examples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
