"""A report is one page that needs nothing else, and shows all that the run has."""

import base64
import io
import json
import re
from pathlib import Path

import jsonargparse
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from balanced import Balanced
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import report
from pixelvae.evaluation.embedding import Posteriors
from pixelvae.reporting.projector import write_latents
from pixelvae.reporting.tensorboard import TensorBoardObserver
from small_runs import CONFIG, small_data, small_fit, small_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of some steps with all that training writes, and metrics."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    observer = TensorBoardObserver(folder, small_data(), CONFIG, scalars_every=2)
    small_fit(folder, observer=observer, steps=8)
    observer.close()
    (folder / "metrics.json").write_text(json.dumps({"elbo_nats": -20.25, "images_seen": 64000, "split": "<test>"}))
    return folder


def test_a_page_holds_metrics_curves_and_pictures_and_needs_no_other_file(run):
    jsonargparse.auto_cli(report.main, args=[str(run)])
    parsed = Balanced((run / "report.html").read_text())
    text = " ".join(parsed.text)
    for words in ("elbo_nats", "-20.25", "64,000", "<test>", "GatedPixelCNN", "samples, step 8"):
        assert words in text
    assert "Nothing here yet" in text  # environment.txt is missing
    assert "script" not in parsed.tags
    kinds = [re.match(r"data:image/(svg\+xml|png);base64,(.*)", link).groups() for link in parsed.links]
    assert {kind for kind, _ in kinds} == {"svg+xml", "png"}
    for kind, content in kinds:
        if kind == "png":
            Image.open(io.BytesIO(base64.b64decode(content))).verify()
    assert len([kind for kind, _ in kinds if kind == "png"]) == 3  # samples, reconstructions, interpolations


def test_a_run_without_anything_has_a_page_that_says_how_to_make_it(tmp_path):
    save_model(tmp_path / "best", small_model(), CONFIG, Progress(step=1))
    text = " ".join(Balanced(report.main(tmp_path).read_text()).text)
    assert f"pixelvae evaluate {tmp_path.name}/best" in text
    assert f"pixelvae latents {tmp_path.name}/best" in text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither best nor last"):
        report.main(tmp_path)
    save_model(tmp_path / "best", small_model(), CONFIG, Progress(step=1))
    with pytest.raises(ValueError, match="no such folder"):
        report.main(tmp_path, results=tmp_path / "nowhere")


def test_a_page_is_titled_by_its_run_and_holds_no_absolute_path(tmp_path, monkeypatch):
    config = CONFIG | {"data": {"class_path": "ImageFolder", "init_args": {"root": "/home/ann/secret/birds"}}}
    save_model(tmp_path / "mine/best", small_model(), config, Progress(step=1))
    (tmp_path / "mine/metrics.json").write_text(json.dumps({"command": "pixelvae evaluate /home/ann/runs/mine/best"}))
    page = report.main(tmp_path / "mine").read_text()
    assert "<title>mine</title>" in page
    assert "root: …/birds" in page
    assert "pixelvae evaluate …/best" in page
    assert "/home/ann" not in page
    assert str(tmp_path) not in page
    monkeypatch.chdir(tmp_path)
    assert "pixelvae latents mine/best" in report.main(Path("mine")).read_text()


def test_a_page_never_follows_links_out_of_the_run(tmp_path, capsys):
    """Not for a picture, a text, a whole folder, or events; a link within the run is followed."""
    save_model(tmp_path / "run/best", small_model(), CONFIG, Progress(step=1))
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (3, 3), "red").save(outside / "secret.png")
    Image.new("RGB", (3, 3), "blue").save(tmp_path / "run/own.png")
    (outside / "environment.txt").write_text("secret environment")
    (outside / "metrics.json").write_text('{"secret": 1}')
    with SummaryWriter(outside) as writer:
        writer.add_scalar("train/kl_nats", 1.0, 1)
    for file in outside.iterdir():
        (tmp_path / "run" / file.name).symlink_to(file)
    (tmp_path / "run/folder").symlink_to(outside, target_is_directory=True)
    (tmp_path / "run/again.png").symlink_to(tmp_path / "run/own.png")
    parsed = Balanced(report.main(tmp_path / "run").read_text())
    text = " ".join(parsed.text)
    assert "secret" not in text
    assert "own" in text
    assert "again" in text
    colours = [
        Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))).getpixel((0, 0)) for link in parsed.links
    ]
    assert colours == [(0, 0, 255)] * 2, "no curve, and no picture from outside"
    said = capsys.readouterr().out
    for name in ("secret.png", "environment.txt", "metrics.json", "tfevents"):
        assert re.search(rf"Left out: .*{name}.* is a link out of", said)


def test_the_sprite_of_the_projector_is_no_picture_of_the_page(tmp_path):
    save_model(tmp_path / "best", small_model(), CONFIG, Progress(step=1))
    x, zeros = torch.zeros(4, 1, 8, 8, dtype=torch.long), torch.zeros(4, 3)
    write_latents(tmp_path, Posteriors(x, zeros[:, :0].long(), zeros, zeros[:, 0], zeros[0]), {}, levels=2, step=1)
    assert (tmp_path / "00001/latents/sprite.png").is_file()
    parsed = Balanced(report.main(tmp_path).read_text())
    assert not parsed.links


def test_a_picture_of_latents_is_shown_once(tmp_path):
    """It is a file and an event."""
    save_model(tmp_path / "best", small_model(), CONFIG, Progress(step=1))
    picture = torch.zeros(3, 4, 4)
    with SummaryWriter(tmp_path) as writer:
        for name in ("latents/pca", "latents/tsne", "samples"):
            writer.add_image(name, picture, 1)
    Image.new("RGB", (4, 4)).save(tmp_path / "pca.png")
    text = " ".join(Balanced(report.main(tmp_path).read_text()).text)
    assert text.count("pca") == 1
    assert "latents/tsne, step 1" in text
    assert "samples, step 1" in text
