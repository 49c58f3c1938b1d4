"""Compress files to the size of the model's bound, decoded bit for bit elsewhere: ``pixelvae compress``."""

from __future__ import annotations

import io
import lzma
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pixelvae.checkpoint import load
from pixelvae.commands.checkpoints import DataFactory
from pixelvae.commands.encode import gathered
from pixelvae.commands.parsing import call
from pixelvae.commands.sources import SPLITS, Source, described, given_source, opened, own_source
from pixelvae.commands.trust import trusted
from pixelvae.compression.archive import Coder, compress
from pixelvae.data import BatchKey
from pixelvae.data.files import OnError
from pixelvae.storage import write_atomically

MAX_SIDE = 4096  # pixels of a mosaic
READ_AT_ONCE = 1000


def main(
    checkpoint: Path,
    files: list[Path] | None = None,
    out: Path = Path("examples.pxv"),
    split: Literal["all", "train", "validation", "test"] = "test",
    num_examples: int | None = None,
    data: DataFactory | None = None,
    label: str | None = None,
    block: int | None = None,
    others: bool = True,
    on_error: OnError = "raise",
    trust: str | None = None,
) -> Path:
    """Write a .pxv file of what the model sees of each file: its levels, after scaling, cropping and quantising.

    Every block has been decoded again and compared before it is written. The file is decoded by ``pixelvae decompress``
    with the same checkpoint, on any machine with a C++ compiler.

    Args:
        checkpoint: A checkpoint folder, such as runs/demo/best, or a run, whose best one is taken.
        files: Pictures (or sounds) and folders of them, also without the option's name, after the checkpoint; the data
            set of the checkpoint by default.
        out: The file to write.
        split: The split of the data set, where no files are given.
        num_examples: Only so many, the first; all by default.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        label: Of a class-conditional model: the class of all files, by name or number. By default that of the data
            set, or the one that the folder of a file is named after.
        block: Examples of a block; by default 256, more of small ones, fewer of large ones. More make the file a little
            smaller; a damaged block loses all of them.
        others: Whether to show the sizes of PNG, WebP and xz beside it.
        on_error: Whether files that cannot be read raise an error that lists them, or are left out (skip).
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    if num_examples is not None and num_examples < 1:
        raise ValueError(f"num_examples={num_examples}; wanted at least 1")
    model = load(checkpoint, classes=trusted(trust))
    Coder(model)  # refuses before any file is read
    found = opened(checkpoint, model, data, trust)
    if files:
        source = given_source(found, files, label, on_error)
        print(described(model, found.options))
    else:
        source = own_source(found, SPLITS if split == "all" else [split])
    number = min(len(source.path), num_examples or len(source.path))
    x, y = examples(source, number)
    names = [Path(name).as_posix().replace("\\", "_").replace(":", "_") for name in source.names(range(number))]
    start = time.perf_counter()
    content = compress(model, x, y, names=[relative(name) for name in names], block=block, progress=True)
    seconds = time.perf_counter() - start
    write_atomically(out, content)
    dims = x.numel()
    print(f"{number:,} examples, {dims:,} values, {number / seconds:.1f} examples a second, decoded again and compared")
    sizes = {"pixelvae": len(content)} | (other_sizes(x, model.spec.levels) if others else {})
    for name, size in sizes.items():
        print(f"  {name:8} {size:12,} bytes  {8 * size / dims:.3f} bits/dim")
    print(f"File: {out}")
    return out


def examples(source: Source, number: int) -> tuple[Tensor, Tensor]:
    """x and y of the first examples of a source."""
    keys = [BatchKey(part, epoch=0) for part in torch.arange(number).split(READ_AT_ONCE)]
    parts = [source.examples[key] for key in keys]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def relative(name: str) -> str:
    """A name as a path that leaves no folder: of an absolute one, or one that goes up, the end."""
    path = Path(name)
    return path.name if path.is_absolute() or ".." in path.parts else name


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


def run(args: Sequence[str] | None = None, prog: str | None = None) -> Path:
    """Parse a command line (this process's own by default) and compress."""
    path: Path = call(main, gathered(sys.argv[1:] if args is None else args), prog)
    return path
