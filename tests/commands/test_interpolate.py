"""Interpolations, from the command line to the files, on tiny models with random weights."""

import jsonargparse
import pytest
import torch

from pictures import shapes, written
from pixelvae.commands import interpolate


def run(*arguments):
    """The command as the command line starts it."""
    jsonargparse.auto_cli(interpolate.main, args=[str(argument) for argument in arguments])


def test_interpolations_join_images_of_different_classes(checkpoints, tmp_path):
    run(checkpoints / "vae/best", "--out", tmp_path, "--num_rows=3", "--steps=5", "--path=linear")
    tensors, _ = written(tmp_path, "interpolations")
    ends = {"start": (3, 1, 8, 8), "end": (3, 1, 8, 8), "start_h": (3, 3), "end_h": (3, 3)}
    assert shapes(tensors) == {"x": (5, 3, 1, 8, 8), "y": (5, 3, 1)} | ends
    y = tensors["y"][..., 0]
    assert (y[0] != y[-1]).all()
    assert (y[:3] == y[0]).all()
    assert (y[3:] == y[-1]).all(), "the label switches once, half-way"


def test_interpolations_within_a_class(checkpoints, tmp_path):
    run(checkpoints / "vae/best", "--out", tmp_path, "--between=same_class", "--num_rows=2", "--steps=2")
    tensors, _ = written(tmp_path, "interpolations_same_class")
    assert (tensors["y"] == tensors["y"][0]).all()
    assert not tensors["start"].equal(tensors["end"])


def test_class_to_class_changes_nothing_but_the_label(checkpoints, tmp_path):
    run(checkpoints / "vae/best", "--out", tmp_path, "--between=classes", "--num_rows=2")
    tensors, _ = written(tmp_path, "interpolations_classes")
    assert shapes(tensors) == {"x": (10, 2, 1, 8, 8), "h": (2, 3), "y": (10, 2, 1)}
    assert (tensors["y"][..., 0] == torch.arange(10)[:, None]).all()
    assert not tensors["x"][0].equal(tensors["x"][1])


def test_the_same_seed_gives_the_same_tensors(checkpoints, tmp_path):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        interpolate.main(checkpoints / "vae/best", out=tmp_path / folder, num_rows=2, seed=seed)
        torch.manual_seed(1)  # the global generator does not matter
    first, second, other = (written(tmp_path / folder, "interpolations")[0] for folder in "abc")
    assert all(tensor.equal(second[key]) for key, tensor in first.items())
    assert not all(tensor.equal(other[key]) for key, tensor in first.items())


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("plain", {}, "no latents"),
        ("vae", {"num_rows": 200}, "choose less"),
        ("vae", {"steps": 1}, "steps=1"),
        ("unlabelled", {"between": "classes"}, "not class-conditional"),
    ],
)
def test_mistakes_are_named_before_anything_is_drawn(checkpoints, tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        interpolate.main(checkpoints / model / "best", out=tmp_path, **options)
    assert not list(tmp_path.iterdir())
