"""Published weights are found, or downloaded by hash alone; what is not published is one clear line."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import pixelvae
from load_script import load_script
from local_server import serve
from pixelvae import CheckpointError, hub
from pixelvae.checkpoint import Progress, load_config, save_model
from pixelvae.commands import cli
from small_runs import CONFIG, small_model

NAME = "digits/small"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A repository whose results name a model, a server with its weights, an empty cache, an empty working folder."""
    save_model(tmp_path / "run/best", small_model(), CONFIG, Progress(step=1))
    results, released, here = (tmp_path / name for name in ("results", "released", "here"))
    for folder in (results / NAME, released, here):
        folder.mkdir(parents=True)
    shutil.copy(tmp_path / "run/best/config.yaml", results / NAME)
    shutil.copy(tmp_path / "run/best/model.safetensors", released / "small.safetensors")
    monkeypatch.setattr(hub, "PLACES", (tmp_path / "none", results))
    monkeypatch.setenv("PIXELVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(here)
    with serve(released) as (url, asked):
        yield tmp_path, f"{url}/small.safetensors", asked


def enter(folder, address, **changed):
    content = (folder / "run/best/model.safetensors").read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "url": address} | changed
    (folder / "results/weights.json").write_text(json.dumps({NAME: entry}))


def same(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_weights_are_downloaded_once_and_open_as_any_checkpoint(world):
    folder, url, asked = world
    enter(folder, url)
    assert same(pixelvae.load(NAME), pixelvae.load(folder / "run"))
    assert pixelvae.load_data(NAME).spec == pixelvae.load_data(folder / "run").spec
    assert load_config(NAME) == load_config(folder / "run")
    assert asked == ["/small.safetensors"]
    (cached,) = (folder / "cache").rglob("model.safetensors")
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")  # damaged, or exchanged
    assert same(pixelvae.load(NAME), pixelvae.load(folder / "run"))
    assert len(asked) == 2
    assert [path.name for path in sorted(cached.parent.iterdir())] == ["config.yaml", "model.safetensors"]


def test_shipped_weights_and_own_folders_come_first(world):
    folder, url, asked = world
    enter(folder, url)
    shutil.copy(folder / "run/best/model.safetensors", folder / "results" / NAME)
    assert same(pixelvae.load(NAME), pixelvae.load(folder / "run"))
    other = small_model(seed=1)
    save_model(folder / "here" / NAME / "best", other, CONFIG, Progress(step=1))
    assert same(pixelvae.load(NAME), other)
    assert asked == []


@pytest.mark.parametrize("shipped", [False, True])
def test_commands_take_a_published_name_and_leave_the_results_alone(world, shipped, capsys):
    folder, url, _ = world
    enter(folder, url)
    if shipped:
        shutil.copy(folder / "run/best/model.safetensors", folder / "results" / NAME)
    before = sorted((folder / "results").rglob("*"))
    cli.main(["evaluate", NAME, "--num-samples=0"])
    assert f"{NAME} is a published model; taking " in capsys.readouterr().out
    cli.main(["evaluate", str(folder / "run"), "--num-samples=0"])
    found, expected = (
        json.loads((place / "metrics.json").read_text())
        for place in (folder / "here/runs/published" / NAME, folder / "run")
    )
    assert found["elbo_nats"] == expected["elbo_nats"]
    assert sorted((folder / "results").rglob("*")) == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sha256": "0" * 64}, "other weights; nothing was kept"),
        ({"size": 100}, "has more than 100 bytes"),
        ({"url": "file:///etc/passwd"}, "wanted an address that starts with https"),
        ({"url": "http://127.0.0.1:9/none"}, "cannot be fetched"),
    ],
)
def test_other_bytes_than_those_of_the_hash_are_not_kept(world, changed, message):
    folder, url, _ = world
    enter(folder, url, **changed)
    with pytest.raises(CheckpointError, match=f"^{NAME}: [^\n]*{message}[^\n]*$"):
        pixelvae.load(NAME)
    assert not list((folder / "cache").rglob("*.*"))


@pytest.mark.parametrize("changed", [{"sha256": None}, {"sha256": ""}, {"sha256": "xyz"}, {"size": 0}, {"url": 3}])
def test_nothing_is_downloaded_without_a_hash(world, changed):
    folder, url, asked = world
    enter(folder, url, **changed)
    with pytest.raises(CheckpointError, match=r"weights.json does not list published weights: digits/small has"):
        pixelvae.load(NAME)
    assert asked == []


def test_what_is_not_published_is_one_clear_line(world):
    _, _, asked = world
    with pytest.raises(CheckpointError, match=rf"^{NAME}: there are no published weights .*\(published: none yet\)"):
        pixelvae.load(NAME)
    for other in ("digits/none", "runs/demo", "../digits/small", "digits/small/best"):
        with pytest.raises(CheckpointError, match="is this a checkpoint folder"):
            pixelvae.load(other)
    assert asked == []


def test_a_model_is_published_with_its_card(world, capsys):
    folder, url, _ = world
    results = folder / "results"
    metrics = {
        "elbo_nats": -80.0, "elbo_stderr_nats": 0.5, "nll_iwae_nats": 79.0, "nll_iwae_stderr_nats": 0.25,
        "num_importance_samples": 256, "num_iwae_images": 300, "bits_per_dim": 1.8, "kl_nats": 3.0,
        "num_test_images": 300, "split": "test", "num_parameters": 1234, "train_steps": 5, "images_seen": 40,
        "train_seconds": 120.0, "command": "pixelvae evaluate run --num_samples 256",
    }  # fmt: skip
    (results / NAME / "metrics.json").write_text(json.dumps(metrics))
    publish = load_script("publish")
    publish.main(folder / "run", NAME, url, results)
    assert same(pixelvae.load(NAME), pixelvae.load(folder / "run"))
    card = (results / NAME / "README.md").read_text()
    for words in (
        "# digits/small", "GatedPixelCNN", "1,234 parameters", "`Digits(levels=2)`", "CC BY 4.0", "MIT",
        "| −ELBO, nats | 80.00 ± 0.50 |", "log p(x), nats | 79.00 ± 0.25 |", "256 samples for each of 300 images",
        'pv.load("digits/small")', "`pixelvae evaluate run --num_samples 256`", "5 steps", "Use: ",
    ):  # fmt: skip
        assert words in card
    del metrics["num_parameters"]
    (results / NAME / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="lacks 'num_parameters'"):
        publish.main(folder / "run", NAME, url, results)
    save_model(folder / "other/best", small_model(), CONFIG | {"seed": 9}, Progress(step=1))
    with pytest.raises(ValueError, match=r"is not that of .*other"):
        publish.main(folder / "other", NAME, url, results)


def test_the_table_of_the_repository_is_sound():
    results = Path(__file__).parent.parent / "results"
    for name, entry in hub.read_table(results).items():
        assert re.match("https://", entry.url)
        for file in ("config.yaml", "metrics.json", "README.md"):
            assert (results / name / file).is_file()
