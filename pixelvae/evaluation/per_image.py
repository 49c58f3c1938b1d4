"""Bounds of single images, the file that holds them, and paired differences between two models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from pixelvae.data.splits import Split, sequential
from pixelvae.storage import explained, write_atomically

FILE = "per_image.safetensors"
"""Name of the file beside metrics.json."""

WEIGHTED, ELBO = "importance_weighted", "elbo"
BOUNDS = (WEIGHTED, ELBO)
"""Names of the bounds in the file, the tighter one first."""


_MULTIPLIER = 6364136223846793005  # of Knuth's MMIX generator; int64 products wrap around


class PerImage(NamedTuple):
    """A bound on log p(x) of every measured image, in the order of the split.

    Attributes:
        nats: (N,) float64.
        indices: (N,) int64, positions in the split.
        checksums: (N,) int64 hashes of the levels, which differ for other images and other binarisations.
    """

    nats: Tensor
    indices: Tensor
    checksums: Tensor


class PairedDifference(NamedTuple):
    """The mean of a − b over N images in nats, its standard error, and N."""

    mean: float
    stderr: float
    num_images: int


def checksums(x: Tensor) -> Tensor:
    r"""A 32-bit polynomial hash of the levels of every image. (B, C, *S) integers -> (B,) int64.

    .. math:: \Big\lfloor 2^{-32} \Big(\sum_i x_i r^i \bmod 2^{64}\Big) \Big\rfloor
    """
    levels = x.cpu().flatten(1).long()
    powers = torch.full((levels.shape[1],), _MULTIPLIER, dtype=torch.int64, device="cpu").cumprod(0)
    return (levels * powers).sum(1) >> 32 & 0xFFFFFFFF


def paired_difference(a: PerImage, b: PerImage) -> PairedDifference:
    r"""The mean of a − b over the same images, with its standard error.

    .. math:: \bar d = \frac1N \sum_i (a_i - b_i), \quad
        \mathrm{se} = \sqrt{\frac{1}{N (N - 1)} \sum_i (a_i - b_i - \bar d)^2}

    The variation between images, which both models share, cancels. The standard error of a single image is NaN.

    Raises:
        ValueError: If the images differ.

    Example:
        >>> index = torch.arange(3)
        >>> a = PerImage(torch.tensor([-80.0, -90.0, -70.0]), index, index)
        >>> b = PerImage(torch.tensor([-81.0, -92.0, -73.0]), index, index)
        >>> paired_difference(a, b)
        PairedDifference(mean=2.0, stderr=0.5773502691896258, num_images=3)
    """
    if a.indices.tolist() != b.indices.tolist():
        raise ValueError(
            f"{len(a.indices):,} and {len(b.indices):,} images at different positions of the split; wanted the same "
            "images: evaluate both on the same split and number of images"
        )
    if different := int((a.checksums != b.checksums).sum()):
        raise ValueError(
            f"{different:,} of {len(a.indices):,} images differ; wanted the same images: evaluate both on the same "
            "data set, levels, binarisation and seed of the data"
        )
    differences = a.nats.double() - b.nats.double()
    count = len(differences)
    stderr = float(differences.std()) / math.sqrt(count) if count > 1 else math.nan
    return PairedDifference(float(differences.mean()), stderr, count)


def tightest_common(a: Mapping[str, PerImage], b: Mapping[str, PerImage]) -> str:
    """Name of the tightest bound that both evaluations have at the same positions; else ``elbo``."""
    for name in BOUNDS:
        if name in a and name in b and a[name].indices.tolist() == b[name].indices.tolist():
            return name
    return ELBO


def require_same_images(split: Split, measured: PerImage, what: str) -> None:
    """Check, before any work, that another evaluation covers the images of a split.

    Raises:
        ValueError: If it covers other images, or only a part of them.
    """
    found = torch.cat([checksums(split[key][0]) for key in sequential(split, 1000)])
    own = PerImage(found.double(), torch.arange(len(split)), found)
    try:
        paired_difference(own, measured)
    except ValueError as error:
        raise ValueError(f"{what} and this evaluation: {error}") from error


def write_per_image(folder: Path, bounds: Mapping[str, PerImage]) -> None:
    """Write per_image.safetensors: NAME.nats, NAME.indices and NAME.checksums of each bound.

    Raises:
        StorageError: If it cannot be written.
    """
    tensors = {f"{name}.{part}": tensor for name, rows in bounds.items() for part, tensor in rows._asdict().items()}
    write_atomically(folder / FILE, save(tensors, {"unit": "nats"}))


def read_per_image(folder: Path) -> dict[str, PerImage]:
    """Read the bounds of single images beside a metrics.json, by name.

    Raises:
        ValueError: If the file is missing, or holds no such bounds.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{path} does not exist; pixelvae evaluate writes it beside metrics.json")
    try:
        with explained(path, "read"), safetensors.safe_open(path, framework="pt") as file:
            held = set(file.keys())
            bounds = {
                name: PerImage(*(file.get_tensor(f"{name}.{part}") for part in PerImage._fields))
                for name in BOUNDS
                if f"{name}.nats" in held
            }
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}); evaluate again") from error
    shapes = {tuple(tensor.shape) for rows in bounds.values() for tensor in rows}
    if (
        ELBO not in bounds
        or any(len(shape) != 1 for shape in shapes)
        or any(len({len(tensor) for tensor in rows}) > 1 for rows in bounds.values())
    ):
        raise ValueError(f"{path} holds no bounds of single images; evaluate again")
    return bounds
