"""Densities and draws of priors with networks of their own, under autocast."""

import pytest
import torch

from families import PRIORS

OWN = {name: make for name, make in PRIORS.items() if name != "vamp"}  # whose components are the encoder's


@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
def test_densities_and_draws_under_autocast_equal_those_outside(make):
    """Exactly: bfloat16 has 8 bits, and a sum of log-densities needs more."""
    prior, h = make(6), torch.randn(32, 6)
    for parameter in prior.parameters():
        parameter.data.normal_(0, 0.3)
    noise = torch.randn(32, prior.noise_dim)
    outside = prior.log_prob(h), prior.sample(noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = prior.log_prob(h), prior.sample(noise)
    for a, b in zip(inside, outside, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
