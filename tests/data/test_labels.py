"""Labels for samples of a model."""

import math

import pytest
import torch

from pixelvae.data.labels import cycled_labels, label_combinations


@pytest.mark.parametrize("num_classes", [(), (3,), (3, 2), (2, 2, 2)])
def test_every_combination_comes_once(num_classes):
    rows = label_combinations(num_classes)
    assert rows.shape[1] == len(num_classes)
    assert len({tuple(row) for row in rows.tolist()}) == len(rows) == math.prod(num_classes)
    assert rows.tolist() == sorted(rows.tolist())


@pytest.mark.parametrize("num_classes", [(), (3,), (10, 6)])
def test_labels_in_turn_are_in_range_and_repeat(num_classes):
    y = cycled_labels(num_classes, 60)
    assert y.shape == (60, len(num_classes))
    assert y.dtype == torch.long
    for kind, number in enumerate(num_classes):
        assert y[:, kind].tolist() == [i % number for i in range(60)]
