"""What several commands do with a checkpoint: load it, take examples of its data, save pictures with their settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pixelvae.checkpoint import load, load_progress
from pixelvae.data import BatchKey, DataSet, Split
from pixelvae.data.splits import SplitName, spread_over_classes
from pixelvae.distributed import connect
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.figures import save_picture


def load_with_latents(checkpoint: Path, device: str, purpose: str) -> GenerativeModel:
    """The PixelVAE in a checkpoint.

    Raises:
        ValueError: If the model has no latents; ``purpose`` completes the message "no latents to ...".
    """
    model = load(checkpoint, device=connect(device).device)
    if not model.has_latents:
        raise ValueError(f"{checkpoint} has no latents to {purpose}; pixelvae sample draws from it")
    return model


def device_of(model: GenerativeModel) -> torch.device:
    """Where the weights are."""
    return next(model.parameters()).device


def check_num(data: DataSet, split: SplitName, num: int) -> None:
    """Check that a split has ``num`` examples.

    Raises:
        ValueError: If it has fewer, or ``num`` is less than 1.
    """
    available = len(getattr(data, split))
    if not 1 <= num <= available:
        what = "images" if len(data.spec.sites) == 2 else "sounds"
        raise ValueError(f"num={num}; the {split} split has {available} {what}")


def varied_examples(data: DataSet, split: SplitName, num: int, model: GenerativeModel) -> tuple[Tensor, Tensor]:
    """x and y of examples that are spread over a split and its classes, on the model's device.

    Raises:
        ValueError: If there are fewer than ``num``.
    """
    check_num(data, split, num)
    examples: Split = getattr(data, split)
    x, y = examples[BatchKey(spread_over_classes(examples, num), epoch=0)]
    return x.to(device_of(model)), y.to(device_of(model))


def run_folder(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint belongs to."""
    return checkpoint.resolve().parent


def origin(checkpoint: Path, *settings: str) -> str:
    """The end of a caption: which weights were used, and with which settings."""
    shown = Path(*checkpoint.parts[-2:]) if checkpoint.is_absolute() else checkpoint  # a figure may be published
    return ", ".join([str(shown), f"step {load_progress(checkpoint).step:,}", *settings]) + "."


def save_with_settings(
    checkpoint: Path,
    out: Path | None,
    name: str,
    figure: Figure,
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    *,
    content: str,
) -> None:
    """Write NAME.png and NAME.safetensors, and print where they are.

    Args:
        checkpoint: The weights that were used.
        out: Folder for both files; RUN/pictures by default.
        name: Without an ending.
        figure: What to show.
        tensors: What the figure shows.
        settings: What made them; the checkpoint is added.
        content: What the figure shows, for the message.
    """
    path = (out or run_folder(checkpoint) / "pictures") / f"{name}.png"
    save_picture(path, figure, tensors, {"checkpoint": checkpoint, **settings})
    print(f"{content}: {path}; tensors beside it: {path.with_suffix('.safetensors').name}")


def training_metrics(checkpoint: Path, model: GenerativeModel) -> dict[str, Any]:
    """What a checkpoint's weights have cost, by the names of metrics.json."""
    progress = load_progress(checkpoint)
    return {
        "images_seen": progress.images_seen,
        "train_steps": progress.step,
        "train_seconds": round(progress.train_seconds, 1),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seed": progress.seed,
    }
