"""Tables and speeds of compression, from the command line to their files."""

import json

import jsonargparse
import pytest
import torch

from load_script import load_script
from pixelvae.commands.parsing import call

TABLE, SPEED = load_script("compression_table"), load_script("compression_speed")


@pytest.mark.parametrize(("name", "bound"), [("vae", "-ELBO"), ("plain", "NLL")])
def test_a_table_has_every_format(checkpoints, tmp_path, name, bound):
    out = tmp_path / "mnist.json"
    call(TABLE.main, [str(checkpoints / name), str(out), "--numbers=[5, 9]", "--data.levels=2"], None)
    found = json.loads(out.read_text())
    assert list(found["images"]) == ["5", "9"]
    for row in found["images"].values():
        assert list(row["bytes"]) == ["pixelvae", bound, "PNG", "WebP", "xz"]
        assert row["over_the_bound"] == pytest.approx(row["bytes"]["pixelvae"] / row["bytes"][bound] - 1)
    assert found["published_bits_per_dim"] == {}  # these images are binary


@pytest.mark.slow
def test_speeds_are_of_every_size(tmp_path, monkeypatch):
    monkeypatch.setattr(SPEED, "IMAGES", {8: 4, 12: 2})
    jsonargparse.auto_cli(SPEED.main, args=["--out", str(tmp_path / "speed.json")])
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert [(row["size"], row["images"]) for row in rows] == [(8, 4), (12, 2)]
    assert all(row["compress_images_per_second"] > 0 for row in rows)
    assert SPEED.smooth_images(3, 28, 0).shape == torch.Size([3, 1, 28, 28])
