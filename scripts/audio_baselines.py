"""Baselines for spoken digits, on the same split: ``python scripts/audio_baselines.py``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelvae import SpokenDigits
from pixelvae.commands.cli import run_script
from pixelvae.data import ABSENT, BatchKey, Split
from pixelvae.evaluation.bounds import bits_per_dim
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_atomically, write_json

# Pseudo-counts of the unigram frequencies in each row of the Markov model: the best on validation, where values from 1
# to 300 differ by 0.002 bits.
PRIOR_COUNTS = 50.0


def main(
    root: Path = Path("data/fsdd"),
    out: Path = Path("results/spoken_digits"),
    length: int = 4096,
    levels: int = 256,
    split: str = "test",
) -> None:
    """Count on the training split, evaluate on another, and write OUT/{unigram,markov}/metrics.json.

    For comparison, the uniform distribution has log2 K bits per sample.

    Args:
        root: Folder of the recordings.
        out: Folder for the results.
        length: T, as in the configurations that are compared: the same samples are measured.
        levels: K.
        split: test or validation.
    """
    if split not in ("test", "validation"):
        raise ValueError(f"split={split!r}; wanted test or validation")
    data = SpokenDigits(root, length, levels)
    training, measured = sounds(data.train), sounds(getattr(data, split))
    unigram, markov = fit(training, levels)
    for name, model, num_parameters in (("unigram", None, levels - 1), ("markov", markov, levels * levels - 1)):
        log_px = torch.stack([log_prob(x, unigram, model) for x in measured])
        metrics = describe(log_px, measured) | {
            "uniform_bits_per_dim": math.log2(levels),
            "class_conditional": False,
            "split": split,
            "images_seen": len(training),
            "num_parameters": num_parameters,
            "seed": 0,
            "command": command_line(),
        }
        write_json(out / name / "metrics.json", metrics)
        write_atomically(out / name / "environment.txt", environment().encode())
        print(f"{name}: {metrics['bits_per_dim']:.4f} bits per sample, {out / name}/metrics.json")


def sounds(split: Split) -> list[Tensor]:
    """Every recording of a split, truncated to the length of an example, (at most T,) each."""
    x, _ = split[BatchKey(torch.arange(len(split)), epoch=0)]
    return [sound[sound != ABSENT] for sound in x[:, 0]]


def fit(training: list[Tensor], levels: int) -> tuple[Tensor, Tensor]:
    r"""log p(x_t) and log p(x_t | x_{t−1}) from counts n.

    .. math:: p(j) = \frac{n_j + 1}{n + K}, \qquad p(j | i) = \frac{n_{ij} + \alpha\,p(j)}{n_i + \alpha}

    Shape:
        Returns (K,) and (K, K), indexed by the previous sample first.
    """
    unigram = torch.cat(training).bincount(minlength=levels).double() + 1
    unigram /= unigram.sum()
    pairs = torch.cat([x[:-1] * levels + x[1:] for x in training])
    markov = pairs.bincount(minlength=levels**2).view(levels, levels).double() + PRIOR_COUNTS * unigram
    return unigram.log(), (markov / markov.sum(1, keepdim=True)).log()


def log_prob(x: Tensor, unigram: Tensor, markov: Tensor | None) -> Tensor:
    """log p(x) of one sound in nats; the first sample of a Markov chain has the unigram's distribution. (T,) -> ()."""
    if markov is None:
        return unigram[x].sum()
    return unigram[x[0]] + markov[x[:-1], x[1:]].sum()


def describe(log_px: Tensor, measured: list[Tensor]) -> dict[str, Any]:
    """Means over recordings in nats, and bits per sample. log_px: (N,)."""
    elbo, num_dims = float(log_px.mean()), sum(map(len, measured)) / len(measured)
    return {
        "elbo_nats": elbo,
        "log_px_nats": elbo,
        "kl_nats": 0.0,
        "bits_per_dim": bits_per_dim(elbo, num_dims),
        "num_test_images": len(measured),
    }


if __name__ == "__main__":
    run_script(main)
