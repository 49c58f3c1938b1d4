"""Laws of the bounds of information that training rewards."""

import math

import pytest
import torch

from opaque import Opaque
from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.latents.information import information_lower_bound, normal_information, pair_log_prob


def posteriors(n, dim=3, spread=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    loc = spread * torch.randn(n, dim, generator=generator, dtype=torch.double)
    return DiagonalNormal(loc, 0.3 + torch.rand(n, dim, generator=generator, dtype=torch.double))


def test_pairs_are_the_densities_of_every_draw_under_every_posterior():
    q, h = posteriors(5), torch.randn(4, 3, dtype=torch.double)
    pairs = pair_log_prob(q, h)
    assert pairs.shape == (4, 5)
    for i in range(4):
        torch.testing.assert_close(pairs[i], q.log_prob(h[i].expand(5, 3)))
    torch.testing.assert_close(pair_log_prob(Opaque(q), h), pairs)


def test_the_lower_bound_is_below_the_information_of_a_linear_normal_channel():
    r"""h = a x + noise, x ~ N(0, 1): I = ½ log(1 + a²/σ²) is known; the bound is below it and near it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000 + 256, 1, generator=generator, dtype=torch.double)
    q = DiagonalNormal(2 * x, torch.ones_like(x))
    batch, others = (DiagonalNormal(q.loc[part], q.scale[part]) for part in (slice(3000), slice(3000, None)))
    h = batch.rsample(torch.randn(3000, 1, generator=generator, dtype=torch.double))
    exact = 0.5 * math.log(5)
    values = information_lower_bound(batch, h, others)
    assert float(values.mean()) < exact + 3 * float(values.std()) / math.sqrt(3000)
    assert float(values.mean()) > 0.9 * exact
    assert float(values.max()) <= math.log(257)
    assert float(normal_information(q)) == pytest.approx(exact, rel=0.05)  # exact for a normal x


@pytest.mark.parametrize("num_others", [1, 2, 30])
def test_the_lower_bound_goes_from_0_to_the_logarithm_of_the_number_of_examples(num_others):
    """0 where all posteriors are one; log(M + 1) where each draw can come from its own example alone."""
    for distance, expected in ((0.0, 0.0), (1e3, math.log(num_others + 1))):
        loc = distance * torch.arange(num_others + 4, dtype=torch.double)[:, None].expand(-1, 3)
        q, others = (DiagonalNormal(part, torch.ones_like(part)) for part in (loc[:4], loc[4:]))
        found = information_lower_bound(q, q.rsample(torch.randn(4, 3, dtype=torch.double)), others)
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=1e-9, atol=1e-9)


def test_the_normal_information_is_the_kl_to_the_best_normal_and_grows_with_the_sum():
    q = posteriors(40)
    mean, covariance = q.loc.mean(0), torch.cov(q.loc.T, correction=0) + q.scale.square().mean(0).diag()
    best = torch.distributions.MultivariateNormal(mean, covariance)
    each = [
        torch.distributions.kl_divergence(torch.distributions.MultivariateNormal(m, s.square().diag()), best)
        for m, s in zip(q.loc, q.scale, strict=True)
    ]
    torch.testing.assert_close(normal_information(q), torch.stack(each).mean())
    assert normal_information(q) <= q.information().sum()


def test_both_have_gradients():
    q, others = posteriors(4), posteriors(6, seed=1)
    noise = torch.randn(4, 3, dtype=torch.double)

    def value(loc, scale, other_loc, other_scale):
        mine = DiagonalNormal(loc, scale)
        them = DiagonalNormal(other_loc, other_scale)
        return information_lower_bound(mine, mine.rsample(noise), them).mean() + normal_information(them)

    given = [part.requires_grad_() for part in (*q, *others)]
    assert torch.autograd.gradcheck(value, given)
