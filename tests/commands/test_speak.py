"""Sounds, from the command line to the files, on a tiny model with random weights."""

import jsonargparse
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file

import speech
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import speak
from pixelvae.data import ABSENT, BatchKey
from pixelvae.data.sound_files import read_sound
from pixelvae.data.transforms import mu_law_encode
from small_runs import CONFIG, small_model


def run(*arguments):
    """The command as the command line starts it."""
    return jsonargparse.auto_cli(speak.main, args=[str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return speech.write_digits(tmp_path_factory.mktemp("digits"))


def checkpoint(folder, root, **options):
    configuration = speech.config(root, **options)
    save_model(folder / "best", speech.model(configuration, root), configuration, Progress(step=1234))
    return folder / "best"


def levels_of(file):
    return mu_law_encode(read_sound(file, speech.RATE), 16)


@pytest.mark.parametrize("class_conditional", [True, False])
def test_samples_are_written_to_hear_and_to_see(tmp_path, root, class_conditional):
    folder = checkpoint(tmp_path, root, latents=False, class_conditional=class_conditional)
    run(folder, "--num_sounds=5", "--seed=3")
    tensors = load_file(tmp_path / "sounds" / "samples.safetensors")
    assert tensors["x"].shape == (5, 1, speech.LENGTH)
    for i in range(5):
        assert torch.equal(levels_of(tmp_path / "sounds" / f"sample_{i}.wav"), tensors["x"][i, 0].long())
    assert imread(tmp_path / "sounds" / "samples.png").ndim == 3
    assert not list(tmp_path.glob("sounds/reconstruction*"))
    if class_conditional:
        assert tensors["y"].tolist() == [[i % 10, i % 2] for i in range(5)]


def test_reconstructions_are_as_long_as_their_originals(tmp_path, root):
    run(checkpoint(tmp_path, root), "--num_sounds=3", "--num_draws=2", "--out", tmp_path / "here", "--stepper=eager")
    tensors = load_file(tmp_path / "here" / "reconstructions.safetensors")
    x, y = speech.data(root).test[BatchKey(torch.arange(3), 0)]
    assert torch.equal(tensors["x"].long(), x)
    assert torch.equal(tensors["y"], y)
    assert tensors["draws"].shape == (2, 3, 1, speech.LENGTH)
    for i in range(3):
        real = x[i, 0] != ABSENT
        assert torch.equal(levels_of(tmp_path / "here" / f"reconstruction_{i}_original.wav"), x[i, 0, real])
        for d in range(2):
            assert torch.equal(tensors["draws"][d, i, 0] != ABSENT, real)
            drawn = levels_of(tmp_path / "here" / f"reconstruction_{i}_draw_{d}.wav")
            assert torch.equal(drawn, tensors["draws"][d, i, 0, real].long())
    assert imread(tmp_path / "here" / "reconstructions.png").ndim == 3


def test_mistakes_are_named(tmp_path, root):
    folder = checkpoint(tmp_path, root, latents=False)
    for argument, message in (
        ("--num_sounds=0", "num_sounds=0"),
        ("--num_draws=0", "num_draws=0"),
        ("--num_sounds=99", "20 sounds"),
    ):
        with pytest.raises(ValueError, match=message):
            run(folder, argument)


def test_pictures_are_refused(tmp_path):
    save_model(tmp_path / "best", small_model(), CONFIG, Progress())
    with pytest.raises(ValueError, match="not a model of sounds; pixelvae sample draws pictures"):
        run(tmp_path / "best")
