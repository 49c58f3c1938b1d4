"""Bits of every site add up to the negative log-likelihood given the posterior mean and the labels."""

import math

import pytest
import torch

import speech
from pixelvae import DataSpec
from pixelvae.data import ABSENT
from pixelvae.evaluation.surprise import surprise
from pixelvae.models.assembly import build
from small_runs import CONFIG

SMALL = {"num_layers": 2, "channels": 6, "head_channels": 6, "first_kernel_size": 3}  # two channels for each colour
LATENTS = CONFIG | {"decoder": {"class_path": "GatedPixelCNN", "init_args": SMALL}}
WITHOUT_LATENTS = LATENTS | {
    "encoder": None, "prior": None, "latent_dim": 0, "context": {"class_path": "VectorContext"}
}  # fmt: skip


def lively(config, spec):
    """Large random weights: latents and labels change what is probable."""
    torch.manual_seed(0)
    model = build(config, spec).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3)
    return model


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
@pytest.mark.parametrize("config", [LATENTS, WITHOUT_LATENTS], ids=["latents", "no latents"])
@pytest.mark.parametrize("class_conditional", [True, False])
def test_bits_of_an_image_are_those_of_its_likelihood(config, shape, class_conditional):
    model = lively(config | {"class_conditional": class_conditional}, DataSpec(shape, 4, (10,)))
    x, y = torch.randint(0, 4, (5, *shape)), torch.arange(5)[:, None]
    labels = y if class_conditional else None
    h = model.posterior(x, labels).mean if model.has_latents else None
    bits = surprise(model, x, y)  # labels of a model without classes are left out
    assert bits.shape == (5, 8, 8)
    torch.testing.assert_close(bits.flatten(1).sum(1), -model.log_px(x, h, labels) / math.log(2), rtol=1e-4, atol=1e-3)


def test_what_is_absent_costs_no_bit():
    model = lively(speech.config("", latents=False, class_conditional=False), DataSpec((1, 40), 16))
    x = torch.randint(0, 16, (2, 1, 40))
    x[1, :, 25:] = ABSENT
    bits = surprise(model, x)
    assert (bits[1, 25:] == 0).all()
    torch.testing.assert_close(bits.sum(1), -model.log_px(x, None) / math.log(2), rtol=1e-4, atol=1e-3)
