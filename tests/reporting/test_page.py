"""A report is one page that needs nothing else, and says all that the run has."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import jsonargparse
import pytest
from PIL import Image

from pixelvae.checkpoint import Progress, save_model
from pixelvae.reporting.page import Picture, Run, page
from pixelvae.reporting.tensorboard import TensorBoardObserver
from scripts.test_speak import load_script
from small_runs import CONFIG, small_data, small_fit, small_model

REPORT = load_script("report")
VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not open; collects text and attributes."""

    def __init__(self, content):
        super().__init__()
        self.open, self.text, self.links, self.tags = [], [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


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
    jsonargparse.auto_cli(REPORT.main, args=[str(run)])
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
    text = " ".join(Balanced(REPORT.main(tmp_path).read_text()).text)
    assert f"python scripts/evaluate.py {tmp_path / 'best'}" in text
    assert f"python scripts/latents.py {tmp_path / 'best'}" in text


def test_what_is_written_is_shown_and_never_run():
    """Names, metrics, captions and configurations are text."""
    bad = "<script>alert(1)</script>"
    given = Run(bad, {bad: bad}, {}, [Picture(bad + '"', b"")], bad, bad, {"Curves": bad})
    parsed = Balanced(page(given))
    assert "script" not in parsed.tags
    assert " ".join(parsed.text).count(bad) == 8


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither best nor last"):
        REPORT.main(tmp_path)
    save_model(tmp_path / "best", small_model(), CONFIG, Progress(step=1))
    with pytest.raises(ValueError, match="no such folder"):
        REPORT.main(tmp_path, results=tmp_path / "nowhere")
