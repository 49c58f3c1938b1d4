"""Decompress a file to exactly equal pictures or sounds: ``pixelvae decompress``."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pixelvae.checkpoint import load
from pixelvae.commands.sources import opened
from pixelvae.commands.trust import trusted
from pixelvae.compression.archive import Decoded, decoded_blocks
from pixelvae.compression.container import ArchiveError, read_header
from pixelvae.data.spec import DataSpec
from pixelvae.reporting.sounds import save_wav, waves
from pixelvae.storage import explained, write_atomically
from pixelvae.weights import weights_bytes

TENSORS = "examples.safetensors"


def main(file: Path, model: Path | None = None, out: Path | None = None, trust: str | None = None) -> None:
    """Decode a .pxv file into a folder: a PNG or wav file for each example, and all levels in examples.safetensors.

    The levels (x) and labels (y) in examples.safetensors are those that were compressed, bit for bit. Grey values of
    the PNG files are the levels spread over 0 .. 255. Where the file is damaged, what stands before is written.

    Args:
        file: The file that ``pixelvae compress`` wrote.
        model: The checkpoint, or run, that compressed it.
        out: A folder that is new or empty; by default FILE without its ending.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    if model is None:
        raise ValueError("model is missing; add --model CHECKPOINT, the one that compressed the file")
    out = out or file.with_suffix("")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out={out} is not an empty folder; choose a new one")
    with explained(file, "read"):
        data = file.read_bytes()
    loaded = load(model, classes=trusted(trust))
    rate = int(opened(model, loaded, None, trust).options.get("rate", 16000))
    error: ArchiveError | None = None
    names: list[str] = []
    parts: list[Decoded] = []
    try:
        names = list(read_header(data)[0].names)
        for part in decoded_blocks(loaded, data, progress=True):
            parts.append(part)  # not extend: what comes before an error is kept
    except ArchiveError as reason:
        error = reason
    if parts:
        number = write_examples(parts, names, loaded.spec, rate, out)
        print(f"{number:,} examples: {out}; all levels: {out / TENSORS}")
    if error is not None:
        raise ArchiveError(f"{file}: {error}") from error


def write_examples(parts: list[Decoded], names: list[str], spec: DataSpec, rate: int, out: Path) -> int:
    """Write every example and the tensors of all. Returns the number of examples."""
    x = torch.cat([part.x for part in parts])
    ending = ".png" if len(spec.sites) == 2 else ".wav"
    taken: set[str] = set()
    for i in range(len(x)):
        path = out / unused(names[i] if names else f"{i:06}", ending, taken)
        if ending == ".wav":
            save_wav(path, waves(x[i : i + 1], spec.levels)[0], rate)
        elif spec.channels in (1, 3):
            write_atomically(path, png_bytes(x[i], spec.levels))
    labels = [part.y for part in parts if part.y is not None]
    tensors = {"x": x.to(spec.storage_dtype if int(x.min()) >= 0 else torch.int32)}
    write_atomically(out / TENSORS, weights_bytes(tensors | ({"y": torch.cat(labels)} if labels else {}), {}))
    return len(x)


def unused(name: str, ending: str, taken: set[str]) -> str:
    """A file name with an ending that no other example has.

    Example:
        >>> taken: set[str] = set()
        >>> [unused(name, ".png", taken) for name in ("a.png", "a.jpg", "b", "b")]
        ['a.png', 'a.jpg.png', 'b.png', 'b-2.png']
    """
    stem = name.removesuffix(ending)
    found, number = stem + ending, 1
    while found in taken:
        number += 1
        found = f"{stem}-{number}{ending}"
    taken.add(found)
    return found


def png_bytes(x: Tensor, levels: int) -> bytes:
    """A PNG file of one picture, (1 or 3, H, W) levels spread over 0 .. 255."""
    grey = (x.double() * 255 / (levels - 1)).round().to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(grey[0] if len(grey) == 1 else grey.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()
