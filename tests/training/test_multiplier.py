"""The multiplier finds the weight at which the KL is the rate."""

import math

import pytest
import torch

from pixelvae.training.multiplier import Multiplier


@pytest.mark.parametrize("rate", [0.5, 20.0])
def test_the_multiplier_settles_where_the_kl_is_the_rate(rate):
    """The KL of a latent falls as its weight grows; here it is the rate at β = 1/2, −1/2 and 20."""
    for wanted in (0.5, -0.5, 20.0):
        multiplier = Multiplier(rate)
        for _ in range(2000):
            multiplier.update(rate * (1 + (wanted - multiplier.beta) / 5))
        assert multiplier.beta.item() == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_state_holds_every_bit_of_beta_whatever_the_precision_of_the_kl(dtype):
    """The information that a rate rewards is float64, and so are the measurements beside it."""
    multiplier, again = Multiplier(3.0), Multiplier(3.0)
    for kl in torch.linspace(2.8, 3.1, 7, dtype=dtype):
        multiplier.update(kl)
    again.load_state_dict(multiplier.state_dict())
    assert multiplier.beta.dtype == again.beta.dtype == torch.float32
    assert torch.equal(again.beta, multiplier.beta)


def test_the_multiplier_moves_against_the_excess_and_goes_on_from_its_state():
    multiplier, again = Multiplier(3.0), Multiplier(3.0)
    much, none = torch.tensor(60.0), torch.tensor(0.0)
    before = multiplier.beta
    multiplier.update(much)
    assert before < multiplier.beta < before * 1.041  # however far off
    again.load_state_dict(multiplier.state_dict())
    for m in (multiplier, again):
        m.update(none)
    assert torch.equal(again.beta, multiplier.beta)
    for _ in range(27):
        multiplier.update(none)
    assert multiplier.beta < 0 < before


def test_a_multiplier_of_version_0_1_goes_on():
    multiplier = Multiplier(3.0)
    multiplier.load_state_dict({"u": math.asinh(0.7 / 0.001), "kl": 3.0})
    assert multiplier.beta.item() == pytest.approx(0.7)
