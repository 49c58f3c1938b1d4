"""What makes a context: the laws of every member of the family."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

import pixelvae as pv
from families import CONTEXTS, by_name, random_labels
from pixelvae import (
    AutoregressiveModel,
    Categorical,
    DataSpec,
    GatedPixelCNN,
    PositionContext,
    SpatialContext,
    TemporalContext,
    VectorContext,
)

pytestmark = pytest.mark.usefixtures("float64")
every_context = pytest.mark.parametrize(("make", "spec"), **by_name(CONTEXTS))
LATENT_DIM = 3


@every_context
@pytest.mark.parametrize("latent_dim", [0, LATENT_DIM])
def test_context_has_the_promised_shape(make, spec, latent_dim):
    """(B, D) or (B, D, *S), D = context_dim, from latents, labels or both; None from neither."""
    if not latent_dim and not spec.num_classes:
        spec = spec._replace(num_classes=(4,))
    context = make(spec, latent_dim)
    given = context(torch.randn(5, latent_dim) if latent_dim else None, random_labels(5, spec))
    assert given.shape in {(5, context.context_dim), (5, context.context_dim, *spec.sites)}
    assert given.isfinite().all()


@every_context
def test_every_latent_and_every_label_reaches_the_context(make, spec):
    """At every site of a map; and only that of the own example."""
    context, h, y = make(spec, LATENT_DIM), torch.randn(4, LATENT_DIM), random_labels(4, spec)
    before = context(h, y)
    for d in range(LATENT_DIM):
        after = context(h + torch.eye(4)[:, :1] * torch.eye(LATENT_DIM)[d], y)
        assert (before != after)[0].any(0).all()
        assert torch.equal(before[1:], after[1:])
    for kind, n in enumerate(spec.num_classes):
        after = context(h, torch.stack([(y[:, i] + (i == kind)) % k for i, k in enumerate(spec.num_classes)], 1))
        assert (before != after).any(1).all(), f"labels of kind {kind} with {n} classes"


@every_context
def test_every_parameter_gets_a_gradient(make, spec):
    """So DDP needs no search for unused parameters."""
    context = make(spec, LATENT_DIM)
    h = torch.randn(16, LATENT_DIM, requires_grad=True)
    context(h, random_labels(16, spec)).square().sum().backward()
    assert h.grad.all()
    assert [name for name, p in context.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_vector_context_is_latents_beside_one_hot_labels():
    """h first, then each kind of label in order."""
    h, y = torch.randn(2, 1), torch.tensor([[1, 0], [0, 2]])
    one_hot = torch.tensor([[0.0, 1, 1, 0, 0], [1, 0, 0, 0, 1]])
    spec = DataSpec((1, 4, 4), 2, (2, 3))
    assert torch.equal(VectorContext(spec, 1)(h, y), torch.cat([h, one_hot], dim=1))
    assert torch.equal(VectorContext(spec, 0)(None, y), one_hot)


def test_nothing_to_condition_on_is_no_context():
    """Neither latents nor labels: None, of width 0, even if the data have labels."""
    context = VectorContext(DataSpec((1, 4, 4), 2), 0)
    assert context.context_dim == 0
    assert context(None, None) is None
    assert context(None, torch.zeros(2, 1, dtype=torch.long)) is None


@pytest.mark.parametrize(
    ("make", "spec", "latent_dim", "options", "message"),
    [
        (SpatialContext, DataSpec((1, 16), 2), 3, {}, r"\(1, 16\) is not an image"),
        (SpatialContext, DataSpec((1, 4, 4), 2), 0, {}, "SpatialContext has neither latents nor labels"),
        (TemporalContext, DataSpec((1, 4, 4), 2), 3, {}, r"\(1, 4, 4\) is not a sound"),
        (TemporalContext, DataSpec((1, 16), 2), 0, {}, "TemporalContext has neither latents nor labels"),
        (TemporalContext, DataSpec((1, 16), 2), 3, {"stride": 0}, "stride=0"),
    ],
)
def test_a_map_is_refused_where_none_can_be_drawn(make, spec, latent_dim, options, message):
    """A map needs data of its own shape and something to draw it from."""
    with pytest.raises(ValueError, match=message):
        make(spec, latent_dim, **options)


@pytest.mark.parametrize("length", [1, 7, 8, 63, 64, 65, 130])
@pytest.mark.parametrize("stride", [1, 2, 3, 8])
def test_a_series_is_as_long_as_the_sound(length, stride):
    """Whatever the stride, and every sample of it depends on h."""
    context = TemporalContext(DataSpec((1, length), 2), LATENT_DIM, channels=(3, 4, 2), stride=stride)
    series, other = context(torch.zeros(1, LATENT_DIM)), context(torch.ones(1, LATENT_DIM))
    assert series.shape == (1, 2, length)
    assert (series != other).all()


def test_a_spatial_context_is_its_formula():
    """Of an odd image, whose maps have the sizes 2x2, 4x3 and 7x5: rounded up at every halving."""
    context = SpatialContext(DataSpec((1, 7, 5), 2, (3,)), 2, channels=(4, 3, 2))
    assert context.sizes == [(2, 2), (4, 3), (7, 5)]
    h, y = torch.randn(5, 2), torch.tensor([[0], [1], [2], [0], [1]])
    found = context.linear(torch.cat([h, F.one_hot(y[:, 0], 3)], 1)).view(5, 4, 2, 2)
    found = found + context.residual.second(F.silu(context.residual.first(F.silu(found))))
    for conv, (rows, columns) in zip(context.convs, context.sizes[1:], strict=True):
        i = torch.arange(rows) * found.shape[2] // rows  # the nearest row of the smaller map
        j = torch.arange(columns) * found.shape[3] // columns
        found = conv(F.silu(found)[:, :, i][..., j])
    torch.testing.assert_close(context(h, y), found, rtol=0, atol=1e-12)


def test_a_temporal_context_is_its_formula():
    """A series of 3 places is stretched by 4 and again by 4, then cut at the end of the sound."""
    context = TemporalContext(DataSpec((1, 37), 2), 2, channels=(4, 3, 2), stride=4)
    h = torch.randn(5, 2)
    found = context.linear(h).view(5, 4, 3)
    found = found + context.residual.second(F.silu(context.residual.first(F.silu(found))))
    for layer in context.stretches:
        found = F.conv_transpose1d(F.silu(found), layer.weight, layer.bias, stride=4, padding=2)
    torch.testing.assert_close(context(h), found[..., :37], rtol=0, atol=1e-12)


def test_positions_alone_are_the_context_of_all_examples():
    """A small window with positions is a model of its own: bound, score, samples and completions agree."""
    spec = DataSpec((1, 4, 5), 2)
    model = AutoregressiveModel(
        spec,
        likelihood=Categorical,
        decoder=partial(GatedPixelCNN, num_layers=2, channels=6, first_kernel_size=3),
        context=partial(PositionContext, channels=3),
    ).eval()
    assert model.context(None, None).shape == (1, 3, 4, 5)
    x = torch.randint(2, (6, *spec.shape))
    bound = model(x).log_px
    assert bound.allclose(model.score(x))
    with torch.no_grad():
        model.context.positions += 1
    assert not model(x).log_px.allclose(bound)
    for stepper in ("full", "eager"):
        assert model.sample(6, seed=0, stepper=stepper).equal(model.sample(6, seed=0))
    known = torch.zeros_like(x, dtype=torch.bool)
    assert model.complete(x, known, seed=0).equal(model.sample(6, seed=0))
    model.float()
    assert pv.decompress(model, pv.compress(model, x))[0].equal(x)
