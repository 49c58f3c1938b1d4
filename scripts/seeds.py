"""Several seeds of some configurations: ``python scripts/seeds.py "[mnist5k/pixelvae, mnist5k/gated_pixelcnn]"``.

The spread between trainings is what one run does not show. Differences are paired: of the same test images, and of runs
with the same seed.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml

from pixelvae.commands.cli import run_script
from pixelvae.commands.configs import find_config
from pixelvae.commands.evaluate import main as evaluate
from pixelvae.commands.train import run_to_end
from pixelvae.evaluation.per_image import PerImage, paired_difference, read_per_image, tightest_common
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_json

KEPT = ("elbo_nats", "elbo_stderr_nats", "nll_iwae_nats", "nll_iwae_stderr_nats", "kl_nats", "bits_per_dim",
        "train_elbo_nats", "train_elbo_stderr_nats", "num_importance_samples", "num_parameters", "images_seen",
        "train_seconds")  # fmt: skip
"""Metrics of a run that its row holds, where they are measured."""


def main(
    configs: list[Path],
    seeds: tuple[int, ...] = (0, 1, 2),
    out: Path = Path("runs/seeds/seeds.json"),
    runs: Path = Path("runs/seeds"),
    num_samples: int = 64,
    train_elbo: int = 500,
    device: str = "auto",
) -> None:
    """Train every configuration with every seed, evaluate all on the test split, and write one table.

    The same command resumes what was interrupted; finished runs are kept. The data, their splits and the draws of
    their test pixels have the seed of the configuration in every run; the seed of the run sets initial weights, order
    and noise.

    Args:
        configs: Configurations of pixelvae train by their names or files, all on the same data.
        seeds: Seeds of the runs.
        out: Output file. Its differences are of neighbouring configurations, the first minus the second, of the
            tightest common bound on log p(x), in nats; positive if the first is better.
        runs: Folder for checkpoints and evaluations, RUNS/NAME/seed_N.
        num_samples: Draws of h per image for the importance-weighted bound; 0 omits that bound.
        train_elbo: Images of the train split, spread over it, whose ELBO is measured too.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.

    Raises:
        ValueError: If there are fewer than two seeds.
    """
    if len(set(seeds)) < 2:
        raise ValueError(f"seeds={list(seeds)}; wanted at least two, for the spread between trainings")
    paths = [find_config(config) for config in configs]
    rows, bounds = [], {}
    for path in paths:
        for seed in seeds:
            folder = runs / path.stem / f"seed_{seed}"
            steps = int(yaml.safe_load(path.read_text())["train"]["steps"])
            run_to_end(path, folder, steps, device, f"--seed={seed}")
            metrics = evaluate(folder, folder, num_samples, train_elbo=train_elbo, device=device)
            rows.append({"model": path.stem, "seed": seed, **{name: metrics[name] for name in KEPT if name in metrics}})
            bounds[path.stem, seed] = read_per_image(folder)
    result: dict[str, Any] = {"rows": rows, "models": [summary(path.stem, rows) for path in paths]}
    result["differences"] = [difference(a.stem, b.stem, seeds, bounds) for a, b in pairwise(paths)]
    write_json(out, {**result, "command": command_line(), "environment": environment()})
    print(f"Written to {out}")


def summary(model: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of a model's bounds over its seeds, and the standard deviation between them."""
    own = [row for row in rows if row["model"] == model]
    found: dict[str, Any] = {"model": model, "num_seeds": len(own)}
    for name in ("elbo_nats", "nll_iwae_nats", "kl_nats"):
        if name in own[0]:
            found |= dict(zip((name, f"{name}_std_of_seeds"), spread([row[name] for row in own]), strict=True))
    return found


def difference(
    first: str, second: str, seeds: tuple[int, ...], bounds: dict[tuple[str, int], dict[str, PerImage]]
) -> dict[str, Any]:
    """Paired differences of two models for every seed, their mean, and its standard error over the seeds."""
    pairs = [(bounds[first, seed], bounds[second, seed]) for seed in seeds]
    name = tightest_common(*pairs[0])
    found = [paired_difference(a[name], b[name]) for a, b in pairs]
    mean, std = spread([pair.mean for pair in found])
    return {
        "first": first,
        "second": second,
        "bound": name,
        "by_seed_nats": [pair.mean for pair in found],
        "by_seed_stderr_nats": [pair.stderr for pair in found],
        "mean_nats": mean,
        "stderr_of_seeds_nats": std / math.sqrt(len(found)),
    }


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation."""
    found = torch.tensor(values, dtype=torch.float64)
    return float(found.mean()), float(found.std())


if __name__ == "__main__":
    run_script(main)
