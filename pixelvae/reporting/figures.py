"""Labelled grids of images. Pixels are enlarged by a whole number, never resampled."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from pixelvae.storage import write_atomically

HIDDEN = -1
"""Replaces the level of a hidden pixel."""

DPI = 200
WIDTH, MIN_WIDTH = 1800, 1100  # pixels; twice the size at which they are seen
MAX_TILE, MAX_SCALE = 180, 16  # pixels of one image's longer side; pixels of one of its pixels
GAP, WIDE_GAP, MARGIN = 8, 44, 30  # pixels: between images, between groups of columns, around everything
TITLE, TEXT, SMALL = 11, 9, 8  # points
LINE = 36  # pixels from one line of a caption to the next
INK, FAINT = "#222222", "#6b6b6b"
HIDDEN_COLOUR, STRIPE = (176, 204, 232), 20  # with white stripes, so many pixels apart
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito: safe for the colour-blind


class Group(NamedTuple):
    """Adjacent columns under one heading, separated from the others by a gap."""

    heading: str
    num_columns: int


def image_grid(
    rows: Sequence[Tensor],
    *,
    levels: int,
    title: str,
    caption: str = "",
    row_heading: str = "class",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    groups: Sequence[Group] = (),
) -> Figure:
    """A grid of images with a title, labels and a caption.

    Args:
        rows: Integer levels, one tensor for each row, of any lengths; ``HIDDEN`` marks a pixel that was not shown,
            which is striped: a plain colour could be one of the image.
        levels: K, the number of levels.
        title: Title, above the grid.
        caption: Caption, below the grid; it is wrapped.
        row_heading: Axis label of the row labels.
        row_labels: One for each row, or none.
        column_labels: One for each column, or none.
        groups: Headings over adjacent columns, which together are all columns; or none.

    Shape:
        rows: (N, C, H, W) each, grey (C = 1) or RGB (C = 3).

    Raises:
        ValueError: If the images are neither grey nor RGB, or labels do not fit the grid.

    Example:
        >>> import torch
        >>> figure = image_grid([torch.zeros(2, 1, 8, 8, dtype=torch.long)], levels=2, title="black", row_labels=["a"])
        >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        ['a']
    """
    columns = max(map(len, rows), default=0)
    groups = groups or [Group("", columns)]
    if columns == 0 or sum(group.num_columns for group in groups) != columns:
        raise ValueError(f"the groups {[tuple(g) for g in groups]} do not add up to the {columns} columns of the grid")
    for name, labels, number in (("row", row_labels, len(rows)), ("column", column_labels, columns)):
        if labels and len(labels) != number:
            raise ValueError(f"{len(labels)} {name}_labels for {number} {name}s")
    height, width = rows[0].shape[2:]
    scale = _scale(height, width, columns, WIDE_GAP * (len(groups) - 1))
    lefts = _lefts(groups, width * scale)
    tops = [row * (height * scale + GAP) for row in range(len(rows))]
    canvas = np.full((tops[-1] + height * scale, lefts[-1] + width * scale, 3), 255, np.uint8)
    for top, row in zip(tops, rows, strict=True):
        hidden = (row == HIDDEN).all(1).cpu().numpy()
        for left, tile, unseen in zip(lefts, to_rgb(row, levels), hidden, strict=False):
            large = tile.repeat(scale, 0).repeat(scale, 1)
            large[unseen.repeat(scale, 0).repeat(scale, 1) & _stripes(*large.shape[:2])] = 255
            canvas[top : top + height * scale, left : left + width * scale] = large
    above = 44 * bool(column_labels) + 56 * any(group.heading for group in groups)
    figure, axes = _frame(canvas, title, caption, max(map(len, row_labels), default=0), above)
    if row_labels:
        axes.set_yticks([top + height * scale / 2 - 0.5 for top in tops], row_labels)
        axes.set_ylabel(row_heading, fontsize=TEXT, color=FAINT)
    _label_columns(axes, column_labels, groups, lefts, width * scale)
    return figure


def to_rgb(x: Tensor, levels: int) -> npt.NDArray[np.uint8]:
    """Levels to colours, 0 black and K-1 white. (N, C, H, W) integers, C = 1 or 3 -> (N, H, W, 3).

    Example:
        >>> import torch
        >>> to_rgb(torch.tensor([0, 1, 2, HIDDEN]).reshape(1, 1, 1, 4), levels=3)[0, 0].tolist()
        [[0, 0, 0], [128, 128, 128], [255, 255, 255], [176, 204, 232]]
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"images of shape {tuple(x.shape)}; wanted (N, C, H, W) with C = 1 (grey) or 3 (RGB)")
    values = x.detach().cpu().movedim(1, -1).expand(-1, -1, -1, 3).numpy().astype(np.int64)  # (N, H, W, 3)
    colours = np.rint(values * (255 / (levels - 1)))
    return np.where(values == HIDDEN, HIDDEN_COLOUR, colours).astype(np.uint8)


def label_texts(y: Tensor, class_names: Sequence[Sequence[str]] = ()) -> list[str]:
    """(B, L) labels as text, one string for each example; an empty list if L = 0.

    Args:
        y: Labels.
        class_names: A name for each class of each kind of label, as `DataSet.class_names` has them; numbers if empty.

    Example:
        >>> import torch
        >>> label_texts(torch.tensor([[1, 0]])), label_texts(torch.tensor([[1, 0]]), [["cat", "dog"], ["Ann"]])
        (['1, 0'], ['dog, Ann'])
    """
    if not y.shape[1]:
        return []
    if not class_names:
        return [", ".join(map(str, row)) for row in y.tolist()]
    return [", ".join(names[label] for names, label in zip(class_names, row, strict=True)) for row in y.tolist()]


def samples(
    x: Tensor, *, levels: int, title: str, caption: str = "", columns: int = 10, labels: Sequence[str] = ()
) -> Figure:
    """Samples in rows of ``columns``; with ``labels``, each row is one class. x: (N, C, H, W)."""
    return image_grid(x.split(columns), levels=levels, title=title, caption=caption, row_labels=labels)


def reconstructions(
    x: Tensor, draws: Tensor, *, levels: int, title: str, caption: str = "", labels: Sequence[str] = ()
) -> Figure:
    """A row for each image: the original and, after a gap, the draws. x: (B, C, H, W), draws: (D, B, C, H, W)."""
    rows = [_join(x[b : b + 1], draws[:, b]) for b in range(len(x))]
    groups = [Group("original", 1), Group("draws from p(x | h)", len(draws))]
    return image_grid(rows, levels=levels, title=title, caption=caption, row_labels=labels, groups=groups)


def interpolations(
    start: Tensor,
    steps: Tensor,
    end: Tensor,
    *,
    levels: int,
    title: str,
    caption: str = "",
    row_labels: Sequence[str] = (),
    label_switches: bool = False,
) -> Figure:
    """A row for each pair: the decoded steps, and the two originals at the ends.

    With ``label_switches``, headings say which steps have the label of which end, as ``switch_half_way`` gives them.

    Shape:
        start, end: (B, C, H, W).  steps: (S, B, C, H, W).
    """
    rows = [_join(start[b : b + 1], steps[:, b], end[b : b + 1]) for b in range(len(start))]
    middle = [Group("from h on the left to h on the right", len(steps))]
    if label_switches:
        first = -(-len(steps) // 2)
        middle = [Group("with the left image's label", first)]
        middle += [Group("with the right image's label", len(steps) - first)]
    groups = [Group("original", 1), *middle, Group("original", 1)]
    return image_grid(rows, levels=levels, title=title, caption=caption, row_labels=row_labels, groups=groups)


def completions(
    x: Tensor, known: Tensor, draws: Tensor, *, levels: int, title: str, caption: str = "", labels: Sequence[str] = ()
) -> Figure:
    """A row for each image: the original, its known pixels, and the completions.

    Shape:
        x: (B, C, H, W).  known: broadcastable to x, true where a pixel was shown.  draws: (D, B, C, H, W).
    """
    shown = x.where(known.expand_as(x), x.new_tensor(HIDDEN))
    rows = [_join(x[b : b + 1], shown[b : b + 1], draws[:, b]) for b in range(len(x))]
    groups = [Group("original", 1), Group("shown", 1), Group("completed, several draws", len(draws))]
    return image_grid(rows, levels=levels, title=title, caption=caption, row_labels=labels, groups=groups)


def render(figure: Figure) -> npt.NDArray[np.uint8]:
    """The pixels of a figure, (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG atomically; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def save_picture(path: Path, figure: Figure, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    """Write a PNG and, beside it, a safetensors file of the tensors it shows, with the settings as metadata.

    Args:
        path: The PNG; the other file has its name and the suffix .safetensors.
        figure: The picture.
        tensors: Levels in their ``storage_dtype``, latents, labels.
        settings: The options that made the picture, stored as JSON.
    """
    save_figure(figure, path)
    metadata = {"settings": json.dumps(settings, default=str)}  # one entry, because safetensors permutes several
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path.with_suffix(".safetensors"), safetensors_bytes(plain, metadata))


def _stripes(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Diagonal stripes, two in five pixels wide. (H, W)."""
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((rows + columns) % STRIPE * 5 < STRIPE * 2)


def _join(*parts: Tensor) -> Tensor:
    return torch.cat([part.cpu().long() for part in parts])


def _scale(height: int, width: int, columns: int, gaps: int) -> int:
    """The scale of the images: a whole number, so that all pixels are squares of the same size."""
    room = (WIDTH - 2 * MARGIN - 120 - gaps) // columns - GAP
    return max(1, min(room // width, MAX_TILE // max(height, width), MAX_SCALE))


def _lefts(groups: Sequence[Group], tile: int) -> list[int]:
    """The left edge of every column."""
    lefts, left = [], 0
    for group in groups:
        lefts += [left + column * (tile + GAP) for column in range(group.num_columns)]
        left = lefts[-1] + tile + WIDE_GAP
    return lefts


def wrap(text: str, width: int) -> list[str]:
    """Lines of a caption that fit into a figure of this width in pixels."""
    return textwrap.wrap(text, int((width - 2 * MARGIN) / (SMALL * 0.55 * DPI / 72)))


def empty_figure(width: int, height: int, title: str, caption: list[str]) -> Figure:
    """An empty figure of this size in pixels, with title and caption."""
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    left = MARGIN / width
    figure.text(left, 1 - MARGIN / height, title, fontsize=TITLE, fontweight="bold", color=INK, va="top")
    figure.text(left, MARGIN / height, "\n".join(caption), fontsize=SMALL, color=FAINT, va="bottom", linespacing=1.35)
    return figure


def _frame(canvas: npt.NDArray[np.uint8], title: str, caption: str, letters: int, above: int) -> tuple[Figure, Axes]:
    """A figure that fits the canvas, and axes on which one pixel of the canvas is one pixel of the figure."""
    left = MARGIN + (70 + round(letters * TEXT * 0.62 * DPI / 72) if letters else 0)
    width = max(left + canvas.shape[1] + MARGIN, MIN_WIDTH)
    lines = wrap(caption, width)
    bottom = MARGIN + LINE * len(lines) + (20 if lines else 0)
    height = MARGIN + 64 + above + canvas.shape[0] + bottom
    figure = empty_figure(width, height, title, lines)
    axes = figure.add_axes((left / width, bottom / height, canvas.shape[1] / width, canvas.shape[0] / height))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.set(xticks=[], yticks=[], autoscale_on=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=4, labelsize=TEXT, labelcolor=INK)
    axes.xaxis.tick_top()
    return figure, axes


def _label_columns(axes: Axes, labels: Sequence[str], groups: Sequence[Group], lefts: Sequence[int], tile: int) -> None:
    """Column labels and, above them, a line with a heading over every group."""
    if labels:
        axes.set_xticks([left + tile / 2 - 0.5 for left in lefts], labels)
    height, first = (44 if labels else 0), 0
    for group in groups:
        begin, end = lefts[first] - 0.5, lefts[first + group.num_columns - 1] + tile - 0.5
        first += group.num_columns
        if group.heading:
            axes.plot([begin, end], [-height - 12] * 2, color=FAINT, linewidth=0.8, clip_on=False)
            axes.text(
                (begin + end) / 2, -height - 18, group.heading, fontsize=TEXT, color=INK, ha="center", va="bottom"
            )
