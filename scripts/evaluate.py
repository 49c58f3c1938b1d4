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

from pixelvae import PixelVAE, load
from pixelvae.checkpoint import load_config, load_data, load_progress, write_atomically
from pixelvae.data import Split
from pixelvae.distributed import World, connect
from pixelvae.evaluation.bounds import bits_per_dim, evaluate_bound, evaluate_importance_weighted
from pixelvae.evaluation.latents import active_units, posterior_means
from pixelvae.models import GenerativeModel


def main(
    checkpoint: Path,
    out: Path | None = None,
    num_samples: int = 128,
    iwae_images: int | None = None,
    split: str = "test",
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Write metrics.json: the bounds in nats and bits/dim, and how many latents are alive.

    Args:
        checkpoint: A checkpoint folder, such as runs/demo/best.
        out: Folder for metrics.json, config.yaml and environment.txt; the run's folder by default.
        num_samples: Draws of h for each image of the importance-weighted bound; 0 leaves that bound out.
        iwae_images: Evaluate the importance-weighted bound on about so many images only; all by default.
        split: test, validation or train.
        seed: Of the noise.
        device: auto, cpu, cuda, or any other that torch knows.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"split={split!r}; wanted train, validation or test")
    world = connect(device)
    model = load(checkpoint, device=world.device)
    data = load_data(checkpoint)
    metrics = measure(model, getattr(data, split), num_samples, iwae_images, seed, world)
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
    if isinstance(model, PixelVAE):
        means = posterior_means(model, split, device=world.device)
        metrics |= {
            "active_units": int(active_units(means).sum()),
            "kl_per_dim_nats": [round(value, 4) for value in bounds.kl_groups.tolist()],
        }
    return metrics


def environment() -> str:
    """What the numbers were made with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    machine = f"{platform.system()} {platform.machine()}, {device}, {torch.backends.cpu.get_cpu_capability()}"
    return f"python {platform.python_version()}\ntorch {torch.__version__}\n{machine}\n"


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
