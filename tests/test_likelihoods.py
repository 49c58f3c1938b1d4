"""What makes a likelihood: the laws of every member of the family."""

from itertools import product

import pytest
import torch
from scipy import stats

from families import LIKELIHOODS, by_name, random_levels
from pixelvae import DataSpec, DiscretizedLogisticMixture

pytestmark = pytest.mark.usefixtures("float64")
every_likelihood = pytest.mark.parametrize("case", **by_name(LIKELIHOODS))
SCALES = [0.0, 1.0, 30.0, 1e4]  # of the params: from uniform to far beyond the resolution of a softmax


def random_params(likelihood, n, sites=(), scale=2.0):
    return scale * torch.randn(n, likelihood.num_params, *sites)


def all_levels(spec):
    """Every value of a site, (K^C, C)."""
    return torch.tensor(list(product(range(spec.levels), repeat=spec.channels)))


@every_likelihood
@pytest.mark.parametrize("scale", SCALES)
def test_pmf_sums_to_one(case, scale):
    """Of every channel, at any params, and no probability is negative."""
    likelihood = case.make(case.spec)
    x_site = torch.randint(case.spec.levels, (64, case.spec.channels))
    for channel in range(case.spec.channels):
        pmf = likelihood.pmf(random_params(likelihood, 64, scale=scale), x_site, channel)
        assert pmf.shape == (64, case.spec.levels)
        assert (pmf >= 0).all()
        torch.testing.assert_close(pmf.sum(1), torch.ones(64))


@every_likelihood
def test_pmf_depends_on_earlier_channels_at_most(case):
    """R, then G given R, then B given both: the others are not drawn yet."""
    likelihood = case.make(case.spec)
    params, x_site = random_params(likelihood, 64), torch.randint(case.spec.levels, (64, case.spec.channels))
    for channel in range(case.spec.channels):
        unknown = x_site.clone()
        unknown[:, channel:] = 0
        assert torch.equal(likelihood.pmf(params, x_site, channel), likelihood.pmf(params, unknown, channel))


@every_likelihood
def test_log_prob_is_the_sum_of_log_pmf_over_channels(case):
    """Training and sampling use the same distribution."""
    likelihood = case.make(case.spec)
    x, params = random_levels(8, case.spec), random_params(likelihood, 8, case.spec.sites)
    log_px = likelihood.log_prob(params, x)
    assert log_px.shape == (8, *case.spec.sites)
    for site in product(*map(range, case.spec.sites)):
        at, here = x[:, :, *site], params[:, :, *site]
        pmfs = [likelihood.pmf(here, at, c).gather(1, at[:, c : c + 1]) for c in range(case.spec.channels)]
        torch.testing.assert_close(log_px[:, *site], torch.cat(pmfs, dim=1).log().sum(1))


@every_likelihood
def test_log_prob_normalises(case):
    """The probabilities of all K^C values of a site sum to 1."""
    likelihood = case.make(case.spec)
    x = all_levels(case.spec)
    params = random_params(likelihood, 1, (1,)).expand(len(x), -1, -1)
    torch.testing.assert_close(likelihood.log_prob(params, x[:, :, None]).exp().sum(), torch.tensor(1.0))


@every_likelihood
def test_log_prob_is_the_independent_formula(case):
    """numpy and scipy, one site at a time, agree."""
    likelihood = case.make(case.spec)
    params, x = random_params(likelihood, 32, (1,)), torch.randint(case.spec.levels, (32, case.spec.channels, 1))
    sites = zip(params[..., 0].numpy(), x[..., 0].numpy(), strict=True)
    independent = torch.tensor([case.formula(*site) for site in sites])
    torch.testing.assert_close(likelihood.log_prob(params, x)[:, 0], independent)


@every_likelihood
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_prob_and_its_gradient_are_finite(case, scale, dtype):
    """For every value of a site, the lowest and the highest level included."""
    likelihood = case.make(case.spec).to(dtype)
    x = all_levels(case.spec)[:, :, None]
    params = random_params(likelihood, len(x), (1,), scale).to(dtype).requires_grad_()
    log_px = likelihood.log_prob(params, x)
    (gradient,) = torch.autograd.grad(log_px.sum(), params)
    assert log_px.isfinite().all()
    assert (log_px <= 0).all()
    assert gradient.isfinite().all()


@every_likelihood
def test_log_prob_sums_in_float32_at_least(case):
    """Params of autocast are bfloat16, nats never are."""
    likelihood = case.make(case.spec).float()
    params = random_params(likelihood, 2, case.spec.sites).bfloat16()
    assert likelihood.log_prob(params, random_levels(2, case.spec)).dtype == torch.float32


# DiscretizedLogisticMixture

GREY_256, RGB_256 = DataSpec((1, 2, 3), 256), DataSpec((3, 2, 3), 256)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("mean", "log_scale"), [(-1.0, -6.0), (0.3, -5.0), (1.5, -2.0), (0.0, 3.0)])
def test_mixture_is_right_far_out_in_the_tails(dtype, mean, log_scale):
    """Where the cumulative distribution rounds to 1, the survival function still distinguishes levels."""
    likelihood = DiscretizedLogisticMixture(GREY_256, num_components=1).to(dtype)
    x = torch.arange(256)[:, None, None]
    params = torch.tensor([0.0, mean, log_scale]).to(dtype).expand(256, -1)[:, :, None]
    logistic = stats.logistic(mean, torch.tensor(log_scale).exp().item())
    lower, upper = ((2 * x[:, 0, 0] + sign) / 255 - 1 for sign in (-1, 1))
    inner = torch.tensor(logistic.logsf(lower)) + torch.log1p(
        -torch.exp(torch.tensor(logistic.logsf(upper) - logistic.logsf(lower)))
    )
    mirrored = torch.tensor(logistic.logcdf(upper)) + torch.log1p(
        -torch.exp(torch.tensor(logistic.logcdf(lower) - logistic.logcdf(upper)))
    )
    expected = torch.where(lower > mean, inner, mirrored)
    expected[0], expected[-1] = logistic.logcdf(upper[0]), logistic.logsf(lower[-1])
    tolerance = {"rtol": 1e-5, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(likelihood.log_prob(params, x)[:, 0].double(), expected, **tolerance)


def test_mixture_takes_no_channel_for_granted():
    """R is independent, G depends on R, B on both: each by the coefficient in the docstring."""
    likelihood = DiscretizedLogisticMixture(RGB_256, num_components=1)
    logit, means, log_scales, levels = [0.0], [0.0] * 3, [-2.0] * 3, torch.tensor([[255, 0, 128]])
    quiet = torch.tensor([logit + means + log_scales + [0.0, 0.0, 0.0]])
    for coefficient, (hearer, heard) in enumerate([(1, 0), (2, 0), (2, 1)]):
        params = quiet.clone()
        params[0, 7 + coefficient] = 1.0
        for channel in range(3):
            told, untold = (likelihood.pmf(p, levels, channel) for p in (params, quiet))
            assert torch.equal(told, untold) == (channel != hearer)
        shift = torch.tensor(1.0).tanh() * (1.0 if heard == 0 else -1.0)  # R is highest, G lowest
        moved = quiet.clone()
        moved[0, 1 + hearer] = shift
        torch.testing.assert_close(likelihood.pmf(params, levels, hearer), likelihood.pmf(moved, levels, hearer))


def test_mixture_at_its_bounds_is_finite_for_every_level():
    """Gradients too, in float32, at the smallest and the largest scale, for extreme params."""
    likelihood = DiscretizedLogisticMixture(RGB_256, num_components=3).float()
    x = torch.randint(256, (512, 3, 1))
    for log_scale in (-1e30, -7.0, 7.0, 1e30):
        params = torch.randn(512, likelihood.num_params, 1, dtype=torch.float32) * 3
        params[:, 12:21] = log_scale
        params.requires_grad_()
        log_px = likelihood.log_prob(params, x)
        log_px.sum().backward()
        assert log_px.isfinite().all()
        assert params.grad.isfinite().all()


def test_mixture_needs_a_component():
    """None is no distribution."""
    with pytest.raises(ValueError, match="num_components=0"):
        DiscretizedLogisticMixture(GREY_256, num_components=0)
