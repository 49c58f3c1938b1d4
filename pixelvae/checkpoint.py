"""A checkpoint is a folder: model.safetensors, config.yaml, training.pt. Loading it runs no code from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pixelvae.data import DATA_SETS
from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import DataSet
from pixelvae.hub import published_folder
from pixelvae.models.assembly import build, factory
from pixelvae.models.base import GenerativeModel
from pixelvae.storage import dump_yaml, explained, read_yaml, replace_folder, whole_folder
from pixelvae.weights import Budget, CheckpointError, read_metadata, read_weights, weights_bytes


class Progress(NamedTuple):
    """How far the weights in a checkpoint have been trained."""

    step: int = 0
    images_seen: int = 0
    train_seconds: float = 0.0
    seed: int = 0


def save_model(
    folder: Path,
    model: GenerativeModel,
    config: dict[str, Any],
    progress: Progress,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Replace a folder by a checkpoint; the old one stays until the new one is whole.

    Args:
        folder: Where to; made if need be. What else it holds is removed.
        model: The weights to keep, on any device.
        config: The resolved configuration, of plain YAML types.
        progress: Kept in the weights' metadata.
        training: All that a run needs to resume exactly, for training.pt; None leaves it out.

    Raises:
        StorageError: If it cannot be written; the old checkpoint stays.
    """
    files = {"config.yaml": dump_yaml(config)}
    metadata = {"spec": json.dumps(model.spec._asdict()), "progress": json.dumps(progress._asdict())}
    if training is not None:
        buffer = BytesIO()
        torch.save(dict(training), buffer)
        files["training.pt"] = buffer.getvalue()
        metadata["training_sha256"] = hashlib.sha256(files["training.pt"]).hexdigest()
    replace_folder(folder, files | {"model.safetensors": weights_bytes(model.state_dict(), metadata)})


def is_run(out: Path) -> bool:
    """Whether a folder holds a run that can be resumed: a whole OUT/last with training.pt."""
    return (whole_folder(out / "last") / "training.pt").is_file()


def load_training(folder: Path, device: torch.device) -> dict[str, Any]:
    """Read training.pt without running code from it.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds anything but plain training state.
    """
    path = whole_folder(folder) / "training.pt"
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: nothing to resume; start the run without resume")
    with explained(path, "read"):
        content = path.read_bytes()
    weights = path.with_name("model.safetensors")
    if weights.is_file():
        wanted = read_metadata(weights).get("training_sha256")
        if wanted is not None and hashlib.sha256(content).hexdigest() != wanted:
            raise CheckpointError(f"{path} is damaged: its bytes are not those that were saved; use another checkpoint")
    try:
        return torch.load(BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds here; all mean the same to the user
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"{path} cannot be read ({reason}); it is truncated or not a training state") from error


def checkpoint_folder(folder: str | Path) -> Path:
    """The checkpoint that a path names: itself, the best one of a run's folder, or that of a published model.

    Raises:
        CheckpointError: If a run has no best checkpoint yet; names the one that it has. If the weights of a published
            model cannot be fetched.
    """
    given, folder = folder, whole_folder(Path(folder))
    if not folder.exists() and (published := published_folder(given)) is not None:
        return published
    if (folder / "model.safetensors").is_file():
        return folder  # config.yaml does not tell: a run that was evaluated has one beside its metrics
    best, last = whole_folder(folder / "best"), whole_folder(folder / "last")
    if best.is_dir():
        return best
    if last.is_dir():
        raise CheckpointError(f"{folder} has no best checkpoint, for it was never validated; open {folder / 'last'}")
    return folder


def load(folder: str | Path, *, device: str | torch.device = "cpu", classes: Sequence[type] = ()) -> GenerativeModel:
    """The trained model in a checkpoint, in evaluation mode without gradients; ``train()`` gives gradients back.

    Args:
        folder: The folder of a run, of which the best checkpoint is taken, or of a checkpoint, such as RUN/last; or
            the name of a published model, such as mnist/pixelvae_flow, whose weights are downloaded once.
        device: Where to put the model.
        classes: Classes from outside the package that the checkpoint may name, such as a decoder of your own.

    Raises:
        CheckpointError: If a file is missing, truncated, foreign, or written by a newer version, or if a class is
            neither pixelvae's own nor among ``classes``.

    Example:
        >>> load("runs/none")
        Traceback (most recent call last):
        ...
        pixelvae.weights.CheckpointError: runs/none/config.yaml is not there: is this a checkpoint folder?
    """
    folder = checkpoint_folder(folder)
    config = load_config(folder)
    tensors, metadata = read_weights(folder / "model.safetensors")
    spec = _spec(folder / "model.safetensors", metadata)
    model = _build_like(config, spec, tensors, folder / "config.yaml", classes)
    model = model.to(device).to(memory_format=torch.channels_last)  # convolutions run several times faster
    return model.freeze()


def load_weights(model: GenerativeModel, folder: str | Path) -> None:
    """Copy the weights of a checkpoint into a model, to train it further.

    Raises:
        CheckpointError: If the checkpoint lacks a weight of the model, has one more, or one of another shape.
    """
    folder = checkpoint_folder(folder)
    given = read_weights(folder / "model.safetensors")[0]
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
    """The resolved configuration of a checkpoint, of plain types.

    Raises:
        CheckpointError: If config.yaml is missing or not a plain configuration.
    """
    path = checkpoint_folder(folder) / "config.yaml"
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: is this a checkpoint folder?")
    try:
        config = read_yaml(path)
    except ValueError as error:
        raise CheckpointError(f"{path} does not hold a configuration: {error}") from error
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise CheckpointError(f"{path} does not hold a configuration: wanted a mapping of options")
    return config


def load_progress(folder: str | Path) -> Progress:
    """How far the weights of a checkpoint have been trained.

    Raises:
        CheckpointError: If model.safetensors is missing, damaged or foreign.
    """
    path = checkpoint_folder(folder) / "model.safetensors"
    try:
        return Progress(**json.loads(read_metadata(path)["progress"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is damaged: its metadata hold no progress ({error})") from error


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
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.yaml'}: {error}") from error


def without_download(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a data set without a permission to download, for a checkpoint may come from anybody.

    Example:
        >>> without_download({"class_path": "MNIST", "init_args": {"root": "data", "download": True}})
        {'class_path': 'MNIST', 'init_args': {'root': 'data'}}
    """
    arguments = {name: value for name, value in (entry.get("init_args") or {}).items() if name != "download"}
    return {**entry, "init_args": arguments}


def _build_like(
    config: Mapping[str, Any], spec: DataSpec, tensors: Mapping[str, Tensor], path: Path, classes: Sequence[type]
) -> GenerativeModel:
    """The model of a configuration with these weights."""
    try:
        with Budget(tensors):
            model = build(config, spec, classes)
    except Exception as error:  # any option may be broken, in any way; all mean the same to the user
        raise CheckpointError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    different = [name for name in wanted | given if wanted.get(name) != given.get(name)]
    if different:
        name = different[0]
        shapes = f"{name} has shape {given.get(name, 'none')}, wanted {wanted.get(name, 'none')}"
        more = f"; {len(different) - 1} more differ" if len(different) > 1 else ""
        raise CheckpointError(f"{path.parent}: the weights do not fit config.yaml: {shapes}{more}")
    model.load_state_dict(tensors)
    return model


def _spec(path: Path, metadata: Mapping[str, str]) -> DataSpec:
    try:
        spec = json.loads(metadata["spec"])
        return DataSpec(tuple(spec["shape"]), spec["levels"], tuple(spec["num_classes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: its metadata do not describe the data ({error})") from error


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
