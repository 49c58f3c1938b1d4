"""Every flag has an effect: tensors and values change, not only the recorded settings."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from pictures import written
from pixelvae import Digits
from pixelvae.checkpoint import load
from pixelvae.commands import complete, compress, evaluate, interpolate, latents, reconstruct, sample
from pixelvae.compression.archive import decompress
from pixelvae.data import BatchKey
from pixelvae.data.splits import spread, spread_over_classes
from pixelvae.decoders.base import Decoder
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import evaluate_bound

DATA = Digits(levels=2)
SPLITS = ("train", "validation", "test")


@pytest.fixture
def model(checkpoints):
    return checkpoints / "vae/best"


@pytest.fixture
def drawn(model, tmp_path):
    """A function: the tensors that a command writes, in a folder of its own."""
    count = [0]

    def draw(command, name, **options):
        count[0] += 1
        folder = tmp_path / str(count[0])
        command.main(model, out=folder, device="cpu", **options)
        return written(folder, name)[0]

    return draw


def of_split(split, num):
    examples = getattr(DATA, split)
    return examples[BatchKey(spread_over_classes(examples, num), epoch=0)][0]


@pytest.fixture
def kinds(monkeypatch):
    """The kinds of stepper that decoders are asked for."""
    seen, choose = [], Decoder.choose
    monkeypatch.setattr(Decoder, "choose", lambda self, kind: seen.append(kind) or choose(self, kind))
    return seen


DRAWING = {
    "samples": (sample, {"num_samples": 3}),
    "reconstructions": (reconstruct, {"num_images": 3, "num_draws": 2}),
    "interpolations": (interpolate, {"num_rows": 3, "steps": 3}),
    "completions": (complete, {"num_images": 3, "num_draws": 2, "rounds": 2}),
}
RESULT = {"samples": "x", "reconstructions": "draws", "interpolations": "x", "completions": "draws"}


@pytest.mark.parametrize("name", DRAWING)
def test_the_seed_decides_about_what_is_drawn_alone(drawn, name):
    command, options = DRAWING[name]
    first, again, other = (drawn(command, name, seed=seed, **options) for seed in (1, 1, 2))
    assert torch.equal(first[RESULT[name]], again[RESULT[name]])
    assert not torch.equal(first[RESULT[name]], other[RESULT[name]])
    if name in ("reconstructions", "completions"):
        assert torch.equal(first["x"], other["x"])


@pytest.mark.parametrize("name", ["samples", "reconstructions", "interpolations"])
def test_the_temperature_is_that_of_the_draws(drawn, name):
    """At 0 all draws of one h and label are equal."""
    command, options = DRAWING[name]
    cold, warm = (drawn(command, name, temperature=temperature, **options) for temperature in (0.0, 1.0))
    assert not torch.equal(cold[RESULT[name]], warm[RESULT[name]])
    if name == "reconstructions":
        assert torch.equal(cold["draws"][0], cold["draws"][1])


@pytest.mark.parametrize("name", DRAWING)
def test_the_stepper_is_the_one_that_is_asked_for(drawn, kinds, name):
    command, options = DRAWING[name]
    drawn(command, name, stepper="eager", **options)
    assert set(kinds) == {"eager"}


def test_a_label_is_that_of_the_samples(drawn):
    tensors = drawn(sample, "samples", label=7, num_samples=4)
    every = drawn(sample, "samples", num_samples=4)
    assert tensors["y"].tolist() == [[7]] * 4
    assert every["y"][:, 0].unique().tolist() == list(range(10))


@pytest.mark.parametrize("split", SPLITS)
def test_the_split_is_that_of_the_originals(drawn, split):
    for name in ("reconstructions", "completions"):
        command, options = DRAWING[name]
        assert torch.equal(drawn(command, name, split=split, **options)["x"].long(), of_split(split, 3))
    starts = drawn(interpolate, "interpolations", split=split, num_rows=3, steps=2)["start"]
    assert torch.equal(starts.long(), of_split(split, 3))


def test_the_data_take_the_place_of_the_training_data(drawn):
    other = partial(Digits, levels=2, seed=5)
    x = drawn(reconstruct, "reconstructions", num_images=3, num_draws=1, data=other)["x"].long()
    test = other().test
    assert torch.equal(x, test[BatchKey(spread_over_classes(test, 3), epoch=0)][0])
    assert not torch.equal(x, of_split("test", 3))


def test_the_path_is_linear_or_spherical(drawn, monkeypatch):
    seen = []
    for name in ("linear_path", "spherical_path"):
        path = getattr(interpolate, name)
        monkeypatch.setattr(interpolate, name, lambda *ends, _name=name, _path=path: seen.append(_name) or _path(*ends))
    for path in ("linear", "spherical"):
        drawn(interpolate, "interpolations", path=path, num_rows=2, steps=3)
    assert seen == ["linear_path", "spherical_path"]


def test_latents_of_classes_are_of_the_seed(drawn):
    first, other = (
        drawn(interpolate, "interpolations_classes", between="classes", num_rows=2, seed=seed)["h"] for seed in (1, 2)
    )
    assert not torch.equal(first, other)


def test_so_many_rows_are_kept_and_so_many_rounds_drawn(drawn):
    for keep, rows in ((0.0, 0), (0.25, 2), (0.75, 6)):
        known = drawn(complete, "completions", keep=keep, num_images=1, num_draws=1)["known"]
        assert known[0, :, 0].tolist() == [row < rows for row in range(8)]
    one, four = (drawn(complete, "completions", num_images=4, rounds=rounds)["draws"] for rounds in (1, 4))
    assert not torch.equal(one, four)


def test_latents_are_of_the_split_and_their_draws_of_the_seed(model, tmp_path, monkeypatch):
    def numbers(look):
        return {}, {"x": look.points.x, "h": look.points.means, "scale": look.points.scale}, {"drawn with": look.seed}

    monkeypatch.setattr(latents, "pictures", numbers)  # the pictures themselves are slow
    found = {}
    for split, seed in (("validation", 0), ("test", 0), ("test", 1)):
        folder = tmp_path / f"{split}{seed}"
        options = {"num_images": 20, "split": split, "seed": seed, "device": "cpu"}
        assert latents.main(model, out=folder, log_dir=folder, **options)["drawn with"] == seed
        found[split, seed] = load_file(folder / "latents.safetensors")
    for (split, _), tensors in found.items():
        examples = getattr(DATA, split)
        assert torch.equal(tensors["x"], examples[BatchKey(spread(len(examples), 20), epoch=0)][0])
    assert torch.equal(found["test", 0]["h"], found["test", 1]["h"])
    assert not torch.equal(found["test", 0]["scale"], found["test", 1]["scale"])


def measured(model, tmp_path, **options):
    return evaluate.main(model, out=tmp_path, log_dir=tmp_path, device="cpu", **{"num_samples": 0} | options)


@pytest.mark.parametrize("split", SPLITS)
def test_the_split_is_the_one_that_is_evaluated(model, tmp_path, split):
    found = measured(model, tmp_path, split=split)
    bounds = evaluate_bound(load(model), getattr(DATA, split), seed=0, world=World(torch.device("cpu")))
    assert found["num_test_images"] == len(getattr(DATA, split))
    assert found["elbo_nats"] == bounds.elbo


def test_samples_images_and_seed_are_those_of_the_bounds(model, tmp_path):
    few = measured(model, tmp_path, num_samples=2, iwae_images=20)
    many = measured(model, tmp_path, num_samples=30, iwae_images=20)
    other = measured(model, tmp_path, num_samples=2, iwae_images=20, seed=1)
    assert [m["num_importance_samples"] for m in (few, many, other)] == [2, 30, 2]
    assert few["num_iwae_images"] == 20
    assert many["nll_iwae_nats"] < few["nll_iwae_nats"]
    assert few["elbo_nats"] == many["elbo_nats"] != other["elbo_nats"]
    assert few["nll_iwae_nats"] != other["nll_iwae_nats"]
    assert few["nll_iwae_nats"] != -few["elbo_nats"]


def test_the_bound_on_train_is_of_so_many_training_images(model, tmp_path):
    found = measured(model, tmp_path, train_elbo=30)
    bounds = evaluate_bound(load(model), DATA.train, seed=0, world=World(torch.device("cpu")), max_images=30)
    assert (found["num_train_elbo_images"], found["train_elbo_nats"]) == (30, bounds.elbo)


def test_probes_and_agreement_are_of_so_many_images(model, tmp_path, monkeypatch):
    asked = {}

    class Probed:
        def metrics(self, suffix=""):
            return {}

    monkeypatch.setattr(evaluate, "probe_latents", lambda *_, max_images, **__: asked.update(h=max_images) or Probed())
    monkeypatch.setattr(evaluate, "pixel_probe_metrics", lambda *_, max_images, **__: asked.update(x=max_images) or {})
    monkeypatch.setattr(evaluate, "agreement_metrics", lambda *_, max_images, **__: asked.update(a=max_images) or {})
    measured(model, tmp_path, latents=True, probe_images=123, agreement_images=45)
    assert asked == {"h": 123, "x": 123, "a": 45}


@pytest.mark.parametrize("split", SPLITS)
def test_the_split_is_the_one_that_is_compressed(model, tmp_path, split):
    compress.main(model, out=tmp_path / "a.pxv", split=split, num_examples=3, others=False)
    decoded, examples = decompress(load(model), (tmp_path / "a.pxv").read_bytes()), getattr(DATA, split)
    assert torch.equal(decoded.x, examples[BatchKey(spread(len(examples), 3), epoch=0)][0])
