"""Draws that are looked up are as uniform and independent as draws in turn, and depend on their path alone."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from pixelvae.data.draws import generator, path_key, permutation, splitmix64, uniform

NEVER = 1e-4  # p-value below which a fair draw is not believed; all seeds are fixed, so it cannot flicker


def test_splitmix64_gives_the_published_outputs_of_seed_0() -> None:
    outputs = splitmix64(np.zeros(1, np.uint64), np.arange(3, dtype=np.uint64))
    assert outputs.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def grid(axis: str) -> np.ndarray:
    """About 100,000 draws, (n, m), whose neighbours in the first axis differ in one counter only."""
    first, m = np.array([3]), 50
    match axis:
        case "pixel":
            return uniform(np.arange(m), 2000, 0, 0, 0).T
        case "example":
            return uniform(np.arange(2000), m, 0, 0, 0)
        case "epoch":
            return np.concatenate([uniform(first, m, 0, 0, epoch) for epoch in range(2000)])
        case "split":
            return np.concatenate([uniform(first, m, 0, split, 0) for split in range(2000)])
        case _:
            return np.concatenate([uniform(first, m, seed, 0, 0) for seed in range(2000)])


@pytest.mark.parametrize("axis", ["pixel", "example", "epoch", "split", "seed"])
class TestUniform:
    def test_fills_the_unit_interval_evenly(self, axis: str) -> None:
        draws = grid(axis)
        assert draws.min() >= 0
        assert draws.max() < 1
        assert chisquare(np.histogram(draws, bins=256, range=(0, 1))[0]).pvalue > NEVER

    def test_neighbours_are_independent(self, axis: str) -> None:
        draws = grid(axis)
        pairs = np.histogram2d(draws[:-1].ravel(), draws[1:].ravel(), bins=16, range=[(0, 1), (0, 1)])[0]
        assert chi2_contingency(pairs).pvalue > NEVER


def test_a_row_depends_on_its_own_index_alone() -> None:
    indices = np.array([5, 0, 9, 5])
    together = uniform(indices, 7, 1, 2)
    for row, index in zip(together, indices, strict=True):
        assert (row == uniform(np.array([index]), 7, 1, 2)[0]).all()


def test_each_word_of_the_path_matters() -> None:
    paths = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]
    assert len({int(path_key(*path)[0]) for path in paths}) == len(paths)


def test_a_generator_is_of_its_whole_path() -> None:
    """Seeds alone and steps alone give other numbers; torch's own generator forgets the upper half of a seed."""
    paths = [(seed, step) for seed in range(5) for step in range(5)] + [(0, 0, 1), (2**32,), (2**33,)]
    assert len({torch.rand(1, generator=generator(*path)).item() for path in paths}) == len(paths)
    assert torch.equal(torch.rand(3, generator=generator(7, 1)), torch.rand(3, generator=generator(7, 1)))


def test_all_permutations_are_equally_frequent() -> None:
    seen = Counter(tuple(permutation(4, 0, epoch).tolist()) for epoch in range(4800))
    assert set(seen) == set(permutations(range(4)))
    assert chisquare(list(seen.values())).pvalue > NEVER


def test_negative_counters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(0, -1\), want no negative number"):
        path_key(0, -1)
