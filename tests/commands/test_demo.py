"""The demo on a tiny configuration."""

import json

import yaml

from pixelvae.checkpoint import load_progress
from pixelvae.commands import demo
from small_runs import CONFIG


def test_it_trains_evaluates_draws_and_publishes(tmp_path, monkeypatch, capsys):
    train = {"batch_size": 4, "compile": "never", "validate_every": 2, "validation_images": 50, "steps": 2}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(CONFIG | {"train": train, "objective": {}, "out": "o"}))
    monkeypatch.setattr(demo, "CONFIG", tmp_path / "small.yaml")
    for _ in range(2):  # the second time the run is there
        demo.main(tmp_path / "run", num_samples=2, publish=tmp_path / "published")
    assert load_progress(tmp_path / "run/last").step == 2
    names = {path.name for path in (tmp_path / "published").iterdir()}
    assert names >= {"metrics.json", "per_image.safetensors", "config.yaml", "environment.txt"}
    assert names >= {"samples.png", "completions.png"}
    metrics = json.loads((tmp_path / "published/metrics.json").read_text())
    assert metrics["num_importance_samples"] == 2
    assert metrics["train_elbo_stderr_nats"] > 0
    assert f"{-metrics['elbo_nats']:.2f}" in capsys.readouterr().out
