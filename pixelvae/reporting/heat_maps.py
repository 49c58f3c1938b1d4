"""Images, and below each the bits of its pixels as a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from pixelvae.reporting.figures import (
    DPI,
    FAINT,
    GAP,
    INK,
    LINE,
    MARGIN,
    MAX_SCALE,
    MAX_TILE,
    SMALL,
    WIDTH,
    empty_figure,
    to_rgb,
    wrap,
)

COLOURS = colormaps["inferno"]
HIGHEST = 0.995  # quantile of the bits at which the colours end
BAR, BESIDE_BAR = 28, 150  # pixels: width of the colour bar, and room for its numbers
BELOW, TALL_GAP = 46, 28  # pixels: line of numbers below a heat map, and from one row of pairs to the next


def heat_maps(
    x: Tensor, bits: Tensor, *, levels: int, title: str, caption: str = "", labels: Sequence[str] = ()
) -> Figure:
    """Rows of images, each above its heat map, with one colour bar in bits per pixel for all.

    Args:
        x: Levels.
        bits: Of every pixel.
        levels: K, the number of levels.
        title: Title, above the images.
        caption: Caption, below them; it is wrapped.
        labels: Below each heat map, or none.

    Shape:
        x: (N, C, H, W), grey or RGB.  bits: (N, H, W).

    Raises:
        ValueError: If there is no image, or the images are neither grey nor RGB.

    Example:
        >>> import torch
        >>> figure = heat_maps(torch.zeros(3, 1, 8, 8, dtype=torch.long), torch.rand(3, 8, 8), levels=2, title="t")
        >>> figure.axes[1].get_ylabel()
        'bits per pixel'
    """
    if not len(x):
        raise ValueError("no images; heat maps want at least one")
    height, width = x.shape[2:]
    room = WIDTH - 2 * MARGIN - BESIDE_BAR - BAR
    scale = max(1, min(MAX_SCALE, MAX_TILE // max(height, width)))
    columns = max(1, min(len(x), (room + GAP) // (width * scale + GAP)))
    wide, pair = columns * (width * scale + GAP) - GAP, 2 * height * scale + GAP + BELOW
    rows = -(-len(x) // columns)
    tall = rows * (pair + TALL_GAP) - TALL_GAP
    scaled = Normalize(0, max(float(np.quantile(bits.numpy(), HIGHEST)), 1e-6))
    shown = (COLOURS(scaled(bits.numpy()))[..., :3] * 255).round().astype(np.uint8)
    canvas = np.full((tall, wide, 3), 255, np.uint8)
    places = [(i // columns * (pair + TALL_GAP), i % columns * (width * scale + GAP)) for i in range(len(x))]
    for (top, left), image, heat in zip(places, to_rgb(x, levels), shown, strict=True):
        for tile, begin in ((image, top), (heat, top + height * scale + GAP)):
            canvas[begin : begin + height * scale, left : left + width * scale] = tile.repeat(scale, 0).repeat(scale, 1)
    size_wide = wide + 2 * MARGIN + BESIDE_BAR + BAR
    lines = wrap(caption, size_wide)
    bottom = MARGIN + LINE * len(lines) + 20
    size = (size_wide, MARGIN + 64 + tall + bottom)
    figure = empty_figure(*size, title, lines)
    axes = figure.add_axes((MARGIN / size[0], bottom / size[1], wide / size[0], tall / size[1]))
    axes.imshow(canvas, extent=(0, wide, tall, 0), interpolation="nearest", aspect="auto")
    axes.axis("off")
    for label, (top, left) in zip(labels, places, strict=False):
        place = (left + width * scale / 2, top + pair - BELOW + 10)
        axes.text(*place, label, fontsize=SMALL, color=INK, ha="center", va="top")
    _colour_bar(figure, scaled, (MARGIN + wide + 30) / size[0], bottom / size[1], tall / size[1])
    return figure


def _colour_bar(figure: Figure, scaled: Normalize, left: float, bottom: float, tall: float) -> None:
    """A bar beside the images, at most two rows of them tall."""
    wide, most = BAR / DPI / figure.get_figwidth(), 2 * MAX_TILE / DPI / figure.get_figheight()
    part = min(tall, most)
    axes = figure.add_axes((left, bottom + tall - part, wide, part))
    bar = figure.colorbar(ScalarMappable(scaled, COLOURS), cax=axes, extend="max")
    bar.set_label("bits per pixel", fontsize=SMALL, color=INK)
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=SMALL, labelcolor=FAINT, color=FAINT)


def spread_over_ranks(nats: npt.NDArray[np.floating], number: int) -> npt.NDArray[np.int64]:
    """Rows of at most so many examples, from the fewest nats to the most, at equal distances of rank.

    Example:
        >>> spread_over_ranks(np.array([5.0, 1.0, 4.0, 2.0, 3.0]), 3).tolist()
        [1, 4, 0]
    """
    ranks = np.linspace(0, len(nats) - 1, min(number, len(nats))).round().astype(np.int64)
    return np.argsort(nats, kind="stable")[ranks]
