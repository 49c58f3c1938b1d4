"""Reading and writing of model.safetensors with a hash, and a limit to the memory of a configured model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pixelvae.storage import explained

FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, not pixelvae's, or newer than this version."""


def weights_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Serialise tensors to safetensors, with a hash of all content in the metadata."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pixelvae", "version": str(FORMAT_VERSION), **metadata}
    return safetensors_bytes(kept, metadata | {"sha256": _digest(kept, metadata)})


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a checkpoint's weights.

    Raises:
        CheckpointError: If the file is missing, damaged, not pixelvae's, or newer than this version.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: is this a checkpoint folder?")
    try:
        with explained(path, "read"), safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); it is truncated or not a safetensors file") from error
    if metadata.get("format") != "pixelvae":
        raise CheckpointError(f"{path} was not written by pixelvae: its metadata has no format 'pixelvae'")
    version = metadata.get("version", "")
    if not version.isdecimal():
        raise CheckpointError(f"{path} is damaged: its metadata have format version {version!r}")
    if int(version) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}; this pixelvae reads up to {FORMAT_VERSION}: update it"
        )
    return metadata


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors and the metadata.

    Raises:
        CheckpointError: If the hash differs, or a weight is not finite.
    """
    metadata = read_metadata(path)
    try:
        with explained(path, "read"), safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); it is truncated or not a safetensors file") from error
    wanted = metadata.pop("sha256", None)  # checkpoints of version 0.1 have none
    if wanted is not None and _digest(tensors, metadata) != wanted:
        raise CheckpointError(f"{path} is damaged: its weights are not those that were saved; use another checkpoint")
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: the weights of {name} are not finite; use another checkpoint of the run")
    return tensors, metadata


MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange}
"""Operations that allocate a tensor of a size known in advance."""


class Budget(TorchFunctionMode):
    """Raise an error before a model allocates more memory than its checkpoint can need.

    Args:
        tensors: Tensors of the checkpoint. The model may allocate a few times as many values, for masks and
            initialisation.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.num_values = 10_000_000 + 8 * sum(tensor.numel() for tensor in tensors.values())
        self.num_tensors = 500 + 10 * len(tensors)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [argument.shape for argument in args if isinstance(argument, Tensor)]
        size = 0
        if not inputs and function in MAKERS:
            sizes = args[0] if args and isinstance(args[0], (list, tuple)) else args
            size = math.prod(number for number in sizes if isinstance(number, int))
            self.num_values -= size
            self.num_tensors -= 1
        elif len(inputs) > 1:
            with suppress(RuntimeError):  # without broadcasting, outputs are no larger than inputs
                size = math.prod(torch.broadcast_shapes(*inputs))
        if self.num_values < size or self.num_tensors < 0:
            raise MemoryError("it describes a much larger model than the weights are of")
        return function(*args, **kwargs)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """A hash of names, types, shapes and values, and of the metadata."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
