"""Evaluate a checkpoint on the whole test set: ``python scripts/evaluate.py runs/demo/best``."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import jsonargparse
import torch
import yaml

from pixelvae import load
from pixelvae.checkpoint import load_config, load_data, load_progress
from pixelvae.data import DataSet, Split
from pixelvae.distributed import World, connect
from pixelvae.evaluation.agreement import accuracy, reconstruction_agreement, train_classifier
from pixelvae.evaluation.bounds import bits_per_dim, evaluate_bound, evaluate_importance_weighted
from pixelvae.evaluation.information import active_units, latent_health, posterior_means
from pixelvae.evaluation.probes import probe_latents, probe_pixels
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.tensorboard import write_metrics
from pixelvae.storage import write_atomically


def main(
    checkpoint: Path,
    out: Path | None = None,
    num_samples: int = 128,
    iwae_images: int | None = None,
    split: str = "test",
    latents: bool = False,
    probe_images: int = 50_000,
    agreement_images: int = 1000,
    seed: int = 0,
    device: str = "auto",
    log_dir: Path | None = None,
) -> dict[str, Any]:
    """Write metrics.json: the bounds in nats and bits/dim, how many latents are alive, and what they are worth.

    The same numbers enter the run's row in TensorBoard's table of hyperparameters.

    Args:
        checkpoint: A checkpoint folder, such as runs/demo/best.
        out: Folder for metrics.json, config.yaml and environment.txt; the run's folder by default.
        num_samples: Draws of h for each image of the importance-weighted bound; 0 leaves that bound out.
        iwae_images: Evaluate the importance-weighted bound on about so many images only; all by default.
        split: test, validation or train.
        latents: Measure the latents too: rate and distortion, mutual information with its cap, and what classifiers
            make of posterior means, beside pixels and principal components (fitted on train, scored on the split).
        probe_images: Most training images that those classifiers are fitted on, spread over the train split.
        agreement_images: Images that are also drawn again from their latents, to see in what share a network trained
            on real images gives the draw the original's class; 0 for none. Says nothing where the decoder is told it.
        seed: Of the noise.
        device: auto, cpu, cuda, or any other that torch knows.
        log_dir: Folder for TensorBoard; the run's own by default.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"split={split!r}; wanted train, validation or test")
    world = connect(device)
    model = load(checkpoint, device=world.device)
    data = load_data(checkpoint)
    if latents:
        check_latents(model, data, split, probe_images, agreement_images)
    metrics = measure(model, getattr(data, split), num_samples, iwae_images, seed, world)
    if latents and model.has_latents:
        metrics |= measure_latents(model, data, getattr(data, split), metrics, probe_images, seed, world)
        if agreement_images and len(data.spec.sites) == 2:
            metrics |= agreement(model, data, getattr(data, split), agreement_images, seed, world)
    progress = load_progress(checkpoint)
    metrics |= {
        "split": split,
        "images_seen": progress.images_seen,
        "train_steps": progress.step,
        "train_seconds": round(progress.train_seconds, 1),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seed": progress.seed,
        "command": shlex.join(["python", *sys.argv]),
    }
    if world.is_main:
        out = out or checkpoint.parent
        write_atomically(out / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
        write_atomically(out / "config.yaml", yaml.safe_dump(load_config(checkpoint), sort_keys=False).encode())
        write_atomically(out / "environment.txt", environment().encode())
        write_metrics(log_dir or checkpoint.resolve().parent, load_config(checkpoint), metrics, progress.step)
        print(json.dumps(metrics, indent=2))
        print(f"Written to {out}/metrics.json")
    world.close()
    return metrics


def measure(
    model: GenerativeModel, split: Split, num_samples: int, iwae_images: int | None, seed: int, world: World
) -> dict[str, Any]:
    """Every number that depends on the model and the data alone; units are in the names."""
    bounds = evaluate_bound(model, split, seed=seed, world=world, progress=world.is_main)
    metrics: dict[str, Any] = {
        "elbo_nats": bounds.elbo,
        "log_px_nats": bounds.log_px,
        "kl_nats": bounds.kl,
        "bits_per_dim": bits_per_dim(bounds.elbo, bounds.num_dims),
        "num_test_images": bounds.num_images,
        "class_conditional": bool(model.spec.num_classes),
    }
    if num_samples:
        iwae = evaluate_importance_weighted(
            model,
            split,
            num_samples=num_samples,
            seed=seed,
            world=world,
            max_images=iwae_images,
            progress=world.is_main,
        )
        metrics |= {
            "nll_iwae_nats": -iwae.log_px,
            "nll_iwae_stderr_nats": iwae.stderr,
            "num_importance_samples": iwae.num_samples,
            "num_iwae_images": iwae.num_images,
        }
    if model.has_latents:
        means = posterior_means(model, split, device=world.device)
        metrics |= {
            "active_units": int(active_units(means).sum()),
            "kl_per_dim_nats": [round(value, 4) for value in bounds.kl_groups.tolist()],
        }
    return metrics


def check_latents(model: GenerativeModel, data: DataSet, split: str, probe_images: int, agreement_images: int) -> None:
    """Refuse, before any work, latents that cannot be measured.

    Raises:
        ValueError: If there are no latents or no labels, or probes would be scored on what they were fitted on.
    """
    if not model.has_latents:
        raise ValueError("latents=True, but the model has no latents; leave --latents out")
    if not data.spec.num_classes:
        raise ValueError("latents=True wants labels to probe for, but the data set has none; leave --latents out")
    if split == "train":
        raise ValueError("latents=True fits probes on train, so split='train' would flatter them; wanted test")
    if agreement_images < 0:
        raise ValueError(f"agreement_images={agreement_images}; wanted 0 or more")
    if probe_images < 100:
        raise ValueError(f"probe_images={probe_images}; wanted at least 100")


def measure_latents(
    model: GenerativeModel,
    data: DataSet,
    split: Split,
    metrics: dict[str, Any],
    probe_images: int,
    seed: int,
    world: World,
) -> dict[str, Any]:
    """What the latents are worth, beside what pixels are; ``metrics`` are those of :func:`measure`."""
    say = print if world.is_main else lambda *_, **__: None
    say("Mutual information ...", flush=True)
    found = information(model, split, metrics, seed, world)
    say("Probes of posterior means ...", flush=True)
    found |= probe_latents(model, data, split, device=world.device, max_images=probe_images).metrics()
    say("Probes of pixels and of their principal components ...", flush=True)
    beside = probe_pixels(data, split, latent_dim=model.latent_dim, max_images=probe_images)
    for name, probed in beside.items():
        found |= probed.metrics(f"_{name}")
    return found | {"num_probe_train_images": min(probe_images, len(data.train))}


def information(
    model: GenerativeModel, split: Split, metrics: dict[str, Any], seed: int, world: World
) -> dict[str, Any]:
    """Rate, distortion and mutual information; at the cap, the KL of the marginals is no more than an upper bound."""
    health = latent_health(model, split, seed=seed, device=world.device)
    nats, cap, num_images = health.mutual_information
    return {
        "rate_nats": metrics["kl_nats"],
        "distortion_nats": -metrics["log_px_nats"],
        "mutual_information_nats": nats,
        "mutual_information_cap_nats": cap,
        "num_mutual_information_images": num_images,
        "marginal_kl_at_most_nats": metrics["kl_nats"] - nats,
        "information_per_dim_nats": [round(value, 4) for value in health.information.tolist()],
    }


def agreement(
    model: GenerativeModel, data: DataSet, split: Split, num_images: int, seed: int, world: World
) -> dict[str, Any]:
    """In what share a classifier of real images gives reconstruction draws their original's class."""
    if world.is_main:
        print("A classifier of real images, and what it sees in reconstruction draws ...", flush=True)
    device, progress = world.device, world.is_main
    classifier = train_classifier(data.train, seed=seed, device=device, progress=progress)
    found = reconstruction_agreement(
        model, classifier, split, seed=seed, device=device, max_images=num_images, progress=progress
    )
    return {
        "reconstruction_agreement": found.reconstructions,
        "original_agreement": found.originals,
        "num_agreement_images": found.num_images,
        "classifier_accuracy": accuracy(classifier, split, device=device),
    }


def environment() -> str:
    """What the numbers were made with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    machine = f"{platform.system()} {platform.machine()}, {device}, {torch.backends.cpu.get_cpu_capability()}"
    return f"python {platform.python_version()}\ntorch {torch.__version__}\n{machine}\n"


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
