"""What the same examples take in general formats, and what minus the bound promises."""

from __future__ import annotations

import io
import lzma
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pixelvae.models.base import GenerativeModel

MAX_SIDE = 4096  # pixels of a mosaic
BATCH_SIZE = 100


@torch.inference_mode()
def bound_bytes(model: GenerativeModel, x: Tensor, y: Tensor | None = None, *, seed: int = 0) -> int:
    """Minus the ELBO from one draw of h for each example, in bytes; without latents the negative log-likelihood.

    Example:
        >>> from functools import partial
        >>> from pixelvae import AutoregressiveModel, DataSpec, Factorised
        >>> model = AutoregressiveModel.default(DataSpec((1, 8, 8), levels=4), decoder=partial(Factorised))
        >>> bound_bytes(model, torch.zeros(5, 1, 8, 8, dtype=torch.long)) > 0
        True
    """
    generator, nats = torch.Generator().manual_seed(seed), 0.0
    for i in range(0, len(x), BATCH_SIZE):
        part, labels = x[i : i + BATCH_SIZE], None if y is None else y[i : i + BATCH_SIZE]
        nats -= float(model(part, labels, noise=model.draw_noise(len(part), generator)).elbo.double().sum())
    return round(nats / math.log(2) / 8)


def other_sizes(x: Tensor, levels: int) -> dict[str, int]:
    """Bytes of the same levels as PNG and WebP mosaics (grey and RGB pictures only) and as xz.

    Example:
        >>> sorted(other_sizes(torch.zeros(5, 1, 4, 4, dtype=torch.long), levels=4))
        ['PNG', 'WebP', 'xz']
    """
    if levels > 256 or bool((x < 0).any()):
        return {}
    values = x.to(torch.uint8)
    sizes = {}
    if x.ndim == 4 and x.shape[1] in (1, 3):
        pictures = [mosaic(part, levels) for part in values.split(_per_mosaic(x))]
        sizes["PNG"] = sum(_bytes(picture, format="PNG", optimize=True) for picture in pictures)
        sizes["WebP"] = sum(_bytes(p.convert("RGB"), format="WEBP", lossless=True, method=6) for p in pictures)
    packed = np.packbits(values.numpy()) if levels == 2 else values.numpy()
    return sizes | {"xz": len(lzma.compress(packed.tobytes(), preset=9 | lzma.PRESET_EXTREME))}


def mosaic(x: Tensor, levels: int) -> Image.Image:
    """Pictures side by side. (N, C, H, W) uint8, C = 1 or 3."""
    n, c, h, w = x.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    filled = torch.cat([x, x.new_zeros(rows * columns - n, c, h, w)]).unflatten(0, (rows, columns))
    pixels = filled.permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c).numpy()
    if c == 3:
        return Image.fromarray(pixels)
    return Image.fromarray(pixels[..., 0] > 0) if levels == 2 else Image.fromarray(pixels[..., 0])


def _per_mosaic(x: Tensor) -> int:
    return max(1, min(1000, (MAX_SIDE // x.shape[2]) * (MAX_SIDE // x.shape[3])))


def _bytes(picture: Image.Image, **options: object) -> int:
    buffer = io.BytesIO()
    picture.save(buffer, **options)  # type: ignore[arg-type]
    return len(buffer.getvalue())
