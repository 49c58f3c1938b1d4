"""Metrics are those of the functions that they are named after, with their signs and units."""

import math

import pytest
import torch

from pixelvae.distributed import World
from pixelvae.evaluation.bounds import evaluate_bound
from pixelvae.evaluation.metrics import bound_metrics, information_metrics, pixel_probe_metrics
from small_runs import CONFIG, small_data, small_model

WORLD = World(torch.device("cpu"))
WITHOUT_LATENTS = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}


def measured(config=CONFIG, num_samples=0):
    model, split = small_model(config).eval().requires_grad_(False), small_data().test
    return model, split, bound_metrics(model, split, num_samples=num_samples, seed=3, world=WORLD)


def test_the_bound_and_its_parts():
    model, split, metrics = measured(num_samples=2)
    bounds = evaluate_bound(model, split, seed=3, world=WORLD)
    assert metrics["elbo_nats"] == bounds.elbo == pytest.approx(metrics["log_px_nats"] - metrics["kl_nats"])
    assert metrics["bits_per_dim"] == pytest.approx(-bounds.elbo / math.log(2) / 64)
    assert metrics["num_test_images"] == len(split)
    assert sum(metrics["kl_per_dim_nats"]) == pytest.approx(metrics["kl_nats"], abs=1e-3)
    assert (metrics["num_importance_samples"], metrics["num_iwae_images"]) == (2, len(split))


def test_a_model_without_latents_has_no_metrics_of_latents():
    _, _, metrics = measured(WITHOUT_LATENTS)
    assert metrics["kl_nats"] == 0
    assert not {"active_units", "kl_per_dim_nats", "nll_iwae_nats"} & set(metrics)


def test_rate_and_distortion_are_the_parts_of_the_bound():
    model, split, bounds = measured()
    metrics = information_metrics(model, split, bounds, seed=3, world=WORLD)
    assert metrics["rate_nats"] + metrics["distortion_nats"] == pytest.approx(-bounds["elbo_nats"])
    assert metrics["mutual_information_nats"] <= metrics["mutual_information_cap_nats"] == math.log(len(split))


def test_probes_of_pixels_are_named_after_what_they_see():
    data = small_data()
    metrics = pixel_probe_metrics(data, data.test, latent_dim=3, max_images=300)
    assert metrics["num_probe_train_images"] == 300
    assert metrics["linear_probe_accuracy_pca"] < metrics["linear_probe_accuracy_pixels"] <= 1
