"""What the checks of tensors share."""

from __future__ import annotations

import torch
from torch import Tensor


def is_integer(x: Tensor) -> bool:
    """Whether the type is one of integers; booleans are none."""
    return not (x.dtype.is_floating_point or x.dtype.is_complex or x.dtype == torch.bool)


def may_read(tensor: Tensor, synchronise: bool) -> bool:
    """Whether values may decide what happens: not where that waits for a device in vain, or breaks a compiled graph."""
    return (synchronise or tensor.device.type == "cpu") and not torch.compiler.is_compiling()
