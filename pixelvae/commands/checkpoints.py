"""Functions shared by commands: load a checkpoint, take examples of its data, save pictures with their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pixelvae.checkpoint import CheckpointError, load, load_config, load_data, load_progress
from pixelvae.commands.trust import trusted
from pixelvae.data import BatchKey, DataSet, Split
from pixelvae.data.splits import SplitName, spread_over_classes
from pixelvae.distributed import connect
from pixelvae.hub import name_of, published_folder
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.figures import save_picture

DataFactory = Callable[[], DataSet]
"""Factory of the data set that replaces the training data."""


def find_checkpoint(folder: Path) -> Path:
    """Find a checkpoint by its folder, by the folder of its run, or by the name of a published model.

    Of a run it is the best checkpoint, or the last one before any validation.

    Raises:
        CheckpointError: If there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        if (published := published_folder(folder)) is not None:
            return published
        raise CheckpointError(f"checkpoint={folder}: no such folder; wanted a checkpoint such as runs/demo/best")
    if (folder / "model.safetensors").is_file():
        return folder
    for name in ("best", "last"):  # a run also has a config.yaml, beside its metrics
        if (folder / name).is_dir():
            return folder / name
    raise CheckpointError(f"checkpoint={folder} is neither a checkpoint nor a run; wanted one, such as runs/demo/best")


def load_pictures(checkpoint: Path, device: str, trust: str | None = None) -> GenerativeModel:
    """The model of pictures in a checkpoint.

    Raises:
        ValueError: If it is a model of sounds.
    """
    model = load(checkpoint, device=connect(device).device, classes=trusted(trust))
    check_pictures(checkpoint, model)
    return model


def check_pictures(checkpoint: Path, model: GenerativeModel) -> None:
    """Check that a model is one of pictures.

    Raises:
        ValueError: If it is a model of sounds.
    """
    if len(model.spec.sites) != 2:
        raise ValueError(f"{checkpoint} is a model of sounds, and this command draws pictures; use pixelvae speak")


def load_with_latents(checkpoint: Path, device: str, purpose: str, trust: str | None = None) -> GenerativeModel:
    """The PixelVAE of pictures in a checkpoint.

    Raises:
        ValueError: If it is a model of sounds, or has no latents; ``purpose`` completes "no latents to ...".
    """
    model = load_pictures(checkpoint, device, trust)
    if not model.has_latents:
        raise ValueError(f"{checkpoint} has no latents to {purpose}; pixelvae sample draws from it")
    return model


def open_data(
    checkpoint: Path, model: GenerativeModel, data: DataFactory | None = None, trust: str | None = None
) -> DataSet:
    """The data set that a checkpoint was trained on, or another that fits its model.

    Args:
        checkpoint: The checkpoint, whose configuration has the data set.
        model: The model that the data must match.
        data: Makes another data set.
        trust: Modules whose classes the checkpoint may name.

    Raises:
        ValueError: If the data are missing, or their shape, levels or labels do not match the model.
    """
    try:
        found = load_data(checkpoint, classes=trusted(trust)) if data is None else data()
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}; --data.root FOLDER says where the data are now") from error
    wanted, given = model.spec, found.spec
    if (given.shape, given.levels) != (wanted.shape, wanted.levels):
        raise ValueError(
            f"--data has shape {given.shape} and {given.levels} levels, the model {wanted.shape} and {wanted.levels}; "
            "give options of --data that make them equal, or another data set"
        )
    if wanted.num_classes and given.num_classes != wanted.num_classes:
        raise ValueError(
            f"--data has labels of {given.num_classes} classes, the model is given labels of {wanted.num_classes}"
        )
    return found


def class_names(checkpoint: Path, model: GenerativeModel, trust: str | None = None) -> Sequence[Sequence[str]]:
    """A name for each class of each kind of label; numbers if the data set is no longer available."""
    try:
        return open_data(checkpoint, model, trust=trust).class_names
    except (OSError, ValueError):
        return [[str(number) for number in range(classes)] for classes in model.spec.num_classes]


def is_foreign(checkpoint: Path, data: DataSet) -> bool:
    """Whether a data set has another class than the training data of a checkpoint."""
    return type(data).__name__ != str(load_config(checkpoint)["data"]["class_path"]).rpartition(".")[2]


def device_of(model: GenerativeModel) -> torch.device:
    """The device of the weights."""
    return next(model.parameters()).device


def check_num(data: DataSet, split: SplitName, num: int) -> None:
    """Check that a split has ``num`` examples.

    Raises:
        ValueError: If it has fewer, or ``num`` is less than 1.
    """
    available = len(getattr(data, split))
    if not 1 <= num <= available:
        what = "images" if len(data.spec.sites) == 2 else "sounds"
        raise ValueError(f"num_{what}={num}; the {split} split has {available} {what}")


def varied_examples(data: DataSet, split: SplitName, num: int, model: GenerativeModel) -> tuple[Tensor, Tensor]:
    """x and y of examples, spread over a split and its classes, on the model's device.

    Raises:
        ValueError: If there are fewer than ``num``.
    """
    check_num(data, split, num)
    examples: Split = getattr(data, split)
    x, y = examples[BatchKey(spread_over_classes(examples, num), epoch=0)]
    return x.to(device_of(model)), y.to(device_of(model))


def run_folder(checkpoint: Path) -> Path:
    """The folder of a checkpoint's run; for a published model, a folder in runs/ for outputs."""
    name = name_of(checkpoint)
    return checkpoint.resolve().parent if name is None else Path("runs/published") / name


def origin(checkpoint: Path, *settings: str) -> str:
    """The end of a caption: weights and settings."""
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
    """Write NAME.png and NAME.safetensors, and print their paths.

    Args:
        checkpoint: The checkpoint of the model.
        out: Folder for both files; RUN/pictures by default.
        name: Name of the files, without a suffix.
        figure: The figure.
        tensors: The tensors of the figure.
        settings: Settings of the command; the checkpoint is added.
        content: Description of the figure, for the message.
    """
    path = (out or run_folder(checkpoint) / "pictures") / f"{name}.png"
    save_picture(path, figure, tensors, {"checkpoint": checkpoint, **settings})
    print(f"{content}: {path}; tensors beside it: {path.with_suffix('.safetensors').name}")


def training_metrics(checkpoint: Path, model: GenerativeModel) -> dict[str, Any]:
    """Cost of training a checkpoint, by the names of metrics.json."""
    progress = load_progress(checkpoint)
    return {
        "images_seen": progress.images_seen,
        "train_steps": progress.step,
        "train_seconds": round(progress.train_seconds, 1),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seed": progress.seed,
    }
