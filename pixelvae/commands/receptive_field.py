"""Draw the receptive field of one pixel, for each decoder: ``pixelvae receptive-field``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from pixelvae.checkpoint import load
from pixelvae.commands.checkpoints import check_pictures
from pixelvae.commands.trust import trusted
from pixelvae.data import DataSpec
from pixelvae.decoders.base import Decoder
from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
from pixelvae.decoders.pixelcnn import PixelCNN
from pixelvae.decoders.pixelrnn import DiagonalBiLSTM, RowLSTM
from pixelvae.reporting.figures import DPI, FAINT, INK, SMALL, TEXT, TITLE, save_figure

NEVER, FUTURE, TARGET = "#d55e00", "#f2f2f2", "#222222"
SMALLEST = 1e-8  # of the largest gradient: the end of the colour scale


def main(
    checkpoints: list[Path] | None = None,
    out: Path = Path("results/receptive_field.png"),
    size: int = 21,
    num_images: int = 16,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Draw the mean |gradient| of a pixel's params with respect to every pixel, over random images.

    Args:
        checkpoints: Checkpoint folders, such as runs/a/best; by default the four decoders of images with random
            weights and 3x3 kernels, on images of ``size``.
        out: The picture file.
        size: Height and width of the images without checkpoints, at least 5.
        num_images: Number of random images in the average.
        seed: Seed of weights and images.
        trust: Modules, separated by commas, whose classes a checkpoint may name, such as a decoder of your own.
    """
    if size < 5 or num_images < 1:
        raise ValueError(f"size={size}, num_images={num_images}; wanted at least 5 and 1")
    torch.manual_seed(seed)
    drawn = untrained(size) if checkpoints is None else [trained(path, trust) for path in checkpoints]
    fields = {name: gradient(decoder, context, num_images) for name, decoder, context in drawn}
    how = "Random weights, 3x3 kernels, LSTMs of one layer" if checkpoints is None else "Trained weights"
    caption = f"{how}; mean of |d params / d x| over {num_images} random images, seed {seed}."
    save_figure(picture(fields, caption), out)
    for name, field in fields.items():
        print(f"{name}: sees {seen(field)}. {out}")


Drawn = tuple[str, Decoder, Tensor | None]


def untrained(size: int) -> list[Drawn]:
    """The four decoders, with enough layers for a receptive field of the whole image."""
    spec = DataSpec((1, size, size), levels=2)
    small: dict[str, Any] = {"channels": 16, "head_channels": 32, "first_kernel_size": 3}
    family: dict[str, Decoder] = {
        "PixelCNN": PixelCNN(spec, 1, num_layers=size, **small),
        "Gated PixelCNN": GatedPixelCNN(spec, 1, num_layers=size, **small),
        "Row LSTM": RowLSTM(spec, 1, num_layers=1, **small),
        "Diagonal BiLSTM": DiagonalBiLSTM(spec, 1, num_layers=1, **small),
    }
    return [(name, decoder.double(), None) for name, decoder in family.items()]


def trained(checkpoint: Path, trust: str | None = None) -> Drawn:
    """The decoder of a checkpoint, with latents and labels 0."""
    model = load(checkpoint, classes=trusted(trust)).double()
    check_pictures(checkpoint, model)
    h = torch.zeros(1, model.latent_dim, dtype=torch.float64) if model.latent_dim else None
    y = torch.zeros(1, len(model.spec.num_classes), dtype=torch.long) if model.spec.num_classes else None
    with torch.no_grad():
        return checkpoint.resolve().parent.name, model.decoder, model.context(h, y)


def target(height: int, width: int) -> tuple[int, int]:
    """The pixel whose receptive field is drawn: in the middle, a little above the bottom."""
    return height - 1 - height // 7, width // 2


def gradient(decoder: Decoder, context: Tensor | None, num_images: int) -> Tensor:
    """Mean |d params / d x| at the target, summed over channels and params, in float64: 0 outside the receptive field.

    The networks use levels as numbers, so they are differentiable with respect to them. Returns (H, W).
    """
    spec = decoder.spec
    x = torch.randint(spec.levels, (num_images, *spec.shape)).double().requires_grad_()
    if context is not None:
        context = context.expand(num_images, *context.shape[1:])
    params = decoder(x, context)[:, :, *target(*spec.sites)]  # (N, P)
    total = torch.zeros(spec.sites, dtype=torch.float64)
    for p in params.unbind(1)[:16]:  # the first few of 256 logits suffice
        (slope,) = torch.autograd.grad(p.sum(), x, retain_graph=True)
        total += slope.abs().mean(0).sum(0)
    return total


def seen(field: Tensor) -> str:
    """The number of earlier pixels in the receptive field."""
    row, column = target(*field.shape)
    return f"{int((field > 0).sum())} of {row * field.shape[1] + column} earlier pixels"


def picture(fields: dict[str, Tensor], caption: str) -> Figure:
    """The receptive fields with a common colour scale."""
    panel, gap, left, top, below = 480, 50, 40, 190, 250  # pixels
    width, height = 2 * left + len(fields) * (panel + gap) - gap, top + panel + below
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    title = "Which earlier pixels reach a pixel"
    figure.text(left / width, 1 - 30 / height, title, fontsize=TITLE, fontweight="bold", color=INK, va="top")
    for i, (name, field) in enumerate(fields.items()):
        corner = (left + i * (panel + gap)) / width, below / height
        axes = figure.add_axes((*corner, panel / width, panel / height))
        colours = draw_field(axes, field)
        axes.set_title(f"{name}\nsees {seen(field)}", fontsize=TEXT, color=INK, loc="left", linespacing=1.4)
    bar_axes = figure.add_axes((left / width, 140 / height, (panel + gap) / width, 24 / height))
    bar = figure.colorbar(colours, cax=bar_axes, orientation="horizontal")
    bar.set_label("mean |gradient|, of the largest", fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=INK)
    meanings = {NEVER: "earlier, but never seen", FUTURE: "later in raster order", TARGET: "the pixel itself"}
    patches = [Patch(facecolor=colour, edgecolor=FAINT, linewidth=0.5, label=text) for colour, text in meanings.items()]
    anchor = (1 - left / width, 185 / height)
    figure.legend(handles=patches, loc="upper right", bbox_to_anchor=anchor, fontsize=SMALL, frameon=False, ncols=3)
    figure.text(1 - left / width, 60 / height, caption, fontsize=SMALL, color=FAINT, ha="right", va="bottom")
    return figure


def draw_field(axes: Axes, field: Tensor) -> AxesImage:
    """One receptive field: gradients, earlier pixels outside it, later pixels, and the pixel itself."""
    height, width = field.shape
    row, column = target(height, width)
    values = (field / field.max()).numpy()
    earlier = np.arange(height * width).reshape(height, width) < row * width + column
    axes.imshow(np.where(earlier, 0, 1), cmap=ListedColormap([NEVER, FUTURE]), vmin=0, vmax=1)
    shown = np.ma.masked_where(values == 0, values.clip(SMALLEST, 1))
    colours = axes.imshow(shown, cmap="viridis", norm=LogNorm(SMALLEST, 1))
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=TARGET))
    axes.set(xticks=np.arange(width + 1) - 0.5, yticks=np.arange(height + 1) - 0.5)
    axes.grid(color="white", linewidth=0.4)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_visible(False)
    return colours
