"""Laws of what training maximises."""

import math

import pytest
import torch

from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.latents.priors import StandardNormal
from pixelvae.models.base import Bound
from pixelvae.training.multiplier import Multiplier
from pixelvae.training.objective import MIN_WEIGHT, Objective


def alone(value):
    return value


def bound(kl_groups):
    return Bound(torch.tensor([-3.0, -5.0]), torch.tensor(kl_groups, requires_grad=True))


def test_without_options_it_is_the_negative_elbo():
    given = bound([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(Objective().loss(given, 1.0, alone), -given.elbo.mean())


def test_warm_up_is_linear_and_ends_at_beta():
    objective = Objective(beta=2.0, beta_start=1.0, warmup_steps=4)
    assert [objective.beta_at(step) for step in (0, 1, 2, 4, 100)] == [1.0, 1.25, 1.5, 2.0, 2.0]


def test_free_bits_floor_the_mean_of_each_group_and_stop_its_gradient():
    given = bound([[0.1, 2.0], [0.2, 4.0]])
    loss = Objective(free_bits=0.5).loss(given, 1.0, alone)
    loss.backward()
    torch.testing.assert_close(loss.item(), 4.0 + 0.5 + 3.0)
    assert given.kl_groups.grad.tolist() == [[0.0, 0.5], [0.0, 0.5]]


def test_free_bits_look_at_the_joint_batch_of_all_ranks():
    """A group that is dead here but alive on the other ranks still feels the prior."""
    given = bound([[0.1, 2.0], [0.2, 4.0]])
    Objective(free_bits=0.5).loss(given, 1.0, lambda kl: kl + 1).backward()
    assert given.kl_groups.grad.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_model_without_latents_has_no_kl_to_pay():
    given = Bound(torch.tensor([-3.0, -5.0]), torch.zeros(2, 0))
    assert Objective(free_bits=0.5).loss(given, 1.0, alone).item() == 4.0


@pytest.mark.parametrize("option", ["beta", "beta_start", "warmup_steps", "free_bits"])
def test_a_negative_option_is_named(option):
    with pytest.raises(ValueError, match=f"objective.{option}=-1"):
        Objective(**{option: -1})


def normal_bound(loc, scale, kl=None):
    """The bound of two examples with this posterior; the KL is that to a standard normal prior, or given."""
    q = DiagonalNormal(*(torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in (loc, scale)))
    kl_groups = StandardNormal(2).kl(q, q.mean) if kl is None else torch.full((2, 1), kl, requires_grad=True)
    return Bound(torch.tensor([-3.0, -5.0]), kl_groups, q)


MOVING = [[-2.0, 0.5], [2.0, 0.5]], [[0.5, 0.5], [0.5, 0.5]]  # ½ log(1 + 4 / ¼) = 1.42 nats
STILL = [[1.0, 0.5], [1.0, 0.5]], [[0.01, 0.02], [0.01, 0.02]]


@pytest.mark.parametrize(("posterior", "told"), [(MOVING, 0.5 * math.log(17)), (STILL, 0.0)])
@pytest.mark.parametrize("beta", [-1.5, 0.0, 0.3, 4.0])
@pytest.mark.parametrize("rate", [1.0, 3.0, 100.0])
def test_a_rate_weighs_information_by_beta_and_all_else_by_no_less_than_one(posterior, told, beta, rate):
    given = normal_bound(*posterior)
    kl = given.kl.mean().item()
    weight = beta + Multiplier.DAMPING * max(1, abs(beta)) * (kl / rate - 1) * min(1, kl / rate)
    loss = Objective(rate=rate).loss(given, beta, alone).item()
    assert loss == pytest.approx(weight * told + max(weight, 1) * (kl - told) + 4.0, rel=1e-6)


def test_a_narrow_posterior_that_stands_still_is_pulled_to_the_prior_however_much_kl_is_wanted():
    """A weight below 0 must not pay for a KL that tells nothing."""
    given = normal_bound(*STILL)
    of_loss, of_kl = (
        torch.autograd.grad(value, given.posterior.scale, retain_graph=True)[0]
        for value in (Objective(rate=100.0).loss(given, -1.0, alone), given.kl.mean())
    )
    torch.testing.assert_close(of_loss, of_kl)
    assert (of_kl < 0).all()  # descent widens it


@pytest.mark.parametrize("posterior", [MOVING, ([[-1e6, 0.0], [1e6, 0.0]], [[1.0, 1.0], [1.0, 1.0]]), None])
def test_a_prior_never_learns_to_be_far_from_the_posterior(posterior):
    """Whatever is wanted, descent lowers the KL; also of modes far apart, where the sum tells of more than there is."""
    given = normal_bound(*(posterior or MOVING), kl=1.0)
    given = given if posterior else given._replace(posterior=None)
    Objective(rate=100.0).loss(given, -1.0, alone).backward()
    torch.testing.assert_close(given.kl_groups.grad, torch.full((2, 1), MIN_WEIGHT / 2))  # of two examples


def test_information_beyond_the_kl_does_not_count():
    """Two modes far apart hold log 2; the normal that fits them would tell of 13 nats."""
    given = normal_bound([[-1e6, 0.0], [1e6, 0.0]], [[1.0, 1.0], [1.0, 1.0]], kl=1.0)
    torch.testing.assert_close(Objective(rate=1.0).loss(given, 0.3, alone).item(), 0.3 * 1.0 + 4.0)


def test_a_rate_alone_weighs_the_kl():
    with pytest.raises(ValueError, match=r"objective\.rate=0; wanted a number of more than 0"):
        Objective(rate=0)
    with pytest.raises(ValueError, match=r"objective\.rate=3\.0 .* free_bits=0\.5"):
        Objective(rate=3.0, free_bits=0.5)
