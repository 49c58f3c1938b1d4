"""Contact sheets: pictures of files in sections, each with its name and numbers below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from pixelvae.data.transforms import mu_law_decode
from pixelvae.reporting.figures import (
    COLOURS,
    DPI,
    FAINT,
    GAP,
    INK,
    LINE,
    MARGIN,
    TEXT,
    WIDTH,
    empty_figure,
    to_rgb,
    wrap,
)
from pixelvae.reporting.sounds import DECIBELS, spectrogram

CELL = 206  # pixels: the least width of a picture with its name
MAX_SCALE = 16  # pixels of one of its pixels
TINY = 6.5  # points, of names
LINE_OF_NAME = 26  # pixels
HEAD = 56  # pixels of a section's heading
SPECTROGRAM = (96, 200)  # pixels of a sound's picture, height and width


class Section(NamedTuple):
    """Pictures under one heading.

    Attributes:
        heading: Above the pictures; none if empty.
        x: (N, C, H, W) levels, grey or RGB.
        lines: The lines below each picture; long ones are shortened at their beginning.
        framed: Number of pictures with a frame, from the first on.
    """

    heading: str
    x: Tensor
    lines: Sequence[Sequence[str]]
    framed: int = 0


def contact_sheet(sections: Sequence[Section], *, levels: int, title: str, caption: str = "") -> Figure:
    """Sections of pictures, each in rows as wide as the sheet.

    Pixels are enlarged by a whole number, never resampled.

    Args:
        sections: Pictures of one size, with their lines.
        levels: K, the number of levels.
        title: Title, above the sheet.
        caption: Caption, below the sheet; it is wrapped.

    Raises:
        ValueError: If there is no picture, or a picture lacks its lines.

    Example:
        >>> figure = contact_sheet([Section("", torch.zeros(2, 1, 8, 8), [["a.png"], ["b.png"]])], levels=2, title="t")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['a.png', 'b.png']
    """
    if not any(len(section.x) for section in sections):
        raise ValueError("no pictures; a contact sheet needs at least one")
    height, width = sections[0].x.shape[2:]
    scale = max(1, min(MAX_SCALE, CELL // max(height, width)))
    cell = max(CELL, width * scale)
    columns = max(1, (WIDTH - 2 * MARGIN + GAP) // (cell + GAP))
    num_lines = max(len(lines) for section in sections for lines in section.lines)
    row = height * scale + 8 + num_lines * LINE_OF_NAME + 2 * GAP
    tops, total = _tops(sections, columns, row)
    wide = columns * (cell + GAP) - GAP
    caption_lines = wrap(caption, wide + 2 * MARGIN)
    below = MARGIN + LINE * len(caption_lines) + 12
    size = (wide + 2 * MARGIN, MARGIN + 64 + total + below)
    figure = empty_figure(*size, title, caption_lines)
    axes = figure.add_axes((MARGIN / size[0], below / size[1], wide / size[0], total / size[1]))
    axes.set(xlim=(0, wide), ylim=(total, 0))
    axes.axis("off")
    canvas = np.full((total, wide, 3), 255, np.uint8)
    for section, top in zip(sections, tops, strict=True):
        if section.heading:
            axes.text(0, top - 12, section.heading, fontsize=TEXT, color=INK, va="bottom")
        places = [(top + i // columns * row, i % columns * (cell + GAP)) for i in range(len(section.x))]
        _place(axes, canvas, section, places, to_rgb(section.x, levels).repeat(scale, 1).repeat(scale, 2), cell)
    axes.imshow(canvas, extent=(0, wide, total, 0), interpolation="nearest", aspect="auto", zorder=-1)
    return figure


def _place(
    axes: Axes,
    canvas: npt.NDArray[np.uint8],
    section: Section,
    places: Sequence[tuple[int, int]],
    tiles: npt.NDArray[np.uint8],
    cell: int,
) -> None:
    """Put pictures on the canvas, with their frames and lines. places: upper left corners; tiles: (N, h, w, 3)."""
    height, width = tiles.shape[1:3]
    letters = int(cell / (TINY * 0.6 * DPI / 72))
    for i, ((top, left), tile) in enumerate(zip(places, tiles, strict=True)):
        begin = left + (cell - width) // 2
        canvas[top : top + height, begin : begin + width] = tile
        if i < section.framed:
            frame = Rectangle((begin, top), width, height, clip_on=False)
            frame.set(fill=False, edgecolor=COLOURS[1], linewidth=2.5)
            axes.add_patch(frame)
        for number, line in enumerate(section.lines[i]):
            place = (left + cell / 2, top + height + 8 + number * LINE_OF_NAME)
            colour = FAINT if number else INK
            axes.text(*place, shortened(line, letters), fontsize=TINY, color=colour, ha="center", va="top")


def _tops(sections: Sequence[Section], columns: int, row: int) -> tuple[list[int], int]:
    """The upper edge of the pictures of every section, and the total height."""
    tops, down = [], 0
    for section in sections:
        down += HEAD * bool(section.heading)
        tops.append(down)
        down += -(-len(section.x) // columns) * row
    return tops, down


def shortened(text: str, letters: int) -> str:
    """The end of a text, which identifies a file better than its beginning.

    Example:
        >>> shortened("photographs/birds/0001.jpg", 14), shortened("0001.jpg", 14)
        ('…irds/0001.jpg', '0001.jpg')
    """
    return text if len(text) <= letters else f"…{text[1 - letters :]}"


def thumbnails(x: Tensor, levels: int) -> tuple[Tensor, int]:
    """Pictures of examples, and their number of levels: images themselves, sounds as spectrograms of common size.

    Shape:
        x: (N, C, H, W) or (N, 1, T) levels.  Returns (N, C', H', W').
    """
    if x.ndim == 4:
        return x, levels
    colours = matplotlib.colormaps["magma"]
    pictures = []
    for sound in x:
        shades = spectrogram(mu_law_decode(sound[0], levels))  # (F, T') decibels
        shades = ((shades - shades.max()) / DECIBELS + 1).clip(0, 1)
        rgb = torch.from_numpy(colours(shades[::-1].copy())[..., :3]).permute(2, 0, 1)  # (3, F, T'), low notes below
        resized = torch.nn.functional.interpolate(rgb[None], SPECTROGRAM, mode="nearest")[0]
        pictures.append((resized * 255).round().long())
    return torch.stack(pictures), 256
