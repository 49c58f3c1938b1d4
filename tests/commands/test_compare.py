"""Comparison of two tiny configurations."""

import json

import jsonargparse
import pytest
import yaml
from matplotlib.image import imread

from pixelvae.checkpoint import load_progress
from pixelvae.commands import compare, train
from pixelvae.evaluation.per_image import paired_difference, read_per_image
from small_runs import CONFIG

WITHOUT = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
TRAIN = {"batch_size": 4, "compile": "never", "validate_every": 2, "validation_images": 50}


@pytest.fixture
def configs(tmp_path):
    paths = []
    for name, config in {"vae": CONFIG, "plain": WITHOUT}.items():
        paths.append(tmp_path / f"{name}.yaml")
        whole = {"train": TRAIN, "objective": {}, "out": "overridden", "seed": 0}
        paths[-1].write_text(yaml.safe_dump(config | whole))
    return paths


def run(configs, folder, *options):
    arguments = [json.dumps([str(path) for path in configs]), f"--out={folder}/out", f"--runs={folder}/runs"]
    return jsonargparse.auto_cli(compare.main, args=[*arguments, "--num_samples=2", *options])


def test_equal_steps_give_one_table_and_one_figure(configs, tmp_path):
    vae, plain = run(configs, tmp_path, "--steps=4")
    assert [step for step, _ in vae.curve] == [step for step, _ in plain.curve] == [2, 4]
    assert vae.metrics["images_seen"] == plain.metrics["images_seen"] == 16
    assert plain.metrics["kl_nats"] == 0 < vae.metrics["kl_nats"]
    table = (tmp_path / "out/compare.md").read_text().splitlines()[2:]
    order = sorted((vae, plain), key=lambda member: -member.metrics["elbo_nats"])
    assert [line.split(" | ")[0] for line in table] == [f"| {member.name}" for member in order]
    best, worst = order
    images = [read_per_image(tmp_path / "out" / member.name)["importance_weighted"] for member in order]
    paired = paired_difference(*images)
    assert worst.metrics["difference_nats"] == pytest.approx(-paired.mean)
    assert f" | {paired.mean:.2f} ± {paired.stderr:.2f} | " in table[1]
    assert best.metrics["difference_nats"] == 0
    assert " | — | " in table[0]
    assert imread(tmp_path / "out/compare.png").ndim == 3
    metrics = json.loads((tmp_path / "out/vae/metrics.json").read_text())
    assert metrics["elbo_nats"] == vae.metrics["elbo_nats"]


def test_options_of_the_evaluation_have_their_effect(configs, tmp_path):
    (some,) = run(configs[:1], tmp_path, "--steps=1", "--iwae_images=7")
    assert (some.metrics["num_importance_samples"], some.metrics["num_iwae_images"]) == (2, 7)
    (none,) = run(configs[:1], tmp_path, "--steps=1", "--num_samples=0")
    assert "nll_iwae_nats" not in none.metrics


def test_a_finished_run_is_kept_and_an_unfinished_one_goes_on(configs, tmp_path, monkeypatch):
    once = run(configs[:1], tmp_path, "--steps=4")
    trained, original = [], train.run
    monkeypatch.setattr(train, "run", lambda arguments: (trained.append(arguments), original(arguments)))
    again = run(configs, tmp_path, "--steps=4")
    assert [arguments[1] for arguments in trained] == [str(configs[1])]
    assert again[0].curve == once[0].curve
    assert again[0].metrics["elbo_nats"] == once[0].metrics["elbo_nats"]
    with pytest.raises(ValueError, match="holds a run of 4 steps, wanted 6"):
        run(configs, tmp_path, "--steps=6")


@pytest.mark.slow
def test_equal_time_plans_the_steps_by_a_probe(configs, tmp_path):
    run(configs, tmp_path, "--minutes=0.001")
    plan = json.loads((tmp_path / "runs/plan.json").read_text())
    for name, steps in plan["steps"].items():
        assert load_progress(tmp_path / "runs" / name / "last").step == steps >= 1
    with pytest.raises(ValueError, match=r"minutes=0.002, but .* was made for 0.001"):
        run(configs, tmp_path, "--minutes=0.002")


def test_what_cannot_be_compared_is_refused_before_any_work(configs, tmp_path):
    with pytest.raises(ValueError, match="one of --steps and --minutes"):
        run(configs, tmp_path)
    with pytest.raises(ValueError, match="one of --steps and --minutes"):
        run(configs, tmp_path, "--steps=1", "--minutes=1")
    with pytest.raises(ValueError, match="more than 0"):
        run(configs, tmp_path, "--steps=0")
    with pytest.raises(ValueError, match="neither a file nor a shipped"):
        run([*configs, tmp_path / "none.yaml"], tmp_path, "--steps=1")
    with pytest.raises(ValueError, match="a different file name"):
        run([configs[0], configs[0]], tmp_path, "--steps=1")
    other = yaml.safe_load(configs[1].read_text()) | {"data": {"class_path": "MNIST5k"}}
    configs[1].write_text(yaml.safe_dump(other))
    with pytest.raises(ValueError, match="wanted the same"):
        run(configs, tmp_path, "--steps=1")
    assert not (tmp_path / "runs").exists()
