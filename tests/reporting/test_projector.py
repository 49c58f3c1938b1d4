"""What TensorBoard's projector will read, and its pictures."""

import math

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixelvae.evaluation.embedding import Posteriors
from pixelvae.reporting import projector
from pixelvae.reporting.figures import samples
from pixelvae.reporting.projector import sprites, write_latents


def points(n=11, shape=(1, 6, 4), kinds=1, dim=3, levels=4):
    return Posteriors(
        torch.randint(0, levels, (n, *shape)), torch.randint(0, 9, (n, kinds)), torch.randn(n, dim), torch.rand(n), None
    )


def table(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("kinds", "header"), [(0, []), (1, ["class"]), (2, ["class 1", "class 2"])])
def test_the_projector_finds_means_metadata_and_sprites(tmp_path, kinds, header):
    seen = points(kinds=kinds)
    folder = write_latents(tmp_path, seen, {}, levels=4, step=123)
    config = (tmp_path / "projector_config.pbtxt").read_text()
    for name in ("tensors.tsv", "metadata.tsv", "sprite.png"):
        assert f'"00123/latents/{name}"' in config
        assert (folder / name).is_file()
    assert "single_image_dim: 6\n    single_image_dim: 6" in config
    means = torch.tensor([[float(value) for value in row] for row in table(folder / "tensors.tsv")])
    torch.testing.assert_close(means, seen.means)
    rows = table(folder / "metadata.tsv")
    assert rows[0] == ["image", *header, "KL in nats"]
    assert rows[1:] == [[str(i), *map(str, seen.y[i].tolist()), f"{seen.kl[i]:.2f}"] for i in range(11)], (
        "one row for each point below the header"
    )


@pytest.mark.parametrize("shape", [(1, 6, 4), (3, 5, 5), (1, 4, 7)])
def test_every_sprite_is_its_image(tmp_path, shape):
    seen, side = points(shape=shape), max(shape[1:])
    folder = write_latents(tmp_path, seen, {}, levels=4, step=0)
    sheet = np.rint(imread(folder / "sprite.png") * 255)
    assert sheet.shape == (4 * side, 4 * side, 3), "11 images on a square of 4 x 4"
    wanted = (sprites(seen.x, 4).movedim(1, -1).expand(-1, -1, -1, 3) * 255).numpy().astype(np.uint8)
    for i, image in enumerate(wanted):
        top, left = i // 4 * side, i % 4 * side
        assert np.array_equal(sheet[top : top + side, left : left + side], image)


def test_points_are_labelled_by_file_and_class_name(tmp_path):
    seen, names = points(3, kinds=2), [[f"animal {i}" for i in range(9)], [f"speaker {i}" for i in range(9)]]
    files = ["birds/a.png", "b\tc.png", "d.png"]
    folder = write_latents(tmp_path, seen, {}, levels=4, step=0, class_names=names, files=files)
    rows = table(folder / "metadata.tsv")
    assert [row[0] for row in rows[1:]] == ["birds/a.png", "b c.png", "d.png"], "a tab would begin another column"
    assert [row[1:3] for row in rows[1:]] == [[names[0][a], names[1][b]] for a, b in seen.y.tolist()]


@pytest.mark.parametrize(("n", "side", "wanted"), [(3000, 160, 96), (100, 90, 90), (9000, 96, 86)])
def test_a_sheet_of_sprites_is_never_too_large_for_the_page(n, side, wanted):
    """Images are reduced, not left out: 3,000 of 160 pixels would be a sheet of 8,800."""
    x = torch.zeros(1, 1, side, side, dtype=torch.long).expand(n, -1, -1, -1)
    thumbnails = sprites(x, levels=2)
    assert thumbnails.shape == (n, 1, wanted, wanted)
    assert math.ceil(n**0.5) * wanted <= 8192


def test_a_reduced_sprite_is_the_mean_of_its_pixels(monkeypatch):
    monkeypatch.setattr(projector, "MAX_THUMBNAIL", 2)
    x = torch.tensor([[0, 3, 3, 3], [3, 0, 3, 3], [0, 0, 1, 2], [0, 0, 2, 1]])
    assert sprites(x[None, None], levels=4)[0, 0].tolist() == [[0.5, 1.0], [0.0, 0.5]]


def test_sprites_are_squares_with_the_image_in_the_middle():
    x = torch.full((1, 1, 2, 4), 3)
    assert sprites(x, 4)[0, 0].tolist() == [[0.0] * 4, [1.0] * 4, [1.0] * 4, [0.0] * 4]


def test_pictures_are_under_latents_and_a_second_look_replaces_the_first(tmp_path, capsys):
    figure = samples(torch.zeros(1, 1, 8, 8), levels=2, title="t")
    write_latents(tmp_path, points(12), {"pca": figure}, levels=4, step=7)
    folder = write_latents(tmp_path, points(5), {"pca": figure}, levels=4, step=7)
    assert len(table(folder / "tensors.tsv")) == 5
    assert (tmp_path / "projector_config.pbtxt").read_text().count("embeddings") == 1
    assert capsys.readouterr().out == ""
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert {event.step for event in events.Images("latents/pca")} == {7}


@pytest.mark.parametrize(
    ("seen", "message"),
    [(points(3001, (1, 1, 1)), "lower num_images"), (points(shape=(1, 6)), "wanted .N, C, H, W. images")],
)
def test_what_the_projector_cannot_show_is_refused(tmp_path, seen, message):
    with pytest.raises(ValueError, match=message):
        write_latents(tmp_path, seen, {}, levels=4, step=0)
    assert not list(tmp_path.iterdir())
