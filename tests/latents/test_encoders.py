"""What makes an encoder: the laws of every member of the family."""

import pytest
import torch

from families import ENCODERS, by_name, random_labels, random_levels
from pixelvae import ConvEncoder, DataSpec, WaveEncoder
from pixelvae.data.spec import ABSENT

pytestmark = pytest.mark.usefixtures("float64")
every_encoder = pytest.mark.parametrize(("make", "spec"), **by_name(ENCODERS))
LATENT_DIM = 3


@every_encoder
def test_posterior_is_a_density_over_latents(make, spec):
    """Draws are (B, D), their log density is (B,), both finite, for any integer type of x."""
    encoder, x, y = make(spec, LATENT_DIM), random_levels(5, spec), random_labels(5, spec)
    q = encoder(x, y)
    h = q.rsample(torch.randn(5, LATENT_DIM))
    assert h.shape == q.mean.shape == (5, LATENT_DIM)
    assert q.log_prob(h).shape == (5,)
    assert q.log_prob(h).isfinite().all()
    assert torch.equal(encoder(x.to(torch.uint8), y).mean, q.mean)


@every_encoder
def test_every_value_of_x_and_every_label_reaches_every_latent(make, spec):
    """No dimension of the data is dropped on the way to q, and no other example gets there."""
    encoder, x, y = make(spec, LATENT_DIM), random_levels(1, spec), random_labels(1, spec)
    n = spec.num_dims
    changed = x.repeat(n, *[1] * len(spec.shape)).view(n, n)
    changed.diagonal().add_(1).remainder_(spec.levels)
    ys = None if y is None else y.expand(n, -1)
    before, after = encoder(x.expand(n, *spec.shape), ys).mean, encoder(changed.view(n, *spec.shape), ys).mean
    assert (before != after).all()
    torch.testing.assert_close(after[:1], encoder(changed[:1].view(1, *spec.shape), y).mean)
    for kind, k in enumerate(spec.num_classes):
        other = y.clone()
        other[:, kind] = (y[:, kind] + 1) % k
        assert (encoder(x, other).mean != encoder(x, y).mean).all()


@every_encoder
def test_every_parameter_gets_a_gradient(make, spec):
    """So DDP needs no search for unused parameters."""
    encoder = make(spec, LATENT_DIM)
    q = encoder(random_levels(16, spec), random_labels(16, spec))
    q.rsample(torch.randn(16, LATENT_DIM)).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_encoder
def test_density_stays_finite_where_the_scale_collapses(make, spec):
    """However small the raw scale, log q and its gradient are numbers."""
    encoder = make(spec, LATENT_DIM)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(100)
    q = encoder(random_levels(8, spec), random_labels(8, spec))
    q.log_prob(q.rsample(torch.randn(8, LATENT_DIM))).sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_labels_are_ignored_unless_asked_for():
    """q(h|x) unless sees_label: then q(h|x, y)."""
    spec = DataSpec((1, 3, 3), 2, (4,))
    encoder, x = ConvEncoder(spec, 2, channels=(3,)), random_levels(2, spec)
    assert torch.equal(encoder(x, torch.tensor([[0], [3]])).mean, encoder(x).mean)


def test_posterior_stays_in_float32_under_autocast():
    """bfloat16 cannot hold a scale of 1e-4 beside a mean of 1."""
    encoder = ConvEncoder(DataSpec((1, 3, 3), 2), 2, channels=(3,)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = encoder(torch.zeros(1, 1, 3, 3, dtype=torch.long))
    assert q.loc.dtype == q.scale.dtype == torch.float32


def test_what_is_absent_is_heard_as_silence():
    """An odd number of levels has one that is silence: it and nothing at all are the same to the encoder."""
    encoder, x = WaveEncoder(DataSpec((1, 30), 5), 2, channels=(3, 4)), torch.randint(5, (4, 1, 30))
    x[:, :, 20:] = 2
    padded = x.clone()
    padded[:, :, 20:] = ABSENT
    assert torch.equal(encoder(padded).mean, encoder(x).mean)


@pytest.mark.parametrize(
    ("make", "spec", "options", "message"),
    [
        (ConvEncoder, DataSpec((1, 16), 2), {}, r"\(1, 16\) is not an image"),
        (ConvEncoder, DataSpec((1, 4, 4), 2), {"sees_label": True}, "sees_label=True"),
        (WaveEncoder, DataSpec((1, 4, 4), 2), {}, r"\(1, 4, 4\) is not a sound"),
        (WaveEncoder, DataSpec((1, 16), 2), {"sees_label": True}, "sees_label=True"),
        (WaveEncoder, DataSpec((1, 16), 2), {"stride": 0}, "stride=0"),
    ],
)
def test_names_the_argument_that_it_refuses(make, spec, options, message):
    """An invalid argument is a ValueError with the given value."""
    with pytest.raises(ValueError, match=message):
        make(spec, 2, **options)


def test_a_wave_encoder_cannot_be_driven_to_where_it_is_deaf():
    """Whatever becomes of its last stage, q(h|x) still depends on x, and the weights still get a gradient."""
    encoder = WaveEncoder(DataSpec((1, 64), levels=256), 3, channels=(4, 8))
    with torch.no_grad():
        encoder.residuals[-1].second.bias.sub_(500)
    means = encoder(torch.randint(256, (6, 1, 64))).mean
    assert (means.std(0) > 1e-3).all()
    means.square().sum().backward()
    assert encoder.convs[0].weight.grad.abs().max() > 1e-6
