"""Exact laws of the models, on data so small that every x is enumerated."""

from functools import partial

import pytest
import torch

from families import DECODERS, PRIORS, SMALL_CNN, by_name, random_levels
from pixelvae import (
    AutoregressiveModel,
    Bound,
    Categorical,
    DataSpec,
    DiscretizedLogisticMixture,
    SpatialContext,
    VectorContext,
    generation,
)
from pixelvae.data.spec import ABSENT
from pixelvae.models.base import GenerativeModel
from tiny import (
    BINARY,
    assert_gradient,
    assert_mean,
    autoregressive,
    every_x,
    labels,
    log_px_by_quadrature,
    vae,
)

pytestmark = pytest.mark.usefixtures("float64")
ONE = torch.tensor(1.0, dtype=torch.float64)
TWO_KINDS = BINARY._replace(num_classes=(2, 3))
each_context = pytest.mark.parametrize(
    "context", [VectorContext, partial(SpatialContext, channels=(3, 2))], ids=["vector", "spatial"]
)


def random_bound(model, x, y=None):
    return model(x, y, noise=model.draw_noise(len(x), torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("decoder", **by_name(DECODERS))
def test_probabilities_of_all_x_sum_to_one(decoder):
    """Without latents the bound is exact: Σ p(x) = 1."""
    model = autoregressive(decoder)
    x = every_x(model.spec)
    bound = random_bound(model, x)
    torch.testing.assert_close(bound.elbo.exp().sum(), ONE)
    assert not bound.kl.any()


@pytest.mark.parametrize("decoder", **by_name([d for d in DECODERS if len(d.spec.sites) == 1]))
def test_absent_sites_cost_nothing(decoder):
    """The probabilities of all beginnings of a sound sum to 1: that of a beginning is that of all its ends together."""
    model = autoregressive(decoder)
    x = every_x(model.spec)
    beginnings = x.clone()
    beginnings[..., 2:] = ABSENT
    half = model.spec.levels ** (model.spec.channels * (model.spec.sites[0] - 2))
    together = model.log_px(x, None).exp().view(-1, half).sum(1)
    torch.testing.assert_close(model.log_px(beginnings, None).exp()[::half], together)


def colour_model(likelihood, *, channel_masked):
    decoder = partial(SMALL_CNN, num_layers=2, channel_masked=channel_masked)
    return AutoregressiveModel(DataSpec((3, 1, 2), 3), likelihood=likelihood, decoder=decoder, context=VectorContext)


def test_a_likelihood_may_order_the_channels():
    """Σ p(x) = 1 with colours that depend on each other in the likelihood and not in the decoder."""
    model = colour_model(partial(DiscretizedLogisticMixture, num_components=2), channel_masked=False)
    torch.testing.assert_close(model.log_px(every_x(model.spec), None).exp().sum(), ONE)


def test_refuses_two_orders_of_the_channels():
    """A decoder that shows G the true R, and a likelihood that does so again: params would see their own site."""
    for num_components in (3, 10):  # 30 params could be split among three colours, 100 could not
        with pytest.raises(ValueError, match=r"decoder\.init_args\.channel_masked: false"):
            colour_model(partial(DiscretizedLogisticMixture, num_components=num_components), channel_masked=True)
    assert colour_model(Categorical, channel_masked=True).decoder.channel_masked
    assert not colour_model(Categorical, channel_masked=False).decoder.channel_masked


@each_context
@pytest.mark.parametrize("y", [[0, 0], [1, 0], [0, 2]], ids=str)
def test_probabilities_given_a_label_sum_to_one(context, y):
    """Σ p(x | y) = 1 for every y, and another y gives another p."""
    make = {"likelihood": Categorical, "decoder": partial(SMALL_CNN, num_layers=1), "context": context}
    model = AutoregressiveModel(TWO_KINDS, **make)
    x = every_x(model.spec)
    log_px = model.log_px(x, None, labels(y, len(x)))
    torch.testing.assert_close(log_px.exp().sum(), ONE)
    assert (log_px != model.log_px(x, None, labels([1, 2], len(x)))).any()


@each_context
@pytest.mark.parametrize("prior", **by_name(PRIORS))
@pytest.mark.parametrize("y", [None, [1, 2]], ids=str)
def test_marginal_probabilities_sum_to_one(context, prior, y):
    """Σ ∫ p(h) p(x|h) dh = 1, with and without labels."""
    model = vae(TWO_KINDS if y else BINARY, context=context, prior=prior)
    x = every_x(model.spec)
    log_px = log_px_by_quadrature(model, x, labels(y, len(x)))
    torch.testing.assert_close(log_px.exp().sum(), ONE)
    assert log_px.std() > 0.1, "a uniform model would prove nothing"


def draws_of_the_bounds(model, x, k, *, groups):
    """Independent draws of the importance-weighted bound, log of the mean of k weights. -> (groups, B)."""
    generator = torch.Generator().manual_seed(k)
    log_weights = model.log_weights(x.repeat(groups, 1, 1, 1), num_samples=k, generator=generator)
    return (log_weights.logsumexp(0) - torch.tensor(k).log()).view(groups, len(x))


@pytest.mark.parametrize("prior", **by_name(PRIORS))
def test_importance_weights_are_unbiased(prior):
    """E[p(x, h) / q(h|x)] = p(x), by quadrature; their logarithm is the bound on average."""
    model = vae(prior=prior)
    x = every_x(model.spec)
    log_weights = draws_of_the_bounds(model, x, k=1, groups=2000)
    assert_mean(log_weights.exp(), log_px_by_quadrature(model, x).exp())
    repeated = x.repeat(2000, 1, 1, 1)
    assert_mean(random_bound(model, repeated).elbo.view(2000, -1) - log_weights, 0.0)


@pytest.mark.parametrize("prior", **by_name(PRIORS))
def test_bounds_rise_to_log_px(prior):
    """ELBO ≤ IWAE_k ≤ IWAE_2k ≤ log p(x), each step beyond the noise of its estimate, and IWAE_k comes close."""
    model = vae(prior=prior)
    x = every_x(model.spec)
    draws = [random_bound(model, x.repeat(2000, 1, 1, 1)).elbo.view(2000, -1)]
    draws += [draws_of_the_bounds(model, x, k, groups=4000 // k) for k in (4, 8, 64)]
    means = [d.mean(1).mean() for d in draws] + [log_px_by_quadrature(model, x).mean()]
    errors = [d.mean(1).std() / len(d) ** 0.5 for d in draws] + [torch.tensor(0.0)]
    for i in range(len(means) - 1):
        assert means[i] <= means[i + 1] + 4 * (errors[i] ** 2 + errors[i + 1] ** 2).sqrt()
    assert means[0] + 8 * errors[0] < means[-1], "no gap to close"
    assert means[-1] - means[-2] < 0.1 * (means[-1] - means[0])


def test_log_weights_without_latents_are_exact():
    """Every weight is log p(x | y)."""
    model = autoregressive(DECODERS[0], num_classes=(2,))
    x = every_x(model.spec)
    y = labels([1], len(x))
    log_weights = model.log_weights(x, y, num_samples=3, generator=torch.Generator())
    assert torch.equal(log_weights, model.log_px(x, None, y).expand(3, -1))


def test_every_importance_sample_is_a_new_draw():
    """(S, B), no two alike, and equal generators give equal weights."""
    model, x = vae(), random_levels(2, BINARY)
    first, again = (model.log_weights(x, num_samples=5, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (5, 2)
    assert len(first[:, 0].unique()) == 5
    assert torch.equal(first, again)


def test_bound_adds_up():
    """kl is the sum of its groups, elbo is log_px − kl."""
    bound = Bound(torch.tensor([-3.0, -1.0]), torch.tensor([[1.0, 2.0], [0.5, 0.0]]))
    torch.testing.assert_close(bound.kl, torch.tensor([3.0, 0.5]))
    torch.testing.assert_close(bound.elbo, torch.tensor([-6.0, -1.5]))


def test_bound_is_reproduced_by_its_noise():
    """forward draws nothing by itself."""
    model, x = vae(latent_dim=3), random_levels(4, BINARY)
    noise = model.draw_noise(4, torch.Generator().manual_seed(0))
    assert noise.shape == (4, 3)
    first, again = model(x, noise=noise), model(x, noise=noise)
    assert torch.equal(first.elbo, again.elbo)
    assert first.kl_groups.shape == (4, 3)
    assert not torch.equal(first.log_px, model(x, noise=noise + 1).log_px)


@pytest.mark.parametrize("make", [vae, partial(autoregressive, DECODERS[0])], ids=["vae", "autoregressive"])
@pytest.mark.parametrize(
    "x",
    [torch.zeros(2, *s, dtype=t) for s, t in [((1, 2, 3), torch.long), ((2, 2), torch.long), ((3, 2, 2), torch.long)]]
    + [torch.zeros(2, 1, 2, 2, dtype=t) for t in (torch.float32, torch.bool)],
    ids=["wide", "flat", "rgb", "float", "bool"],
)
def test_refuses_x_of_the_wrong_shape_or_type(make, x):
    """The error names the argument, the given and the expected value, before any computation."""
    model = make()
    wanted = r"the model wants \(B, 1, 2, 2\)|levels are integers 0 \.\. 1"
    with pytest.raises(ValueError, match=wanted):
        random_bound(model, x)
    with pytest.raises(ValueError, match=wanted):
        model.log_weights(x, num_samples=1, generator=torch.Generator())


@pytest.mark.parametrize("make", [partial(vae, TWO_KINDS), partial(autoregressive, DECODERS[0], (2, 3))])
@pytest.mark.parametrize(("y", "message"), [(None, "y is missing"), ([[0]], r"wants \(B, 2\)"), ([[0, 3]], "outside")])
def test_refuses_missing_or_impossible_labels(make, y, message):
    """A class-conditional model does not guess."""
    model = make()
    x = random_levels(1, model.spec)
    with pytest.raises(ValueError, match=message):
        random_bound(model, x, None if y is None else torch.tensor(y))


def test_refuses_a_vae_without_latents():
    """latent_dim=0 is a typing error: what is meant is AutoregressiveModel."""
    with pytest.raises(ValueError, match="latent_dim=0"):
        vae(latent_dim=0)


@each_context
@pytest.mark.parametrize("prior", **by_name(PRIORS))
def test_gradient_of_the_bound_is_its_derivative(context, prior):
    """Through likelihood, decoder, context, latents, encoder and KL alike, by finite differences at fixed noise."""
    model = vae(TWO_KINDS, context=context, prior=prior, latent_dim=2).requires_grad_(True)
    x, y = random_levels(16, model.spec), labels([1, 2], 16)

    def loss():
        return random_bound(model, x, y).elbo.sum()

    assert_gradient(model, loss)


def test_every_parameter_gets_a_gradient():
    """From the bound alone, so DDP needs no search for unused parameters."""
    model = vae(TWO_KINDS, latent_dim=2).requires_grad_(True)
    random_bound(model, random_levels(16, model.spec), labels([1, 2], 16)).elbo.sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


# models with and without latents

BOTH = {"vae": partial(vae, latent_dim=2), "autoregressive": partial(autoregressive, DECODERS[0])}


@pytest.mark.parametrize("verb", ["decode", "sample", "reconstruct", "interpolate", "complete", "score"])
def test_every_verb_is_a_method(verb):
    """The same function, whose first argument is the model."""
    assert getattr(GenerativeModel, verb) is getattr(generation, verb)


@pytest.mark.parametrize("make", BOTH.values(), ids=BOTH)
def test_a_model_says_whether_it_has_latents(make):
    """And draws them from the prior, or none."""
    model = make()
    h = model.draw_latents(generation.generators(0, 3))
    assert model.has_latents is (h is not None) is (model.latent_dim > 0)
    assert h is None or h.shape == (3, model.latent_dim)


@pytest.mark.parametrize("prior", **by_name(PRIORS))
def test_a_draw_of_the_prior_depends_on_its_own_generator_alone(prior):
    """Draw i of a batch depends on its generator alone, not on the global seed."""
    model = vae(prior=prior, latent_dim=2)
    together = model.draw_latents(generation.generators(3, 5))
    torch.manual_seed(99)
    alone = [model.draw_latents([g]) for g in generation.generators(3, 5)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)
    assert len(together.unique(dim=0)) == 5


def test_encode_and_kl_are_those_of_the_bound():
    model, x, y = vae(TWO_KINDS, latent_dim=2), random_levels(4, BINARY), labels([1, 2], 4)
    noise = torch.randn(4, 2)
    bound, q = model(x, y, noise=noise), model.encode(x, y)
    assert torch.equal(q.mean, bound.posterior.mean)
    assert torch.equal(model.kl(q, q.rsample(noise)), bound.kl_groups)
    with pytest.raises(ValueError, match="levels are integers"):
        model.encode(x.float())


@pytest.mark.parametrize(
    "verb",
    [
        lambda model, x, h: model.encode(x),
        lambda model, x, h: model.kl(None, h),
        lambda model, x, h: model.reconstruct(x, seed=0),
        lambda model, x, h: model.interpolate(h, h, steps=2, seed=0),
        lambda model, x, h: model.complete(x, x > 0, h=h, seed=0),
        lambda model, x, h: model.score(x, h=h),
    ],
    ids=["encode", "kl", "reconstruct", "interpolate", "complete", "score"],
)
def test_latents_of_a_model_without_them_are_refused(verb):
    """By name; what only needs a decoder still works."""
    model = autoregressive(DECODERS[0])
    x = random_levels(2, model.spec)
    with pytest.raises(ValueError, match="has no latents"):
        verb(model, x, torch.zeros(2, 3))
