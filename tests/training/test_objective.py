"""Laws of what training maximises."""

import math

import pytest
import torch

from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.latents.information import information_lower_bound, normal_information
from pixelvae.models.base import Bound
from pixelvae.training.multiplier import Multiplier
from pixelvae.training.objective import MIN_WEIGHT, NUM_OTHERS, Objective, rewarded_information

FAR = torch.tensor([math.inf])
"""A KL that exceeds every estimate of the information."""


def alone(value):
    return value


def bound(kl_groups):
    return Bound(torch.tensor([-3.0, -5.0]), torch.tensor(kl_groups, requires_grad=True))


def test_without_options_it_is_the_negative_elbo():
    given = bound([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(Objective().loss(given, 1.0, alone), -given.elbo.mean())


@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0])
def test_the_kl_has_the_weight_beta(beta):
    given = bound([[1.0, 2.0], [3.0, 4.0]])
    expected = beta * given.kl.mean() - given.log_px.mean()
    torch.testing.assert_close(Objective().loss(given, beta, alone), expected)


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


@pytest.mark.parametrize("beta", [-1.5, 0.0, 0.3, 4.0])
@pytest.mark.parametrize("rate", [1.0, 3.0, 100.0])
def test_a_rate_weighs_the_kl_by_beta_and_information_by_what_beta_lacks(beta, rate):
    """The KL of the batch is 5 nats."""
    given, information = bound([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(2.0)
    weight = beta + Multiplier.DAMPING * max(1, abs(beta)) * (5.0 / rate - 1) * min(1, 5.0 / rate)
    loss = Objective(rate=rate).loss(given, beta, alone, information).item()
    wanted = 4.0 + max(weight, MIN_WEIGHT) * 5.0 - max(MIN_WEIGHT - weight, 0) * 2.0
    assert loss == pytest.approx(wanted, rel=1e-6)
    assert Objective(rate=rate).loss(given, beta, alone).item() == pytest.approx(
        4.0 + max(weight, MIN_WEIGHT) * 5.0, rel=1e-6
    )


def test_a_prior_never_learns_to_be_far_from_the_posterior():
    """Descent lowers the KL, however much of it is wanted."""
    given = bound([[1.0, 2.0], [3.0, 4.0]])
    Objective(rate=100.0).loss(given, -5.0, alone, torch.tensor(1.0)).backward()
    torch.testing.assert_close(given.kl_groups.grad, torch.full((2, 2), MIN_WEIGHT / 2))  # of two examples


def test_a_posterior_that_does_not_depend_on_x_is_not_rewarded():
    """Independent of the width and of the distance to the prior: neither value nor gradient rewards a smaller width."""
    shared = torch.tensor([0.01, 0.02], dtype=torch.double, requires_grad=True)
    loc = torch.full((NUM_OTHERS, 2), 5.0, dtype=torch.double)
    q = others = DiagonalNormal(loc, shared.expand_as(loc))
    noise = torch.randn(NUM_OTHERS, 2, generator=torch.Generator().manual_seed(0)).double()
    information = rewarded_information(q, q.rsample(noise), others, FAR, alone)
    assert information.item() == pytest.approx(0, abs=1e-9)
    assert torch.autograd.grad(information, shared)[0].abs().max() < 1e-6


def test_copies_of_one_number_are_rewarded_once():
    """Below the cap by the draw's own density, above it by the determinant."""
    for spread in (1.0, 1000.0):
        line = torch.linspace(-spread, spread, NUM_OTHERS).double()[:, None]
        one, many = (DiagonalNormal(line.repeat(1, d), torch.ones(NUM_OTHERS, d).double()) for d in (1, 8))
        # Eight copies of one number with noise of their own hold it more exactly, by a factor of √8: ln √8 nats.
        rewards = [float(rewarded_information(q, q.loc, q, FAR, alone)) for q in (one, many)]
        assert rewards[1] <= rewards[0] + 0.5 * math.log(8) + 1e-6
    assert float(many.information().sum()) > 4 * rewards[1]  # the sum over latents, which must not be rewarded


def test_above_what_the_examples_can_verify_the_normal_fit_counts():
    apart = torch.linspace(-1e4, 1e4, NUM_OTHERS).double()[:, None]
    q = DiagonalNormal(apart, torch.ones(NUM_OTHERS, 1).double())
    assert float(rewarded_information(q, q.loc, q, FAR, alone)) == pytest.approx(float(normal_information(q)))
    near = DiagonalNormal(apart / 1e4, q.scale)
    lower = information_lower_bound(near, near.loc, near).mean()
    assert float(rewarded_information(near, near.loc, near, FAR, alone)) == pytest.approx(float(lower))


def test_above_what_the_examples_can_verify_no_more_than_the_kl_is_rewarded():
    """Posteriors on a curve, or with outliers, have a large KL to a normal; a prior that fits them shows the truth."""
    apart = torch.linspace(-1e4, 1e4, NUM_OTHERS).double()[:, None]
    q = DiagonalNormal(apart, torch.ones(NUM_OTHERS, 1).double())
    kl = torch.tensor([5.0, 7.0], requires_grad=True)
    reward = rewarded_information(q, q.loc, q, kl, alone)
    assert reward.item() == pytest.approx(6.0)
    reward.backward()
    assert kl.grad.tolist() == [0.5, 0.5]


def test_a_rate_alone_weighs_the_kl():
    with pytest.raises(ValueError, match=r"objective\.rate=0; wanted a number of more than 0"):
        Objective(rate=0)
    with pytest.raises(ValueError, match=r"objective\.rate=3\.0 .* free_bits=0\.5"):
        Objective(rate=3.0, free_bits=0.5)
