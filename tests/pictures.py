"""What commands that draw have written."""

import json

from matplotlib.image import imread
from safetensors import safe_open


def written(folder, name):
    """The tensors and the settings beside a picture, which is there and is one."""
    assert imread(folder / f"{name}.png").ndim == 3
    with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["settings"])  # noqa: SIM118 (no mapping)


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
