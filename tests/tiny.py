"""Models so small that every x can be enumerated, and exact probabilities to hold the code against."""

from functools import partial
from itertools import product

import torch
from scipy import stats

from families import SMALL_CNN
from pixelvae import AutoregressiveModel, Categorical, ConvEncoder, DataSpec, PixelVAE, StandardNormal, VectorContext

BINARY = DataSpec((1, 2, 2), levels=2)
ENOUGH_STANDARD_ERRORS = 5.0


def tiny_spec(spec, num_classes=()):
    """The same kind of data with so few sites and levels that there are at most 729 different x."""
    grey = spec.channels == 1
    sites = {2: (2, 2) if grey else (1, 2), 1: (4,) if grey else (2,)}[len(spec.sites)]
    return DataSpec((spec.channels, *sites), min(spec.levels, 3), num_classes)


def autoregressive(decoder, num_classes=()):
    """The model without latents of a member of the family of decoders."""
    spec = tiny_spec(decoder.spec, num_classes)
    return sharpened(AutoregressiveModel(spec, likelihood=Categorical, decoder=decoder.make, context=VectorContext))


def vae(spec=BINARY, *, context=VectorContext, prior=StandardNormal, latent_dim=1):
    """A PixelVAE, by default with a single latent, which a grid can integrate over."""
    parts = {
        "likelihood": Categorical,
        "decoder": partial(SMALL_CNN, num_layers=2),
        "encoder": partial(ConvEncoder, channels=(3,)),
        "prior": prior,
        "context": context,
    }
    return sharpened(PixelVAE(spec, latent_dim=latent_dim, **parts))


@torch.no_grad()
def sharpened(model):
    """Weights of variance 1 / fan-in, none of them zero: no probability is near what a model without weights gives."""
    for parameter in model.parameters():
        parameter.mul_(1.5).add_(torch.randn_like(parameter), alpha=0.5 * parameter[0].numel() ** -0.5)
    return model.requires_grad_(False)


def every_x(spec):
    """All K^(C·S) examples, (N, C, *S)."""
    return torch.tensor(list(product(range(spec.levels), repeat=spec.num_dims))).view(-1, *spec.shape)


def position(x, spec):
    """Where each example stands in every_x. (B, C, *S) -> (B,)."""
    return (x.flatten(1) * spec.levels ** torch.arange(spec.num_dims - 1, -1, -1)).sum(1)


def labels(y, n):
    """The same labels for n examples, (n, L); None where there are none."""
    return None if y is None else torch.tensor(y).expand(n, -1)


def log_px_by_quadrature(model, x, y=None, *, nodes=641, end=16.0):
    """log p(x) = log ∫ p(h) p(x|h) dh of a model with one latent, by the trapezium rule. -> (B,)."""
    h = torch.linspace(-end, end, nodes)[:, None]
    weights = model.prior.log_prob(h).exp() * (h[1] - h[0])  # both ends are beyond all mass
    repeated = None if y is None else y.repeat(nodes, 1)
    log_px = model.log_px(x.repeat(nodes, 1, 1, 1), h.repeat_interleave(len(x), 0), repeated)
    return (weights @ log_px.exp().view(nodes, len(x))).log()


def p_value(x, probabilities, spec):
    """p-value of the chi-square test of drawn examples against p of every_x, (N,), up to a factor."""
    counts = torch.bincount(position(x, spec), minlength=len(probabilities)).double()
    expected = probabilities.double() / probabilities.sum() * len(x)
    if counts[expected == 0].any():
        return 0.0
    rare = expected < 5  # too few for the test: they are counted together
    if expected[rare].any():
        counts, expected = (torch.cat([a[~rare], a[rare].sum()[None]]) for a in (counts, expected))
    else:
        counts, expected = counts[~rare], expected[~rare]
    return stats.chisquare(counts.cpu().numpy(), expected.cpu().numpy()).pvalue


def assert_mean(draws, expected, rounding=1e-12):
    """The mean over the first axis is what is expected, within five standard errors."""
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - expected).abs() <= ENOUGH_STANDARD_ERRORS * error + rounding).all()


def assert_gradient(module, loss, step=1e-7):
    """The gradient of all parameters is the derivative along a random direction, by central differences."""
    parameters = list(module.parameters())
    direction = [torch.randn_like(p) for p in parameters]
    gradient = torch.autograd.grad(loss(), parameters)
    slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
    ends = []
    with torch.no_grad():
        for move in (step, -2 * step):
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.add_(d, alpha=move)
            ends.append(loss())
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-6)
