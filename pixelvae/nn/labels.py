"""Class labels as one-hot vectors, concatenated to features, for encoders and contexts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def join_labels(features: Tensor | None, y: Tensor | None, num_classes: tuple[int, ...]) -> Tensor | None:
    """Concatenate features and the one-hot vectors of every kind of label.

    Args:
        features: (B, F), or None.
        y: (B, L) integers; ignored if there are no classes.
        num_classes: Number of classes of each of the L kinds of label.

    Returns:
        (B, F + sum of num_classes) in the dtype of the features; None if there is neither.

    Raises:
        ValueError: If labels are missing, of the wrong shape, or out of range.

    Example:
        >>> join_labels(torch.tensor([[5.0]]), torch.tensor([[1, 0]]), (2, 3))
        tensor([[5., 0., 1., 1., 0., 0.]])
    """
    if not num_classes:
        return features
    if y is None or y.ndim != 2 or y.shape[1] != len(num_classes):
        given = None if y is None else tuple(y.shape)
        raise ValueError(f"y has shape {given}; this model is class-conditional and wants (B, {len(num_classes)})")
    if not torch.compiler.is_compiling():
        high = torch.tensor(num_classes, device=y.device)
        if bool(((y < 0) | (y >= high)).any()):
            raise ValueError(f"y holds labels outside 0 .. n-1 for the numbers of classes {num_classes}")
    one_hot = torch.cat([F.one_hot(y[:, i], n) for i, n in enumerate(num_classes)], dim=1)
    if features is None:
        return one_hot.to(torch.get_default_dtype())
    return torch.cat([features, one_hot.to(features.dtype)], dim=1)
