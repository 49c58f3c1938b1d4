"""What makes a prior: the laws of every member of the family."""

import numpy as np
import pytest
import torch
from scipy import stats

from families import PRIORS, by_name
from pixelvae.distributions import DiagonalNormal, Distribution
from pixelvae.priors import StandardNormal
from tiny import assert_mean

pytestmark = pytest.mark.usefixtures("float64")
every_prior = pytest.mark.parametrize("make", **by_name(PRIORS))
every_dim = pytest.mark.parametrize("dim", [1, 2])
AXIS = torch.linspace(-12, 12, 401, dtype=torch.float64)
STEP = (AXIS[1] - AXIS[0]).item()


@torch.no_grad()
def on_grid(log_prob, dim):
    """log p(h) where all mass lies, (401,) or (401, 401): sums times STEP^dim are integrals, by the trapezium rule."""
    return log_prob(torch.cartesian_prod(*[AXIS] * dim).view(-1, dim)).view(*[len(AXIS)] * dim)


def random_posterior(n, dim):
    return DiagonalNormal(torch.randn(n, dim), torch.rand(n, dim) + 0.3)


class Skewed(Distribution):
    """h = loc + scale · sinh(noise / 2): a posterior that is not normal."""

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale

    def rsample(self, noise):
        return self.loc + self.scale * (noise / 2).sinh()

    def log_prob(self, h):
        a = (h - self.loc) / self.scale
        log_normal = -2 * a.asinh().square() - 0.5 * np.log(2 * np.pi)
        return (log_normal + np.log(2) - 0.5 * (1 + a.square()).log() - self.scale.log()).sum(1)

    @property
    def mean(self):
        return self.loc


@every_prior
@every_dim
def test_density_integrates_to_one(make, dim):
    """Over a grid that holds all mass."""
    assert on_grid(make(dim).log_prob, dim).exp().sum().item() * STEP**dim == pytest.approx(1, abs=1e-6)


@every_prior
@every_dim
def test_samples_have_the_density(make, dim):
    """Kolmogorov-Smirnov of every dimension; the mean of log p over samples is its integral."""
    prior = make(dim)
    h, log_p = prior.sample(5000, generator=torch.Generator().manual_seed(1)).detach(), on_grid(prior.log_prob, dim)
    assert h.shape == (5000, dim)
    for d in range(dim):
        marginal = log_p.exp() if dim == 1 else log_p.exp().sum(1 - d) * STEP
        cdf = ((marginal.cumsum(0) - marginal / 2) * STEP).numpy()  # at the middle of each cell
        assert stats.kstest(h[:, d].numpy(), lambda a, cdf=cdf: np.interp(a, AXIS.numpy(), cdf)).pvalue > 1e-3
    negative_entropy = (log_p.exp() * log_p).sum() * STEP**dim
    assert_mean(prior.log_prob(h).detach(), negative_entropy)


@every_prior
def test_samples_depend_on_their_generator_alone(make):
    """Equal generators give equal samples, whatever the global seed."""
    prior = make(2)
    first, again = (prior.sample(3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)


@every_prior
@every_dim
@pytest.mark.parametrize("kind", [DiagonalNormal, Skewed])
def test_kl_is_the_integral(make, dim, kind):
    """The groups of the KL add up to ∫ q log(q/p) on average, for a normal posterior and for any other."""
    prior, q = make(dim), kind(*random_posterior(1, dim))
    log_q = on_grid(q.log_prob, dim)
    integral = (log_q.exp() * (log_q - on_grid(prior.log_prob, dim))).sum() * STEP**dim
    q_of_each = kind(q.loc.expand(5000, -1), q.scale.expand(5000, -1))
    groups = prior.kl(q_of_each, q.rsample(torch.randn(5000, dim))).detach()
    assert groups.shape[0] == 5000
    assert_mean(groups.sum(1), integral, rounding=1e-5)


@every_prior
def test_every_parameter_gets_a_gradient(make):
    """From log_prob alone, so DDP needs no search for unused parameters."""
    prior = make(2)
    loss = prior.log_prob(torch.randn(64, 2, requires_grad=True)).sum()
    loss.backward()
    assert [name for name, p in prior.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_analytic_kl_of_the_standard_normal():
    """Every dimension is a group, zero where q is the prior; torch.distributions agrees."""
    q, normal = random_posterior(5, 3), torch.distributions.Normal
    independent = torch.distributions.kl_divergence(normal(*q), normal(0.0, 1.0))
    torch.testing.assert_close(StandardNormal(3).kl(q, q.mean), independent)
    assert not StandardNormal(3).kl(DiagonalNormal(torch.zeros(1, 3), torch.ones(1, 3)), torch.randn(1, 3)).any()
