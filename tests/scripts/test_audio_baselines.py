"""Unigram and Markov baselines of sounds, from the command line to metrics.json."""

import json
import math

import jsonargparse
import pytest
import torch

import speech
from load_script import load_script
from pixelvae.data import ABSENT, BatchKey

BASELINES = load_script("audio_baselines")


def run(*arguments):
    """The script as the command line starts it."""
    return jsonargparse.auto_cli(BASELINES.main, args=[str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return speech.write_digits(tmp_path_factory.mktemp("digits"))


def test_baselines_count_on_training_and_measure_on_test(tmp_path, root):
    """Uniform costs log2 K bits, unigram less, Markov less again; nats and bits are those of the same samples."""
    run("--root", root, "--out", tmp_path, f"--length={speech.LENGTH}", "--levels=16")
    metrics = {name: json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("unigram", "markov")}
    bits = [metrics["unigram"]["uniform_bits_per_dim"], *(metrics[name]["bits_per_dim"] for name in metrics)]
    assert bits[0] == 4 > bits[1] > bits[2] > 0
    x, _ = speech.data(root).test[BatchKey(torch.arange(20), 0)]
    samples = int((x != ABSENT).sum()) / 20
    for entry in metrics.values():
        assert entry["bits_per_dim"] == pytest.approx(-entry["elbo_nats"] / math.log(2) / samples)
        assert entry["num_test_images"] == 20


@pytest.mark.parametrize("split", ["validation", "test"])
def test_counts_are_of_the_training_split_and_nats_of_the_split_that_is_asked_for(tmp_path, root, split):
    run("--root", root, "--out", tmp_path, f"--length={speech.LENGTH}", "--levels=16", f"--split={split}")
    data = speech.data(root)
    parts = {name: BASELINES.sounds(getattr(data, name)) for name in ("train", split)}
    unigram, markov = BASELINES.fit(parts["train"], 16)
    for name, model in (("unigram", None), ("markov", markov)):
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        nats = [float(BASELINES.log_prob(x, unigram, model)) for x in parts[split]]
        assert metrics["elbo_nats"] == pytest.approx(sum(nats) / len(nats))
        assert metrics["images_seen"] == len(data.train)
        assert (metrics["split"], metrics["num_test_images"]) == (split, len(getattr(data, split)))


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
