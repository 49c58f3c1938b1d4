"""Files of MNIST's idx format, checked before they are used."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CURE = "remove the file and set `download: true`, or copy it anew"
"""Advice on a damaged file of a published data set."""

_BYTES = 8  # the code of unsigned bytes, the third byte of a file


def read_pair(images: Path, labels: Path, size: tuple[int, int], num_classes: int) -> tuple[Tensor, Tensor]:
    """Read grey images and their labels.

    Reference:
        The MNIST database of handwritten digits (LeCun, Cortes, Burges, 1998), "File formats".
        http://yann.lecun.com/exdb/mnist

    Args:
        images: File of images.
        labels: File of as many labels.
        size: Required height and width of the images.
        num_classes: Number of classes; labels are smaller.

    Shape:
        Returns (N, 1, H, W) uint8 and (N,) uint8.

    Raises:
        ValueError: If a file is truncated or of another format, sizes or numbers differ, or a label is out of range.
    """
    grey = _read(images, num_axes=3)
    y = _read(labels, num_axes=1)
    if tuple(grey.shape[1:]) != size:
        found = " x ".join(map(str, grey.shape[1:]))
        raise ValueError(f"{images} holds images of {found} pixels, want {size[0]} x {size[1]}: {CURE}")
    if len(y) != len(grey):
        raise ValueError(f"{labels} holds {len(y):,} labels for the {len(grey):,} images of {images.name}: {CURE}")
    if len(y) and int(y.max()) >= num_classes:
        raise ValueError(f"{labels} holds the label {int(y.max())}, want 0 .. {num_classes - 1}: {CURE}")
    return grey.unsqueeze(1), y


def _read(file: Path, num_axes: int) -> Tensor:
    """Read the bytes of an idx file, in the shape given by its header."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}): {CURE}") from error
    header = 4 + 4 * num_axes
    if content[:4] != bytes([0, 0, _BYTES, num_axes]) or len(content) < header:
        raise ValueError(f"{file} is no idx file with {num_axes} axes of bytes: {CURE}")
    shape = struct.unpack(f">{num_axes}I", content[4:header])
    wanted = int(np.prod(shape, dtype=object))
    if len(content) - header != wanted:
        sizes = " x ".join(map(str, shape))
        raise ValueError(f"{file} holds {len(content) - header:,} bytes where {wanted:,} ({sizes}) are stated: {CURE}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[header:].reshape(shape)
