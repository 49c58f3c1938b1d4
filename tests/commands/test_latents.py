"""Pictures of latents, from the command line to the files, on a tiny model with random weights."""

import json
import math

import jsonargparse
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import speech
from pixelvae import ImageFolder, load
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import latents
from pixelvae.models.assembly import build
from small_runs import CONFIG, small_model

PICTURES = {"pca", "tsne", "traversals", "neighbours", "grid", "decompression", "completion"}
FLOW = {"prior": {"class_path": "FlowPrior", "init_args": {"num_transforms": 1, "hidden_channels": [8]}}}
WITHOUT_LATENTS = {"encoder": None, "prior": None, "latent_dim": 0}


def checkpoint(root, change=None, model=None):
    """A run with random weights, loud enough that latents are heard in what is drawn."""
    config = CONFIG | {"latent_dim": 12} | (change or {})
    model = model or small_model(config)
    for parameter in model.parameters():
        parameter.data.mul_(2)
    save_model(root / "run/best", model, config, Progress(step=42))
    return root / "run/best"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A look at a class-conditional model: its checkpoint and the folder of pictures."""
    root = tmp_path_factory.mktemp("latents")
    best = checkpoint(root)
    jsonargparse.auto_cli(
        latents.main, args=[str(best), f"--out={root / 'out'}", "--num_images=40", "--num_draws=3", "--seed=5"]
    )
    return best, root / "out"


def tensors(folder):
    with safe_open(folder / "latents.safetensors", framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


def test_every_picture_is_there_with_its_provenance(seen):
    _, out = seen
    assert {path.stem for path in out.glob("*.png")} == PICTURES
    assert all(imread(path).ndim == 3 for path in out.glob("*.png"))
    facts = json.loads((out / "latents.json").read_text())
    assert (facts["seed"], facts["train_steps"], facts["num_images"], facts["split"]) == (5, 42, 40, "test")
    assert facts["kl_nats"] == pytest.approx(float(tensors(out)["kl"].mean()), abs=1e-3)
    assert len(facts["variance_of_means_per_dim"]) == 12
    assert {"config.yaml", "environment.txt"} <= {path.name for path in out.iterdir()}


def test_everything_is_in_tensorboard(seen):
    best, out = seen
    events = EventAccumulator(str(best.parent), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {f"latents/{name}" for name in PICTURES}
    folder = best.parent / "00042/latents"
    means = [[float(v) for v in line.split("\t")] for line in (folder / "tensors.tsv").read_text().splitlines()]
    torch.testing.assert_close(torch.tensor(means), tensors(out)["h"])
    metadata = (folder / "metadata.tsv").read_text().splitlines()
    assert len(metadata) == 41
    assert metadata[0].split("\t") == ["image", "class", "KL in nats"]
    assert imread(folder / "sprite.png").shape[:2] == (math.ceil(40**0.5) * 8,) * 2


def test_traversals_change_one_dimension_around_the_image_s_own_mean(seen):
    best, out = seen
    found, model = tensors(out), load(best)
    h, dims, first = found["traversals_h"], found["dims"], found["rows"][:1]
    own = model.encode(found["x"][first].long(), found["y"][first]).mean[0]
    torch.testing.assert_close(h[:, 5], own.expand(10, -1))
    for row, dim in zip(h, dims, strict=True):
        others = torch.arange(12) != dim
        assert row[:, others].equal(h[0, 5, others].expand(11, -1))
        torch.testing.assert_close(row[-1, dim] - row[0, dim], 6 * found["scale"][dim])
    variances = found["h"].var(0)
    assert (variances[dims].diff() <= 0).all()
    assert set(dims.tolist()) == set(variances.topk(10).indices.tolist())
    assert found["traversals"].float().std((0, 1)).any(), "the decoder hears h"
    middle = found["traversals"][:, 5]
    assert (middle == middle[0]).all(), "the same h and the same random numbers in every row"


def test_neighbours_are_nearest_by_brute_force(seen):
    found = tensors(seen[1])
    for name, points in (("h", found["h"].double()), ("pixels", found["x"].double().flatten(1))):
        distances = (points[:, None] - points).square().sum(2)
        near = distances.gather(1, found[f"neighbours_{name}"])
        distances.fill_diagonal_(torch.inf)
        torch.testing.assert_close(near, distances.sort(1).values[:, :5])


def test_completions_keep_what_was_shown_and_decompression_is_a_mean(seen):
    found = tensors(seen[1])
    known, x = found["known"], found["x"][found["rows"]]
    assert known[0, :, 0].tolist() == [True] * 4 + [False] * 4
    assert found["completions"].shape == (3, *x.shape)
    assert (found["completions"] == x)[known.expand_as(found["completions"])].all()
    torch.testing.assert_close(found["draws"].float().mean(0), found["draws_mean"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_files(seen, tmp_path, monkeypatch):
    best, out = seen
    torch.manual_seed(1)  # the global generator does not matter
    monkeypatch.setattr("sys.argv", json.loads((out / "latents.json").read_text())["command"].split()[1:])
    again = {"num_images": 40, "num_draws": 3}
    latents.main(best, out=tmp_path / "same", log_dir=tmp_path / "logs", seed=5, **again)
    for path in out.iterdir():
        if path.name != "environment.txt":
            assert path.read_bytes() == (tmp_path / "same" / path.name).read_bytes(), path.name
    for path in (best.parent / "00042/latents").iterdir():
        assert path.read_bytes() == (tmp_path / "logs/00042/latents" / path.name).read_bytes(), path.name
    latents.main(best, out=tmp_path / "other", log_dir=tmp_path / "logs", seed=6, **again)
    assert not tensors(tmp_path / "other")["draws"].equal(tensors(out)["draws"])


def test_data_without_labels_and_a_prior_without_an_analytic_kl(tmp_path, capsys):
    """Colour pictures; all of a small split by default; pictures beside the checkpoint by default."""
    (tmp_path / "pictures").mkdir()
    for number in range(150):
        Image.new("RGB", (8, 8), (number, 200 - number, 50)).save(tmp_path / "pictures" / f"{number}.png")
    options = {"root": str(tmp_path / "pictures"), "size": 8, "levels": 4, "cache": False}
    change = {"data": {"class_path": "ImageFolder", "init_args": options}, "class_conditional": False} | FLOW
    change["decoder"] = {
        "class_path": "GatedPixelCNN",
        "init_args": {"num_layers": 2, "channels": 6, "head_channels": 6},
    }
    spec, test = ImageFolder(**options).spec, ImageFolder(**options).test
    best = checkpoint(tmp_path, change, build(CONFIG | {"latent_dim": 12} | change, spec))
    facts = latents.main(best, num_draws=1)
    assert facts["num_images"] == len(test)
    assert {path.stem for path in (best.parent / "latents").glob("*.png")} == PICTURES
    header = (best.parent / "00042/latents/metadata.tsv").read_text().splitlines()[0]
    assert header.split("\t") == ["image", "KL in nats"]
    assert "same_class_of_neighbours_h" not in facts
    said = capsys.readouterr().out
    assert str(best.parent / "latents") in said
    assert f"tensorboard --logdir {best.parent}" in said


def test_files_and_classes_are_shown_by_their_names(tmp_path, monkeypatch):
    """In the projector, at the rows of figures, and in the legends of clouds."""
    for kind in ("cat", "dog"):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for number in range(60):
            shade = number + 100 * (kind == "dog")
            Image.new("L", (8, 8), shade).save(tmp_path / "pictures" / kind / f"{number}.png")
    options = {"root": str(tmp_path / "pictures"), "size": 8, "levels": 2, "grey": True, "cache": False}
    change = {"data": {"class_path": "ImageFolder", "init_args": options}}
    data = ImageFolder(**options)
    best = checkpoint(tmp_path, change, build(CONFIG | {"latent_dim": 12} | change, data.spec))
    shown = {}
    for name in ("cloud", "neighbours", "decompressions", "completions"):
        monkeypatch.setattr(
            latents, name, lambda *_, name=name, **options: shown.setdefault(name, options) and Figure()
        )
    latents.main(best, num_draws=1)
    rows = [line.split("\t") for line in (best.parent / "00042/latents/metadata.tsv").read_text().splitlines()]
    assert [row[0] for row in rows[1:]] == data.test.files(torch.arange(len(data.test)))
    assert all(row[1] == row[0].split("/")[0] for row in rows[1:])
    assert shown["cloud"]["class_names"] == ("cat", "dog")
    for name in ("neighbours", "decompressions", "completions"):
        assert set(shown[name]["labels"]) == {"cat", "dog"}, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 3001}, "num_images=3001.*at most 3,000"),
        ({"num_images": 301}, "num_images=301; the split has 300"),
        ({"num_images": 5}, "num_images=5.*at least 10"),
        ({"num_draws": 0}, "num_draws=0; wanted 1 .. 12"),
        ({"num_draws": 13}, "num_draws=13; wanted 1 .. 12"),
    ],
)
def test_mistakes_are_named_before_anything_is_drawn(seen, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        latents.main(seen[0], out=tmp_path, log_dir=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_model_without_latents_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no latents to look at; pixelvae sample"):
        latents.main(checkpoint(tmp_path, WITHOUT_LATENTS))


def test_sounds_are_refused(tmp_path):
    root = speech.write_digits(tmp_path / "fsdd")
    config = speech.config(root)
    save_model(tmp_path / "run/best", speech.model(config, root), config, Progress())
    with pytest.raises(ValueError, match=r"model of sounds.*use pixelvae speak"):
        latents.main(tmp_path / "run/best")
