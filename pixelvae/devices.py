"""Devices: selection, copies, and rounding and determinism of products."""

from __future__ import annotations

import os

import torch
from torch import Tensor

CPU = torch.device("cpu")


def choose_device(name: str = "auto") -> torch.device:
    """A device of this machine by name: ``auto`` is the accelerator, or the CPU where there is none.

    Raises:
        ValueError: If this machine does not have the device.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return CPU if accelerator is None else accelerator
    here = [CPU.type] if accelerator is None else [CPU.type, accelerator.type]
    kind, _, index = name.partition(":")
    if kind not in here or not (index or "0").isdecimal():
        raise ValueError(f"device={name!r}, but this machine has {' and '.join(here)}; set device: {here[-1]}")
    if kind != CPU.type and int(index or 0) >= torch.accelerator.device_count():
        raise ValueError(f"device={name!r}, but this machine has {torch.accelerator.device_count()} of {kind}")
    return torch.device(name)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to CUDA through pinned memory, so that the host does not wait."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def send_levels(x: Tensor, device: torch.device) -> Tensor:
    """Copy integers to a device, as bytes if all are in 0 .. 255. (*,) int64 on the CPU -> same."""
    if device.type == "cpu":
        return x
    low, high = x.aminmax()  # on the CPU: nothing waits
    bytes_suffice = bool(low >= 0) and bool(high < 256)
    return send(x.to(torch.uint8) if bytes_suffice else x, device).to(x.dtype)


def set_numerics(
    device: torch.device, *, tf32: bool = False, benchmark: bool = False, deterministic: bool = False
) -> None:
    """Set rounding and determinism of products on an accelerator, for the whole process; no effect on the CPU.

    Args:
        device: The device of the work.
        tf32: Whether CUDA may multiply float32 numbers with 10 bits of mantissa, which is several times faster.
        benchmark: Whether cuDNN measures its algorithms and takes the fastest; the choice may differ between runs.
        deterministic: Whether to allow only algorithms with bitwise equal results in every run. Other operations raise
            RuntimeError.

    Raises:
        ValueError: If both ``benchmark`` and ``deterministic`` are set.
    """
    if benchmark and deterministic:
        raise ValueError("benchmark=True chooses algorithms by time, which deterministic=True excludes")
    if device.type == "cpu":
        return
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = benchmark
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads this at its first product
        torch.use_deterministic_algorithms(True)
