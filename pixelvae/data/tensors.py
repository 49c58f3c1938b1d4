"""`TensorData`: a data set of pictures or sounds in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pixelvae.data.draws import permutation
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.data.splits import BatchKey, DataSet, Split

NUM_SPLITS = 3
MOST_CHANNELS = 4
"""Numbers of channels by which a picture with channels last is recognised, for the error message."""


class TensorSplit(Split):
    """A split of some rows of a tensor of levels.

    Args:
        x: (N, C, *S) levels, of any integer type; shared, not copied.
        y: (N, L) int64.
        rows: (M,) int64, the examples of this split.
        spec: Shape, levels and labels.

    Shape:
        ``split[key]`` returns x: (B, C, *S) int64 in [0, K) and y: (B, L) int64.
    """

    def __init__(self, x: Tensor, y: Tensor, rows: Tensor, spec: DataSpec) -> None:
        self.spec = spec
        self._x, self._y, self._rows = x, y, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: BatchKey) -> tuple[Tensor, Tensor]:
        rows = self._rows[key.indices]
        return self._x[rows].long(), self._y[rows]

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The labels of some examples, (B,) -> (B, L)."""
        return self._y[self._rows[self.positions(indices)]]


class TensorData(DataSet):
    """Levels in memory, from numpy or torch, split 80 / 10 / 10 at random or given as three tensors.

    Args:
        x: Levels 0 .. K-1 of any integer type: pictures (N, C, H, W), sounds (N, 1, T) or codes; or a tuple of three
            such tensors, train, validation and test.
        y: Labels (N,), or (N, L) of L kinds; None without labels. A tuple of three if x is one.
        levels: K. To reduce the number of levels, see ``requantise(x, levels=K)``.
        num_classes: Classes of each kind of label; by default the largest label plus one.
        seed: Seed of the random splits.

    Raises:
        ValueError: If x is not of integers, has another shape or other levels, or labels do not match x.

    Example:
        >>> x, y = np.zeros((50, 1, 8, 8), np.uint8), np.arange(50) % 10
        >>> TensorData(x, y, levels=256)
        TensorData(1x8x8, 256 levels, 10 classes: 40 train, 5 validation, 5 test)
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        levels: int,
        num_classes: int | Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        if levels < 2:
            raise ValueError(f"levels={levels}; wanted at least 2")
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative")
        xs, ys = ([_tensor(part) for part in _parts(given)] for given in (x, y))
        for part in xs:
            _check_levels(part, levels)
        if len({part.shape[1:] for part in xs}) > 1:
            shapes = ", ".join(str(tuple(part.shape)) for part in xs)
            raise ValueError(f"train, validation and test have shapes {shapes}; wanted one shape of example")
        labels = _labels(ys, [len(part) for part in xs])
        joint_x, joint_y = torch.cat(xs), torch.cat(labels)
        spec = DataSpec(tuple(joint_x.shape[1:]), levels, _num_classes(joint_y, num_classes))
        joint_x = joint_x.to(spec.storage_dtype if int(joint_x.min()) >= 0 else torch.int32)
        rows = _divided(len(joint_x), seed) if len(xs) == 1 else torch.arange(len(joint_x)).split([len(p) for p in xs])
        super().__init__(*(TensorSplit(joint_x, joint_y, part, spec) for part in rows))
        self.init_args = {"levels": levels, "num_classes": list(spec.num_classes), "seed": seed}  # without the tensors


def _parts(given: Any) -> Sequence[Any]:
    """A list of one tensor, or of three; empty without labels."""
    if given is None:
        return ()
    if not isinstance(given, tuple | list) or not any(isinstance(entry, Tensor | np.ndarray) for entry in given):
        return (given,)
    if len(given) != NUM_SPLITS:
        raise ValueError(f"{len(given)} tensors; wanted one (stack them), or three: train, validation, test")
    return given


def _tensor(part: Any) -> Tensor:
    """Convert integers of numpy or torch to a tensor."""
    if not isinstance(part, Tensor):
        array = np.ascontiguousarray(part)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)  # torch supports few operations on wide unsigned integers
        part = torch.from_numpy(array if array.flags.writeable else array.copy())
    if part.is_floating_point() or part.is_complex():
        raise ValueError(
            f"values of type {part.dtype}; wanted integers. Of values in [0, 1] make levels with "
            "torch.as_tensor(255 * x).round().to(torch.uint8), levels=256"
        )
    return part.detach().cpu()


def _check_levels(x: Tensor, levels: int) -> None:
    """Raise ValueError unless x is (N, C, H, W) or (N, 1, T), of levels 0 .. K-1."""
    shape = tuple(x.shape)
    if len(shape) not in (3, 4) or 0 in shape:
        raise ValueError(f"x has shape {shape}; wanted pictures (N, C, H, W) or sounds (N, 1, T)")
    if len(shape) == 3 and shape[1] != 1:
        raise ValueError(f"x has shape {shape}; wanted (N, C, H, W): add the axis of channels, x[:, None]")
    if len(shape) == 4 and shape[3] <= MOST_CHANNELS < 2 * MOST_CHANNELS <= min(shape[1:3]):
        raise ValueError(
            f"x has shape {shape}; wanted (N, C, H, W): move the axis of channels, x.transpose(0, 3, 1, 2) of a numpy "
            "array or x.permute(0, 3, 1, 2) of a tensor"
        )
    least, most = int(x.min()), int(x.max())
    if len(shape) == 3 and least == ABSENT:
        absent = x == ABSENT
        if bool((absent[..., :-1] & ~absent[..., 1:]).any()):
            raise ValueError(f"x holds {ABSENT} before the end of a sound; wanted it after the end only")
        least = 0
    if least < 0 or most >= levels:
        grey = least >= 0 and most < 256
        advice = f"pixelvae.requantise(torch.as_tensor(x), levels={levels})" if grey else "set levels, or mend x"
        raise ValueError(f"x holds values {least} .. {most}; levels={levels} wants 0 .. {levels - 1}: {advice}")


def _labels(ys: list[Tensor], sizes: list[int]) -> list[Tensor]:
    """The labels of every part, (N, L) int64; L = 0 without labels."""
    if not ys:
        return [torch.empty(size, 0, dtype=torch.int64) for size in sizes]
    given = [len(y) if y.ndim else 0 for y in ys]
    if given != sizes or any(y.ndim > 2 for y in ys):
        shapes = ", ".join(str(tuple(y.shape)) for y in ys)
        raise ValueError(f"y has shape {shapes} for {', '.join(map(str, sizes))} examples; wanted (N,) or (N, L)")
    labels = [y.long().reshape(len(y), -1) for y in ys]
    if len({y.shape[1] for y in labels}) > 1:
        raise ValueError("the three tensors of labels have different numbers of kinds; wanted the same (N, L)")
    return labels


def _num_classes(y: Tensor, given: int | Sequence[int] | None) -> tuple[int, ...]:
    """Classes of each kind of label."""
    if not y.shape[1]:
        if given:
            raise ValueError(f"num_classes={given}, but there are no labels; give y")
        return ()
    largest = y.amax(0)
    wanted = (largest + 1).tolist() if given is None else [given] if isinstance(given, int) else list(given)
    if int(y.min()) < 0 or len(wanted) != y.shape[1] or any(int(m) >= n for m, n in zip(largest, wanted, strict=True)):
        raise ValueError(
            f"labels {int(y.min())} .. {largest.tolist()} of {y.shape[1]} kinds; num_classes={wanted} wants labels "
            "from 0 and below the number of classes of their kind"
        )
    return tuple(wanted)


def _divided(size: int, seed: int) -> Sequence[Tensor]:
    """Rows of train, validation and test: 80 / 10 / 10 at random."""
    held_out = size // 10
    if held_out < 1:
        raise ValueError(f"{size} examples; wanted at least 10 for the three splits, or three tensors")
    order = torch.from_numpy(permutation(size, seed))
    return order.split([size - 2 * held_out, held_out, held_out])
