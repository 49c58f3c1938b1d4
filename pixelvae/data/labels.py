"""Labels for samples of a class-conditional model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def label_combinations(num_classes: Sequence[int]) -> Tensor:
    """Every combination of labels, with the last kind varying fastest. Returns (R, L); one empty row if L = 0.

    Example:
        >>> label_combinations((2, 2)).tolist(), label_combinations(()).shape
        ([[0, 0], [0, 1], [1, 0], [1, 1]], torch.Size([1, 0]))
    """
    if not num_classes:
        return torch.zeros(1, 0, dtype=torch.long)
    return torch.cartesian_prod(*map(torch.arange, num_classes)).reshape(-1, len(num_classes))


def cycled_labels(num_classes: Sequence[int], n: int, device: torch.device | str = "cpu") -> Tensor:
    """Label i of every kind, modulo its number of classes, for example i. Returns (n, L).

    Example:
        >>> cycled_labels((3, 2), 4).tolist()
        [[0, 0], [1, 1], [2, 0], [0, 1]]
    """
    return torch.arange(n, device=device)[:, None] % torch.tensor(num_classes, dtype=torch.long, device=device)
