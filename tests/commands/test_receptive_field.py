"""The picture of receptive fields: PixelCNN has a blind spot, the other decoders see every earlier pixel."""

import jsonargparse
import pytest
from matplotlib.image import imread

import speech
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import receptive_field


def run(*arguments):
    """The command as the command line starts it."""
    jsonargparse.auto_cli(receptive_field.main, args=[str(argument) for argument in arguments])


def test_untrained_decoders_are_drawn(tmp_path, capsys):
    run("--out", tmp_path / "field.png", "--size=7", "--num_images=2")
    assert imread(tmp_path / "field.png").ndim == 3
    seen = dict(line.split(": sees ") for line in capsys.readouterr().out.splitlines())
    assert int(seen["PixelCNN"].split()[0]) < int(seen["Gated PixelCNN"].split()[0])
    for name in ("Gated PixelCNN", "Diagonal BiLSTM"):
        found, _, total, *_ = seen[name].split()
        assert found == total


def test_trained_decoders_are_drawn(checkpoints, tmp_path, capsys):
    run("--checkpoints", f"[{checkpoints / 'vae/best'}]", "--out", tmp_path / "field.png", "--num_images=1")
    assert capsys.readouterr().out.startswith("vae: sees ")


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="size=4"):
        run("--size=4", "--out", tmp_path / "field.png")
    root = speech.write_digits(tmp_path / "digits")
    config = speech.config(root)
    save_model(tmp_path / "best", speech.model(config, root), config, Progress())
    with pytest.raises(ValueError, match="model of sounds"):
        run("--checkpoints", f"[{tmp_path / 'best'}]", "--out", tmp_path / "field.png")
