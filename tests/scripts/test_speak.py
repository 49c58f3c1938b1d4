"""The scripts of sound, from the command line to the files, on a tiny model with random weights."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import jsonargparse
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file

import speech
from pixelvae.checkpoint import Progress, save_model
from pixelvae.data import ABSENT, BatchKey
from pixelvae.data.audio import read_wav
from pixelvae.data.transforms import mu_law_encode

SCRIPTS = Path(__file__).parents[2] / "scripts"


def load_script(name):
    sys.path.insert(0, str(SCRIPTS))  # where a script finds the others
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SPEAK, BASELINES = load_script("speak"), load_script("audio_baselines")


def run(script, *arguments):
    """The script as the command line starts it."""
    return jsonargparse.auto_cli(script.main, args=[str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return speech.write_digits(tmp_path_factory.mktemp("digits"))


def checkpoint(folder, root, **options):
    configuration = speech.config(root, **options)
    save_model(folder / "best", speech.model(configuration, root), configuration, Progress(step=1234))
    return folder / "best"


def levels_of(file):
    return mu_law_encode(read_wav(file, speech.RATE), 16)


@pytest.mark.parametrize("class_conditional", [True, False])
def test_samples_are_written_to_hear_and_to_see(tmp_path, root, class_conditional):
    folder = checkpoint(tmp_path, root, latents=False, class_conditional=class_conditional)
    run(SPEAK, folder, "--num=5", "--seed=3")
    tensors = load_file(tmp_path / "sounds" / "samples.safetensors")
    assert tensors["x"].shape == (5, 1, speech.LENGTH)
    for i in range(5):
        assert torch.equal(levels_of(tmp_path / "sounds" / f"sample_{i}.wav"), tensors["x"][i, 0].long())
    assert imread(tmp_path / "sounds" / "samples.png").ndim == 3
    assert not list(tmp_path.glob("sounds/reconstruction*"))
    if class_conditional:
        assert tensors["y"].tolist() == [[i % 10, i % 2] for i in range(5)]


def test_reconstructions_are_as_long_as_their_originals(tmp_path, root):
    run(SPEAK, checkpoint(tmp_path, root), "--num=3", "--num_draws=2", "--out", tmp_path / "here", "--stepper=eager")
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
    for argument, message in (("--num=0", "num=0"), ("--num_draws=0", "num_draws=0"), ("--num=99", "20 sounds")):
        with pytest.raises(ValueError, match=message):
            run(SPEAK, folder, argument)


def test_baselines_count_on_training_and_measure_on_test(tmp_path, root):
    """Uniform costs log2 K bits, unigram less, Markov less again; nats and bits are those of the same samples."""
    run(BASELINES, "--root", root, "--out", tmp_path, f"--length={speech.LENGTH}", "--levels=16")
    metrics = {name: json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("unigram", "markov")}
    bits = [metrics["unigram"]["uniform_bits_per_dim"], *(metrics[name]["bits_per_dim"] for name in metrics)]
    assert bits[0] == 4 > bits[1] > bits[2] > 0
    x, _ = speech.data(root).test[BatchKey(torch.arange(20), 0)]
    samples = int((x != ABSENT).sum()) / 20
    for entry in metrics.values():
        assert entry["bits_per_dim"] == pytest.approx(-entry["elbo_nats"] / math.log(2) / samples)
        assert entry["num_test_images"] == 20


def test_baselines_are_distributions():
    sounds = [torch.tensor([0, 2, 2, 1]), torch.tensor([2])]
    unigram, markov = BASELINES.fit(sounds, 4)
    torch.testing.assert_close(unigram.exp(), torch.tensor([2, 2, 4, 1]) / torch.tensor(9.0, dtype=torch.float64))
    torch.testing.assert_close(markov.exp().sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(markov[[1, 3]], unigram.expand(2, -1))  # nothing ever followed a 1 or a 3
    assert markov[0, 2] > unigram[2]
    x = torch.tensor([0, 2, 1])
    torch.testing.assert_close(BASELINES.log_prob(x, unigram, None), unigram[x].sum())
    chain = unigram[0] + markov[0, 2] + markov[2, 1]
    torch.testing.assert_close(BASELINES.log_prob(x, unigram, markov), chain)
