"""What makes a prior: the laws of every member of the family."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from families import PRIORS, by_name, hierarchical_prior, vamp_prior
from pixelvae import ConvEncoder, DataSpec, HierarchicalPrior, VampPrior
from pixelvae.latents.distributions import DiagonalNormal, Distribution, standard_normal_noise
from pixelvae.latents.hierarchical import Levels
from pixelvae.latents.priors import FlowPrior, StandardNormal
from pixelvae.models.pixelvae import PixelVAE
from small_runs import small_model
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
    noise = standard_normal_noise(5000, prior.noise_dim, torch.Generator().manual_seed(1))
    h, log_p = prior.sample(noise).detach(), on_grid(prior.log_prob, dim)
    assert h.shape == (5000, dim)
    for d in range(dim):
        marginal = log_p.exp() if dim == 1 else log_p.exp().sum(1 - d) * STEP
        cdf = ((marginal.cumsum(0) - marginal / 2) * STEP).numpy()  # at the middle of each cell
        assert stats.kstest(h[:, d].numpy(), lambda a, cdf=cdf: np.interp(a, AXIS.numpy(), cdf)).pvalue > 1e-3
    negative_entropy = (log_p.exp() * log_p).sum() * STEP**dim
    assert_mean(prior.log_prob(h).detach(), negative_entropy)


@every_prior
@torch.no_grad()
def test_a_sample_depends_on_its_own_noise_alone(make):
    """A batch is its rows one at a time, to rounding; new noise in one row leaves the others as they are."""
    prior = make(6)
    noise = torch.randn(5, prior.noise_dim)
    h = prior.sample(noise)
    assert h.shape == (5, 6)
    torch.testing.assert_close(h, torch.cat([prior.sample(row[None]) for row in noise]), rtol=0, atol=1e-12)
    other = noise.clone()
    other[2] = torch.randn(prior.noise_dim)
    changed = (prior.sample(other) != h).any(1)
    assert changed.tolist() == [False, False, True, False, False]
    assert torch.equal(prior.sample(noise), h)


def test_the_first_number_chooses_the_component_of_a_vamp_prior():
    """Each of K with probability 1/K, also at the ends of the normal distribution; the others are its noise."""
    prior = vamp_prior(2)
    noise = torch.zeros(3002, 3)
    noise[1:-1, 0] = torch.special.ndtri((torch.arange(3000) + 0.5) / 3000)
    noise[[0, -1], 0] = torch.tensor([-torch.inf, torch.inf])
    h, loc = prior.sample(noise).detach(), prior.components().loc.detach()
    assert torch.equal(h, loc.repeat_interleave(torch.tensor([1001, 1000, 1001]), 0))


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
    prior = make(6)
    loss = prior.log_prob(torch.randn(64, 6, requires_grad=True)).sum()
    loss.backward()
    assert [name for name, p in prior.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_analytic_kl_of_the_standard_normal():
    """Every dimension is a group, zero where q is the prior; torch.distributions agrees."""
    q, normal = random_posterior(5, 3), torch.distributions.Normal
    independent = torch.distributions.kl_divergence(normal(*q), normal(0.0, 1.0))
    torch.testing.assert_close(StandardNormal(3).kl(q, q.mean), independent)
    assert not StandardNormal(3).kl(DiagonalNormal(torch.zeros(1, 3), torch.ones(1, 3)), torch.randn(1, 3)).any()


def test_a_place_of_the_map_depends_on_all_places_before_it_and_on_no_other():
    """Exactly, by the Jacobian; and every place depends on the vector."""
    prior = HierarchicalPrior(2 * 3 * 3 + 2, map_shape=(2, 3, 3), num_layers=3, channels=4)
    top, places = torch.randn(1, 2), torch.randn(1, 2, 3, 3)
    for take in (lambda q: q.loc, lambda q: q.scale):
        by_top, by_map = torch.autograd.functional.jacobian(
            lambda top, places, take=take: take(prior.conditionals(Levels(top, places)))[0], (top, places)
        )
        seen = (by_map[:, :, :, 0] != 0).any(0).any(2).flatten(0, 1).flatten(1)  # (place, other place)
        assert torch.equal(seen, torch.ones(9, 9, dtype=torch.bool).tril(-1))
        assert (by_top != 0).any(-1).all()


def test_the_kl_of_the_vector_is_analytic_and_each_of_its_entries_a_group():
    """Then one group for the map."""
    prior, q = hierarchical_prior(6), random_posterior(5, 6)
    kl = prior.kl(q, q.rsample(torch.randn(5, 6)))
    assert kl.shape == (5, 3)
    expected = StandardNormal(2).kl(DiagonalNormal(q.loc[:, :2], q.scale[:, :2]), q.mean[:, :2])
    torch.testing.assert_close(kl[:, :2], expected)


def test_pseudo_inputs_that_are_the_data_make_the_aggregate_posterior():
    """The prior is then 1/K Σ q(h|x_k), by torch.distributions."""
    encoder = ConvEncoder(DataSpec((1, 4, 4), 2), 3, channels=(4,))
    prior = VampPrior(3, encoder, num_pseudo_inputs=7)
    x, h = torch.randint(2, (7, 1, 4, 4)), torch.randn(5, 3)
    with torch.no_grad():
        prior.pseudo_inputs.copy_(40.0 * encoder.signal(x))  # tanh of it is the signal
    q = torch.distributions.Normal(*encoder(x))
    mixture = q.log_prob(h[:, None]).sum(2).logsumexp(1) - np.log(7)
    torch.testing.assert_close(prior.log_prob(h), mixture)


def with_prior(prior):
    """A small PixelVAE, and a batch of its data."""
    parts = small_model()
    model = PixelVAE(
        parts.spec,
        likelihood=lambda spec: parts.likelihood,
        decoder=lambda spec, num_params, context_dim: parts.decoder,
        encoder=partial(ConvEncoder, channels=(4,)),
        prior=prior,
        context=lambda spec, latent_dim: parts.context,
        latent_dim=parts.latent_dim,
    ).double()
    x = torch.randint(parts.spec.levels, (4, *parts.spec.shape))
    y = torch.stack([torch.randint(k, (4,)) for k in parts.spec.num_classes], 1) if parts.spec.num_classes else None
    return model, x, y


def test_a_copy_of_a_model_has_a_prior_of_its_own_encoder():
    """The moving average is a deep copy: what its encoder learns, its prior must follow, and the first's must not."""
    model, _, _ = with_prior(partial(VampPrior, num_pseudo_inputs=3))
    again, h = copy.deepcopy(model), torch.randn(5, model.latent_dim)
    before = model.prior.log_prob(h)
    with torch.no_grad():
        again.encoder.linear.bias.add_(1)
    assert torch.equal(model.prior.log_prob(h), before)
    assert not torch.allclose(again.prior.log_prob(h), before)
    assert [name for name in model.state_dict() if name.startswith("prior.")] == ["prior.pseudo_inputs"]


@pytest.mark.parametrize(
    "prior",
    [
        partial(VampPrior, num_pseudo_inputs=3),
        partial(HierarchicalPrior, map_shape=(1, 1, 2), channels=4),
        partial(FlowPrior, hidden_channels=(4,)),
    ],
)
def test_the_importance_weighted_bound_is_no_lower(prior):
    """On average over draws; all weights are log p(x, h) − log q(h|x) of the same prior as the bound's."""
    model, x, y = with_prior(prior)
    with torch.no_grad():
        weights = model.log_weights(x, y, num_samples=64, generator=torch.Generator().manual_seed(0))
        elbos = torch.stack([model(x, y, noise=torch.randn(4, model.latent_dim)).elbo for _ in range(64)])
    assert (weights.logsumexp(0) - np.log(64) > weights.mean(0)).all()
    assert_mean((weights - elbos).mean(1), 0.0)


def test_a_vamp_prior_wants_an_encoder_without_labels():
    """Pseudo-inputs have none."""
    encoder = ConvEncoder(DataSpec((1, 4, 4), 2, (3,)), 3, channels=(4,), sees_label=True)
    with pytest.raises(ValueError, match="sees_label: false"):
        VampPrior(3, encoder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(VampPrior, 3, None, num_pseudo_inputs=0), "num_pseudo_inputs=0"),
        (partial(HierarchicalPrior, 7, map_shape=(2, 2, 2)), "8 latents, more than latent_dim=7"),
        (partial(HierarchicalPrior, 7, map_shape=(2, 0, 2)), r"map_shape\[1\]=0; wanted"),
    ],
)
def test_names_the_option_that_it_refuses(make, message):
    """An invalid argument is a ValueError with the given value."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("names", [("loc", "scale"), ("_0", "_1"), ()], ids=["zuko 1.6", "zuko 1.3", "now"])
def test_weights_of_a_flow_fit_every_version_of_its_library(names):
    """They named the constants of its base differently; weights are now without them."""
    prior = FlowPrior(latent_dim=3, num_transforms=2, hidden_channels=(4,))
    state = prior.state_dict()
    assert not [name for name in state if name.startswith("flow.base.")]
    ours = {name: torch.ones_like(tensor) for name, tensor in state.items()}
    prior.load_state_dict(ours | {f"flow.base.{name}": torch.zeros(3) for name in names})
    assert all(bool((tensor == 1).all()) for tensor in prior.state_dict().values())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        prior.load_state_dict(ours | {"flow.other": torch.zeros(3)})
