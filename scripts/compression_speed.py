"""Images a second of one core, both ways, by image size: ``python scripts/compression_speed.py``.

CPU time of the process is measured, so that other work on the machine changes little.

The networks are not trained: the time of a site hardly depends on its weights.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import jsonargparse
import torch

from pixelvae import DataSpec, DiscretizedLogisticMixture, GatedPixelCNN, PixelVAE, SpatialContext
from pixelvae.compression.archive import Coder, compress, decompress
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_json

IMAGES = {28: 128, 64: 24, 128: 8}
REPEATS = 2


def main(out: Path = Path("results/compression/speed.json"), seed: int = 0) -> None:
    """Time both ways for grey images with 256 levels, 32 latents, and the network of pixelvae_mixture_wide.yaml.

    Args:
        out: The file.
        seed: Of weights and images.
    """
    torch.set_num_threads(1)
    rows = []
    for size, number in IMAGES.items():
        model = network(size, seed)
        x = smooth_images(number, size, seed)
        rows.append({"size": size, "images": number} | best_rates(model, x))
        print(rows[-1], flush=True)
    write_json(out, {"rows": rows, "threads": 1, "command": command_line(), "environment": environment()})
    print(f"Written to {out}")


def network(size: int, seed: int) -> GenerativeModel:
    """The model of configs/fashion_mnist/pixelvae_mixture_wide.yaml, for another size."""
    return PixelVAE.default(
        DataSpec((1, size, size), 256),
        likelihood=partial(DiscretizedLogisticMixture, num_components=8),
        decoder=partial(GatedPixelCNN, num_layers=6, channels=32, kernel_size=3, first_kernel_size=5, head_channels=96),
        context=partial(SpatialContext, channels=(64, 32, 16)),
        seed=seed,
    ).freeze()


def smooth_images(number: int, size: int, seed: int) -> torch.Tensor:
    """Noise in blocks of 4x4 pixels, (N, 1, size, size) levels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(256, (number, 1, size // 4, size // 4), generator=generator)
    return coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)


def best_rates(model: GenerativeModel, x: torch.Tensor) -> dict[str, Any]:
    """Images a second in the better of two runs; compression decodes every block again."""
    Coder(model)  # compiles the engine
    rates: dict[str, float] = {"compress": 0.0, "decompress": 0.0}
    for _ in range(REPEATS):
        start = time.process_time()
        file = compress(model, x)
        compressed = time.process_time()
        assert torch.equal(decompress(model, file).x, x)
        decompressed = time.process_time()
        rates["compress"] = max(rates["compress"], len(x) / (compressed - start))
        rates["decompress"] = max(rates["decompress"], len(x) / (decompressed - compressed))
    return {f"{name}_images_per_second": rate for name, rate in rates.items()}


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
