"""Checkpoints: folders of model.safetensors, config.yaml and training.pt. Loading runs no code from them."""

from __future__ import annotations

import copy
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
    """Steps, images and seconds of training of the weights in a checkpoint."""

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
    """Replace a folder atomically by a checkpoint, see :func:`checkpoint_files`. Its other content is removed.

    Raises:
        StorageError: If it cannot be written; the old checkpoint remains.
    """
    replace_folder(folder, checkpoint_files(model, config, progress, training))


def checkpoint_files(
    model: GenerativeModel, config: dict[str, Any], progress: Progress, training: Mapping[str, Any] | None = None
) -> dict[str, bytes]:
    """The files of a checkpoint by their names.

    Args:
        model: The model whose weights are saved, on any device.
        config: The resolved configuration, of plain YAML types.
        progress: Progress of training, saved in the metadata of the weights.
        training: The complete training state, for exact resumption from training.pt; None omits the file.
    """
    files = {"config.yaml": dump_yaml(config)}
    metadata = {"spec": json.dumps(model.spec._asdict()), "progress": json.dumps(progress._asdict())}
    if training is not None:
        buffer = BytesIO()
        torch.save(dict(training), buffer)
        files["training.pt"] = buffer.getvalue()
        metadata["training_sha256"] = hashlib.sha256(files["training.pt"]).hexdigest()
    return files | {"model.safetensors": weights_bytes(model.state_dict(), metadata)}


def is_run(out: Path) -> bool:
    """Whether a folder holds a run that can be resumed: a complete OUT/last with training.pt."""
    return (whole_folder(out / "last") / "training.pt").is_file()


def load_training(folder: Path, device: torch.device) -> dict[str, Any]:
    """Read training.pt without running code from it.

    Raises:
        CheckpointError: If the file is missing, damaged, or contains anything but plain training state.
    """
    path = whole_folder(folder) / "training.pt"
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: nothing to resume; start the run without resume")
    with explained(path, "read"):
        content = path.read_bytes()
    weights = path.with_name("model.safetensors")
    if weights.is_file():
        wanted = read_metadata(weights).get("training_sha256")
        if wanted is not None and hashlib.sha256(content).hexdigest() != wanted:
            raise CheckpointError(f"{path} is damaged: its bytes are not those that were saved; use another checkpoint")
    try:
        return torch.load(BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types of error here
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"{path} cannot be read ({reason}); it is truncated or not a training state") from error


def checkpoint_folder(folder: str | Path) -> Path:
    """The checkpoint of a path: the path itself, the best one of a run's folder, or that of a published model.

    Raises:
        CheckpointError: If a run has no best checkpoint yet (the message gives the one it has), or the weights of a
            published model cannot be downloaded.
    """
    given, folder = folder, whole_folder(Path(folder))
    if not folder.exists() and (published := published_folder(given)) is not None:
        return published
    if (folder / "model.safetensors").is_file():
        return folder  # config.yaml is no criterion: an evaluated run has one beside its metrics
    best, last = whole_folder(folder / "best"), whole_folder(folder / "last")
    if best.is_dir():
        return best
    if last.is_dir():
        raise CheckpointError(f"{folder} has no best checkpoint, as it was never validated; open {folder / 'last'}")
    return folder


def checkpoint_name(folder: str | Path) -> str:
    """What configurations record of a checkpoint: the name of a published model, or a folder."""
    checkpoint = checkpoint_folder(folder)
    published = not whole_folder(Path(folder)).exists() and checkpoint.exists()
    return Path(folder).as_posix() if published else str(checkpoint)


def load(folder: str | Path, *, device: str | torch.device = "cpu", classes: Sequence[type] = ()) -> GenerativeModel:
    """Load a trained model in evaluation mode without gradients; ``train()`` enables gradients.

    Args:
        folder: The folder of a run (the best checkpoint is loaded), or of a checkpoint, such as RUN/last; or the name
            of a published model, such as mnist/pixelvae_wide, whose weights are downloaded once.
        device: Device of the model.
        classes: Classes from outside the package that the checkpoint may name, such as your own decoder.

    Raises:
        CheckpointError: If a file is missing, truncated, not pixelvae's, or written by a newer version, or if a class
            is neither pixelvae's own nor among ``classes``.

    Example:
        >>> load("runs/none")
        Traceback (most recent call last):
        ...
        pixelvae.weights.CheckpointError: runs/none/config.yaml does not exist: is this a checkpoint folder?
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
        CheckpointError: If names or shapes of the weights differ from those of the model.
    """
    folder = checkpoint_folder(folder)
    given = read_weights(folder / "model.safetensors")[0]
    offences = _load(copy.deepcopy(model), given)  # the model stays as it is if they do not fit
    if offences:
        more = f" and {len(offences) - 1} more" if len(offences) > 1 else ""
        raise CheckpointError(
            f"the weights in {folder} do not fit the model: {offences[0]}{more}; build the model with the shape, "
            "levels and parts of the checkpoint (its config.yaml)"
        )
    model.load_state_dict(given)


def _load(model: GenerativeModel, tensors: Mapping[str, Tensor]) -> list[str]:
    """Load weights, converted from earlier versions by the model; return what does not fit, for each weight."""
    wanted = model.state_dict()
    offences = [f"{name} is missing" for name in wanted if name not in tensors]
    offences += [
        f"{name} has shape {tuple(tensor.shape)}, in the model {tuple(wanted[name].shape)}"
        for name, tensor in tensors.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    if offences:
        return offences
    return [f"{name} is not in the model" for name in model.load_state_dict(tensors, strict=False).unexpected_keys]


def load_config(folder: str | Path) -> dict[str, Any]:
    """Read the resolved configuration of a checkpoint, of plain types.

    Raises:
        CheckpointError: If config.yaml is missing or not a plain configuration.
    """
    path = checkpoint_folder(folder) / "config.yaml"
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: is this a checkpoint folder?")
    try:
        config = read_yaml(path)
    except ValueError as error:
        raise CheckpointError(f"{path} does not hold a configuration: {error}") from error
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise CheckpointError(f"{path} does not hold a configuration: wanted a mapping of options")
    return config


def load_progress(folder: str | Path) -> Progress:
    """Read the steps, images and seconds of training of a checkpoint.

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
    """Load the data set on which a checkpoint was trained, from its configuration.

    Args:
        folder: As for :func:`load`.
        classes: Classes from outside the package that the checkpoint may name.

    Raises:
        CheckpointError: If the configuration has no data set or one of tensors in memory, or if the class is neither
            pixelvae's own nor among ``classes``.
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
    """Remove the permission to download from the entry of a data set, since a checkpoint may not be trusted.

    Example:
        >>> without_download({"class_path": "MNIST", "init_args": {"root": "data", "download": True}})
        {'class_path': 'MNIST', 'init_args': {'root': 'data'}}
    """
    arguments = {name: value for name, value in (entry.get("init_args") or {}).items() if name != "download"}
    return {**entry, "init_args": arguments}


def _build_like(
    config: Mapping[str, Any], spec: DataSpec, tensors: Mapping[str, Tensor], path: Path, classes: Sequence[type]
) -> GenerativeModel:
    """Build the model of a configuration, with these weights."""
    try:
        with Budget(tensors):
            model = build(config, spec, classes)
    except Exception as error:  # a broken configuration can raise any error
        raise CheckpointError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from error
    different = _load(model, tensors)
    if different:
        more = f"; {len(different) - 1} more differ" if len(different) > 1 else ""
        raise CheckpointError(f"{path.parent}: the weights do not fit config.yaml: {different[0]}{more}")
    return model


def _spec(path: Path, metadata: Mapping[str, str]) -> DataSpec:
    try:
        spec = json.loads(metadata["spec"])
        return DataSpec(tuple(spec["shape"]), spec["levels"], tuple(spec["num_classes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: its metadata do not describe the data ({error})") from error


def flatten(config: Mapping[str, Any]) -> dict[str, str | float]:
    """Flatten a nested configuration to one level of plain values.

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
