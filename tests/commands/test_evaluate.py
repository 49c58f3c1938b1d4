"""Evaluation, from the command line to metrics.json, on a tiny model."""

import json
import math

import jsonargparse
import pytest
import torch

import speech
from hparams import row
from pixelvae.checkpoint import Progress, load, save_model
from pixelvae.commands import cli, evaluate
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import evaluate_bound
from pixelvae.evaluation.per_image import read_per_image
from pixelvae.reporting.events import read_events
from small_runs import CONFIG, small_data, small_model

WITHOUT_LATENTS = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
FLOW = CONFIG | {"prior": {"class_path": "FlowPrior", "init_args": {"num_transforms": 1, "hidden_channels": [8]}}}


def run(folder, *options, config=CONFIG):
    save_model(folder / "best", small_model(config), config, Progress(step=1))
    arguments = [str(folder / "best"), "--num_samples=0", *options]
    return jsonargparse.auto_cli(evaluate.main, args=arguments)


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, FLOW], ids=["normal", "flow"])
def test_latents_are_measured_on_request_in_nats_and_shares(tmp_path, config, capsys):
    metrics = run(tmp_path, "--latents=true", "--probe_images=300", "--agreement_images=30", config=config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["rate_nats"] == metrics["kl_nats"]
    assert metrics["rate_nats"] + metrics["distortion_nats"] == pytest.approx(-metrics["elbo_nats"])
    assert metrics["mutual_information_nats"] <= metrics["mutual_information_cap_nats"] == math.log(300)
    assert metrics["marginal_kl_at_most_nats"] + metrics["mutual_information_nats"] == pytest.approx(
        metrics["rate_nats"]
    )
    assert len(metrics["information_per_dim_nats"]) == 3
    for name in ("linear_probe_accuracy", "knn_accuracy"):
        for suffix in ("", "_pixels", "_pca"):
            assert 0.1 <= metrics[f"{name}{suffix}"] <= 1
    assert {"knn_accuracy_whitened", "linear_probe_c_at_edge", "knn_k_whitened_pca"} <= set(metrics)
    assert metrics["num_probe_train_images"] == 300
    assert 0 <= metrics["reconstruction_agreement"] < metrics["original_agreement"] <= 1
    assert metrics["classifier_accuracy"] > 0.7  # of binary pixels, drawn from 8x8 digits
    assert metrics["num_agreement_images"] == 30
    assert "Probes of pixels" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "folder"), [((), "."), (("--out={0}/out", "--log_dir={0}/board"), "board")])
def test_metrics_are_in_tensorboard(tmp_path, options, folder):
    metrics = run(tmp_path, *(option.format(tmp_path) for option in options), "--split=validation")
    assert not read_events(tmp_path / folder).curves, "a number alone is no curve"
    columns, _ = row(tmp_path / folder)
    assert columns["validation/elbo_nats"] == pytest.approx(metrics["elbo_nats"], rel=1e-6)
    assert columns["validation/active_units"] == metrics["active_units"]


@pytest.fixture
def sounds(tmp_path):
    """A run on a folder of sounds that moved after training, and its new place."""
    root = speech.write_digits(tmp_path / "digits")
    config = speech.config(root)
    save_model(tmp_path / "run/best", speech.model(config, root), config, Progress(step=1))
    return tmp_path / "run", root.rename(tmp_path / "moved")


def test_data_that_moved_are_named_by_an_option(sounds, monkeypatch, capsys):
    folder, root = sounds
    cli.main(["evaluate", str(folder), "--num_samples=0", f"--data.root={root}"])
    assert f"{folder} is a run; taking {folder}/best" in capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["num_test_images"] == len(speech.data(root).test)


def test_other_data_are_evaluated_into_a_folder_of_their_own(tmp_path, checkpoints, capsys):
    """Options that are not given are those of the training data; the numbers of the run itself stay."""
    config = CONFIG | {"data": {"class_path": "ImageFolder", "init_args": {"root": "gone", "size": 8, "levels": 2}}}
    save_model(tmp_path / "run/best", small_model(CONFIG), config, Progress(step=1))
    cli.main(["evaluate", str(tmp_path / "run/best"), "--num-samples=0", "--data", "Digits"])
    other = json.loads((tmp_path / "run/Digits/metrics.json").read_text())
    assert not (tmp_path / "run/metrics.json").exists()
    assert not list((tmp_path / "run").glob("events*"))
    cli.main(["evaluate", str(checkpoints / "vae"), "--num-samples=0", f"--out={tmp_path}/own"])
    assert other["num_test_images"] == json.loads((tmp_path / "own/metrics.json").read_text())["num_test_images"]


def test_without_the_request_nothing_is_probed(tmp_path):
    assert not any("probe" in name or "mutual" in name for name in run(tmp_path))


def test_what_cannot_be_measured_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "measure_bounds", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(ValueError, match="no latents; leave --latents out"):
        run(tmp_path, "--latents=true", config=WITHOUT_LATENTS)
    with pytest.raises(ValueError, match="split='train' would bias"):
        run(tmp_path, "--latents=true", "--split=train")
    with pytest.raises(ValueError, match="probe_images=5; wanted at least 100"):
        run(tmp_path, "--latents=true", "--probe_images=5")
    with pytest.raises(ValueError, match="iwae_images=-1; wanted a whole number of at least 1"):
        run(tmp_path, "--iwae_images=-1")
    with pytest.raises(ValueError, match="agreement_images=-1; wanted 0 or more"):
        run(tmp_path, "--latents=true", "--agreement_images=-1")
    with pytest.raises(ValueError, match="probe_draws=0; wanted a whole number of at least 1"):
        run(tmp_path, "--latents=true", "--probe_draws=0")
    data = small_data()
    data.train.spec = data.spec._replace(num_classes=())
    monkeypatch.setattr(evaluate, "open_data", lambda *_: data)
    with pytest.raises(ValueError, match="needs labels"):
        run(tmp_path, "--latents=true")


def test_latents_of_sounds_are_measured_too(tmp_path):
    root = speech.write_digits(tmp_path / "digits", takes=16)
    config = speech.config(root, latents=True)
    save_model(tmp_path / "run/best", speech.model(config, root), config, Progress(step=1))
    arguments = [str(tmp_path / "run/best"), "--num_samples=0", "--latents=true"]
    metrics = jsonargparse.auto_cli(evaluate.main, args=arguments)
    assert 0 <= metrics["linear_probe_accuracy"] <= 1
    assert "reconstruction_agreement" not in metrics  # the classifier is one of images


def test_bounds_of_single_images_stand_beside_their_means(tmp_path):
    metrics = run(tmp_path, "--num_samples=2", "--iwae_images=20", "--train_elbo=50")
    rows = read_per_image(tmp_path)
    assert float(rows["elbo"].nats.mean()) == pytest.approx(metrics["elbo_nats"])
    assert -float(rows["importance_weighted"].nats.mean()) == pytest.approx(metrics["nll_iwae_nats"])
    assert (len(rows["elbo"].nats), len(rows["importance_weighted"].nats)) == (300, 20)
    error = float(rows["elbo"].nats.std()) / 300**0.5
    assert metrics["elbo_stderr_nats"] == pytest.approx(error, rel=1e-5)
    assert metrics["bits_per_dim_stderr"] == pytest.approx(error / (64 * math.log(2)), rel=1e-5)
    train = small_data().train
    world = World(torch.device("cpu"))
    expected = evaluate_bound(load(tmp_path), train, seed=0, world=world, max_images=50)
    assert metrics["train_elbo_nats"] == pytest.approx(expected.elbo)
    assert metrics["num_train_elbo_images"] == 50


def test_a_difference_to_another_evaluation_is_paired(tmp_path, monkeypatch):
    first = run(tmp_path / "a")
    other = run(tmp_path / "b", f"--against={tmp_path}/a", config=WITHOUT_LATENTS)
    a, b = (read_per_image(tmp_path / name)["elbo"].nats for name in "ab")
    assert other["difference_nats"] == pytest.approx(other["elbo_nats"] - first["elbo_nats"])
    assert other["difference_stderr_nats"] == pytest.approx(float((b - a).std()) / 300**0.5)
    monkeypatch.setattr(evaluate, "measure_bounds", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=r"against=.*different positions"):
        run(tmp_path / "c", f"--against={tmp_path}/a", "--split=validation")
    with pytest.raises(ValueError, match="does not exist; pixelvae evaluate writes it"):
        run(tmp_path / "c", f"--against={tmp_path}/none")
    with pytest.raises(ValueError, match="train_elbo=-1; wanted a whole number of at least 0"):
        run(tmp_path / "c", "--train_elbo=-1")
