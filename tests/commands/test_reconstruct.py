"""Reconstructions, from the command line to the files, on tiny models with random weights."""

import jsonargparse
import pytest
import torch

from pictures import shapes, written
from pixelvae.commands import reconstruct


def run(*arguments):
    """The command as the command line starts it."""
    jsonargparse.auto_cli(reconstruct.main, args=[str(argument) for argument in arguments])


@pytest.mark.parametrize("model", ["vae", "unlabelled"])
def test_reconstructions_stand_beside_test_images(checkpoints, tmp_path, model):
    run(checkpoints / model / "best", "--out", tmp_path, "--num_images=3", "--num_draws=2")
    tensors, _ = written(tmp_path, "reconstructions")
    assert shapes(tensors) == {"x": (3, 1, 8, 8), "draws": (2, 3, 1, 8, 8), "h": (3, 3), "y": (3, 1)}
    assert not tensors["draws"][0].equal(tensors["draws"][1])


def test_the_same_seed_gives_the_same_tensors(checkpoints, tmp_path):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        reconstruct.main(checkpoints / "vae/best", out=tmp_path / folder, num_images=2, seed=seed)
        torch.manual_seed(1)  # the global generator does not matter
    first, second, other = (written(tmp_path / folder, "reconstructions")[0] for folder in "abc")
    assert all(tensor.equal(second[key]) for key, tensor in first.items())
    assert not all(tensor.equal(other[key]) for key, tensor in first.items())


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("plain", {}, "no latents"),
        ("vae", {"num_images": 1000}, "test split has 300 images"),
        ("vae", {"num_draws": 0}, "num_draws=0"),
    ],
)
def test_mistakes_are_named_before_anything_is_drawn(checkpoints, tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        reconstruct.main(checkpoints / model / "best", out=tmp_path, **options)
    assert not list(tmp_path.iterdir())
