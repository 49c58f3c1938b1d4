"""Pictures per second that ImageFolder loads: decoded on each access, with drafts, and from the cache.

The measurements of all methods are interleaved in one run, and compared by the ratio of their times.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import torch
from PIL import Image, ImageOps

from pixelvae.data.cache import CachedPictures, decode_all
from pixelvae.data.draws import permutation
from pixelvae.data.images import Pictures
from pixelvae.data.picture_files import PictureFiles, PictureReader
from pixelvae.reporting.provenance import environment
from pixelvae.storage import write_json

BATCH = 128
COMMAND = "python scripts/benchmark_loading.py --root CIFAR10_JPEG"


class WithoutDrafts:
    """Decode every picture at its full size, as the first version did."""

    def __init__(self, root: Path, files: Sequence[str], size: int) -> None:
        self.root, self.files, self.size = root, files, size

    def __getitem__(self, indices: torch.Tensor, /) -> torch.Tensor:
        """(B,) -> (B, 3, size, size) uint8."""
        return torch.stack([self._decode(self.files[index]) for index in indices.tolist()])

    def _decode(self, file: str) -> torch.Tensor:
        with Image.open(self.root / file) as image:
            picture = ImageOps.exif_transpose(image)
        pixels = np.array(ImageOps.fit(picture.convert("RGB"), (self.size, self.size)))
        return torch.from_numpy(pixels).permute(2, 0, 1)


def photographs(folder: Path, count: int, width: int = 1000, height: int = 750) -> list[str]:
    """Write smooth noise as JPEG files of quality 90, about the size of photographs."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        coarse.resize((width, height)).save(folder / f"{number}.jpg", quality=90)
    return [f"{number}.jpg" for number in range(count)]


def measure(root: Path, files: Sequence[str], size: int, rounds: int) -> dict[str, Any]:
    """Pictures per second of each method, the median of interleaved rounds, and their ratios to the first method."""
    read = PictureReader(size, "crop", grey=False, background="white")
    begin = time.perf_counter()
    decoded = decode_all(root, files, read, read.settings, read.shape, cache=True)
    build = len(files) / (time.perf_counter() - begin)
    assert decoded.file is not None, "the cache folder is a new one"
    ways: dict[str, Pictures] = {
        "decoded_at_full_size": WithoutDrafts(root, files, size),
        "decoded_with_drafts": PictureFiles(root, files, read),
        "cached": CachedPictures(decoded.file, read.shape, range(len(files))),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds):
        order = torch.from_numpy(permutation(len(files), round_))
        for name, pictures in ways.items():
            seconds[name].append(_seconds(lambda pictures=pictures, order=order: _epoch(pictures, order)))  # type: ignore[misc]
    rates = {name: len(files) / statistics.median(times) for name, times in seconds.items()}
    first = rates["decoded_at_full_size"]
    return {
        "num_pictures": len(files),
        "size": size,
        "pictures_per_second": {name: round(rate) for name, rate in rates.items()},
        "times_as_fast_as_decoded_at_full_size": {name: round(rate / first, 2) for name, rate in rates.items()},
        "pictures_per_second_of_building_the_cache": round(build),
    }


def _epoch(pictures: Pictures, order: torch.Tensor) -> None:
    for indices in order.split(BATCH):
        pictures[indices]


def _seconds(run: Callable[[], None]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main(
    root: Path | None = None, out: Path = Path("results/benchmark/loading.json"), count: int = 5000, rounds: int = 5
) -> None:
    """Measure small pictures of a folder, and large synthetic ones.

    Args:
        root: Folder of small JPEG pictures; by default these are not measured.
        out: Output file.
        count: Number of small pictures, spread over the folder.
        rounds: Number of measurements of each method.
    """
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PIXELVAE_CACHE"] = f"{folder}/cache"
        if root is not None:
            files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
            results["jpeg_32x32"] = measure(root, files[:: max(1, len(files) // count)], 32, rounds)
        large = Path(folder) / "large"
        large.mkdir()
        results["jpeg_1000x750"] = measure(large, photographs(large, 200), 64, rounds)
    write_json(out, results | {"command": COMMAND, "environment": f"{environment()}Pillow {Image.__version__}\n"})
    for name, result in results.items():
        print(name, result["pictures_per_second"], result["times_as_fast_as_decoded_at_full_size"])


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
