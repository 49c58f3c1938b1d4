"""Laws of what training maximises."""

import pytest
import torch

from pixelvae.models import Bound
from pixelvae.objective import Multiplier, Objective


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


@pytest.mark.parametrize("rate", [0.5, 20.0])
def test_the_multiplier_settles_where_the_kl_is_the_rate(rate):
    """The KL of a latent falls as its weight grows; here as R / sqrt(2 β), so that β must find 1/2."""
    multiplier = Multiplier(rate)
    for _ in range(2000):
        multiplier.update(rate / (2 * multiplier.beta) ** 0.5)
    assert multiplier.beta == pytest.approx(0.5, rel=1e-3)
    assert multiplier.kl == pytest.approx(rate, rel=1e-3)


def test_the_multiplier_moves_against_the_excess_and_goes_on_from_its_state():
    multiplier, again = Multiplier(3.0), Multiplier(3.0)
    before = multiplier.beta
    multiplier.update(30.0)
    assert before < multiplier.beta < before * 1.021  # however far off
    again.load_state_dict(multiplier.state_dict())
    for m in (multiplier, again):
        m.update(0.0)
    assert again.beta == multiplier.beta
    for _ in range(20):
        multiplier.update(0.0)
    assert multiplier.beta < again.beta


def test_a_rate_alone_weighs_the_kl():
    with pytest.raises(ValueError, match=r"objective\.rate=0; wanted more than 0"):
        Objective(rate=0)
    with pytest.raises(ValueError, match=r"objective\.rate=3\.0 .* free_bits=0\.5"):
        Objective(rate=3.0, free_bits=0.5)
