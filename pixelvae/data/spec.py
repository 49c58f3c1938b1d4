"""What a model may know about its data, and nothing more."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

ABSENT = -1
"""In place of a level, after the end of a sound that is shorter than T: nothing is there, and it costs 0 nats."""


class DataSpec(NamedTuple):
    """Shape, number of levels and kinds of label of a data set.

    Args:
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
        """C, the values that one site holds."""
        return self.shape[0]

    @property
    def sites(self) -> tuple[int, ...]:
        """The spatial axes, ``(H, W)`` or ``(T,)``: what the walk visits in raster order."""
        return self.shape[1:]

    @property
    def num_dims(self) -> int:
        """Number of values of one example, by which bits/dim divides."""
        return prod(self.shape)
