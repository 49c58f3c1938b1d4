"""Functions that the checks of tensors share."""

from __future__ import annotations

import torch
from torch import Tensor


def is_integer(x: Tensor) -> bool:
    """Whether the dtype is an integer type; bool is not."""
    return not (x.dtype.is_floating_point or x.dtype.is_complex or x.dtype == torch.bool)


def may_read(tensor: Tensor, synchronise: bool) -> bool:
    """Whether to read values: not if that would wait for a device, or break a compiled graph."""
    return (synchronise or tensor.device.type == "cpu") and not torch.compiler.is_compiling()
