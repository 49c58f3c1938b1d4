"""Evaluate a checkpoint on the whole test set: ``pixelvae evaluate runs/demo/best``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pixelvae.checkpoint import load, load_config, load_progress
from pixelvae.commands.checkpoints import DataFactory, is_foreign, open_data, run_folder, training_metrics
from pixelvae.commands.trust import trusted
from pixelvae.data import DataSet, Split
from pixelvae.distributed import World, connect
from pixelvae.evaluation.metrics import (
    agreement_metrics,
    difference_metrics,
    information_metrics,
    measure_bounds,
    pixel_probe_metrics,
    train_metrics,
)
from pixelvae.evaluation.per_image import ELBO, PerImage, read_per_image, require_same_images, write_per_image
from pixelvae.evaluation.probes import probe_latents, require_draws
from pixelvae.hub import name_of
from pixelvae.models.base import GenerativeModel
from pixelvae.ranges import MAX_COUNT, require_count
from pixelvae.reporting.hyperparameters import write_metrics
from pixelvae.reporting.provenance import command_line, write_provenance
from pixelvae.storage import write_json


def main(
    checkpoint: Path,
    out: Path | None = None,
    num_samples: int = 128,
    iwae_images: int | None = None,
    split: str = "test",
    data: DataFactory | None = None,
    latents: bool = False,
    probe_images: int = 50_000,
    probe_draws: int = 1,
    agreement_images: int = 1000,
    train_elbo: int = 0,
    against: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    trust: str | None = None,
    log_dir: Path | None = None,
) -> dict[str, Any]:
    """Write metrics.json: the bounds in nats and bits/dim, the active units, and optionally measures of the latents.

    The bounds of single images, in nats and in the order of the split, are written to per_image.safetensors beside it.
    The metrics are also added to TensorBoard's table of hyperparameters.

    Args:
        checkpoint: A checkpoint folder, such as runs/demo/best, or a run, whose best checkpoint is taken.
        out: Folder for metrics.json, config.yaml and environment.txt; the run's folder by default, and for data of
            another class a folder of its name in it.
        num_samples: Draws of h per image for the importance-weighted bound; 0 omits that bound.
        iwae_images: Images of the importance-weighted bound, spread over the split; all by default.
        split: test, validation or train.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        latents: Measure the latents too: rate and distortion, mutual information with its cap, and the accuracy of
            probes of posterior means, pixels and principal components (fitted on train, tested on the split).
        probe_images: Maximum number of training images for the probes, spread over the train split.
        probe_draws: Binarisations of each of these images that the probes are fitted to, of dynamically binarised data.
        agreement_images: Number of images to reconstruct, to measure how often a classifier of real images assigns the
            original's class to the reconstruction; 0 for none. Not informative for a class-conditional decoder.
        train_elbo: Number of images of the train split, spread over it, whose ELBO is measured too; 0 for none.
        against: Folder of another evaluation of the same images; adds the paired difference in nats, positive where
            this model is better, and its standard error.
        seed: Seed of the noise.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
        log_dir: Folder for TensorBoard; by default as for ``out``.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"split={split!r}; wanted train, validation or test")
    require_count("iwae_images", 1 if iwae_images is None else iwae_images, most=MAX_COUNT)
    require_count("train_elbo", train_elbo, least=0, most=MAX_COUNT)
    other = None if against is None else read_per_image(against)
    world = connect(device)
    model = load(checkpoint, device=world.device, classes=trusted(trust))
    examples = open_data(checkpoint, model, data, trust)
    if latents:
        check_latents(model, examples, split, probe_images, probe_draws, agreement_images)
    measured: Split = getattr(examples, split)
    if other is not None:
        require_same_images(measured, other[ELBO], f"against={against}")
    metrics, per_image = measure_bounds(
        model, measured, num_samples=num_samples, iwae_images=iwae_images, seed=seed, world=world
    )
    if other is not None:
        metrics |= {**difference_metrics(per_image, other), "difference_against": str(against)}
    if train_elbo:
        metrics |= train_metrics(model, examples.train, max_images=train_elbo, seed=seed, world=world)
    if latents and model.has_latents:
        metrics |= latent_metrics(model, examples, measured, metrics, probe_images, probe_draws, seed, world)
        if agreement_images and len(examples.spec.sites) == 2:
            _announce("A classifier of real images, and how it classifies reconstructions ...", world)
            metrics |= agreement_metrics(model, examples, measured, max_images=agreement_images, seed=seed, world=world)
    own = type(examples).__name__ if is_foreign(checkpoint, examples) else ""
    metrics |= {"split": split, **training_metrics(checkpoint, model), "command": command_line()}
    if world.is_main:
        out = out or (checkpoint.parent if name_of(checkpoint) is None else run_folder(checkpoint)) / own
        write(out, checkpoint, metrics, per_image, log_dir or run_folder(checkpoint) / own)
    world.close()
    return metrics


def write(out: Path, checkpoint: Path, metrics: dict[str, Any], per_image: dict[str, PerImage], log_dir: Path) -> None:
    """Write metrics.json, per_image.safetensors and provenance, and log the metrics."""
    config = load_config(checkpoint)
    write_json(out / "metrics.json", metrics)
    write_per_image(out, per_image)
    write_provenance(out, config)
    write_metrics(log_dir, config, metrics, load_progress(checkpoint).step)
    print("\n".join(f"{name}: {json.dumps(value)}" for name, value in metrics.items()))
    print(f"Written to {out}/metrics.json and per_image.safetensors")


def check_latents(
    model: GenerativeModel, data: DataSet, split: str, probe_images: int, probe_draws: int, agreement_images: int
) -> None:
    """Check, before any work, that the latents can be measured.

    Raises:
        ValueError: If there are no latents or no labels, or probes would be tested on their training data.
    """
    if not model.has_latents:
        raise ValueError("latents=True, but the model has no latents; leave --latents out")
    if not data.spec.num_classes:
        raise ValueError("latents=True needs labels for the probes, but the data set has none; leave --latents out")
    if split == "train":
        raise ValueError("latents=True fits probes on train, so split='train' would bias their accuracy; wanted test")
    if agreement_images < 0:
        raise ValueError(f"agreement_images={agreement_images}; wanted 0 or more")
    if probe_images < 100:
        raise ValueError(f"probe_images={probe_images}; wanted at least 100")
    require_draws(data.train, probe_draws)


def latent_metrics(
    model: GenerativeModel,
    data: DataSet,
    split: Split,
    bounds: dict[str, Any],
    probe_images: int,
    probe_draws: int,
    seed: int,
    world: World,
) -> dict[str, Any]:
    """Mutual information, and probes of the latents and of pixels; ``bounds`` are the model's."""
    _announce("Mutual information ...", world)
    metrics = information_metrics(model, split, bounds, seed=seed, world=world)
    _announce("Probes of posterior means ...", world)
    metrics |= probe_latents(
        model, data, split, device=world.device, max_images=probe_images, draws=probe_draws
    ).metrics()
    _announce("Probes of pixels and of their principal components ...", world)
    return metrics | pixel_probe_metrics(
        data, split, latent_dim=model.latent_dim, max_images=probe_images, draws=probe_draws
    )


def _announce(what: str, world: World) -> None:
    if world.is_main:
        print(what, flush=True)
