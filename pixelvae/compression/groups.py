"""Groups of examples that are coded together, and their sizes in bits."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

MAX_PRECISION = 12
"""A latent lies in one of at most 2^12 bins of equal prior mass."""

MAX_GROUP = 64
"""Examples of a group."""


class Group(NamedTuple):
    """Examples that are coded site by site together.

    Attributes:
        size: Number of examples; 1 below the full precision.
        precision: Each latent is in one of 2^precision bins.
        masked: Whether fixed random numbers are added to the bins; only files of format 1 do without.
    """

    size: int
    precision: int = MAX_PRECISION
    masked: bool = True


def parts_of(groups: list[Group]) -> list[slice]:
    """The examples of each group."""
    ends = np.cumsum([0, *(group.size for group in groups)]).tolist()
    return [slice(begin, end) for begin, end in pairwise(ends)]


def group_bytes(groups: list[Group]) -> bytes:
    """Elias gamma codes of the growth of precision up to the full one, then of size; what is left out is as before.

    Neither precision nor size falls, except for the size of the last group.

    Example:
        >>> groups = [Group(1, 4), Group(1, 7), Group(1), Group(5), Group(64), Group(64), Group(20)]
        >>> len(group_bytes(groups))
        4
    """
    numbers = list(accumulate(map(_number, groups), max))
    total, kept = sum(group.size for group in groups), len(groups)
    while kept and groups_of(_packed(numbers[:kept]), total) == groups:
        kept -= 1
    content = _packed(numbers[: kept + 1])
    assert groups_of(content, total) == groups
    return content


def groups_of(content: bytes, total: int) -> list[Group]:
    """The groups of a block of so many examples.

    Raises:
        ValueError: If the bytes end within a number.
    """
    groups: list[Group] = []
    bits, left = "".join(f"{byte:08b}" for byte in content), total
    at, number = 0, 1
    while left:
        zeros = bits.find("1", at) - at
        if zeros >= 0:  # else the end: as before
            number += int(bits[at + zeros : at + 2 * zeros + 1], 2) - 1
            at += 2 * zeros + 1
        size = 1 if number < MAX_PRECISION else min(number - MAX_PRECISION + 1, left)
        if at > len(bits):
            raise ValueError("the bytes end within a number")
        groups.append(Group(size, min(number, MAX_PRECISION)))
        left -= size
    return groups


def _number(group: Group) -> int:
    """One number for precision and size, from 1 on."""
    return group.precision if group.precision < MAX_PRECISION else MAX_PRECISION - 1 + group.size


def _packed(numbers: list[int]) -> bytes:
    """Gamma codes of the growth, plus 1, filled up with zeros."""
    growth = [after - before + 1 for before, after in pairwise([1, *numbers])]
    bits = "".join("0" * (number.bit_length() - 1) + f"{number:b}" for number in growth)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0") or "0", 2).to_bytes(-(-len(bits) // 8), "big")
