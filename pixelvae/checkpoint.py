"""A checkpoint is a folder: model.safetensors, config.yaml, training.pt. Loading it runs no code from it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
import yaml
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from pixelvae.data import DATA_SETS
from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import DataSet
from pixelvae.models.assembly import ConfigurationError, build, factory
from pixelvae.models.base import GenerativeModel
from pixelvae.storage import write_atomically

FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint that is missing, truncated, foreign or newer than this version of pixelvae."""


class Progress(NamedTuple):
    """How far the weights in a checkpoint have been trained."""

    step: int = 0
    images_seen: int = 0
    train_seconds: float = 0.0
    seed: int = 0


def save_model(folder: Path, model: GenerativeModel, config: dict[str, Any], progress: Progress) -> None:
    """Write config.yaml and model.safetensors, each atomically and each complete in itself.

    Args:
        folder: Where to; made if need be.
        model: The weights to keep, on any device.
        config: The resolved configuration, of plain YAML types.
        progress: Kept in the weights' metadata.
    """
    metadata = {
        "format": "pixelvae",
        "version": str(FORMAT_VERSION),
        "spec": json.dumps(model.spec._asdict()),
        "progress": json.dumps(progress._asdict()),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
    write_atomically(folder / "model.safetensors", safetensors_bytes(tensors, metadata))


def save_training(folder: Path, state: dict[str, Any]) -> None:
    """Write training.pt, all that a run needs to go on exactly: weights, optimizer, step."""
    with tempfile.TemporaryFile() as buffer:
        torch.save(state, buffer)
        buffer.seek(0)
        write_atomically(folder / "training.pt", buffer.read())


def load_training(folder: Path, device: torch.device) -> dict[str, Any]:
    """Read training.pt without running code from it.

    Raises:
        CheckpointError: If the file is missing, truncated or holds anything but plain training state.
    """
    path = folder / "training.pt"
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: nothing to resume; start the run without resume")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds here; all mean the same to the user
        raise CheckpointError(f"{path} cannot be read ({error}); it is truncated or not a training state") from error


def checkpoint_folder(folder: str | Path) -> Path:
    """The checkpoint that a path names: itself, or the best one of a run's folder.

    Raises:
        CheckpointError: If a run has no best checkpoint yet; names the one that it has.
    """
    folder = Path(folder)
    if (folder / "model.safetensors").is_file():
        return folder  # config.yaml does not tell: a run that was evaluated has one beside its metrics
    if (folder / "best").is_dir():
        return folder / "best"
    if (folder / "last").is_dir():
        raise CheckpointError(f"{folder} has no best checkpoint, for it was never validated; open {folder / 'last'}")
    return folder


def load(folder: str | Path, *, device: str | torch.device = "cpu", classes: Sequence[type] = ()) -> GenerativeModel:
    """The trained model in a checkpoint, in evaluation mode without gradients; ``train()`` gives gradients back.

    Args:
        folder: The folder of a run, of which the best checkpoint is taken, or of a checkpoint, such as RUN/last.
        device: Where to put the model.
        classes: Classes from outside the package that the checkpoint may name, such as a decoder of your own.

    Raises:
        CheckpointError: If a file is missing, truncated, foreign, or written by a newer version, or if a class is
            neither pixelvae's own nor among ``classes``.

    Example:
        >>> load("runs/none")
        Traceback (most recent call last):
        ...
        pixelvae.checkpoint.CheckpointError: runs/none/config.yaml is not there: is this a checkpoint folder?
    """
    folder = checkpoint_folder(folder)
    config = load_config(folder)
    tensors, metadata = _read_weights(folder / "model.safetensors")
    spec = json.loads(metadata["spec"])
    try:
        model = build(config, DataSpec(tuple(spec["shape"]), spec["levels"], tuple(spec["num_classes"])), classes)
        model.load_state_dict(tensors)
    except ConfigurationError as error:
        raise CheckpointError(f"{folder / 'config.yaml'}: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: the weights do not fit config.yaml ({error})") from error
    model = model.to(device).to(memory_format=torch.channels_last)  # convolutions run several times faster
    return model.freeze()


def load_weights(model: GenerativeModel, folder: str | Path) -> None:
    """Copy the weights of a checkpoint into a model, to train it further.

    Raises:
        CheckpointError: If the checkpoint lacks a weight of the model, has one more, or one of another shape.
    """
    folder = checkpoint_folder(folder)
    given = _read_weights(folder / "model.safetensors")[0]
    wanted = model.state_dict()
    offences = [f"{name} is missing" for name in wanted if name not in given]
    offences += [f"{name} is not in the model" for name in given if name not in wanted]
    offences += [
        f"{name} has shape {tuple(tensor.shape)}, in the model {tuple(wanted[name].shape)}"
        for name, tensor in given.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    if offences:
        more = f" and {len(offences) - 1} more" if len(offences) > 1 else ""
        raise CheckpointError(
            f"the weights in {folder} do not fit the model: {offences[0]}{more}; build the model with the shape, "
            "levels and parts of the checkpoint (its config.yaml)"
        )
    model.load_state_dict(given)


def load_config(folder: str | Path) -> dict[str, Any]:
    """The resolved configuration of a checkpoint, of plain types."""
    path = checkpoint_folder(folder) / "config.yaml"
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: is this a checkpoint folder?")
    config = yaml.safe_load(path.read_text())
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} does not hold a configuration")
    return config


def load_progress(folder: str | Path) -> Progress:
    """How far the weights of a checkpoint have been trained."""
    return Progress(**json.loads(_read_weights(checkpoint_folder(folder) / "model.safetensors")[1]["progress"]))


def load_data(folder: str | Path, *, classes: Sequence[type] = ()) -> DataSet:
    """The data set that a checkpoint was trained on, from its configuration.

    Args:
        folder: As for :func:`load`.
        classes: Classes from outside the package that the checkpoint may name.

    Raises:
        CheckpointError: If the configuration names no data set, one that no configuration holds, or one that is
            neither pixelvae's own nor among ``classes``.
    """
    folder = checkpoint_folder(folder)
    entry = load_config(folder).get("data") or {"class_path": "pixelvae.TensorData"}
    if entry["class_path"] == "pixelvae.TensorData":
        raise CheckpointError(
            f"{folder}: trained on tensors in memory, which the checkpoint does not hold; give them again to "
            "pixelvae.evaluate"
        )
    try:
        return factory(without_download(entry), DATA_SETS, "data", classes)()
    except (ConfigurationError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.yaml'}: {error}") from error


def without_download(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a data set without a permission to download, for a checkpoint may come from anybody.

    Example:
        >>> without_download({"class_path": "MNIST", "init_args": {"root": "data", "download": True}})
        {'class_path': 'MNIST', 'init_args': {'root': 'data'}}
    """
    arguments = {name: value for name, value in (entry.get("init_args") or {}).items() if name != "download"}
    return {**entry, "init_args": arguments}


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: is this a checkpoint folder?")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); it is truncated or not a safetensors file") from error
    if metadata.get("format") != "pixelvae":
        raise CheckpointError(f"{path} was not written by pixelvae: its metadata has no format 'pixelvae'")
    if int(metadata["version"]) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {metadata['version']}; this pixelvae reads up to {FORMAT_VERSION}: update it"
        )
    return tensors, metadata


def flatten(config: Mapping[str, Any]) -> dict[str, str | float]:
    """A nested configuration as one level of plain values.

    Example:
        >>> flatten({"decoder": {"class_path": "GatedPixelCNN", "init_args": {"num_layers": 4}}, "encoder": None})
        {'decoder': 'GatedPixelCNN', 'decoder.num_layers': 4, 'encoder': 'None'}
    """
    flat: dict[str, str | float] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            if "class_path" in value:
                flat[name] = value["class_path"]
            options = value.get("init_args") or {} if "class_path" in value else value
            flat |= {f"{name}.{option}": leaf for option, leaf in flatten(options).items()}
        else:
            flat[name] = value if type(value) in (int, float, str) else str(value)
    return flat
