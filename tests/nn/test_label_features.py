"""Labels beside features, one-hot."""

import torch

from pixelvae.nn.labels import join_labels


def test_labels_are_beside_the_features_and_of_their_type():
    """Features first, then each kind of label in order; without features the labels alone."""
    features, y = torch.randn(2, 3, dtype=torch.float64), torch.tensor([[1, 0], [0, 2]])
    one_hot = torch.tensor([[0.0, 1, 1, 0, 0], [1, 0, 0, 0, 1]])
    joined = join_labels(features, y, (2, 3))
    assert joined.dtype == torch.float64
    assert torch.equal(joined, torch.cat([features, one_hot.double()], dim=1))
    assert torch.equal(join_labels(None, y, (2, 3)), one_hot)


def test_without_classes_labels_are_ignored():
    """A model that must not see the labels is given them all the same."""
    features = torch.randn(2, 3)
    assert join_labels(features, torch.tensor([[7], [9]]), ()) is features
    assert join_labels(None, None, ()) is None
