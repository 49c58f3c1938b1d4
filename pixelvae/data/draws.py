"""Counter-based random numbers: functions of a seed and of counters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Words = npt.NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: spreads the counters


def splitmix64(key: Words, counter: Words) -> Words:
    r"""The `counter`-th output of the SplitMix64 generator whose seed is `key`.

    .. math:: \mathrm{mix}(key + (counter + 1)\,\gamma \bmod 2^{64})

    An output may seed another generator. So a path of counters (seed, epoch, example, pixel) determines one number,
    independent of other draws, batch, process and order.

    Reference:
        Fast splittable pseudorandom number generators (Steele, Lea, Flood, 2014).
        https://doi.org/10.1145/2660193.2660195
        The constants are variant 13 of Stafford's mixers, as in Java's SplittableRandom.

    Args:
        key: Seeds, at least one axis (numpy warns of overflow for scalars alone).
        counter: Indices of the outputs; broadcast against `key`.

    Shape:
        key and counter broadcast together; the result has that shape.

    Example:
        >>> hex(splitmix64(np.zeros(1, np.uint64), np.arange(2, dtype=np.uint64))[0])
        '0xe220a8397b1dcdaf'
    """
    z = key + (counter + np.uint64(1)) * _GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def path_key(*path: int) -> Words:
    """The seed, shape (1,), for a path of counters such as ``(seed, epoch)``.

    Raises:
        ValueError: If a counter is negative.

    Example:
        >>> bool(path_key(0, 1) == path_key(1, 0))
        False
    """
    if min(path, default=0) < 0:
        raise ValueError(f"seeds and epochs count from 0: got {path}, want no negative number")
    key = np.zeros(1, np.uint64)
    for counter in path:
        key = splitmix64(key, np.array([counter], np.uint64))
    return key


def generator(*path: int) -> torch.Generator:
    """A generator of torch for a path of counters such as ``(seed, step)``.

    The key is hashed to 32 bits, for of a larger seed torch's CPU generator reads the lower 32 bits alone.

    Example:
        >>> first, second = (torch.rand(1, generator=generator(seed, 0)) for seed in (0, 1))
        >>> bool(first == second)
        False
    """
    return torch.Generator().manual_seed(int(path_key(*path)[0] >> np.uint64(32)))


def permutation(num_examples: int, *path: int) -> npt.NDArray[np.int64]:
    """A uniformly random order of ``0 .. num_examples-1`` that depends on `path` alone.

    Example:
        >>> sorted(permutation(4, 0, 1).tolist())
        [0, 1, 2, 3]
    """
    return np.argsort(splitmix64(path_key(*path), np.arange(num_examples, dtype=np.uint64)), kind="stable")


def uniform(indices: npt.NDArray[np.int64], num_dims: int, *path: int) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) for some examples: each row depends on `path` and its index alone.

    Args:
        indices: Indices of the examples, from 0.
        num_dims: Numbers per example.
        path: Counters of these draws, such as seed, split and epoch.

    Shape:
        indices: (B,).  Returns (B, num_dims).

    Example:
        >>> together, alone = uniform(np.array([7, 3]), 5, 0), uniform(np.array([3]), 5, 0)
        >>> bool((together[1] == alone[0]).all())
        True
    """
    examples = splitmix64(path_key(*path), indices.astype(np.uint64))  # (B,): the seed of each example
    bits = splitmix64(examples[:, None], np.arange(num_dims, dtype=np.uint64))  # (B, num_dims)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53  # a float64 has 53 bits
