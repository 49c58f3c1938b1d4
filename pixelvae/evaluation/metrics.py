"""All metrics under their names in metrics.json; the names contain the units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pixelvae.data.splits import DataSet, Split
from pixelvae.distributed import World
from pixelvae.evaluation.agreement import accuracy, reconstruction_agreement, train_classifier
from pixelvae.evaluation.bounds import bits_per_dim, evaluate_bound, evaluate_importance_weighted
from pixelvae.evaluation.information import active_units, latent_health, posterior_means
from pixelvae.evaluation.per_image import ELBO, WEIGHTED, PerImage, paired_difference, tightest_common
from pixelvae.evaluation.probes import probe_pixels
from pixelvae.models.base import GenerativeModel

Metrics = dict[str, Any]


class Measured(NamedTuple):
    """Metrics of a split, and the bounds of single images, both by name."""

    metrics: Metrics
    per_image: dict[str, PerImage]


def measure_bounds(
    model: GenerativeModel, split: Split, *, num_samples: int, iwae_images: int | None = None, seed: int, world: World
) -> Measured:
    """The bounds, and the active units of a model with latents.

    Args:
        model: A model on the device of ``world``.
        split: The split to evaluate.
        num_samples: Draws of h per image for the importance-weighted bound; 0 omits that bound.
        iwae_images: Number of images for the importance-weighted bound, spread over the split; all by default.
        seed: Seed of the noise.
        world: Rank, number of ranks and device.
    """
    bounds = evaluate_bound(model, split, seed=seed, world=world, progress=world.is_main)
    metrics: Metrics = {
        "elbo_nats": bounds.elbo,
        **_stderr("elbo_stderr_nats", bounds.stderr),
        "log_px_nats": bounds.log_px,
        "kl_nats": bounds.kl,
        "bits_per_dim": bits_per_dim(bounds.elbo, bounds.num_dims),
        **_stderr("bits_per_dim_stderr", bits_per_dim(-bounds.stderr, bounds.num_dims)),
        "num_test_images": bounds.num_images,
        "class_conditional": bool(model.spec.num_classes),
    }
    per_image = {ELBO: bounds.per_image}
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
        per_image[WEIGHTED] = iwae.per_image
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
    return Measured(metrics, {name: rows for name, rows in per_image.items() if rows is not None})


def bound_metrics(
    model: GenerativeModel, split: Split, *, num_samples: int, iwae_images: int | None = None, seed: int, world: World
) -> Metrics:
    """The metrics of :func:`measure_bounds` alone."""
    return measure_bounds(
        model, split, num_samples=num_samples, iwae_images=iwae_images, seed=seed, world=world
    ).metrics


def _stderr(name: str, value: float) -> Metrics:
    """A standard error under its name; empty for a single image, which has none."""
    return {name: value} if math.isfinite(value) else {}


def train_metrics(model: GenerativeModel, split: Split, *, max_images: int, seed: int, world: World) -> Metrics:
    """The ELBO of a part of the train split, spread over it; much higher than that of test, it shows overfitting."""
    bounds = evaluate_bound(model, split, seed=seed, world=world, max_images=max_images, progress=world.is_main)
    return {
        "train_elbo_nats": bounds.elbo,
        **_stderr("train_elbo_stderr_nats", bounds.stderr),
        "train_kl_nats": bounds.kl,
        "num_train_elbo_images": bounds.num_images,
    }


def difference_metrics(own: Mapping[str, PerImage], other: Mapping[str, PerImage]) -> Metrics:
    """The paired difference in log p(x) to another evaluation; positive if this one is better.

    Raises:
        ValueError: If the images differ.
    """
    name = tightest_common(own, other)
    found = paired_difference(own[name], other[name])
    return {
        "difference_nats": found.mean,
        **_stderr("difference_stderr_nats", found.stderr),
        "difference_bound": name,
        "num_difference_images": found.num_images,
    }


def information_metrics(
    model: GenerativeModel, split: Split, bounds: Mapping[str, Any], *, seed: int, world: World
) -> Metrics:
    """Rate, distortion and mutual information; ``bounds`` are those of :func:`bound_metrics`.

    If the mutual information is at its cap, the KL of the marginals is only an upper bound.
    """
    health = latent_health(model, split, seed=seed, device=world.device)
    nats, cap, num_images = health.mutual_information
    return {
        "rate_nats": bounds["kl_nats"],
        "distortion_nats": -bounds["log_px_nats"],
        "mutual_information_nats": nats,
        "mutual_information_cap_nats": cap,
        "num_mutual_information_images": num_images,
        "effective_rank": health.effective_rank,
        "marginal_kl_at_most_nats": bounds["kl_nats"] - nats,
        "information_per_dim_nats": [round(value, 4) for value in health.information.tolist()],
    }


def pixel_probe_metrics(data: DataSet, split: Split, *, latent_dim: int, max_images: int, draws: int = 1) -> Metrics:
    """Probes of features that are not learnt: pixels, and as many of their principal components as latents."""
    metrics: Metrics = {}
    found = probe_pixels(data, split, latent_dim=latent_dim, max_images=max_images, draws=draws)
    for name, probed in found.items():
        metrics |= probed.metrics(f"_{name}")
    return metrics | {"num_probe_train_images": min(max_images, len(data.train)), "num_probe_draws": draws}


def agreement_metrics(
    model: GenerativeModel, data: DataSet, split: Split, *, max_images: int, seed: int, world: World
) -> Metrics:
    """How often a classifier of real images assigns the original's class to a reconstruction."""
    device, progress = world.device, world.is_main
    classifier = train_classifier(data.train, seed=seed, device=device, progress=progress)
    found = reconstruction_agreement(
        model, classifier, split, seed=seed, device=device, max_images=max_images, progress=progress
    )
    return {
        "reconstruction_agreement": found.reconstructions,
        "original_agreement": found.originals,
        "num_agreement_images": found.num_images,
        "classifier_accuracy": accuracy(classifier, split, device=device),
    }
