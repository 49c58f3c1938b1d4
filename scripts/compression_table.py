"""A file beside its bound and general formats: ``python scripts/compression_table.py CHECKPOINT --data.root FOLDER``.

Writes results/compression/DATA_SET.json for two numbers of test images, spread over the split.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from pixelvae.checkpoint import load
from pixelvae.commands.checkpoints import DataFactory
from pixelvae.commands.compress import examples
from pixelvae.commands.parsing import call
from pixelvae.commands.sources import opened, own_source
from pixelvae.compression.archive import compress, decompress
from pixelvae.compression.comparison import bound_bytes, other_sizes
from pixelvae.data import spread
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_json

SPARSE = "Sparse Probabilistic Circuits via Pruning and Growing (Dang et al., 2022), Table 1, https://arxiv.org/abs/2211.12551"
PUBLISHED = {
    "mnist": {"Bit-Swap": 1.27, "BB-ANS": 1.39, "Sparse PC": 1.14},
    "fashion_mnist": {"Bit-Swap": 3.28, "BB-ANS": 3.66, "Sparse PC": 3.27},
}
"""Bits/dim on the test set with 256 levels."""


def main(
    checkpoint: Path,
    out: Path,
    numbers: tuple[int, ...] = (1000, 10000),
    data: DataFactory | None = None,
    seed: int = 0,
) -> None:
    """Compress test images, decode them again, and write the sizes of all formats.

    Args:
        checkpoint: A checkpoint folder, a run, or a result with weights.
        out: The file, such as results/compression/mnist.json; its name chooses the published numbers.
        numbers: Numbers of images, spread over the test split.
        data: Options of the data set in place of the training data's, such as --data.root FOLDER.
        seed: Of the draws of h of minus the ELBO.
    """
    model = load(checkpoint)
    source = own_source(opened(checkpoint, model, data, None), ["test"])
    rows: dict[str, Any] = {}
    for number in numbers:
        indices = spread(len(source.path), number)
        x, y = examples(source, indices)
        labels, names = (y if model.spec.num_classes else None), [str(i) for i in indices.tolist()]
        file = compress(model, x, labels, names=names, progress=True)
        assert torch.equal(decompress(model, file, progress=True).x, x)
        bound = bound_bytes(model, x, labels, seed=seed)
        sizes = {"pixelvae": len(file), "-ELBO" if model.has_latents else "NLL": bound} | other_sizes(
            x, model.spec.levels
        )
        rows[str(len(x))] = {
            "bytes": sizes,
            "bits_per_dim": {name: 8 * size / x.numel() for name, size in sizes.items()},
            "over_the_bound": len(file) / bound - 1,
        }
        print(rows[str(len(x))], flush=True)
    found = {
        "command": command_line(),
        "examples": "the test split, or a part that is spread over it; the file keeps the position of each image",
        "images": rows,
        "published_bits_per_dim": PUBLISHED.get(out.stem, {}) if model.spec.levels == 256 else {},
        "published_in": SPARSE,
        "environment": environment(),
    }
    write_json(out, found)
    print(f"Written to {out}")


if __name__ == "__main__":
    call(main, sys.argv[1:], None)
