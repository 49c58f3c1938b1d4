"""Decode picture files to grey values or colours of 8 bits, all of one size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageColor, ImageOps
from torch import Tensor

from pixelvae.data.files import FileError

Fit = Literal["crop", "pad", "stretch"]

EXTENSIONS = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_ORIENTATION, _SIDEWAYS = 0x0112, range(5, 9)  # EXIF: the camera was held upright
_WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_WIDE_FORMATS = ("PNG", "PPM")  # of mode "I", whose values then have 16 bits
_REDUCING_GAP = 2  # a JPEG is decoded at no less than this multiple of the final size, so that scaling is smooth


class PictureReader:
    """Decode a picture of any size and mode to C x H x W values of 8 bits.

    Values of 16 bits are scaled, transparent pixels get the background, and EXIF orientation is applied. Only the
    first frame of an animation is read.

    Args:
        size: Height and width, or both in one number.
        fit: ``crop`` scales the picture to cover the size and crops the rest; ``pad`` scales it to fit inside and pads
            with the background; ``stretch`` scales height and width separately.
        grey: One channel instead of red, green and blue.
        background: Name of a colour, or ``#rrggbb``.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> PictureReader(size=(4, 6), fit="crop", grey=True, background="white").shape
        (1, 4, 6)
    """

    def __init__(self, size: int | Sequence[int], fit: Fit, grey: bool, background: str) -> None:
        sizes = list(size) if isinstance(size, Sequence) else [size, size]
        if len(sizes) != 2 or not all(isinstance(side, int) and side >= 1 for side in sizes):
            raise ValueError(f"size={size!r} must be at least 1 pixel, or height and width: [H, W]")
        if fit not in ("crop", "pad", "stretch"):
            raise ValueError(f"fit={fit!r} must be 'crop', 'pad' or 'stretch'")
        try:
            self.background = ImageColor.getrgb(background)[:3]
        except ValueError as error:
            raise ValueError(f"background={background!r} must be the name of a colour, or '#rrggbb'") from error
        height, width = sizes
        self.fit = fit
        self.mode = "L" if grey else "RGB"
        self.shape = (1 if grey else 3, height, width)

    @property
    def settings(self) -> str:
        """All settings that affect the values."""
        return f"{self.shape} {self.fit} {self.background} Pillow {Image.__version__}"

    def __call__(self, file: Path) -> npt.NDArray[np.uint8]:
        """Read the picture in a file. Returns (C, H, W).

        Raises:
            FileError: If it cannot be read, or has more than 16 bits per channel.
        """
        try:
            with Image.open(file, formats=_formats()) as image:
                self._draft(image)
                ImageOps.exif_transpose(image, in_place=True)  # loads the pixels, turned as the camera was held
                picture = self._opaque(_in_8_bits(image))
                picture = self._fitted(picture if picture.mode == self.mode else picture.convert(self.mode))
        except Image.UnidentifiedImageError as error:
            unknown = ValueError(f"it holds none of {', '.join(_formats())}")
            raise FileError.of("picture", file, unknown) from error
        # Pillow's decoders raise many types of exceptions on damaged files.
        except Exception as error:
            raise FileError.of("picture", file, error) from error
        pixels = np.asarray(picture)  # (H, W) or (H, W, 3)
        return np.ascontiguousarray(pixels.reshape(*self.shape[1:], -1).transpose(2, 0, 1))

    def _draft(self, image: Image.Image) -> None:
        """Decode a JPEG at a half, a quarter or an eighth of its size, if that suffices."""
        if image.format not in ("JPEG", "MPO"):
            return
        _, height, width = self.shape
        if image.getexif().get(_ORIENTATION) in _SIDEWAYS:
            height, width = width, height
        ratios = (width / image.width, height / image.height)
        scale = min(ratios) if self.fit == "pad" else max(ratios)
        image.draft(None, tuple(max(1, round(side * scale * _REDUCING_GAP)) for side in image.size))  # type: ignore[arg-type]

    def _opaque(self, picture: Image.Image) -> Image.Image:
        """The picture on the background."""
        if picture.mode not in ("RGBA", "RGBa", "LA", "La", "PA") and "transparency" not in picture.info:
            return picture
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, (*self.background, 255)), picture)

    def _fitted(self, picture: Image.Image) -> Image.Image:
        _, height, width = self.shape
        if self.fit == "crop":
            return ImageOps.fit(picture, (width, height))
        if self.fit == "stretch":
            return picture.resize((width, height))
        scale = min(width / picture.width, height / picture.height)
        inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        canvas = Image.new("RGB", (width, height), self.background).convert(self.mode)
        canvas.paste(picture.resize(inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return canvas


@cache
def _formats() -> tuple[str, ...]:
    """Supported formats that the installed Pillow reads."""
    known = set(Image.registered_extensions().values())
    return tuple(name for name in _FORMATS if name in known)


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """The picture itself, or grey values of 16 bits divided by 257."""
    if picture.mode in _WIDE_MODES or (picture.mode == "I" and picture.format in _WIDE_FORMATS):
        values = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"it has pixels of mode {picture.mode!r}, want 8 or 16 bits a channel")
    return picture


class PictureFiles:
    """Pictures that are decoded on each access.

    Args:
        root: The folder.
        files: Paths of the pictures within it.
        read: Decodes one picture.

    Shape:
        ``pictures[indices]``: (B,) -> (B, C, H, W) uint8.

    Raises:
        ValueError: If a picture of the batch cannot be read.
    """

    def __init__(self, root: Path, files: Sequence[str], read: PictureReader) -> None:
        self.root = root
        self.files = files
        self.read = read

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        rows = [self.read(self.root / self.files[index]) for index in indices.tolist()]
        return torch.from_numpy(np.stack(rows))
