"""Files to a .pxv file and back, from the command line."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import speech
from pixelvae.checkpoint import Progress, load_data, save_model
from pixelvae.commands import cli
from pixelvae.commands.compress import relative
from pixelvae.commands.decompress import png_bytes
from pixelvae.compression.comparison import mosaic
from pixelvae.compression.container import read_header
from pixelvae.data import spread


def run(*words):
    cli.main([str(word) for word in words])


def one_line(capsys, *words):
    """The line of a mistake."""
    with pytest.raises(SystemExit) as stopped:
        run(*words)
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pixelvae ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("name", ["vae", "plain", "unlabelled"])
def test_a_data_set_comes_back_level_for_level(checkpoints, tmp_path, capsys, name):
    """With its classes, and as pictures."""
    run("compress", checkpoints / name, "--out", tmp_path / "d.pxv", "--num_examples", 9)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("9 examples", "pixelvae", "PNG", "WebP", "xz", "bits/dim"))
    assert ("NLL" if name == "plain" else "-ELBO") in shown
    run("decompress", tmp_path / "d.pxv", "--model", checkpoints / name, "--out", tmp_path / "out")
    tensors = load_file(tmp_path / "out/examples.safetensors")
    test = load_data(checkpoints / name / "best").test
    indices = spread(len(test), 9)
    assert read_header((tmp_path / "d.pxv").read_bytes())[0].names == tuple(map(str, indices.tolist()))
    assert torch.equal(tensors["x"].long(), test.images(indices))
    assert ("y" in tensors) == (name != "unlabelled")
    assert name == "unlabelled" or torch.equal(tensors["y"], test.labels(indices))
    last = int(indices[-1])
    picture = np.array(Image.open(tmp_path / f"out/{last}.png"))
    assert (picture == 255 * test.images([last])[0, 0].numpy()).all()


def test_files_keep_their_names(checkpoints, tmp_path):
    """Folders, any size, two files that differ in their ending alone."""
    for i, name in enumerate(("a/one.png", "a/one.jpg", "b/two.png")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20 + i, 11), 90 * i).save(path)
    run("compress", checkpoints / "unlabelled", tmp_path / "in", "--out", tmp_path / "f.pxv", "--others", "false")
    assert set(read_header((tmp_path / "f.pxv").read_bytes())[0].names) == {"a/one.png", "a/one.jpg", "b/two.png"}
    run("decompress", tmp_path / "f.pxv", "--model", checkpoints / "unlabelled")
    found = {path.relative_to(tmp_path / "f").as_posix() for path in (tmp_path / "f").rglob("*.png")}
    assert found in ({"a/one.png", "a/one.jpg.png", "b/two.png"}, {"a/one.png", "a/one-2.png", "b/two.png"})


def test_sounds_come_back(tmp_path):
    """As wav files, each as long as it was."""
    root = speech.write_digits(tmp_path / "speech")
    config = speech.config(root, latents=False)
    model = speech.model(config, root)
    save_model(tmp_path / "sounds/best", model, config, Progress())
    run("compress", tmp_path / "sounds", "--out", tmp_path / "s.pxv", "--num_examples", 3)
    run("decompress", tmp_path / "s.pxv", "--model", tmp_path / "sounds")
    x = load_data(tmp_path / "sounds/best").test.images(spread(len(load_data(tmp_path / "sounds/best").test), 3))
    assert torch.equal(load_file(tmp_path / "s/examples.safetensors")["x"].long(), x)
    assert len(list((tmp_path / "s").rglob("*.wav"))) == 3


def test_a_damaged_file_is_one_line_after_what_is_whole(checkpoints, tmp_path, capsys):
    run("compress", checkpoints / "plain", "--out", tmp_path / "d.pxv", "--num_examples", 9, "--block", 4)
    data = (tmp_path / "d.pxv").read_bytes()
    (tmp_path / "d.pxv").write_bytes(data[:-3])
    line = one_line(capsys, "decompress", tmp_path / "d.pxv", "--model", checkpoints / "plain")
    assert "d.pxv: the file ends within block 3 of 3" in line
    assert len(load_file(tmp_path / "d/examples.safetensors")["x"]) == 8


def test_mistakes_are_one_line(checkpoints, tmp_path, capsys):
    plain, file = checkpoints / "plain", tmp_path / "d.pxv"
    assert "num_examples=0" in one_line(capsys, "compress", plain, "--out", file, "--num_examples", 0)
    assert "no such file" in one_line(capsys, "compress", plain, tmp_path / "none.png", "--out", file)
    assert "cannot read" in one_line(capsys, "decompress", file, "--model", plain)
    file.write_bytes(b"text")
    assert "--model CHECKPOINT" in one_line(capsys, "decompress", file)
    assert "not a .pxv file" in one_line(capsys, "decompress", file, "--model", plain)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").touch()
    words = ("decompress", file, "--model", plain, "--out", tmp_path / "full")
    assert "not an empty folder" in one_line(capsys, *words)


def test_pictures_of_the_other_formats_hold_the_levels():
    """So that their sizes are of the same content."""
    x = torch.randint(256, (5, 3, 4, 6), dtype=torch.uint8)
    picture = np.array(mosaic(x, 256))
    assert picture.shape == (2 * 4, 3 * 6, 3)
    assert (picture[4:, 6:12] == x[4].permute(1, 2, 0).numpy()).all()
    assert mosaic(x[:, :1] % 2, 2).mode == "1"
    assert len(png_bytes(x[0].long(), 256)) > 0
    assert [relative(name) for name in ("a/b.png", "/etc/b.png", "../b.png")] == ["a/b.png", "b.png", "b.png"]
