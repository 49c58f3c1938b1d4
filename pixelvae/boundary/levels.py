"""Checks of levels x, of batches with labels, and of masks."""

from __future__ import annotations

import torch
from torch import Tensor

from pixelvae.boundary.labels import Labels, require_labels
from pixelvae.boundary.tensors import is_integer, may_read
from pixelvae.data.spec import ABSENT, DataSpec


def require_batch(
    x: Tensor,
    y: Labels | None,
    spec: DataSpec,
    device: torch.device,
    *,
    labels_optional: bool = False,
    synchronise: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Levels and labels of one batch as int64 tensors on the device.

    Args:
        x: (B, C, *S) levels of any integer type.
        y: See :func:`require_labels`.
        spec: Spec of the model.
        device: Device of the model.
        labels_optional: Whether y may be None although the model has labels.
        synchronise: If false, never wait for an accelerator: do not check values on it, and copy asynchronously.

    Raises:
        ValueError: If x or y does not match the spec.
    """
    x = require_levels(x, spec, synchronise=synchronise)
    x = x.to(device, non_blocking=not synchronise)
    if y is None and labels_optional:
        return x, None
    return x, require_labels(y, spec.num_classes, len(x), device, synchronise=synchronise)


def require_levels(x: Tensor, spec: DataSpec, *, synchronise: bool = True) -> Tensor:
    """Levels as int64 on their device. (B, C, *S) of any integer type -> (B, C, *S).

    ``ABSENT`` is valid only after the end of a sound. Values are not checked while torch.compile traces.

    Raises:
        ValueError: If type, shape or values do not match the spec.

    Example:
        >>> require_levels(torch.full((1, 1, 2, 2), 255), DataSpec((1, 2, 2), levels=2))
        Traceback (most recent call last):
        ValueError: x: levels 0 .. 1 are wanted, the largest is 255: quantise grey values with Quantiser(levels=2)
    """
    top = spec.levels - 1
    if not isinstance(x, Tensor):
        raise ValueError(f"x is a {type(x).__name__}; wanted a tensor of levels: torch.as_tensor(x)")
    if not is_integer(x):
        raise ValueError(
            f"x is {x.dtype}: levels are integers 0 .. {top}; convert levels with x.long(), and quantise grey values "
            f"(0 .. 255, uint8) with Quantiser(levels={spec.levels}) or sounds with mu_law_encode"
        )
    if tuple(x.shape[1:]) != spec.shape:
        raise ValueError(_wrong_shape(tuple(x.shape), spec.shape))
    if len(x) == 0:
        raise ValueError(f"x is {tuple(x.shape)}; wanted at least one example")
    x = x.long()
    if may_read(x, synchronise):
        low, high = torch.stack(x.aminmax()).tolist()  # one read for both
        if high > top:
            cure = f"quantise grey values with Quantiser(levels={spec.levels})" if high < 256 else "check the data"
            raise ValueError(f"x: levels 0 .. {top} are wanted, the largest is {high}: {cure}")
        if low < 0:
            _require_absent_at_the_end(x, low, spec)
    return x


def _require_absent_at_the_end(x: Tensor, low: int, spec: DataSpec) -> None:
    wanted = f"x: levels 0 .. {spec.levels - 1} are wanted, the smallest is {low}"
    if low != ABSENT:
        raise ValueError(f"{wanted}: was the mean subtracted?")
    if len(spec.sites) != 1:
        raise ValueError(f"{wanted}: {ABSENT} marks the end of a sound, and pictures have all their pixels")
    absent = x == ABSENT  # (B, C, T)
    if bool((absent != absent[:, :1]).any() | (absent[..., :-1] & ~absent[..., 1:]).any()):
        raise ValueError(f"{wanted}: {ABSENT} may stand only after the end of a sound, in all channels")


def _wrong_shape(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    given, kind = shape[1:], {3: "picture", 2: "sound"}.get(len(wanted), "example")
    text = f"x is {shape}; the model wants (B, {', '.join(map(str, wanted))})"
    if shape == wanted:
        return f"{text}: add the axis of examples with x[None]"
    if (shape == wanted[1:] or given == wanted[1:]) and wanted[0] == 1:
        return f"{text}: add the axis of channels with x.unsqueeze(-{len(wanted)})"
    if given == (*wanted[1:], wanted[0]):
        return f"{text}: channels come first, x.movedim(-1, 1)"
    if len(given) != len(wanted):
        return f"{text}: the model is of {kind}s, ({'C, H, W' if len(wanted) == 3 else 'C, T'})"
    if given[1:] != wanted[1:]:
        size, want = ("x".join(map(str, sites)) for sites in (given[1:], wanted[1:]))
        return f"{text}: {kind} is {size}, the model wants {want}"
    return f"{text}: {kind} has {given[0]} channels, the model wants {wanted[0]}"


def require_known(known: Tensor, x: Tensor) -> Tensor:
    """A mask with the shape of x, on its device.

    Raises:
        ValueError: If it is not boolean, or cannot be broadcast to x.
    """
    if not isinstance(known, Tensor) or known.dtype != torch.bool:
        given = known.dtype if isinstance(known, Tensor) else type(known).__name__
        raise ValueError(f"known is {given}; wanted torch.bool, true where x is kept: known > 0.5, or known.bool()")
    if known.ndim > x.ndim or any(k not in (1, s) for k, s in zip(known.shape[::-1], x.shape[::-1], strict=False)):
        raise ValueError(f"known has shape {tuple(known.shape)}; wanted one that broadcasts to x, {tuple(x.shape)}")
    return known.to(x.device).expand_as(x)
