"""Latents in TensorBoard: posterior means with their images in the projector, and pictures."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from pixelvae.evaluation.embedding import MAX_POINTS, Posteriors
from pixelvae.reporting.figures import label_texts, render

TAG = "latents"
"""Prefix of the name of every picture, and name of the points in the projector."""

MAX_SHEET = 8192
"""Maximum height and width of the sprite of all images in pixels, a limit of the projector."""

MAX_THUMBNAIL = 96
"""Pixels of either side of one image in the sprite; larger images are reduced."""


def write_latents(
    folder: Path,
    points: Posteriors,
    figures: Mapping[str, Figure],
    *,
    levels: int,
    step: int,
    class_names: Sequence[Sequence[str]] = (),
    files: Sequence[str] = (),
) -> Path:
    """Write posterior means and pictures into a run; they replace those of the same step in the projector.

    The files are ``STEP/latents/tensors.tsv`` (the means), ``metadata.tsv`` (file or number of the image, class if
    any, KL in nats) and ``sprite.png`` (the images). ``projector_config.pbtxt`` lists them.

    Args:
        folder: The folder of the run.
        points: At most ``MAX_POINTS`` images, grey or RGB.
        figures: By name; each becomes the image ``latents/NAME``.
        levels: K, the number of levels of the images.
        step: The step of the weights.
        class_names: A name for each class of each kind of label; numbers if empty.
        files: The file of each image; numbers if empty.

    Returns:
        The folder of the projector's files.

    Raises:
        ValueError: If there are too many points, or they are not images.
    """
    if len(points.means) > MAX_POINTS:
        raise ValueError(
            f"{len(points.means):,} points; wanted at most {MAX_POINTS:,}, which the projector still rotates smoothly: "
            "lower num_images"
        )
    if points.x.ndim != 4 or points.x.shape[1] not in (1, 3):
        raise ValueError(f"x of shape {tuple(points.x.shape)}; wanted (N, C, H, W) images, C = 1 (grey) or 3 (RGB)")
    embedding = folder / f"{step:05}" / TAG  # where add_embedding writes
    if embedding.is_dir():
        shutil.rmtree(embedding)
    header, rows = metadata(points, class_names, files)
    with SummaryWriter(folder) as writer:
        for name, figure in figures.items():
            writer.add_image(f"{TAG}/{name}", render(figure), step, dataformats="HWC")
        writer.add_embedding(
            points.means,
            metadata=rows,
            metadata_header=header,
            label_img=sprites(points.x, levels),
            global_step=step,
            tag=TAG,
        )
    return embedding


def metadata(
    points: Posteriors, class_names: Sequence[Sequence[str]] = (), files: Sequence[str] = ()
) -> tuple[list[str], list[list[str]]]:
    """The header and, for each point, its file or number, its labels and KL.

    The projector labels points by the first column that is not a number: the file, or else the name of the class.
    (TensorBoard allows no header of a single column.)

    Example:
        >>> import torch
        >>> zeros = torch.zeros(2, 1)
        >>> metadata(Posteriors(zeros, torch.tensor([[7], [2]]), zeros, torch.tensor([10.5, 9.0]), zeros[0]))
        (['image', 'class', 'KL in nats'], [['0', '7', '10.50'], ['1', '2', '9.00']])
        >>> points = Posteriors(zeros, torch.tensor([[1], [0]]), zeros, torch.tensor([10.5, 9.0]), zeros[0])
        >>> metadata(points, [["cat", "dog"]], ["a.png", "b.png"])[1]
        [['a.png', 'dog', '10.50'], ['b.png', 'cat', '9.00']]
    """
    kinds = points.y.shape[1]
    classes = ["class"] if kinds == 1 else [f"class {i + 1}" for i in range(kinds)]
    columns = [
        files or [str(i) for i in range(len(points.kl))],
        *(label_texts(points.y[:, k : k + 1], class_names[k : k + 1]) for k in range(kinds)),
        [f"{kl:.2f}" for kl in points.kl.tolist()],
    ]
    rows = [[" ".join(cell.split()) for cell in row] for row in zip(*columns, strict=True)]  # no tabs, no new lines
    return ["image", *classes, "KL in nats"], rows


def sprites(x: Tensor, levels: int) -> Tensor:
    """Levels as shades in [0, 1], padded to squares for TensorBoard's sprite. (N, C, H, W) -> (N, C, L, L).

    Larger images are reduced until all of them fit into ``MAX_SHEET`` and each into ``MAX_THUMBNAIL`` pixels.
    """
    height, width = x.shape[2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    limit = min(side, MAX_THUMBNAIL, MAX_SHEET // math.ceil(len(x) ** 0.5))  # TensorBoard's sheet is a square
    parts = []
    for part in x.cpu().split(100):  # in parts, because floats of all would need gigabytes
        shades = F.pad(part.float() / (levels - 1), (left, side - width - left, top, side - height - top))
        parts.append(shades if limit == side else F.interpolate(shades, (limit, limit), mode="area"))
    return torch.cat(parts)
