"""Any folder of pictures as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pixelvae.data.files import class_folders, split_of, visible_files
from pixelvae.data.images import ImageSplit
from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import DataSet, SplitName
from pixelvae.data.transforms import Binarisation, Quantiser

_EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class PictureFiles:
    """Pictures that are decoded when they are asked for, so that worker processes share the work.

    Args:
        root: The folder.
        files: Paths of the pictures within it.
        size: Height and width to which they are scaled (the short side) and cropped (around the centre).
        grey: One channel instead of red, green and blue.

    Shape:
        ``pictures[indices]``: (B,) -> (B, C, size, size) uint8.

    Raises:
        ValueError: When a batch holds a picture that cannot be read, or one of more than 8 bits a channel.
    """

    def __init__(self, root: Path, files: list[str], size: int, grey: bool) -> None:
        self.root = root
        self.files = files
        self.size = size
        self.mode = "L" if grey else "RGB"

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        return torch.stack([self._decode(self.root / self.files[index]) for index in indices.tolist()])

    def _decode(self, file: Path) -> Tensor:
        """The picture in `file`, (C, size, size)."""
        try:
            with Image.open(file) as image:
                picture = ImageOps.exif_transpose(image)  # loads the pixels, turned as the camera was held
        # Pillow's decoders meet broken bytes with whatever exception those lead to.
        except Exception as error:
            raise ValueError(f"cannot read the picture {file}: {error}; mend or remove the file") from error
        if picture.mode.startswith(("I", "F")):
            raise ValueError(f"{file} has pixels of mode {picture.mode!r}, want 8 bits a channel: convert the file")
        if "transparency" in picture.info:
            picture = picture.convert("RGBA")  # a palette with transparency converts by this detour only
        picture = ImageOps.fit(picture.convert(self.mode), (self.size, self.size))
        pixels = torch.from_numpy(np.array(picture))  # (size, size) or (size, size, 3)
        return pixels.reshape(self.size, self.size, -1).permute(2, 0, 1)


class ImageFolder(DataSet):
    """Any folder of pictures, divided 80 / 10 / 10 by a hash of each file's path within it.

    The hash decides about each picture alone, so that adding a picture moves no other to another split. Folders
    directly below `root` are classes, numbered in alphabetical order; a folder of pictures alone has no labels.
    Hidden files, and files that are no pictures by their extension, are left out.

    Args:
        root: The folder.
        size: Height and width: the short side is scaled to it, the long side cropped to its centre.
        levels: K, from 2 to 256.
        grey: One channel instead of red, green and blue.
        binarisation: With two levels only: ``dynamic`` (also when left out) or ``threshold``, see `Quantiser`.
        seed: Fixes the draws of binary pixels.

    Raises:
        ValueError: If an option is out of range, if the folder holds too few pictures to divide, or if some
            lie in class folders and others do not.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     for number in range(50):
        ...         Image.new("RGB", (8, 6)).save(f"{root}/{number}.png")
        ...     data = ImageFolder(root, size=4)
        >>> data.spec, len(data.train), len(data.validation), len(data.test)
        (DataSpec(shape=(3, 4, 4), levels=256, num_classes=()), 41, 3, 6)
    """

    def __init__(
        self,
        root: str | Path,
        size: int,
        levels: int = 256,
        grey: bool = False,
        binarisation: Binarisation | None = None,
        seed: int = 0,
    ) -> None:
        quantise = Quantiser(levels, binarisation, seed=seed)
        if size < 1:
            raise ValueError(f"size={size} must be at least 1 pixel")
        folder = Path(root).expanduser()
        members: dict[SplitName, list[str]] = {"train": [], "validation": [], "test": []}
        files = visible_files(folder, _EXTENSIONS, "picture")
        for file in files:
            members[split_of(file)].append(file)
        number = {name: number for number, name in enumerate(class_folders(folder, files))}
        spec = DataSpec((1 if grey else 3, size, size), levels, (len(number),) if number else ())

        def split(name: SplitName) -> ImageSplit:
            if not members[name]:
                raise ValueError(
                    f"{len(files)} pictures in {folder} leave the {name} split empty: root needs more (about 100)"
                )
            labels = [number[file.partition("/")[0]] for file in members[name]] if number else []
            y = torch.tensor(labels, dtype=torch.int64).reshape(len(members[name]), len(spec.num_classes))
            return ImageSplit(name, PictureFiles(folder, members[name], size, grey), y, spec, quantise)

        super().__init__(split("train"), split("validation"), split("test"))
