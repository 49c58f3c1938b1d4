"""The specification of data: shape, levels and labels, the only interface between data sets and models."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

ABSENT = -1
"""Value after the end of a sound that is shorter than T, instead of a level; it contributes 0 nats."""


class DataSpec(NamedTuple):
    """Shape, number of levels and kinds of label of a data set.

    Attributes:
        shape: ``(C, H, W)`` of an image or ``(C, T)`` of a sound.
        levels: K; every entry of ``x`` is an integer in ``0 .. K-1``, or ``ABSENT`` after the end of a sound.
        num_classes: One entry for each kind of label: ``(10,)`` for digits, ``(10, 6)`` for digits and
            speakers, ``()`` without labels. Labels ``y`` are then ``(B, len(num_classes))`` integers.

    Example:
        >>> spec = DataSpec(shape=(1, 28, 28), levels=2, num_classes=(10,))
        >>> spec.num_dims, spec.channels, spec.sites
        (784, 1, (28, 28))
    """

    shape: tuple[int, ...]
    levels: int
    num_classes: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """C, the number of values of a site."""
        return self.shape[0]

    @property
    def sites(self) -> tuple[int, ...]:
        """Sizes of the spatial axes, ``(H, W)`` or ``(T,)``; sites are visited in raster order."""
        return self.shape[1:]

    @property
    def num_dims(self) -> int:
        """Number of values of one example, the dimensions in bits/dim."""
        return prod(self.shape)

    @property
    def storage_dtype(self) -> torch.dtype:
        """The smallest integer dtype for all levels, for saving; it cannot represent ``ABSENT``.

        Example:
            >>> DataSpec((1, 7, 7), levels=256).storage_dtype, DataSpec((1, 7, 7), levels=512).storage_dtype
            (torch.uint8, torch.int16)
        """
        return torch.uint8 if self.levels <= 2**8 else torch.int16 if self.levels <= 2**15 else torch.int32

    @property
    def summary(self) -> str:
        """Shape, levels and classes in a few words.

        Example:
            >>> DataSpec((1, 28, 28), levels=2, num_classes=(10,)).summary
            '1x28x28, 2 levels, 10 classes'
        """
        classes = [f"{' x '.join(map(str, self.num_classes))} classes"] if self.num_classes else []
        return ", ".join(["x".join(map(str, self.shape)), f"{self.levels} levels", *classes])


def levels_to_signal(x: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    r"""Map levels to evenly spaced numbers in [-1, 1].

    .. math:: s = \frac{2 x}{K - 1} - 1

    Attributes:
        x: Integers in ``0 .. K-1``, of any shape.
        levels: K.
        dtype: Floating-point type of the result.

    Example:
        >>> levels_to_signal(torch.tensor([0, 1, 2]), levels=3, dtype=torch.float32)
        tensor([-1.,  0.,  1.])
    """
    return x.to(dtype) * (2 / (levels - 1)) - 1
