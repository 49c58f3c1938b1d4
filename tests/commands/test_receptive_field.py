"""The picture of receptive fields: PixelCNN has a blind spot, the other decoders see every earlier pixel."""

import jsonargparse
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

import speech
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import receptive_field
from pixelvae.data import DataSpec


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


class Signed:
    """Params that are sums of w·x over all pixels, times +1 or −1 by the image: a decoder but for its causality."""

    spec = DataSpec((1, 7, 7), 4)

    def __init__(self, w):
        self.w = w

    def __call__(self, x, context):
        signs = torch.tensor([1.0, -1.0]).double().repeat(len(x) // 2)
        params = (signs[:, None, None, None] * self.w * x).sum((1, 2, 3), keepdim=True)
        return torch.cat([params, 2 * params], 1).expand(-1, -1, 7, 7)


def test_gradients_of_several_images_and_params_do_not_cancel():
    w = torch.randn(7, 7, dtype=torch.float64)
    w[0, :3] = 0
    field = receptive_field.gradient(Signed(w), None, num_images=4)
    torch.testing.assert_close(field, 3 * w.abs())
    assert receptive_field.seen(field) == "46 of 38 earlier pixels"  # all but three; this one is not causal


def test_a_pixel_is_coloured_by_whether_it_comes_before_and_is_seen():
    field = torch.zeros(7, 7)
    row, column = receptive_field.target(7, 7)
    field[row, :column] = torch.arange(1, column + 1)
    field[0, 0] = 1e-20  # seen, however little
    axes = Figure().add_subplot()
    colours = receptive_field.draw_field(axes, field)
    later = np.asarray(axes.images[0].get_array()) == 1
    assert later.flatten().tolist() == [i >= row * 7 + column for i in range(49)]
    assert np.array_equal(~np.ma.getmaskarray(colours.get_array()), field.numpy() > 0)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="size=4"):
        run("--size=4", "--out", tmp_path / "field.png")
    root = speech.write_digits(tmp_path / "digits")
    config = speech.config(root)
    save_model(tmp_path / "best", speech.model(config, root), config, Progress())
    with pytest.raises(ValueError, match="model of sounds"):
        run("--checkpoints", f"[{tmp_path / 'best'}]", "--out", tmp_path / "field.png")
