"""Compress files losslessly to about the size of the model's bound: ``pixelvae compress``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pixelvae.checkpoint import load
from pixelvae.commands.checkpoints import DataFactory
from pixelvae.commands.encode import gathered
from pixelvae.commands.parsing import call
from pixelvae.commands.sources import SPLITS, Source, described, given_source, opened, own_source
from pixelvae.commands.trust import trusted
from pixelvae.compression.archive import Coder, compress
from pixelvae.compression.comparison import bound_bytes, other_sizes
from pixelvae.data import BatchKey, spread
from pixelvae.data.files import OnError
from pixelvae.data.spec import ABSENT
from pixelvae.storage import write_atomically

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
        num_examples: Only so many, spread over the split or the files; all by default.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        label: Of a class-conditional model: the class of all files, by name or number. By default that of the data
            set, or the one that the folder of a file is named after.
        block: Examples of a block; by default 256, more of small ones, fewer of large ones. More make the file a little
            smaller; a damaged block loses all of them.
        others: Whether to show minus the ELBO, and the sizes of PNG, WebP and xz, beside it.
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
    rows = spread(len(source.path), num_examples)
    x, y = examples(source, rows)
    names = [Path(name).as_posix().replace("\\", "_").replace(":", "_") for name in source.names(rows.tolist())]
    start = time.perf_counter()
    content = compress(model, x, y, names=[relative(name) for name in names], block=block, progress=True)
    seconds = time.perf_counter() - start
    write_atomically(out, content)
    number, dims = len(x), int((x != ABSENT).sum())
    print(f"{number:,} examples, {dims:,} values, {number / seconds:.1f} examples a second, decoded again and compared")
    sizes = {"pixelvae": len(content)}
    if others:
        bound = "-ELBO" if model.has_latents else "NLL"
        sizes |= {bound: bound_bytes(model, x, y if model.spec.num_classes else None)} | other_sizes(
            x, model.spec.levels
        )
    for name, size in sizes.items():
        print(f"  {name:8} {size:12,} bytes  {8 * size / max(dims, 1):.3f} bits/dim")
    print(f"File: {out}")
    return out


def examples(source: Source, rows: Tensor) -> tuple[Tensor, Tensor]:
    """x and y of some examples of a source."""
    keys = [BatchKey(part, epoch=0) for part in rows.split(READ_AT_ONCE)]
    parts = [source.examples[key] for key in keys]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def relative(name: str) -> str:
    """A name as a path that leaves no folder: of an absolute one, or one that goes up, the end."""
    path = Path(name)
    return path.name if path.is_absolute() or ".." in path.parts else name


def run(args: Sequence[str] | None = None, prog: str | None = None) -> Path:
    """Parse a command line (this process's own by default) and compress."""
    path: Path = call(main, gathered(sys.argv[1:] if args is None else args), prog)
    return path
