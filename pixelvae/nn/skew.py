"""Skewing turns a map's diagonals into columns, for a recurrence over them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def skew(x: Tensor) -> Tensor:
    """Shift row i to the right by i; new places are zero. (N, H, W, ...) -> (N, H, H + W - 1, ...).

    Column t then holds the pixels (i, t - i): a diagonal from the lower left to the upper right.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), figure 3. https://arxiv.org/abs/1601.06759

    Example:
        >>> import torch
        >>> skew(torch.arange(1, 7).view(1, 2, 3))
        tensor([[[1, 2, 3, 0],
                 [0, 4, 5, 6]]])
    """
    height, width = x.shape[1:3]
    # Rows of H + W places, read as rows of H + W - 1, each begin one place later.
    places = _pad_columns(x, height).flatten(1, 2)[:, :-height]
    return places.unflatten(1, (height, height + width - 1))


def unskew(x: Tensor) -> Tensor:
    """Undo skew. (N, H, H + W - 1, ...) -> (N, H, W, ...).

    Example:
        >>> import torch
        >>> unskew(torch.tensor([[[1, 2, 3, 0], [0, 4, 5, 6]]]))
        tensor([[[1, 2, 3],
                 [4, 5, 6]]])
    """
    height, columns = x.shape[1:3]
    places = _pad_columns(x.flatten(1, 2)[:, None], height)[:, 0]
    return places.unflatten(1, (height, columns + 1))[:, :, : columns + 1 - height]


def _pad_columns(x: Tensor, columns: int) -> Tensor:
    return F.pad(x, (0, 0) * (x.ndim - 3) + (0, columns))
