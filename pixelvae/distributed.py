"""One process or many: torchrun, DDP, device and precision. The only file that knows torch.distributed."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pixelvae.memory import keep_freed_memory

Precision = Literal["auto", "float32", "bf16-mixed"]


@dataclass(frozen=True)
class World:
    """This process among its peers.

    Attributes:
        device: Where this rank's tensors live.
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
        """The mean of a tensor over all ranks; the tensor itself where there is one."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        return self.mean(value) * self.size

    def share(self, n: int) -> slice:
        """This rank's part of n examples; the parts of all ranks follow one another."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def concatenate(self, mine: Tensor) -> Tensor:
        """The rows of all ranks, rank after rank, on every rank. (n, ...) -> (sum of n, ...)."""
        if self.size == 1:
            return mine
        parts: list[Tensor] = [mine] * self.size
        dist.all_gather_object(parts, mine.cpu())
        return torch.cat(parts).to(mine.device)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on some rank: all ranks leave a loop together."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model itself, or wrapped so that gradients are averaged over the ranks."""
        if self.size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1:
            dist.destroy_process_group()


def connect(device: str = "auto") -> World:
    """Prepare this process for work: memory, device, and its peers under torchrun (gloo on the CPU, NCCL on CUDA).

    Args:
        device: ``auto`` takes CUDA where there is one, else the CPU; or any name that torch knows.

    Raises:
        ValueError: If the device does not exist here.
    """
    keep_freed_memory()
    chosen = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    if chosen.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}, but this machine has no usable CUDA device; set device: cpu")
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return World(torch.device(chosen))
    if chosen.startswith("cuda"):
        index = int(os.environ["LOCAL_RANK"])
        torch.cuda.set_device(index)
        where = torch.device("cuda", index)
    else:
        where = torch.device(chosen)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    return World(where, dist.get_rank(), dist.get_world_size())


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions bfloat16 products are emulated, a hundred times slower than float32 ones.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolve_precision(precision: Precision, device: torch.device) -> Literal["float32", "bf16-mixed"]:
    """``auto`` becomes bf16-mixed where the device is fast at it, else float32."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if has_fast_bfloat16(device) else "float32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Matrix products in bfloat16 where asked for; weights, sums and log-softmax stay in float32."""
    mixed = resolve_precision(precision, device) == "bf16-mixed"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed)
