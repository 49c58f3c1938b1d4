"""Processes of torchrun, DDP, device and precision. The only file that imports torch.distributed."""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pixelvae.devices import choose_device, set_numerics
from pixelvae.memory import keep_freed_memory

Precision = Literal["auto", "float32", "bf16-mixed"]

TIMEOUT = timedelta(hours=4)
"""Timeout of collectives: other ranks wait while rank 0 draws pictures and saves, which may take many minutes."""


@dataclass(frozen=True)
class World:
    """Rank, number of processes and device of this process.

    Attributes:
        device: Device of this rank's tensors.
        rank: 0 .. size-1; rank 0 alone writes files.
        size: Number of processes.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and shows progress."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all ranks; the tensor itself for a single rank."""
        if self.size == 1:
            return value
        total = value.to(self.device, copy=True)  # NCCL reduces tensors of its device only
        dist.all_reduce(total)
        return (total / self.size).to(value.device)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        return self.mean(value) * self.size

    def share(self, n: int) -> slice:
        """This rank's part of n examples, in order of ranks."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def concatenate(self, mine: Tensor) -> Tensor:
        """Concatenate the rows of all ranks in order, on every rank. (n, ...) -> (sum of n, ...)."""
        if self.size == 1:
            return mine
        parts: list[Tensor] = [mine] * self.size
        dist.all_gather_object(parts, mine.cpu())
        return torch.cat(parts).to(mine.device)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank, so that all ranks leave a loop together."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model, wrapped in DDP if there are several ranks, which averages gradients.

        Buffers are not broadcast: they are constants, and a broadcast fails where one is not contiguous.
        """
        if self.size == 1:
            return model
        ids = [self.device] if self.device.type == "cuda" else None
        # A 1x1 kernel's strides over axes of length 1 differ from its gradient's, without consequence.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        with warnings.catch_warnings():
            # torch 2.14 deprecates this option; its replacement still broadcasts at the start.
            warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
            return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True)

    def close(self) -> None:
        """Leave the process group."""
        if self.size > 1:
            dist.destroy_process_group()


def connect(device: str = "auto") -> World:
    """Set up memory and device, and under torchrun the process group (gloo on the CPU, NCCL on CUDA).

    Args:
        device: The name of a device; ``auto`` takes the accelerator of this machine (CUDA, MPS, ...) if there is one,
            else the CPU. Under torchrun a rank takes the CUDA device of its local rank, or the CPU.

    Raises:
        ValueError: If this machine does not have the device, or several processes cannot share it.
    """
    keep_freed_memory()
    where = choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        set_numerics(where)
        return World(where)
    where = _device_of_rank(where, int(os.environ["LOCAL_RANK"]), device)
    set_numerics(where)
    if where.type == "cuda":
        torch.cuda.set_device(where)
        dist.init_process_group("nccl", device_id=where, timeout=TIMEOUT)
    else:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    return World(where, dist.get_rank(), dist.get_world_size())


def _device_of_rank(where: torch.device, local_rank: int, asked: str) -> torch.device:
    """The device of this rank: its own CUDA device, or the shared CPU."""
    if where.type not in ("cpu", "cuda"):
        if asked != "auto":
            raise ValueError(f"device={asked!r} cannot be shared by several processes; set device: cpu")
        return torch.device("cpu")
    if where.type == "cpu":
        return where
    if local_rank >= torch.cuda.device_count():
        raise ValueError(
            f"torchrun started process {local_rank} here, but this machine has {torch.cuda.device_count()} CUDA "
            f"devices; set --nproc-per-node={torch.cuda.device_count()} or device: cpu"
        )
    return torch.device("cuda", local_rank)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions bfloat16 products are emulated, a hundred times slower than float32 ones.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolve_precision(precision: Precision, device: torch.device) -> Literal["float32", "bf16-mixed"]:
    """Resolve ``auto``: bf16-mixed where the device is fast at it, else float32."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if has_fast_bfloat16(device) else "float32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Autocast matrix products to bfloat16 under bf16-mixed; weights, sums and log-softmax stay in float32."""
    mixed = resolve_precision(precision, device) == "bf16-mixed"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed)
