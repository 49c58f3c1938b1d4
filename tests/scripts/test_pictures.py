"""The scripts that draw, from the command line to the files, on a tiny model with random weights."""

import importlib.util
import inspect
import json
import sys
from pathlib import Path

import jsonargparse
import pytest
import torch
from matplotlib.image import imread
from safetensors import safe_open

from pixelvae.checkpoint import Progress, save_model
from small_runs import CONFIG, small_data, small_model

SCRIPTS = Path(__file__).parents[2] / "scripts"
WITHOUT_LATENTS = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
UNCONDITIONAL = CONFIG | {"class_conditional": False}
NAMES = ("sample", "reconstruct", "interpolate", "complete")


def load_main(name):
    """The function that the script turns into a command."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where jsonargparse looks up the types of the options
    spec.loader.exec_module(module)
    return module.main


MAIN = {name: load_main(name) for name in NAMES}


def run(name, *arguments):
    """The script as the command line starts it."""
    jsonargparse.auto_cli(MAIN[name], args=[str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A run for each kind of model."""
    root = tmp_path_factory.mktemp("runs")
    for name, config in {"vae": CONFIG, "plain": WITHOUT_LATENTS, "unlabelled": UNCONDITIONAL}.items():
        model = small_model(config)
        for parameter in model.parameters():
            parameter.data.mul_(3)  # so that latents and labels are heard in what is drawn
        save_model(root / name / "best", model, config, Progress(step=1234))
    return root


def written(folder, name):
    """The tensors and the settings beside a picture, which is there and is one."""
    assert imread(folder / f"{name}.png").ndim == 3
    with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["settings"])  # noqa: SIM118 (no mapping)


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("name", NAMES)
def test_help_is_complete(name, capsys):
    """Every option is there with a sentence about it."""
    with pytest.raises(SystemExit):
        run(name, "--help")
    text = " ".join(capsys.readouterr().out.split())
    documented = inspect.getdoc(MAIN[name]).split("Args:")[1]
    for option in inspect.signature(MAIN[name]).parameters:
        sentence = documented.split(f"{option}: ")[1].splitlines()[0]
        assert f"--{option} " in text or option == "checkpoint"
        assert sentence.split(":")[0] in text


def test_samples_have_a_row_for_each_class(checkpoints, tmp_path, capsys):
    run("sample", checkpoints / "vae/best", "--out", tmp_path, "--num=2", "--seed=3")
    tensors, settings = written(tmp_path, "samples")
    assert shapes(tensors) == {"x": (20, 1, 8, 8), "h": (20, 3), "y": (20, 1)}
    assert tensors["y"][:, 0].tolist() == [i // 2 for i in range(20)]
    assert tensors["x"].dtype == torch.uint8
    assert settings["seed"] == 3
    assert str(tmp_path / "samples.png") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "arguments", "shape"),
    [
        ("vae", ["--label=7", "--num=4"], {"x": (4, 1, 8, 8), "h": (4, 3), "y": (4, 1)}),
        ("plain", ["--num=1"], {"x": (10, 1, 8, 8), "y": (10, 1)}),
        ("unlabelled", ["--num=3"], {"x": (3, 1, 8, 8), "h": (3, 3), "y": (3, 0)}),
    ],
)
def test_samples_of_every_kind_of_model(checkpoints, tmp_path, model, arguments, shape):
    run("sample", checkpoints / model / "best", "--out", tmp_path, *arguments)
    tensors, _ = written(tmp_path, "samples")
    assert shapes(tensors) == shape


@pytest.mark.parametrize("model", ["vae", "unlabelled"])
def test_reconstructions_stand_beside_test_images(checkpoints, tmp_path, model):
    run("reconstruct", checkpoints / model / "best", "--out", tmp_path, "--num=3", "--num_draws=2")
    tensors, _ = written(tmp_path, "reconstructions")
    assert shapes(tensors) == {"x": (3, 1, 8, 8), "draws": (2, 3, 1, 8, 8), "h": (3, 3), "y": (3, 1)}
    assert not tensors["draws"][0].equal(tensors["draws"][1])


def test_interpolations_join_images_of_different_classes(checkpoints, tmp_path):
    run("interpolate", checkpoints / "vae/best", "--out", tmp_path, "--num=3", "--steps=5", "--path=linear")
    tensors, _ = written(tmp_path, "interpolations")
    ends = {"start": (3, 1, 8, 8), "end": (3, 1, 8, 8), "start_h": (3, 3), "end_h": (3, 3)}
    assert shapes(tensors) == {"x": (5, 3, 1, 8, 8), "y": (5, 3, 1)} | ends
    y = tensors["y"][..., 0]
    assert (y[0] != y[-1]).all()
    assert (y[:3] == y[0]).all()
    assert (y[3:] == y[-1]).all(), "the label switches once, half-way"


def test_interpolations_within_a_class(checkpoints, tmp_path):
    run("interpolate", checkpoints / "vae/best", "--out", tmp_path, "--between=same_class", "--num=2", "--steps=2")
    tensors, _ = written(tmp_path, "interpolations_same_class")
    assert (tensors["y"] == tensors["y"][0]).all()
    assert not tensors["start"].equal(tensors["end"])


def test_class_to_class_changes_nothing_but_the_label(checkpoints, tmp_path):
    run("interpolate", checkpoints / "vae/best", "--out", tmp_path, "--between=classes", "--num=2")
    tensors, _ = written(tmp_path, "interpolations_classes")
    assert shapes(tensors) == {"x": (10, 2, 1, 8, 8), "h": (2, 3), "y": (10, 2, 1)}
    assert (tensors["y"][..., 0] == torch.arange(10)[:, None]).all()
    assert not tensors["x"][0].equal(tensors["x"][1])


@pytest.mark.parametrize("model", ["vae", "plain", "unlabelled"])
def test_completions_keep_what_was_shown(checkpoints, tmp_path, model):
    run("complete", checkpoints / model / "best", "--out", tmp_path, "--num=3", "--num_draws=2", "--keep=0.75")
    tensors, _ = written(tmp_path, "completions")
    draws, known = tensors["draws"], tensors["known"]
    assert shapes(tensors) == {"x": (3, 1, 8, 8), "draws": (2, 3, 1, 8, 8), "known": (1, 8, 8), "y": (3, 1)}
    assert known[0, :, 0].tolist() == [True] * 6 + [False] * 2
    assert (draws == tensors["x"])[known.expand_as(draws)].all()
    assert not draws[0].equal(draws[1])


def test_completion_never_sees_what_is_hidden(checkpoints, tmp_path, monkeypatch):
    """Other hidden pixels, the same completions."""
    main, split = MAIN["complete"], type(small_data().test)
    drawn = []
    for flip in (False, True):
        real = split.__getitem__

        def changed(self, key, real=real, flip=flip):
            x, y = real(self, key)
            x[:, :, 4:] = 1 - x[:, :, 4:] if flip else x[:, :, 4:]
            return x, y

        with monkeypatch.context() as patch:
            patch.setattr(split, "__getitem__", changed)
            main(checkpoints / "vae/best", out=tmp_path, num=2, num_draws=2, rounds=2)
        drawn.append(written(tmp_path, "completions")[0])
    assert not drawn[0]["x"].equal(drawn[1]["x"])
    assert drawn[0]["draws"].equal(drawn[1]["draws"])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_tensors(checkpoints, tmp_path, name):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        MAIN[name](checkpoints / "vae/best", out=tmp_path / folder, num=2, seed=seed)
        torch.manual_seed(1)  # the global generator does not matter
    first, second, other = (next((tmp_path / folder).glob("*.safetensors")).read_bytes() for folder in "abc")
    assert first == second != other


def test_pictures_lie_beside_the_checkpoint_by_default(checkpoints):
    MAIN["sample"](checkpoints / "plain/best", num=1, label=0)
    assert (checkpoints / "plain/pictures/samples.png").is_file()


@pytest.mark.parametrize(
    ("name", "model", "options", "message"),
    [
        ("sample", "vae", {"num": 0}, "num=0"),
        ("sample", "vae", {"label": 10}, "label=10; the classes are 0 .. 9"),
        ("sample", "unlabelled", {"label": 1}, "not class-conditional"),
        ("sample", "vae", {"temperature": -1.0}, "temperature=-1.0"),
        ("reconstruct", "plain", {}, "no latents"),
        ("reconstruct", "vae", {"num": 1000}, "test split has 300 images"),
        ("reconstruct", "vae", {"num_draws": 0}, "num_draws=0"),
        ("interpolate", "plain", {}, "no latents"),
        ("interpolate", "vae", {"num": 200}, "ask for fewer"),
        ("interpolate", "vae", {"steps": 1}, "steps=1"),
        ("interpolate", "unlabelled", {"between": "classes"}, "not class-conditional"),
        ("complete", "vae", {"keep": 1.0}, "keep=1.0"),
        ("complete", "vae", {"num": 1000}, "test split has 300 images"),
    ],
)
def test_mistakes_are_named_before_anything_is_drawn(checkpoints, tmp_path, name, model, options, message):
    with pytest.raises(ValueError, match=message):
        MAIN[name](checkpoints / model / "best", out=tmp_path, **options)
    assert not list(tmp_path.iterdir())
