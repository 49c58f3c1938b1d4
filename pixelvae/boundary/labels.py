"""Checks of labels y: an integer, a list or a tensor is converted to (B, L)."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from pixelvae.boundary.tensors import is_integer, may_read

Labels = Tensor | Sequence[int] | int
"""(B, L) labels; with one kind of label also (B,), a list, or one integer for all examples."""


def require_labels(
    y: Labels | None,
    num_classes: tuple[int, ...],
    n: int,
    device: torch.device | str = "cpu",
    *,
    asked_for: bool = False,
    synchronise: bool = True,
) -> Tensor | None:
    """Labels as (n, L) int64 on the device; None for a model without labels.

    Data sets yield labels for every model, so a model without labels ignores a tensor of n rows. An integer or a list
    is an explicit request, and an error for such a model.

    Args:
        y: See ``Labels``.
        num_classes: Number of classes of each kind of label.
        n: Number of examples.
        device: Device of the model.
        asked_for: Whether y is an explicit request. A tensor is then also an error for a model without labels.
        synchronise: If false, never wait for an accelerator, see :func:`require_batch`.

    Raises:
        ValueError: If labels are missing, given to a model that has none, of the wrong shape, or out of range.

    Example:
        >>> require_labels(3, (10,), n=2)
        tensor([[3],
                [3]])
    """
    if not num_classes:
        _refuse_wishes(y, n, asked_for)
        return None
    wanted = f"the model is class-conditional and wants (B, {len(num_classes)}) labels for {n} examples"
    if y is None:
        raise ValueError(f"y is missing; {wanted}: pass y={'3' if len(num_classes) == 1 else 'a tensor'}")
    labels = _as_tensor(y, wanted)
    if not is_integer(labels):
        raise ValueError(f"y is {labels.dtype}; {wanted}, as integers: y.long()")
    labels = labels.long()
    if len(num_classes) == 1 and labels.ndim < 2:
        labels = (labels.expand(n) if labels.ndim == 0 else labels)[:, None]
    if labels.shape != (n, len(num_classes)):
        raise ValueError(f"y has shape {tuple(labels.shape)}; {wanted}, with 0 <= y < {num_classes}")
    if may_read(labels, synchronise):
        high = torch.tensor(num_classes, device=labels.device)
        if bool(((labels < 0) | (labels >= high)).any()):
            lowest, highest = labels.amin(0).tolist(), labels.amax(0).tolist()
            raise ValueError(f"y holds labels {lowest} .. {highest}, outside 0 .. n-1 for n = {num_classes} classes")
    return labels.to(device, non_blocking=not synchronise)


def require_labels_along(
    y: Labels | None, num_classes: tuple[int, ...], steps: int, n: int, device: torch.device
) -> Tensor | None:
    """Labels of every point of n paths, (steps·n, L), from one per point, (steps, n, L), or one per path.

    Raises:
        ValueError: As :func:`require_labels`.
    """
    if isinstance(y, Tensor) and y.ndim == 3:
        if y.shape[:2] != (steps, n):
            raise ValueError(f"y has shape {tuple(y.shape)}; wanted ({steps}, {n}, {len(num_classes)}) along the way")
        return require_labels(y.flatten(0, 1), num_classes, steps * n, device)
    labels = require_labels(y, num_classes, n, device)
    return None if labels is None else labels.repeat(steps, 1)


def _as_tensor(y: Labels, wanted: str) -> Tensor:
    if isinstance(y, Tensor):
        return y
    if isinstance(y, bool) or not isinstance(y, Integral | Sequence) or isinstance(y, str):
        raise ValueError(f"y is a {type(y).__name__}; {wanted}: an integer, a list or a tensor")
    try:
        return torch.tensor(int(y) if isinstance(y, Integral) else y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"y is not a list of labels ({error}); {wanted}") from error


def _refuse_wishes(y: Labels | None, n: int, asked_for: bool) -> None:
    if y is None or (isinstance(y, Tensor) and y.numel() == 0):
        return
    if asked_for or not isinstance(y, Tensor):
        raise ValueError("y is given, but the model has no labels; leave y out, or use a class-conditional model")
    if y.ndim == 0 or len(y) != n:
        raise ValueError(f"y has shape {tuple(y.shape)} beside {n} examples; the model has no labels: leave y out")
