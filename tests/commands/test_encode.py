"""A table of files, from the command line: of the checkpoint's own data and of any other files."""

import csv

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image

import speech
from pixelvae import ImageFolder, encode, load
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import cli
from pixelvae.commands import encode as command
from pixelvae.models.assembly import build
from small_runs import CONFIG, small_data

COLOURS = {"blue": (20, 40, 220), "red": (230, 30, 20)}


def paint(path, kind, number):
    """A picture whose colour is that of its class, with noise that is its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).normal(0, 25, (10, 12, 3))
    Image.fromarray((np.array(COLOURS[kind]) + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint of a data set in folders, without training: its folder, and the data's."""
    root = tmp_path_factory.mktemp("encode")
    for kind in COLOURS:
        for i in range(10):
            paint(root / f"data/train/{kind}/{i}.png", kind, i)
        for split, number in (("val", 20), ("test", 30)):
            for i in range(3):
                paint(root / f"data/{split}/{kind}/{i}.png", kind, number + i)
    for name, conditional in (("plain", False), ("conditional", True)):
        options = {"root": str(root / "data"), "size": 8, "levels": 4, "cache": False}
        decoder = {"num_layers": 2, "channels": 6, "head_channels": 6}
        config = CONFIG | {"data": {"class_path": "ImageFolder", "init_args": options}}
        config |= {"decoder": {"class_path": "GatedPixelCNN", "init_args": decoder}, "class_conditional": conditional}
        torch.manual_seed(0)
        model = build(config, ImageFolder(**options).spec)
        for parameter in model.parameters():
            parameter.data.mul_(2)
        save_model(root / name / "best", model, config, Progress(step=7))
    return root


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(table, name="nats"):
    return np.array([float(row[name]) for row in table])


def test_without_files_the_table_is_of_the_whole_data_set(run, tmp_path, capsys):
    cli.main(["encode", str(run / "plain/best"), "--out", str(tmp_path / "t.csv")])
    table = rows(tmp_path / "t.csv")
    assert list(table[0]) == ["path", "split", "class", "nats", "bits_per_dim", "kl", "h_0", "h_1", "h_2"]
    assert {row["path"]: (row["split"], row["class"]) for row in table} == {
        f"{folder}/{kind}/{i}.png": (split, kind)
        for folder, split, n in (("train", "train", 10), ("val", "validation", 3), ("test", "test", 3))
        for kind in COLOURS
        for i in range(n)
    }
    assert str(tmp_path / "t.csv") in capsys.readouterr().out


def test_a_split_is_that_split_and_its_values_are_the_model_s(run, tmp_path):
    every = command.main(run / "plain/best", out=tmp_path / "all.csv")
    found = command.main(run / "plain/best", split="validation", out=tmp_path / "t.csv")
    assert set(found.split) == {"validation"}
    np.testing.assert_allclose(found.nats, every.nats[every.split == "validation"], rtol=1e-5)
    data = ImageFolder(run / "data", size=8, levels=4, cache=False)
    own = encode(load(run / "plain/best"), data.validation)
    np.testing.assert_allclose(found.nats, own.nats, rtol=1e-5)
    assert own.label.tolist() == found.label.tolist()


def test_the_seed_decides_about_the_draws(run, tmp_path):
    first, again, other = (
        command.main(run / "plain/best", split="test", seed=seed, out=tmp_path / "t.csv") for seed in (0, 0, 1)
    )
    assert first.nats.tolist() == again.nats.tolist()
    assert (first.nats != other.nats).all()
    assert first.h.tolist() == other.h.tolist(), "means are no draws"


def test_samples_tighten_the_bound(run, tmp_path):
    elbo = command.main(run / "plain/best", out=tmp_path / "t.csv")
    weighted = command.main(run / "plain/best", num_samples=64, out=tmp_path / "t.csv")
    assert weighted.nats.mean() < elbo.nats.mean()


def test_files_of_the_data_set_have_their_split_and_class_and_new_ones_the_class_of_their_folder(run, tmp_path):
    paint(tmp_path / "new/pictures/green.jpg", "red", 99)
    out = tmp_path / "t.csv"
    inside = [run / "data/test/blue/1.png", run / "data/train/red"]
    cli.main(["encode", str(run / "plain/best"), *map(str, inside), "--out", str(out), str(tmp_path / "new")])
    found = [(row["path"], row["split"], row["class"]) for row in rows(out)]
    assert found[0] == (str(inside[0]), "test", "blue")
    assert {row[1:] for row in found[1:-1]} == {("train", "red")}
    assert found[-1] == (str(tmp_path / "new/pictures/green.jpg"), "", "pictures")
    whole = command.main(run / "plain/best", split="train", out=out)
    np.testing.assert_allclose(numbers(rows(out))[10:], whole.nats[10:], rtol=1e-5)


def test_the_split_of_given_files_is_a_filter(run, tmp_path):
    found = command.main(run / "plain/best", [run / "data"], split="test", out=tmp_path / "t.csv")
    assert set(found.split) == {"test"}
    assert len(found) == 6
    with pytest.raises(ValueError, match="split=test: none of the 10 files is in it"):
        command.main(run / "plain/best", [run / "data/train/red"], split="test", out=tmp_path / "t.csv")


def test_a_class_conditional_model_is_given_the_class_that_is_asked_for(run, tmp_path):
    paint(tmp_path / "new/a.png", "red", 5)
    files, best, out = [tmp_path / "new/a.png"], run / "conditional/best", tmp_path / "t.csv"
    by_name, by_number, other = (command.main(best, files, label=label, out=out) for label in ("red", "1", "blue"))
    assert by_name.nats.tolist() == by_number.nats.tolist() != other.nats.tolist()
    assert by_number.label.tolist() == ["red"]
    own = encode(load(best), files, labels=torch.tensor([[1]]))
    np.testing.assert_allclose(by_name.nats, own.nats)
    with pytest.raises(ValueError, match="add --label, one of blue, red"):
        command.main(best, files, out=out)
    with pytest.raises(ValueError, match="label=pink; the classes are blue, red"):
        command.main(best, files, label="pink", out=out)
    paint(tmp_path / "red/b.png", "red", 5)
    assert command.main(best, [tmp_path / "red"], out=out).nats.tolist() == by_name.nats.tolist()


def test_pictures_of_any_kind_are_brought_to_what_the_model_knows(tmp_path, capsys):
    """A model of small grey images encodes colour photographs, and the output describes the conversion."""
    config = CONFIG | {"class_conditional": False}
    save_model(tmp_path / "run/best", build(config, small_data().spec), config, Progress(step=1))
    paint(tmp_path / "photo.jpg", "red", 1)
    found = command.main(tmp_path / "run/best", [tmp_path / "photo.jpg"])
    assert np.isfinite(found.nats).all()
    said = capsys.readouterr().out
    assert "made grey, brought to 8x8 pixels (crop) and drawn as binary pixels" in said
    assert (tmp_path / "run/encodings.csv").is_file()
    whole = command.main(tmp_path / "run/best", split="test")
    assert whole.path.tolist() == [f"test/{i}" for i in range(300)], "examples that are no files have numbers"
    assert set(whole.label) == {str(i) for i in range(10)}


def test_outliers_neighbours_and_clusters_are_drawn(run, tmp_path, monkeypatch):
    drawn, draw = {}, command.contact_sheet

    def recorded(sections, **options):
        drawn[options["title"]] = sections
        return draw(sections, **options)

    monkeypatch.setattr(command, "contact_sheet", recorded)
    query = run / "data/train/blue/4.png"
    found = command.main(run / "plain/best", out=tmp_path / "t.csv", outliers=5, clusters=2, neighbours=query)
    for name in ("outliers", "neighbours", "clusters"):
        assert imread(tmp_path / f"t_{name}.png").ndim == 3
    worst, nearest, clusters = drawn.values()
    order = np.argsort(-found.nats)[:5]
    assert [lines[0] for lines in worst[0].lines] == found.path[order].tolist()
    assert [lines[1] for lines in worst[0].lines] == [f"{nats:,.1f} nats" for nats in found.nats[order]]
    names = [lines[0] for lines in nearest[0].lines]
    assert nearest[0].framed == 1
    assert names[0] == "train/blue/4.png", "as short as those beside it"
    assert "train/blue/4.png" not in names[1:], "a file is no neighbour of itself"
    points = found.h / found.scale
    own = found.path.tolist().index("train/blue/4.png")
    distances = np.linalg.norm(points - points[own], axis=1)
    assert names[1:] == found.path[np.argsort(distances, kind="stable")[1:16]].tolist()
    assert [len(section.x) for section in clusters] == [min(8, int((found.cluster == i).sum())) for i in range(2)]
    assert [row["cluster"] for row in rows(tmp_path / "t.csv")] == [str(cluster) for cluster in found.cluster]


def test_heat_maps_show_the_bits_of_every_pixel(run, checkpoints, tmp_path, monkeypatch):
    """From the fewest nats to the most; with labels, and without latents."""
    drawn, draw = [], command.draw_heat_maps

    def recorded(x, bits, **options):
        drawn.append((x, bits, options))
        return draw(x, bits, **options)

    monkeypatch.setattr(command, "draw_heat_maps", recorded)
    for checkpoint in (run / "plain/best", checkpoints / "plain/best", checkpoints / "vae/best"):
        found = command.main(checkpoint, split="test", out=tmp_path / "t.csv", heat_maps=4)
        assert imread(tmp_path / "t_heat_maps.png").ndim == 3
        x, bits, options = drawn.pop()
        assert len(x) == len(bits) == len(options["labels"]) == 4
        model, rows = load(checkpoint), np.argsort(found.nats, kind="stable")[[0, -1]]
        if not model.has_latents:  # the two ends of the ranking, in nats
            ends = bits.flatten(1).sum(1)[[0, -1]].double().numpy() * np.log(2)
            np.testing.assert_allclose(ends, found.nats[rows], rtol=1e-4)
        assert ("KL" in options["caption"]) == model.has_latents


def test_files_that_cannot_be_read_are_all_named_or_left_out(run, tmp_path):
    paint(tmp_path / "some/good.png", "red", 1)
    for name in ("bad.png", "worse.jpg"):
        (tmp_path / "some" / name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"(?s)2 of 3 files cannot be read.*on_error: skip.*bad\.png.*worse\.jpg"):
        command.main(run / "plain/best", [tmp_path / "some"], out=tmp_path / "t.csv")
    found = command.main(run / "plain/best", [tmp_path / "some"], out=tmp_path / "t.csv", on_error="skip")
    assert found.path.tolist() == [str(tmp_path / "some/good.png")]


def test_sounds_have_their_table_too(tmp_path):
    root = speech.write_digits(tmp_path / "digits")
    config = speech.config(root, class_conditional=False)
    save_model(tmp_path / "run/best", speech.model(config, root), config, Progress(step=1))
    files = [root / "recordings/0_ann_0.wav", root / "recordings/7_bob_11.wav"]
    found = command.main(tmp_path / "run/best", files, outliers=2, neighbours=files[0])
    assert found.label.tolist() == ["0, ann", "7, bob"]
    assert found.split.tolist() == ["test", "train"]
    assert (tmp_path / "run/encodings_outliers.png").is_file()
    whole = command.main(tmp_path / "run/best", split="test")
    assert "recordings/0_ann_0.wav" in whole.path.tolist()
    np.testing.assert_allclose(
        whole.nats[whole.path.tolist().index("recordings/0_ann_0.wav")], found.nats[0], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "t.txt"}, r"a table ends in \.csv"),
        ({"outliers": -1}, "outliers=-1.*wanted 0 or more"),
        ({"heat_maps": -1}, "heat_maps=-1.*wanted 0 or more"),
        ({"label": "red", "files": ["data"]}, "label=red, but this model is not class-conditional"),
        ({"files": ["nowhere"]}, "nowhere: no such file or folder"),
    ],
)
def test_mistakes_are_named_before_any_work(run, tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(command, "encode_files", lambda *_, **__: pytest.fail("work was done"))
    options = {"out": "t.csv"} | options
    options |= {"out": tmp_path / options["out"], "files": [run / name for name in options.get("files", [])]}
    with pytest.raises(ValueError, match=message):
        command.main(run / "plain/best", **options)


def test_a_model_without_latents_has_nats_only(run, tmp_path, checkpoints):
    found = command.main(checkpoints / "plain/best", split="test", outliers=3, out=tmp_path / "t.csv")
    assert list(rows(tmp_path / "t.csv")[0]) == ["path", "split", "class", "nats", "bits_per_dim", "kl"]
    assert not found.kl.any()
    for options in ({"clusters": 2}, {"neighbours": run / "data/test/red/0.png"}):
        with pytest.raises(ValueError, match="no latents, which neighbours and clusters need"):
            command.main(checkpoints / "plain/best", out=tmp_path / "t.csv", **options)
