"""A checkpoint is a folder: model.safetensors, config.yaml, training.pt. Loading it runs no code from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pixelvae.data import DATA_SETS
from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import DataSet
from pixelvae.models.assembly import build, factory
from pixelvae.models.base import GenerativeModel
from pixelvae.storage import dump_yaml, explained, read_yaml, replace_folder, whole_folder

FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, foreign or newer than this version of pixelvae."""


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
    metadata = {
        "format": "pixelvae",
        "version": str(FORMAT_VERSION),
        "spec": json.dumps(model.spec._asdict()),
        "progress": json.dumps(progress._asdict()),
    }
    if training is not None:
        buffer = BytesIO()
        torch.save(dict(training), buffer)
        files["training.pt"] = buffer.getvalue()
        metadata["training_sha256"] = hashlib.sha256(files["training.pt"]).hexdigest()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata["sha256"] = _digest(tensors, metadata)
    replace_folder(folder, files | {"model.safetensors": safetensors_bytes(tensors, metadata)})


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
        wanted = _read_metadata(weights).get("training_sha256")
        if wanted is not None and hashlib.sha256(content).hexdigest() != wanted:
            raise CheckpointError(f"{path} is damaged: its bytes are not those that were saved; use another checkpoint")
    try:
        return torch.load(BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds here; all mean the same to the user
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"{path} cannot be read ({reason}); it is truncated or not a training state") from error


def load(folder: str | Path, *, device: str | torch.device = "cpu") -> GenerativeModel:
    """The trained model in a checkpoint folder, ready to use: in evaluation mode, on ``device``.

    Args:
        folder: A folder with config.yaml and model.safetensors, such as RUN/best.
        device: Where to put the model.

    Raises:
        CheckpointError: If a file is missing, truncated, foreign, or written by a newer version.

    Example:
        >>> load("runs/none")
        Traceback (most recent call last):
        ...
        pixelvae.checkpoint.CheckpointError: runs/none/config.yaml is not there: is this a checkpoint folder?
    """
    folder = whole_folder(Path(folder))
    config = load_config(folder)
    tensors, metadata = _read_weights(folder / "model.safetensors")
    spec = _spec(folder / "model.safetensors", metadata)
    model = _build_like(config, spec, tensors, folder / "config.yaml")
    model = model.to(device).to(memory_format=torch.channels_last)  # convolutions run several times faster
    return model.eval().requires_grad_(False)


def load_config(folder: str | Path) -> dict[str, Any]:
    """The resolved configuration of a checkpoint, of plain types.

    Raises:
        CheckpointError: If config.yaml is missing or not a plain configuration.
    """
    path = whole_folder(Path(folder)) / "config.yaml"
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
    path = whole_folder(Path(folder)) / "model.safetensors"
    try:
        return Progress(**json.loads(_read_metadata(path)["progress"]))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is damaged: its metadata hold no progress ({error})") from error


def load_data(folder: str | Path) -> DataSet:
    """The data set that a checkpoint was trained on, from its configuration.

    Raises:
        CheckpointError: If the configuration names no data set of pixelvae's.
    """
    path = whole_folder(Path(folder)) / "config.yaml"
    config = load_config(folder)
    if "data" not in config:
        raise CheckpointError(f"{path} has no entry data")
    try:
        return factory(config["data"], DATA_SETS, "data")()
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange}


class _Budget(TorchFunctionMode):
    """Refuses to make more tensors than a checkpoint can need, before the memory is taken.

    Args:
        tensors: Of the checkpoint. Its model may make a few times as many values: masks, and what initialises them.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.num_values = 10_000_000 + 8 * sum(tensor.numel() for tensor in tensors.values())
        self.num_tensors = 500 + 10 * len(tensors)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [argument.shape for argument in args if isinstance(argument, Tensor)]
        size = 0
        if not inputs and function in _MAKERS:
            sizes = args[0] if args and isinstance(args[0], (list, tuple)) else args
            size = math.prod(number for number in sizes if isinstance(number, int))
            self.num_values -= size
            self.num_tensors -= 1
        elif len(inputs) > 1:
            with suppress(RuntimeError):  # what does not broadcast is no larger than its inputs
                size = math.prod(torch.broadcast_shapes(*inputs))
        if self.num_values < size or self.num_tensors < 0:
            raise MemoryError("it describes a much larger model than the weights are of")
        return function(*args, **kwargs)


def _build_like(
    config: Mapping[str, Any], spec: DataSpec, tensors: Mapping[str, Tensor], path: Path
) -> GenerativeModel:
    """The model of a configuration with these weights."""
    try:
        with _Budget(tensors):
            model = build(config, spec)
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


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """A hash of names, types, shapes and values, and of the metadata."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read_metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: is this a checkpoint folder?")
    try:
        with explained(path, "read"), safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); it is truncated or not a safetensors file") from error
    if metadata.get("format") != "pixelvae":
        raise CheckpointError(f"{path} was not written by pixelvae: its metadata has no format 'pixelvae'")
    version = metadata.get("version", "")
    if not version.isdecimal():
        raise CheckpointError(f"{path} is damaged: its metadata have format version {version!r}")
    if int(version) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}; this pixelvae reads up to {FORMAT_VERSION}: update it"
        )
    return metadata


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors, checked against their hash and for values that are not finite."""
    metadata = _read_metadata(path)
    try:
        with explained(path, "read"), safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); it is truncated or not a safetensors file") from error
    wanted = metadata.pop("sha256", None)  # checkpoints of version 0.1 have none
    if wanted is not None and _digest(tensors, metadata) != wanted:
        raise CheckpointError(f"{path} is damaged: its weights are not those that were saved; use another checkpoint")
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{path}: the weights of {name} are not finite; use another checkpoint of the run")
    return tensors, metadata


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
