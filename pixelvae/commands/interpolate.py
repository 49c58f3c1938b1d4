"""Interpolate in the latents between images or classes: ``pixelvae interpolate runs/demo/best``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pixelvae.commands.checkpoints import (
    DataFactory,
    class_names,
    device_of,
    load_with_latents,
    open_data,
    origin,
    save_with_settings,
)
from pixelvae.data import BatchKey, Split
from pixelvae.data.splits import SplitName, spread, spread_over_classes
from pixelvae.decoders.base import StepperKind
from pixelvae.generation import generators, interpolate
from pixelvae.latents.paths import linear_path, spherical_path, switch_half_way
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.figures import Group, image_grid, interpolations, label_texts


def main(
    checkpoint: Path,
    out: Path | None = None,
    between: Literal["images", "same_class", "classes"] = "images",
    num_rows: int = 8,
    steps: int = 10,
    path: Literal["spherical", "linear"] = "spherical",
    split: SplitName = "test",
    temperature: float = 1.0,
    data: DataFactory | None = None,
    seed: int = 0,
    stepper: StepperKind = "auto",
    device: str = "auto",
    trust: str | None = None,
) -> None:
    """Decode latents along paths. The random numbers of a row are equal, so that only h or the label changes.

    Writes interpolations.png (or interpolations_same_class.png, interpolations_classes.png) and the tensors.

    Args:
        checkpoint: A checkpoint folder of a PixelVAE, such as runs/demo/best, or a run, whose best one is taken.
        out: Folder for the picture and the tensors; RUN/pictures by default.
        between: images interpolates between two images of different classes (in a class-conditional model, the label
            switches half-way); same_class between images of one class; classes decodes one h from the prior with every
            label.
        num_rows: Number of rows.
        steps: Points of a row, including both ends.
        path: The great arc, which preserves the norm of h, or the straight line.
        split: Where images come from: test, validation or train.
        temperature: 1 samples the decoder, less is more probable, 0 takes the most probable level of every pixel.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        seed: Row i depends on seed + i.
        stepper: How the decoder goes from pixel to pixel: auto takes the fastest there is, full the slow oracle.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    if num_rows < 1 or steps < 2:
        raise ValueError(f"num_rows={num_rows}, steps={steps}; wanted num_rows >= 1 and steps >= 2")
    model = load_with_latents(checkpoint, device, "interpolate", trust)
    how = origin(checkpoint, f"temperature {temperature:g}", f"seed {seed}")
    draw = partial(interpolate, model, seed=seed, temperature=temperature, stepper=stepper, progress=True)
    if between == "classes":
        names = class_names(checkpoint, model, trust)[0] if model.spec.num_classes else ()
        figure, tensors = class_to_class(model, draw, num_rows, seed, names, how)
    else:
        examples: Split = getattr(open_data(checkpoint, model, data, trust), split)
        pairs = image_pairs(examples, num_rows, same_class=between == "same_class")
        draw = partial(draw, path=spherical_path if path == "spherical" else linear_path)
        figure, tensors = image_to_image(
            model, draw, steps, *pairs, examples.class_names, f"{path.capitalize()} path. {how}"
        )
    name = "interpolations" if between == "images" else f"interpolations_{between}"
    settings: dict[str, Any] = {"seed": seed, "between": between, "path": path, "split": split}
    settings |= {"temperature": temperature, "stepper": stepper}
    save_with_settings(checkpoint, out, name, figure, tensors, settings, content=f"{num_rows} rows")


def image_pairs(images: Split, num: int, *, same_class: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x and y of images of different classes, and of partners of another (or the same) class."""
    starts = spread_over_classes(images, num).tolist()
    others = [i for i in spread(len(images), 50 * num).tolist() if i not in starts]
    x, y = images[BatchKey(torch.tensor([*starts, *others]), epoch=0)]
    if same_class and not y.shape[1]:
        raise ValueError("between=same_class, but the data set has no labels; set between: images")
    ends: list[int] = []
    for start in range(num):
        later = (j for j in range(num, len(x)) if j not in ends)
        end = next((j for j in later if not y.shape[1] or bool(y[j, 0] == y[start, 0]) == same_class), None)
        if end is None:
            raise ValueError(f"num_rows={num}: the split's {len(images)} images have fewer pairs; choose less")
        ends.append(end)
    return x[:num], y[:num], x[ends], y[ends]


def image_to_image(
    model: GenerativeModel,
    draw: Callable[..., Tensor],
    steps: int,
    xa: Tensor,
    ya: Tensor,
    xb: Tensor,
    yb: Tensor,
    names: Sequence[Sequence[str]],
    how: str,
) -> tuple[Figure, dict[str, Tensor]]:
    """From h = E[q(h|xa)] to E[q(h|xb)]; the label ya becomes yb in the middle."""
    xa, ya, xb, yb = (tensor.to(device_of(model)) for tensor in (xa, ya, xb, yb))
    y = switch_half_way(ya, yb, steps)  # (S, B, L)
    ha, hb = model.encode(xa, ya).mean, model.encode(xb, yb).mean
    x = draw(ha, hb, steps=steps, y=y)
    pairs = zip(label_texts(ya, names), label_texts(yb, names), strict=True)
    figure = interpolations(
        xa,
        x,
        xb,
        levels=model.spec.levels,
        row_labels=[a if a == b else f"{a} → {b}" for a, b in pairs],
        label_switches=bool(model.spec.num_classes) and not ya.equal(yb),
        title="Interpolations between images",
        caption=f"From the latents of the left image to those of the right one, with equal random numbers. {how}",
    )
    levels = {name: part.to(model.spec.storage_dtype) for name, part in (("start", xa), ("x", x), ("end", xb))}
    return figure, levels | {"start_h": ha, "end_h": hb, "y": y}


def class_to_class(
    model: GenerativeModel, draw: Callable[..., Tensor], num: int, seed: int, names: Sequence[str], how: str
) -> tuple[Figure, dict[str, Tensor]]:
    """Every row is one h from the prior, every column a label of the first kind (the other kinds stay 0)."""
    if not model.spec.num_classes:
        raise ValueError("between=classes, but this model is not class-conditional; set between: images")
    device, classes = device_of(model), model.spec.num_classes[0]
    h = model.draw_latents(generators(seed + num, num))
    assert h is not None  # models without latents are an error above
    y = torch.zeros(classes, num, len(model.spec.num_classes), dtype=torch.long, device=device)  # (K, B, L)
    y[:, :, 0] = torch.arange(classes, device=device)[:, None]
    x = draw(h, h, steps=classes, y=y, path=lambda start, _end, steps: start.expand(steps, -1, -1))
    figure = image_grid(
        list(x.transpose(0, 1)),
        levels=model.spec.levels,
        row_heading="h ~ p(h)",
        row_labels=[str(i + 1) for i in range(num)],
        column_labels=names,
        groups=[Group("label", classes)],
        title="One latent, every label",
        caption=f"All images of a row share h and the random numbers; only the label changes. {how}",
    )
    return figure, {"x": x.to(model.spec.storage_dtype), "h": h, "y": y}
