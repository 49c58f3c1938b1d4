"""The distributions of latents, against scipy and against their own draws."""

import pytest
import torch
from scipy import stats

from pixelvae.latents.distributions import DiagonalNormal, standard_normal_noise, standard_normal_rows
from tiny import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def random_normal(n, dim):
    return DiagonalNormal(torch.randn(n, dim), torch.rand(n, dim) + 0.2)


def test_log_prob_is_scipys():
    """Sum over the dimensions of the logarithm of the normal density."""
    q, h = random_normal(5, 3), torch.randn(5, 3)
    independent = stats.norm.logpdf(h.numpy(), q.loc.numpy(), q.scale.numpy()).sum(1)
    torch.testing.assert_close(q.log_prob(h), torch.tensor(independent))


def test_draws_have_the_density():
    """Kolmogorov-Smirnov of every dimension, and the mean is `mean`."""
    q, generator = random_normal(1, 3), torch.Generator().manual_seed(1)
    draws = q.rsample(standard_normal_noise(5000, 3, generator))
    assert_mean(draws, q.mean[0])
    for d in range(3):
        normal = stats.norm(q.loc[0, d].item(), q.scale[0, d].item())
        assert stats.kstest(draws[:, d].numpy(), normal.cdf).pvalue > 1e-3


def test_rsample_is_differentiable():
    """dh/dloc = 1, dh/dscale = noise: the reparameterisation."""
    loc, scale, noise = torch.randn(2, 3), torch.rand(2, 3), torch.randn(2, 3)
    gradients = torch.autograd.functional.jacobian(lambda *a: DiagonalNormal(*a).rsample(noise).sum(), (loc, scale))
    torch.testing.assert_close(gradients, (torch.ones(2, 3), noise))


def test_information_has_the_gradient_of_its_formula():
    """log of the aggregate's deviation, less the mean log of each one's."""
    q = random_normal(7, 3)
    expected = 0.5 * (q.loc.var(0, correction=0) + q.scale.square().mean(0)).log() - q.scale.log().mean(0)
    torch.testing.assert_close(q.information(), expected)
    of_method, of_formula = (
        torch.autograd.functional.jacobian(f, tuple(q))
        for f in (
            lambda *given: DiagonalNormal(*given).information(),
            lambda a, b: 0.5 * (a.var(0, correction=0) + b.square().mean(0)).log() - b.log().mean(0),
        )
    )
    torch.testing.assert_close(of_method, of_formula)


def test_information_is_nothing_where_all_are_alike_and_half_a_log_of_signal_to_noise_elsewhere():
    assert DiagonalNormal(torch.full((9, 2), 5.0), torch.full((9, 2), 1e-3)).information().abs().max() < 1e-9
    apart = DiagonalNormal(torch.tensor([[-3.0], [3.0]]), torch.ones(2, 1))
    torch.testing.assert_close(apart.information(), 0.5 * torch.tensor([10.0]).log())


def test_noise_depends_on_its_generator_alone():
    """The global seed plays no part."""
    first, again = (standard_normal_noise(4, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (4, 2)
    assert not torch.equal(first, standard_normal_noise(4, 2, torch.Generator().manual_seed(4)))


def test_each_row_of_noise_is_of_its_own_generator():
    """Row i is what generator i draws alone; the next rows go on where it stopped."""
    sources = [torch.Generator().manual_seed(seed) for seed in (3, 4, 3)]
    rows = standard_normal_rows(5, sources)
    assert torch.equal(rows[0], rows[2])
    assert torch.equal(rows[1:2], standard_normal_noise(1, 5, torch.Generator().manual_seed(4)))
    assert not (standard_normal_rows(5, sources) == rows).any()
