"""Baselines for the demo, on the same split: ``python scripts/baselines.py``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from pixelvae import MNIST5k
from pixelvae.commands.cli import run_script
from pixelvae.commands.demo import TRAIN_IMAGES
from pixelvae.commands.evaluate import main as evaluate
from pixelvae.commands.train import run_or_resume
from pixelvae.data import BatchKey, DataSet, Split, sequential
from pixelvae.evaluation.bounds import bits_per_dim
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_atomically, write_json

HISTOGRAM_EPOCHS = 20  # dynamic binarisation draws new values in each, so the frequencies approach the grey values


def main(results: Path = Path("results/mnist5k"), runs: Path = Path("runs/mnist5k"), num_samples: int = 128) -> None:
    """Make the three baselines and write their metrics.json; keep finished ones, resume unfinished ones.

    Args:
        results: Folder for NAME/metrics.json, config.yaml and environment.txt.
        runs: Folder for checkpoints.
        num_samples: Draws of h for each image of the importance-weighted bound.
    """
    histogram(MNIST5k(levels=2), results / "histogram")
    for name in ("gated_pixelcnn", "factorised"):
        run_or_resume(Path(f"configs/mnist5k/{name}.yaml"), runs / name)
        evaluate(runs / name / "best", out=results / name, num_samples=num_samples, train_elbo=TRAIN_IMAGES)


def histogram(data: DataSet, out: Path) -> None:
    """log p(x | y) under independent pixels, with frequencies of the training split, and its metrics."""
    spec = data.spec
    counts = torch.ones(spec.num_classes[0], spec.levels, *spec.shape)  # add-one smoothing
    for epoch in tqdm(range(HISTOGRAM_EPOCHS), desc="histogram", unit="epoch"):
        for key in sequential(data.train, 500):
            x, y = data.train[BatchKey(key.indices, epoch)]
            one_hot = torch.nn.functional.one_hot(x, spec.levels).movedim(-1, 1).float()
            counts.index_add_(0, y[:, 0], one_hot)
    log_pmf = (counts / counts.sum(1, keepdim=True)).log()  # (classes, K, C, H, W)
    log_px = torch.cat([log_prob(log_pmf, data.test, key) for key in sequential(data.test, 500)])
    elbo = float(log_px.double().mean())
    metrics = {
        "elbo_nats": elbo,
        "log_px_nats": elbo,
        "kl_nats": 0.0,
        "bits_per_dim": bits_per_dim(elbo, spec.num_dims),
        "num_test_images": len(log_px),
        "class_conditional": True,
        "images_seen": HISTOGRAM_EPOCHS * len(data.train),
        "num_parameters": log_pmf[:, 1:].numel(),
        "seed": 0,
        "command": command_line(),
    }
    write_json(out / "metrics.json", metrics)
    write_atomically(out / "environment.txt", environment().encode())


def log_prob(log_pmf: Tensor, split: Split, key: BatchKey) -> Tensor:
    """log p(x | y) in nats of one batch of a split. Returns (B,)."""
    x, y = split[key]
    return log_pmf[y[:, 0]].gather(1, x[:, None]).flatten(1).sum(1)


if __name__ == "__main__":
    run_script(main)
