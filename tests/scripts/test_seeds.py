"""Several seeds of a configuration: what the table holds, and that it is of the runs."""

import json
import statistics

import pytest
import yaml

from load_script import load_script
from pixelvae.evaluation.per_image import paired_difference, read_per_image
from small_runs import CONFIG

seeds = load_script("seeds")


def written(path, **changes):
    """A configuration of two steps, as a file."""
    train = {"steps": 2, "batch_size": 8, "lr_warmup_steps": 0, "compile": "never", "precision": "float32"}
    train["validation_images"] = 20
    path.write_text(yaml.safe_dump(CONFIG | {"train": train, "out": "runs/none"} | changes))
    return path


def test_the_table_holds_every_seed_and_the_paired_differences(tmp_path):
    without = {"encoder": None, "prior": None, "latent_dim": 0}
    configs = [written(tmp_path / "with.yaml"), written(tmp_path / "without.yaml", **without)]
    options = {"seeds": (3, 5), "out": tmp_path / "seeds.json", "runs": tmp_path / "runs", "num_samples": 2}
    seeds.main(configs, **options, train_elbo=20, device="cpu")
    table = json.loads((tmp_path / "seeds.json").read_text())
    assert [(row["model"], row["seed"]) for row in table["rows"]] == [
        ("with", 3), ("with", 5), ("without", 3), ("without", 5),
    ]  # fmt: skip
    bounds = [row["nll_iwae_nats"] for row in table["rows"][:2]]
    assert bounds[0] != bounds[1], "another seed is another run"
    assert table["models"][0]["nll_iwae_nats"] == pytest.approx(statistics.mean(bounds))
    assert table["models"][0]["nll_iwae_nats_std_of_seeds"] == pytest.approx(statistics.stdev(bounds))
    assert all(row["train_elbo_stderr_nats"] > 0 for row in table["rows"])
    found = table["differences"][0]
    pairs = [
        [
            read_per_image(tmp_path / "runs" / name / f"seed_{seed}")["importance_weighted"]
            for name in ("with", "without")
        ]
        for seed in (3, 5)
    ]
    expected = [paired_difference(*pair).mean for pair in pairs]
    assert (found["first"], found["second"], found["bound"]) == ("with", "without", "importance_weighted")
    assert found["by_seed_nats"] == pytest.approx(expected)
    assert found["mean_nats"] == pytest.approx(statistics.mean(expected))
    assert found["stderr_of_seeds_nats"] == pytest.approx(statistics.stdev(expected) / 2**0.5)

    stamp = (tmp_path / "runs/with/seed_3/last").stat().st_mtime_ns
    seeds.main(configs, **options, train_elbo=20, device="cpu")
    assert (tmp_path / "runs/with/seed_3/last").stat().st_mtime_ns == stamp, "a finished run is kept"


def test_one_seed_has_no_spread(tmp_path):
    with pytest.raises(ValueError, match=r"seeds=\[0\]; wanted at least two, for the spread between trainings"):
        seeds.main([tmp_path / "none.yaml"], seeds=(0,))
