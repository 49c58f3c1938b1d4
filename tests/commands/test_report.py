"""A report is one page that needs nothing else, and shows all that the run has."""

import base64
import io
import json
import re

import jsonargparse
import pytest
from PIL import Image

from balanced import Balanced
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import report
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
    assert "Nothing here yet" in text  # the environment, which nobody wrote
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
    assert f"pixelvae evaluate {tmp_path / 'best'}" in text
    assert f"pixelvae latents {tmp_path / 'best'}" in text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither best nor last"):
        report.main(tmp_path)
    save_model(tmp_path / "best", small_model(), CONFIG, Progress(step=1))
    with pytest.raises(ValueError, match="no such folder"):
        report.main(tmp_path, results=tmp_path / "nowhere")
