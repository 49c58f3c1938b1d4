"""Figures of latents: scatter plots, traversals, nearest neighbours, interpolation patches, draws from one h."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.transforms import Bbox
from PIL import Image
from torch import Tensor

from pixelvae.reporting.figures import (
    COLOURS,
    DPI,
    GAP,
    INK,
    LINE,
    MARGIN,
    SMALL,
    TEXT,
    TITLE,
    Group,
    empty_figure,
    image_grid,
    render,
)
from pixelvae.storage import write_atomically

CLOUD = (1320, 1140)  # pixels of a scatter plot without its caption, width and height
LETTERS = 96  # in a line of the caption
MAX_NAMED = 20
"""Maximum number of classes with a legend and a name at their points; with more, a colour bar."""

AROUND = 15
"""Points around the median of a class. Its name is there only if it leads among them."""


def cloud(
    points: Tensor,
    classes: Tensor | None,
    *,
    title: str,
    class_names: Sequence[str] = (),
    axis_labels: Sequence[str] = (),
    caption: str = "",
) -> Figure:
    """A scatter plot in the plane, coloured by class, with a legend and class names at the medians of their points.

    Without classes all points have one colour; with more than ``MAX_NAMED`` classes a colour bar replaces the legend.

    Args:
        points: Coordinates.
        classes: The class of each point, or None.
        title: Title, above the plot.
        class_names: The name of each class; its number if empty.
        axis_labels: Labels of the two axes; without them the axes have no ticks, as after t-SNE.
        caption: Caption, below the plot; it is wrapped.

    Shape:
        points: (N, 2).  classes: (N,) integers.

    Example:
        >>> figure = cloud(torch.rand(4, 2), torch.tensor([3, 3, 5, 5]), title="t")
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['3', '5']
    """
    lines = textwrap.wrap(caption, LETTERS)
    width, below = CLOUD[0], MARGIN + LINE * len(lines)
    height = CLOUD[1] + LINE * len(lines)
    figure = empty_figure(width, height, title, lines)
    names = _names(classes, class_names)
    letters = max((len(name) for name in names.values()), default=0)
    legend = max(150, 90 + round(letters * TEXT * 0.62 * DPI / 72))
    first, last = (130, legend) if classes is not None else (130, 40)  # room for the axis and for the legend
    box = (first / width, (below + 110) / height, 1 - (first + last) / width, (height - below - 220) / height)
    axes = figure.add_axes(box)
    _scatter(axes, points, classes, names)
    axes.set_aspect("equal", adjustable="datalim")  # both axes have one unit: distances are seen as they are
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    if axis_labels:
        axes.set_xlabel(axis_labels[0], fontsize=TEXT, color=INK)
        axes.set_ylabel(axis_labels[1], fontsize=TEXT, color=INK)
    else:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    _hide_overlapping_names(figure, axes)
    return figure


def save_cloud(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours, a third of the size; only the soft edges of points lose colours."""
    buffer = io.BytesIO()
    few = Image.fromarray(render(figure)).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(buffer, format="png", optimize=True, dpi=(DPI, DPI))
    write_atomically(path, buffer.getvalue())


def traversals(
    x: Tensor, dims: Sequence[int], variances: Sequence[float], *, levels: int, width: float, title: str, caption: str
) -> Figure:
    """A row for each dimension, labelled with the variance of its posterior means; a column for each step.

    Shape:
        x: (M, S, C, H, W), from −width to +width standard deviations; the middle column is the image's own h.
    """
    steps = x.shape[1]
    offsets = [width * (2 * i / (steps - 1) - 1) for i in range(steps)]
    return image_grid(
        list(x),
        levels=levels,
        title=title,
        caption=caption,
        row_heading="latent: variance of its posterior means",
        row_labels=[f"h{d}: {variance:.2f}" for d, variance in zip(dims, variances, strict=True)],
        column_labels=["mean" if i == steps // 2 else f"{o:+.1f} σ".replace("-", "−") for i, o in enumerate(offsets)],
    )


def neighbours(
    x: Tensor, in_h: Tensor, in_pixels: Tensor, *, levels: int, title: str, caption: str, labels: Sequence[str] = ()
) -> Figure:
    """A row for each image: the image, its nearest neighbours in h, and its nearest neighbours in pixels.

    Shape:
        x: (B, C, H, W).  in_h, in_pixels: (B, k, C, H, W), nearest first.
    """
    rows = [torch.cat([x[b : b + 1], in_h[b], in_pixels[b]]) for b in range(len(x))]
    k = in_h.shape[1]
    groups = [Group("image", 1), Group("nearest in h", k), Group("nearest in pixels", k)]
    return image_grid(rows, levels=levels, title=title, caption=caption, row_labels=labels, groups=groups)


def patch(x: Tensor, corners: Tensor, *, levels: int, title: str, caption: str) -> Figure:
    """A grid of decoded interpolations between four images; the framed corners are the four images.

    Shape:
        x: (R, S, C, H, W), whose corners are not shown.  corners: (4, C, H, W), in reading order.
    """
    x = x.clone()
    rows, columns = x.shape[:2]
    x[[0, 0, -1, -1], [0, -1, 0, -1]] = corners.to(x)
    figure = image_grid(list(x), levels=levels, title=title, caption=caption)
    axes = figure.axes[0]
    seen = np.asarray(axes.images[0].get_array()).shape  # pixels of the whole grid, enlarged by a whole number
    tall, wide = (seen[0] - GAP * (rows - 1)) / rows, (seen[1] - GAP * (columns - 1)) / columns
    for top in (0, seen[0] - tall):
        for left in (0, seen[1] - wide):
            frame = Rectangle((left - 0.5, top - 0.5), wide, tall, clip_on=False)
            frame.set(fill=False, edgecolor=COLOURS[1], linewidth=3.0, gid="original")
            axes.add_patch(frame)
    return figure


def decompressions(
    x: Tensor, draws: Tensor, mean: Tensor, *, levels: int, title: str, caption: str, labels: Sequence[str] = ()
) -> Figure:
    """A row for each image: the original, draws from its h, and the mean of many draws.

    Shape:
        x: (B, C, H, W).  draws: (D, B, C, H, W).  mean: (B, C, H, W) real numbers from 0 to K − 1.
    """
    shades = [shade(part, levels) for part in (x, draws, mean)]
    rows = [torch.cat([shades[0][b : b + 1], shades[1][:, b], shades[2][b : b + 1]]) for b in range(len(x))]
    groups = [Group("original", 1), Group("draws from p(x | h), h the same", len(draws)), Group("mean", 1)]
    return image_grid(rows, levels=256, title=title, caption=caption, row_labels=labels, groups=groups)


def shade(x: Tensor, levels: int) -> Tensor:
    """Levels, or means of levels, on a scale of 256 levels with the same colours.

    Example:
        >>> shade(torch.tensor([0, 0.5, 1]), levels=2)
        tensor([  0, 128, 255])
    """
    return (x.cpu().double() * (255 / (levels - 1))).round().long()


def _names(classes: Tensor | None, class_names: Sequence[str]) -> dict[int, str]:
    """The name of each class that has points."""
    numbers = [] if classes is None else classes.unique().tolist()
    return {number: class_names[number] if class_names else str(number) for number in numbers}


def _hide_overlapping_names(figure: Figure, axes: Axes) -> None:
    """Leave out names of classes that would cover others; the legend has them all."""
    figure.draw_without_rendering()  # limits and places are known only then
    kept: list[Bbox] = []
    for text in axes.texts:
        box = text.get_window_extent()
        text.set_visible(not any(box.overlaps(other) for other in kept))
        kept += [box] if text.get_visible() else []


def _leads(place: Tensor, points: Tensor, classes: Tensor, number: int) -> bool:
    """Whether a class is the most frequent one among the points around a place, so that its name describes them."""
    around = (points - place).square().sum(1).argsort()[:AROUND]
    return int(classes[around].mode().values) == number


def _scatter(axes: Axes, points: Tensor, classes: Tensor | None, names: dict[int, str]) -> None:
    """All points in the order of the data, so that no class covers the others; class names and legend."""
    x, y = points.T.tolist()
    scatter = partial(axes.scatter, s=7, linewidths=0, clip_on=False)  # a marker on the frame is shown whole
    if classes is None:
        scatter(x, y, color=COLOURS[0])
        return
    if len(names) > MAX_NAMED:
        bar = axes.figure.colorbar(scatter(x, y, c=classes.tolist(), cmap="turbo"), ax=axes, fraction=0.03, pad=0.02)
        bar.set_label("class", fontsize=TEXT, color=INK)
        bar.ax.tick_params(labelsize=SMALL, colors=INK)
        return
    palette = matplotlib.colormaps["tab10" if len(names) <= 10 else "tab20"]
    colours = {number: palette(i) for i, number in enumerate(names)}
    scatter(x, y, c=[colours[number] for number in classes.tolist()])
    outline: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground="white")]
    for number, colour in colours.items():
        scatter([], [], color=colour, s=30, label=names[number])
        middle = points[classes == number].median(0).values
        if not _leads(middle, points, classes, number):
            continue
        across, up = middle.tolist()
        size = TITLE if len(names[number]) <= 3 else SMALL
        text = axes.text(
            across, up, names[number], fontsize=size, fontweight="bold", color=INK, ha="center", va="center"
        )
        text.set_path_effects(outline)
    style = {"frameon": False, "fontsize": TEXT, "title_fontsize": TEXT, "handletextpad": 0.1, "borderaxespad": 0.2}
    axes.legend(title="class", loc="upper left", bbox_to_anchor=(1.0, 1.0), **style)
