"""Files that need not belong to a data set, read like those of a data set."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelvae.data.files import FileError, find_files
from pixelvae.data.picture_files import EXTENSIONS as PICTURES
from pixelvae.data.picture_files import PictureReader
from pixelvae.data.reading import read_all
from pixelvae.data.sound_files import EXTENSIONS as SOUNDS
from pixelvae.data.sound_files import read_sound
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.data.splits import BatchKey, Split
from pixelvae.data.transforms import Quantiser, mu_law_encode

_STREAM = 3  # of the draws of binary pixels: after those of train, validation and test


def list_files(paths: Sequence[Path], spec: DataSpec) -> list[Path]:
    """All pictures, or sounds, of some paths: files in the given order, those below folders in sorted order.

    Raises:
        ValueError: If a path does not exist, or a folder contains no such file.

    Example:
        >>> list_files([Path("no/such/file.png")], DataSpec((1, 8, 8), levels=2))
        Traceback (most recent call last):
        ValueError: no/such/file.png: no such file or folder
    """
    extensions, what = (PICTURES, "picture") if len(spec.sites) == 2 else (SOUNDS, "sound")
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += [path / file for file in find_files(path, extensions, what)]
        elif path.is_file():
            files.append(path)
        else:
            raise ValueError(f"{path}: no such file or folder")
    return files


def content_key(values: Tensor, seed: int) -> int:
    """A seed of 63 bits for the draws of an example, from its values and `seed`.

    Example:
        >>> content_key(torch.tensor([1, 2]), seed=0) == content_key(torch.tensor([1, 2]), seed=0)
        True
        >>> content_key(torch.tensor([1, 2]), seed=0) == content_key(torch.tensor([1, 2]), seed=1)
        False
    """
    content = values.to("cpu", torch.int32).contiguous().numpy().astype("<i4").tobytes()
    digest = hashlib.blake2b(content, digest_size=8, salt=f"{seed:x}".encode()[-16:])
    return int.from_bytes(digest.digest(), "big") >> 1


class GivenFiles(Split):
    """A list of pictures or sounds, converted to the shape and levels of a model's data.

    Pictures are scaled, cropped and made grey as in an `ImageFolder`; sounds are resampled and truncated. Binary
    pixels depend on the picture and the seed alone, not on its position in the list.

    Args:
        files: The files, in the order of the examples.
        spec: Shape, levels and kinds of label.
        options: Options of a data set, as in its configuration. Used are ``fit``, ``background``, ``binarisation`` and
            ``seed`` for pictures, and ``rate`` for sounds; others are ignored.
        labels: (N, L) labels; with L = 0 by default.
        class_names: A name for each class of each kind of label; numbers if empty.

    Raises:
        ValueError: If there is no file, an option is out of range, or labels do not match.

    Example:
        >>> from PIL import Image
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     Image.new("RGB", (12, 10), "white").save(f"{root}/a.png")
        ...     files = GivenFiles([Path(root) / "a.png"], DataSpec((1, 2, 2), levels=16))
        ...     files[BatchKey(torch.tensor([0]), epoch=0)][0].tolist()
        [[[[15, 15], [15, 15]]]]
    """

    def __init__(
        self,
        files: Sequence[Path],
        spec: DataSpec,
        options: Mapping[str, Any] | None = None,
        *,
        labels: Tensor | None = None,
        class_names: Sequence[Sequence[str]] = (),
    ) -> None:
        if not files:
            raise ValueError("no files; want at least one")
        self.spec = spec
        self._files = [Path(file) for file in files]
        self._labels = torch.zeros(len(files), 0, dtype=torch.int64) if labels is None else labels
        if self._labels.shape != (len(files), len(spec.num_classes)):
            raise ValueError(
                f"labels of shape {tuple(self._labels.shape)} for {len(files)} files; the model is given "
                f"{len(spec.num_classes)} labels a file: want ({len(files)}, {len(spec.num_classes)})"
            )
        self._class_names = tuple(map(tuple, class_names))
        self._read = (_pictures if len(spec.sites) == 2 else _sounds)(spec, options or {})

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, key: BatchKey) -> tuple[Tensor, Tensor]:
        x = torch.stack([self._read(self._files[index]) for index in key.indices.tolist()])
        return x, self._labels[key.indices]

    @property
    def class_names(self) -> tuple[tuple[str, ...], ...]:
        """A name for each class of each kind of label."""
        return self._class_names or super().class_names

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The labels of some files, (B,) -> (B, L)."""
        return self._labels[self.positions(indices)]

    def files(self, indices: Tensor) -> list[str]:
        """The given paths, (B,) -> B."""
        return [self._files[index].as_posix() for index in indices.tolist()]

    def part(self, rows: Sequence[int]) -> GivenFiles:
        """Some of the files."""
        part = copy.copy(self)
        part._files = [self._files[row] for row in rows]
        part._labels = self._labels[torch.tensor(rows, dtype=torch.int64)]
        return part

    def unreadable(self) -> dict[Path, str]:
        """Errors of the files that cannot be read. All files are read, in parallel."""
        names = [str(file) for file in self._files]
        found = read_all(Path(), names, self._read, "files")
        return {Path(name): str(result) for name, result in found if isinstance(result, FileError)}


def _pictures(spec: DataSpec, options: Mapping[str, Any]) -> Callable[[Path], Tensor]:
    """Reads the levels of a picture, (C, H, W)."""
    channels, height, width = spec.shape
    if channels not in (1, 3):
        raise ValueError(f"shape {spec.shape}; pictures have 1 channel (grey) or 3 (RGB)")
    read = PictureReader((height, width), options.get("fit", "crop"), channels == 1, options.get("background", "white"))
    quantise = Quantiser(spec.levels, options.get("binarisation"), seed=options.get("seed", 0))

    def levels(file: Path) -> Tensor:
        grey = torch.tensor(read(file))[None]  # (1, C, H, W)
        return quantise(grey, torch.tensor([content_key(grey, 0)]), stream=(_STREAM,))[0]

    return levels


def _sounds(spec: DataSpec, options: Mapping[str, Any]) -> Callable[[Path], Tensor]:
    """Reads the levels of a sound, (1, T): its beginning, and ``ABSENT`` after its end."""
    rate = options.get("rate")
    if rate is None:
        raise ValueError("rate is not given; want the samples per second of the model's sounds: options={'rate': ...}")

    def levels(file: Path) -> Tensor:
        heard = mu_law_encode(read_sound(file, rate), spec.levels)[: spec.sites[0]]
        return torch.nn.functional.pad(heard, (0, spec.sites[0] - len(heard)), value=ABSENT)[None]

    return levels


class JoinedSplits(Split):
    """The concatenation of several splits of one data set.

    Example:
        >>> from pixelvae.data import Digits
        >>> data = Digits()
        >>> len(JoinedSplits([data.validation, data.test]))
        500
    """

    def __init__(self, splits: Sequence[Split]) -> None:
        self.spec = splits[0].spec
        self._splits = splits
        self._ends = torch.tensor([len(split) for split in splits]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, key: BatchKey) -> tuple[Tensor, Tensor]:
        parts = [split[BatchKey(indices, key.epoch)] for split, indices in self._parts(key.indices)]
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    @property
    def class_names(self) -> tuple[tuple[str, ...], ...]:
        """A name for each class of each kind of label."""
        return self._splits[0].class_names

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The labels of some examples, (B,) -> (B, L)."""
        return torch.cat([split.labels(part) for split, part in self._parts(self.positions(indices))])

    def files(self, indices: Tensor) -> list[str]:
        """Paths of some examples within the folder of the data set, (B,) -> B; none where they are no files."""
        return [file for split, part in self._parts(indices) for file in split.files(part)]

    def _parts(self, indices: Tensor) -> list[tuple[Split, Tensor]]:
        """Runs of positions that lie in one split, with their positions in it."""
        number = torch.bucketize(indices, self._ends, right=True)  # (B,)
        starts = self._ends - torch.tensor([len(split) for split in self._splits])
        values, counts = number.unique_consecutive(return_counts=True)
        runs = (indices - starts[number]).split(counts.tolist())
        return [(self._splits[value], run) for value, run in zip(values.tolist(), runs, strict=True)]
