"""A real TensorBoard shows a run: asked over HTTP everywhere, and looked at in a real Chromium where there is one."""

import io
import sys
import urllib.parse
import urllib.request

import jsonargparse
import pytest
from PIL import Image

import webdriver
from pixelvae.commands import latents
from pixelvae.reporting.tensorboard import TensorBoardObserver
from small_runs import CONFIG, small_data, small_fit

pytestmark = pytest.mark.slow

NUM_POINTS = 60


@pytest.fixture(scope="module")
def tensorboard(tmp_path_factory):
    """The address of a TensorBoard of one run with curves, pictures, and latents in the projector."""
    folder = tmp_path_factory.mktemp("runs")
    observer = TensorBoardObserver(folder / "small", small_data(), CONFIG, scalars_every=2)
    small_fit(folder / "small", observer=observer, steps=8)
    observer.close()
    options = [str(folder / "small" / "best"), f"--num_images={NUM_POINTS}"]
    jsonargparse.auto_cli(latents.main, args=options)
    address = f"http://127.0.0.1:{(port := webdriver.free_port())}"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
    with webdriver.running(
        [*command, "--load_fast=false"],
        lambda: webdriver.ask(f"{address}/data/plugin/scalars/tags"),
    ):
        yield address


def test_curves_are_served(tensorboard):
    tags = webdriver.ask(f"{tensorboard}/data/plugin/scalars/tags")["small"]
    assert {"train/elbo_nats", "validation/mutual_information_nats", "validation/active_units"} <= set(tags)
    query = urllib.parse.urlencode({"run": "small", "tag": "train/elbo_nats"})
    points = webdriver.ask(f"{tensorboard}/data/plugin/scalars/scalars?{query}")
    assert [step for _, step, _ in points] == [2, 4, 6, 8]


def test_pictures_are_served(tensorboard):
    tags = set(webdriver.ask(f"{tensorboard}/data/plugin/images/tags")["small"])
    assert {
        "validation/samples",
        "validation/reconstructions",
        "validation/interpolations",
        "latents/tsne",
        "latents/traversals",
    } <= tags
    query = urllib.parse.urlencode({"run": "small", "tag": "validation/samples", "sample": 0})
    found = webdriver.ask(f"{tensorboard}/data/plugin/images/images?{query}")
    with urllib.request.urlopen(f"{tensorboard}/data/plugin/images/individualImage?{found[-1]['query']}") as answer:
        Image.open(io.BytesIO(answer.read())).verify()


def test_latents_are_served_to_the_projector(tensorboard):
    (run,) = webdriver.ask(f"{tensorboard}/data/plugin/projector/runs")
    query = urllib.parse.urlencode({"run": run})
    (info,) = webdriver.ask(f"{tensorboard}/data/plugin/projector/info?{query}")["embeddings"]
    assert info["tensorShape"] == [NUM_POINTS, CONFIG["latent_dim"]]
    named = urllib.parse.urlencode({"run": run, "name": info["tensorName"]})
    with urllib.request.urlopen(f"{tensorboard}/data/plugin/projector/metadata?{named}") as answer:
        assert len(answer.read().decode().strip().splitlines()) == NUM_POINTS + 1  # and a header
    with urllib.request.urlopen(f"{tensorboard}/data/plugin/projector/sprite_image?{named}") as answer:
        Image.open(io.BytesIO(answer.read())).verify()


@pytest.fixture(scope="module")
def window():
    """A headless Chromium."""
    if lacking := webdriver.missing():
        pytest.skip(f"{lacking}; apt install chromium chromium-driver")
    with webdriver.browser() as browser:
        yield browser


def shows(window, *words):
    """Whether all words are on the page, in any component."""
    text = " ".join(window.run(webdriver.DEEP_TEXT).split())
    return all(word in text for word in words)


def test_a_browser_shows_the_curves(tensorboard, window):
    window.open(f"{tensorboard}/#scalars")
    webdriver.until(lambda: shows(window, "train/elbo_nats", "train/kl_nats"))


def test_a_browser_shows_the_pictures(tensorboard, window):
    window.open(f"{tensorboard}/#images")
    webdriver.until(lambda: any("individualImage" in source for source in window.run(webdriver.LOADED_IMAGES)))


def test_a_browser_shows_the_latents(tensorboard, window):
    window.open(f"{tensorboard}/#projector")
    webdriver.until(lambda: shows(window, f"Points: {NUM_POINTS}", f"Dimension: {CONFIG['latent_dim']}"))
