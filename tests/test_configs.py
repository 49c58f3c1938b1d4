"""Every configuration in configs/ resolves, shrinks and trains one step."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from pixelvae.commands import train
from pixelvae.data import DATA_SETS
from pixelvae.data.spec import DataSpec
from pixelvae.distributed import World
from pixelvae.models.assembly import CLASSES, build, factory
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*/*.yaml"))
SHAPES = {"MNIST5k": (1, 28, 28), "Digits": (1, 8, 8), "MNIST": (1, 28, 28), "FashionMNIST": (1, 28, 28)}
SMALL = {"num_layers": 2, "channels": 6, "head_channels": 12}


def spec_of(data):
    """The spec of a data set that may not be on this machine, from its options."""
    name, options = data["class_path"], data.get("init_args", {})
    if name == "ImageFolder":
        channels = 1 if options.get("grey") else 3
        return DataSpec((channels, options["size"], options["size"]), options.get("levels", 256), (2,))
    if name == "AudioFolder":
        return DataSpec((1, 256), options.get("levels", 256), (2,))
    if name == "SpokenDigits":
        # 64 samples leave the fourth stage of the encoder one of 4: there the bfloat16 gradient of oneDNN can be NaN.
        return DataSpec((1, 256), options.get("levels", 256), (10, 6))
    if name == "BinarizedMNIST":
        return DataSpec((1, 28, 28), 2, ())
    return DataSpec(SHAPES[name], options["levels"], (10,))


def shrunk(config):
    """The same classes with few layers and channels."""
    small = {name: dict(entry) if entry else None for name, entry in config.items() if name in CLASSES}
    decoder = small["decoder"]
    arguments = decoder.setdefault("init_args", {})
    decoder["init_args"] = {name: SMALL.get(name, value) for name, value in arguments.items()}
    return config | small


def test_there_are_configurations():
    assert len(CONFIGS) >= 4


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_configuration_trains_one_step(path):
    config = yaml.safe_load(path.read_text())
    assert config["out"].startswith("runs/")
    assert factory(config["data"], DATA_SETS, "data").func in DATA_SETS
    spec = spec_of(config["data"])
    model = build(shrunk(config), spec)
    trainer = Trainer(
        model, TrainingOptions(**as_numbers(config["train"]) | {"compile": "never"}), Objective(**config["objective"]),
        World(torch.device("cpu")), seed=0,
    )  # fmt: skip
    x = torch.randint(0, spec.levels, (2, *spec.shape))
    y = torch.zeros(2, len(spec.num_classes), dtype=torch.long)
    before = [parameter.clone() for parameter in model.parameters()]
    trainer.update(x, y)
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_command_line_accepts_it(path):
    parsed = train.parser().parse_args(["--config", str(path), "--train.steps=7"])
    assert parsed.train.steps == 7
    assert set(yaml.safe_load(path.read_text())) <= set(vars(parsed)) | {"config"}


def as_numbers(options):
    """Plain YAML reads 2e-3 as a string."""
    number = re.compile(r"[0-9.]+e-?[0-9]+")
    return {k: float(v) if isinstance(v, str) and number.fullmatch(v) else v for k, v in options.items()}
