"""Flips and shifts affect training only, and are a function of seed, epoch and example."""

import pytest
import torch

from pixelvae.data.augmentation import Augmentation

X = torch.arange(4 * 3 * 5 * 6).reshape(4, 3, 5, 6)
INDICES = torch.arange(4)


def moved(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The picture, moved down and to the right; edges are repeated."""
    height, width = x.shape[-2:]
    return x[..., (torch.arange(height) - rows).clamp(0, height - 1), :][
        ..., (torch.arange(width) - columns).clamp(0, width - 1)
    ]


def test_without_options_nothing_changes() -> None:
    assert Augmentation(flip=False, shift=0, seed=0)(X, INDICES, 5).equal(X)


def test_a_flip_mirrors_left_and_right_half_of_the_time() -> None:
    flip = Augmentation(flip=True, shift=0, seed=0)
    mirrored = 0
    for epoch in range(100):
        for x, out in zip(X, flip(X, INDICES, epoch), strict=True):
            assert out.equal(x) or out.equal(x.flip(-1))
            mirrored += out.equal(x.flip(-1))
    assert abs(mirrored - 200) < 40  # four standard deviations


def test_shifts_reach_all_places_and_no_other() -> None:
    shift = Augmentation(flip=False, shift=1, seed=0)
    seen = set()
    for epoch in range(60):
        for x, out in zip(X, shift(X, INDICES, epoch), strict=True):
            places = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if out.equal(moved(x, r, c))]
            assert len(places) == 1
            seen.add(places[0])
    assert len(seen) == 9


def test_draws_depend_on_seed_epoch_and_example_alone() -> None:
    augment = Augmentation(flip=True, shift=2, seed=3)
    together = augment(X, INDICES, 7)
    alone = augment(X[2:3], INDICES[2:3], 7)
    assert together[2].equal(alone[0])
    assert not together.equal(augment(X, INDICES, 8))
    assert not together.equal(Augmentation(flip=True, shift=2, seed=4)(X, INDICES, 7))


def test_a_negative_shift_is_refused() -> None:
    with pytest.raises(ValueError, match="shift=-1 must be at least 0"):
        Augmentation(flip=False, shift=-1, seed=0)
