"""Samples, from the command line to the files, on tiny models with random weights."""

import jsonargparse
import pytest
import torch

from pictures import shapes, written
from pixelvae.commands import sample


def run(*arguments):
    """The command as the command line starts it."""
    jsonargparse.auto_cli(sample.main, args=[str(argument) for argument in arguments])


def test_samples_have_a_row_for_each_class(checkpoints, tmp_path, capsys):
    run(checkpoints / "vae/best", "--out", tmp_path, "--num_samples=2", "--seed=3")
    tensors, settings = written(tmp_path, "samples")
    assert shapes(tensors) == {"x": (20, 1, 8, 8), "h": (20, 3), "y": (20, 1)}
    assert tensors["y"][:, 0].tolist() == [i // 2 for i in range(20)]
    assert tensors["x"].dtype == torch.uint8
    assert settings["seed"] == 3
    assert str(tmp_path / "samples.png") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "arguments", "shape"),
    [
        ("vae", ["--label=7", "--num_samples=4"], {"x": (4, 1, 8, 8), "h": (4, 3), "y": (4, 1)}),
        ("plain", ["--num_samples=1"], {"x": (10, 1, 8, 8), "y": (10, 1)}),
        ("unlabelled", ["--num_samples=3"], {"x": (3, 1, 8, 8), "h": (3, 3), "y": (3, 0)}),
    ],
)
def test_samples_of_every_kind_of_model(checkpoints, tmp_path, model, arguments, shape):
    run(checkpoints / model / "best", "--out", tmp_path, *arguments)
    tensors, _ = written(tmp_path, "samples")
    assert shapes(tensors) == shape


def test_pictures_lie_beside_the_checkpoint_by_default(checkpoints):
    sample.main(checkpoints / "plain/best", num_samples=1, label=0)
    assert (checkpoints / "plain/pictures/samples.png").is_file()


def test_the_same_seed_gives_the_same_tensors(checkpoints, tmp_path):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        sample.main(checkpoints / "vae/best", out=tmp_path / folder, num_samples=2, seed=seed)
        torch.manual_seed(1)  # the global generator does not matter
    first, second, other = (written(tmp_path / folder, "samples")[0] for folder in "abc")
    assert all(tensor.equal(second[key]) for key, tensor in first.items())
    assert not all(tensor.equal(other[key]) for key, tensor in first.items())


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("vae", {"num_samples": 0}, "num_samples=0"),
        ("vae", {"label": 10}, "label=10; the classes are 0 .. 9"),
        ("unlabelled", {"label": 1}, "not class-conditional"),
        ("vae", {"temperature": -1.0}, "temperature=-1.0"),
    ],
)
def test_mistakes_are_named_before_anything_is_drawn(checkpoints, tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        sample.main(checkpoints / model / "best", out=tmp_path, **options)
    assert not list(tmp_path.iterdir())
