"""Rate-distortion trade-off of a tiny configuration."""

import json
import os
import signal

import jsonargparse
import pytest
import yaml
from matplotlib.image import imread

from pixelvae.checkpoint import load_config, load_progress
from pixelvae.commands import rate_distortion, train
from small_runs import CONFIG

TRAIN = {"batch_size": 16, "compile": "never", "validate_every": 50, "precision": "float32", "steps": 300}
TRAIN |= {"learning_rate": 5e-3, "lr_warmup_steps": 0, "ema_decay": 0.9, "checkpoint_every": 300}


@pytest.fixture
def config(tmp_path):
    whole = CONFIG | {"class_conditional": False, "train": TRAIN, "objective": {}, "out": "overridden", "seed": 0}
    return written(tmp_path, whole)


def written(folder, whole):
    (folder / "small.yaml").write_text(yaml.safe_dump(whole))
    return folder / "small.yaml"


def run(config, *options):
    folder = config.parent
    arguments = [str(config), f"--out={folder}/runs", f"--results={folder}/results", "--probe_images=400", *options]
    return jsonargparse.auto_cli(rate_distortion.main, args=arguments)


@pytest.mark.slow
def test_a_sweep_gives_numbers_a_table_and_a_figure(config, tmp_path):
    """Equal steps at different rates; every number of the table is there for every rate."""
    points = run(config, "--rates=[4, 1]")
    assert [point.rate for point in points] == [1, 4]
    for rate in ("1", "4"):
        assert load_progress(tmp_path / f"runs/rate_{rate}/last").step == 300
        assert load_config(tmp_path / f"runs/rate_{rate}/last")["objective"]["rate"] == float(rate)
    low, high = (point.metrics for point in points)
    assert low["rate_nats"] < high["rate_nats"]
    assert low["images_seen"] == high["images_seen"] == 4800
    content = json.loads((tmp_path / "results/results.json").read_text())
    assert content["rates"] == {"1": low, "4": high}
    for name in ("elbo_nats", "distortion_nats", "mutual_information_nats", "active_units", "knn_accuracy"):
        assert name in high
    assert 0 < content["beside"]["linear_probe_accuracy_pca"] < content["beside"]["linear_probe_accuracy_pixels"]
    assert content["beside"]["num_probe_train_images"] == 400
    rows = (tmp_path / "results/table.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| 1", "| 4", "| pixels", "| PCA"]
    assert imread(tmp_path / "results/rate_distortion.png").ndim == 3
    assert (tmp_path / "results/config.yaml").read_text() == config.read_text()


def test_what_is_finished_is_kept_and_what_is_not_goes_on(config, tmp_path, monkeypatch):
    once = run(config, "--rates=[2]", "--steps=4")
    trained, evaluated = [], []
    fit, evaluate = train.run, rate_distortion.evaluate
    monkeypatch.setattr(train, "run", lambda arguments: (trained.append(arguments), fit(arguments)))
    monkeypatch.setattr(
        rate_distortion, "evaluate", lambda *given: (evaluated.append(given[0].name), evaluate(*given))[1]
    )
    again = run(config, "--rates=[2, 3]", "--steps=4")
    assert evaluated == ["rate_3"]
    assert [arguments[-1] for arguments in trained] == ["--objective.rate=3"]
    assert again[0] == once[0]
    with pytest.raises(ValueError, match="holds a run of 4 steps, wanted 6"):
        run(config, "--rates=[2]", "--steps=6")
    run(config, "--rates=[2]", "--steps=4", "--seed=1")
    assert evaluated == ["rate_3", "rate_2"]  # with other noise it is another evaluation


def test_a_run_that_was_stopped_is_resumed(config, tmp_path):
    """Half a run, as a killed one leaves it, and the whole of it: the same weights as never stopped."""
    arguments = ["--config", str(config), f"--out={tmp_path}/runs/rate_2", "--train.steps=8", "--objective.rate=2"]
    stop = pytest.MonkeyPatch()
    with stop.context() as patched:
        terminate = lambda *_: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
        patched.setattr(train.TensorBoardObserver, "on_step", terminate)
        with pytest.raises(SystemExit, match="143"):
            train.run(arguments)
    assert load_progress(tmp_path / "runs/rate_2/last").step == 1
    (stopped,) = run(config, "--rates=[2]", "--steps=8")
    whole = tmp_path / "whole"
    whole.mkdir()
    (never,) = run(written(whole, yaml.safe_load(config.read_text())), "--rates=[2]", "--steps=8")
    assert stopped.metrics["elbo_nats"] == never.metrics["elbo_nats"]


def test_what_cannot_be_swept_is_refused_before_any_work(config, tmp_path):
    whole = yaml.safe_load(config.read_text())
    for rates in ("[]", "[2, -1]", "[2, 2]"):
        with pytest.raises(ValueError, match="wanted different numbers of nats"):
            run(config, f"--rates={rates}")
    with pytest.raises(ValueError, match="probe_images=7"):
        run(config, "--probe_images=7")
    with pytest.raises(ValueError, match="neither a file nor a shipped"):
        run(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="wanted a model with latents"):
        run(written(tmp_path, whole | {"encoder": None, "prior": None, "latent_dim": 0}))
    with pytest.raises(ValueError, match="leave them out"):
        run(written(tmp_path, whole | {"objective": {"warmup_steps": 100}}))
    assert not (tmp_path / "runs").exists()
