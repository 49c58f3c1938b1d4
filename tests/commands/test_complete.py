"""Completions, from the command line to the files, on tiny models with random weights."""

import jsonargparse
import pytest
import torch

from pictures import shapes, written
from pixelvae.commands import complete
from small_runs import small_data


def run(*arguments):
    """The command as the command line starts it."""
    jsonargparse.auto_cli(complete.main, args=[str(argument) for argument in arguments])


@pytest.mark.parametrize("model", ["vae", "plain", "unlabelled"])
def test_completions_keep_what_was_shown(checkpoints, tmp_path, model):
    run(checkpoints / model / "best", "--out", tmp_path, "--num_images=3", "--num_draws=2", "--keep=0.75")
    tensors, _ = written(tmp_path, "completions")
    draws, known = tensors["draws"], tensors["known"]
    assert shapes(tensors) == {"x": (3, 1, 8, 8), "draws": (2, 3, 1, 8, 8), "known": (1, 8, 8), "y": (3, 1)}
    assert known[0, :, 0].tolist() == [True] * 6 + [False] * 2
    assert (draws == tensors["x"])[known.expand_as(draws)].all()
    assert not draws[0].equal(draws[1])


def test_completion_never_sees_what_is_hidden(checkpoints, tmp_path, monkeypatch):
    """Other hidden pixels, the same completions."""
    split = type(small_data().test)
    drawn = []
    for flip in (False, True):
        real = split.__getitem__

        def changed(self, key, real=real, flip=flip):
            x, y = real(self, key)
            x[:, :, 4:] = 1 - x[:, :, 4:] if flip else x[:, :, 4:]
            return x, y

        with monkeypatch.context() as patch:
            patch.setattr(split, "__getitem__", changed)
            complete.main(checkpoints / "vae/best", out=tmp_path, num_images=2, num_draws=2, rounds=2)
        drawn.append(written(tmp_path, "completions")[0])
    assert not drawn[0]["x"].equal(drawn[1]["x"])
    assert drawn[0]["draws"].equal(drawn[1]["draws"])


def test_the_same_seed_gives_the_same_tensors(checkpoints, tmp_path):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        complete.main(checkpoints / "vae/best", out=tmp_path / folder, num_images=2, seed=seed)
        torch.manual_seed(1)  # the global generator does not matter
    first, second, other = (written(tmp_path / folder, "completions")[0] for folder in "abc")
    assert all(tensor.equal(second[key]) for key, tensor in first.items())
    assert not all(tensor.equal(other[key]) for key, tensor in first.items())


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("vae", {"keep": 1.0}, "keep=1.0"),
        ("vae", {"num_images": 1000}, "test split has 300 images"),
    ],
)
def test_mistakes_are_named_before_anything_is_drawn(checkpoints, tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        complete.main(checkpoints / model / "best", out=tmp_path, **options)
    assert not list(tmp_path.iterdir())
