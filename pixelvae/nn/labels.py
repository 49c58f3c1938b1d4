"""Class labels as one-hot vectors, concatenated to features, for encoders and contexts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def join_labels(features: Tensor | None, y: Tensor | None, num_classes: tuple[int, ...]) -> Tensor | None:
    """Concatenate features and the one-hot vectors of every kind of label.

    Args:
        features: (B, F), or None.
        y: (B, L) integers in the range of their kind; not used if there are no classes.
        num_classes: Number of classes of each of the L kinds of label.

    Returns:
        (B, F + sum of num_classes) in the dtype of the features; None if there is neither.

    Example:
        >>> join_labels(torch.tensor([[5.0]]), torch.tensor([[1, 0]]), (2, 3))
        tensor([[5., 0., 1., 1., 0., 0.]])
    """
    if not num_classes:
        return features
    assert y is not None  # missing labels were rejected before
    one_hot = torch.cat([F.one_hot(y[:, i], n) for i, n in enumerate(num_classes)], dim=1)
    if features is None:
        return one_hot.to(torch.get_default_dtype())
    return torch.cat([features, one_hot.to(features.dtype)], dim=1)
