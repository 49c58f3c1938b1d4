"""Levels in memory as a data set: what is given comes back, and what is no levels is refused with its cure."""

import numpy as np
import pytest
import torch

from pixelvae import TensorData
from pixelvae.data import Batches, BatchKey

X = np.random.default_rng(0).integers(0, 256, (100, 3, 8, 8)).astype(np.uint8)
Y = np.arange(100) % 10


def every(split):
    return split.images(range(len(split))), split.labels(range(len(split)))


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor, lambda a: np.asarray(a, np.int64), lambda a: a.tolist()])
def test_every_example_is_in_one_split_with_its_label(make):
    """From numpy, torch, any integer type, and lists."""
    data = TensorData(make(X), make(Y), levels=256)
    parts = [every(split) for split in (data.train, data.validation, data.test)]
    assert [len(x) for x, _ in parts] == [80, 10, 10]
    found = {(tuple(x.flatten().tolist()), int(y)) for xs, ys in parts for x, y in zip(xs, ys, strict=True)}
    assert found == {(tuple(x.flatten().tolist()), int(y)) for x, y in zip(X, Y, strict=True)}
    assert parts[0][0].dtype == parts[0][1].dtype == torch.int64
    assert data.spec == ((3, 8, 8), 256, (10,))


def test_the_seed_divides():
    first, same, other = (TensorData(X, levels=256, seed=seed).test.images(range(10)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_three_tensors_are_the_splits():
    data = TensorData((X[:60], X[60:70], X[70:]), (Y[:60], Y[60:70], Y[70:]), levels=256)
    for split, part in ((data.train, slice(60)), (data.validation, slice(60, 70)), (data.test, slice(70, None))):
        assert np.array_equal(every(split)[0], X[part])
        assert np.array_equal(every(split)[1][:, 0], Y[part])


def test_a_batch_is_what_its_key_names():
    data = TensorData(X, Y, levels=256)
    key = next(iter(Batches(80, 8, seed=0)))
    x, y = data.train[key]
    assert torch.equal(x, data.train.images(key.indices))
    assert torch.equal(y, data.train.labels(key.indices))


def test_what_was_given_is_neither_changed_nor_shared():
    given = X.copy()
    data = TensorData(given, levels=256)
    before = data.test.images(range(10))
    given[:] = 0
    assert torch.equal(data.test.images(range(10)), before)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.bool_])
def test_wide_read_only_and_boolean_arrays(dtype):
    given = (X > 127).astype(dtype)
    given.flags.writeable = False
    assert TensorData(given, levels=2).train[BatchKey(torch.arange(4), 0)][0].max() == 1


@pytest.mark.parametrize("shape", [(20, 1, 8, 8), (20, 1, 9)])
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_levels_are_0_to_k_minus_1_and_nothing_beside(shape, levels):
    """One value at either end of the range, and the next one beyond it."""
    for value, permitted in ((0, True), (levels - 1, True), (levels, False), (-2, False)):
        x = torch.ones(shape, dtype=torch.long)
        x[-1, 0, 0] = value
        if permitted:
            assert TensorData(x, levels=levels).spec.levels == levels
        else:
            with pytest.raises(ValueError, match=rf"levels={levels} wants 0 \.\. {levels - 1}: "):
                TensorData(x, levels=levels)


def test_absent_values_end_a_sound():
    sounds = torch.randint(4, (20, 1, 9))
    sounds[:, :, 7:] = -1
    data = TensorData(sounds, levels=4)
    assert (data.test.images([0, 1])[..., 7:] == -1).all()
    sounds[0, 0, 3] = -1
    with pytest.raises(ValueError, match="after the end only"):
        TensorData(sounds, levels=4)


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X, None, {"levels": 8}, r"values 0 .. 255; levels=8 wants 0 .. 7: pixelvae.requantise\(.*levels=8"),
        (X.astype(int) - 300, None, {"levels": 256}, "values -300"),
        (X / 255, None, {"levels": 256}, "float64; wanted integers"),
        (torch.rand(20, 1, 8, 8), None, {"levels": 256}, "float32; wanted integers"),
        (X.transpose(0, 2, 3, 1), None, {"levels": 256}, r"move the axis of channels, x.transpose\(0, 3, 1, 2\)"),
        (X[:, 0], None, {"levels": 256}, r"add the axis of channels, x\[:, None\]"),
        (X[0, 0], None, {"levels": 256}, "wanted pictures"),
        (X[:0], None, {"levels": 256}, "wanted pictures"),
        (X[:9], None, {"levels": 256}, "9 examples; wanted at least 10"),
        ([X, X], None, {"levels": 256}, "2 tensors; wanted one"),
        ([X, X[:, :1], X], None, {"levels": 256}, "wanted one shape"),
        (X, None, {"levels": 1}, "levels=1"),
        (X, None, {"levels": 256, "seed": -1}, "seed=-1"),
        (X, Y[:5], {"levels": 256}, r"y has shape \(5,\) for 100 examples"),
        (X, 3, {"levels": 256}, r"y has shape \(1,\) for 100"),
        ([X, X, X], [Y, Y, Y[:5]], {"levels": 256}, "for 100, 100, 100 examples"),
        (X, Y - 1, {"levels": 256}, "labels from 0"),
        (X, Y, {"levels": 256, "num_classes": 9}, r"num_classes=\[9\] wants labels"),
        (X, None, {"levels": 256, "num_classes": 9}, "there are no labels"),
    ],
)
def test_what_is_no_data_set_is_refused(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        TensorData(x, y, **options)


def test_a_position_that_is_not_there_is_refused():
    test = TensorData(X, Y, levels=256).test
    for ask in (test.images, test.labels):
        with pytest.raises(ValueError, match=r"indices 3 .. 10; the split has examples 0 .. 9"):
            ask([3, 10])
    assert test.images([]).shape == (0, 3, 8, 8)


def test_repr_says_what_they_are():
    data = TensorData(X, np.stack([Y, Y % 2], 1), levels=256)
    assert repr(data) == "TensorData(3x8x8, 256 levels, 10 x 2 classes: 80 train, 10 validation, 10 test)"
    assert repr(data.test) == "TensorSplit(10 examples of 3x8x8, 256 levels, 10 x 2 classes)"
