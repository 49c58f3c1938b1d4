"""Evaluation sees every example once and divides by what it counted."""

import math

import pytest
import torch

from pixelvae import AutoregressiveModel, Categorical, DataSpec, VectorContext, WaveNet
from pixelvae.data import BatchKey, sequential, spread
from pixelvae.data.audio import AudioSplit, Recording
from pixelvae.distributed import World
from pixelvae.evaluation.bounds import bits_per_dim, evaluate_bound, evaluate_importance_weighted
from pixelvae.models.assembly import build
from small_runs import CONFIG, small_data, small_model


@pytest.fixture
def world(device):
    """One process, on the CPU or CUDA."""
    return World(device)


@pytest.fixture(scope="module")
def held_out():
    return small_data().test


def without_latents(world):
    config = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
    return build(config, small_data().spec).to(world.device).eval()


def first(n, split, world):
    """x and y of the first n examples, on the device."""
    return (part.to(world.device) for part in split[BatchKey(torch.arange(n), 0)])


@pytest.mark.parametrize("batch_size", [7, 100, 1000])
def test_the_mean_is_over_images_whatever_the_batch(held_out, batch_size, world):
    """300 is not a multiple of 7: a mean of batch means, or a dropped last batch, would show."""
    model = without_latents(world)
    x, y = first(len(held_out), held_out, world)
    expected = model.log_px(x, None, y).double().mean().item()
    bounds = evaluate_bound(model, held_out, seed=0, world=world, batch_size=batch_size)
    assert bounds.num_images == len(held_out) == 300
    assert bounds.elbo == pytest.approx(expected, abs=1e-4)
    assert bounds.kl == 0
    stderr = (model.log_px(x, None, y).double().std() / len(x) ** 0.5).item()
    assert bounds.stderr == pytest.approx(stderr, rel=1e-4)


def test_terms_add_up_and_the_kl_is_the_true_one(held_out, world):
    model = small_model().to(world.device).eval()
    bounds = evaluate_bound(model, held_out, seed=0, world=world)
    x, y = first(len(held_out), held_out, world)
    q = model.encoder(x, y)
    kl = model.prior.kl(q, q.mean).mean(0).detach()
    torch.testing.assert_close(bounds.kl_groups.float(), kl.cpu(), rtol=1e-4, atol=1e-6)
    assert bounds.elbo == pytest.approx(bounds.log_px - float(kl.sum()), abs=1e-4)


def test_max_images_are_spread_over_the_split(held_out, world):
    """Both bounds take the same ones, which no batch size changes."""
    model = without_latents(world)
    x, y = (tensor.to(world.device) for tensor in held_out[BatchKey(spread(300, 50), 0)])
    options = {"seed": 0, "world": world, "batch_size": 20, "max_images": 50}
    bounds = evaluate_bound(model, held_out, **options)
    weighted = evaluate_importance_weighted(model, held_out, num_samples=1, **options)
    assert bounds.num_images == weighted.num_images == 50
    expected = model.log_px(x, None, y).mean().item()
    assert (bounds.elbo, weighted.log_px) == pytest.approx((expected, expected), abs=1e-4)


def test_more_importance_samples_tighten_the_bound(held_out, world):
    model = small_model().to(world.device).eval()
    with torch.no_grad():  # a posterior far from the prior makes the gap visible
        model.encoder.linear.bias[:3] += 1.0
    options = {"seed": 0, "world": world}
    elbo = evaluate_bound(model, held_out, **options).elbo
    one, four, many = (
        evaluate_importance_weighted(model, held_out, num_samples=s, **options).log_px for s in (1, 4, 32)
    )
    assert one == pytest.approx(elbo, abs=0.3)
    assert one < four < many


def test_the_importance_weighted_bound_is_the_log_of_the_mean_weight(held_out, world):
    """By hand, from the weights of each batch."""
    model, expected = small_model().to(world.device).eval(), []
    for i, key in enumerate(sequential(held_out, 100)):
        x, y = held_out[key]
        source = torch.Generator().manual_seed(3 + i)
        with torch.no_grad():
            log_weights = model.log_weights(x, y, num_samples=4, generator=source).double()
        expected.append(log_weights.exp().mean(0).log())
    found = evaluate_importance_weighted(model, held_out, num_samples=4, seed=3, world=world, batch_size=100)
    assert found.log_px == pytest.approx(torch.cat(expected).mean().item(), abs=1e-4)


def test_exactly_as_many_importance_samples_are_drawn_as_asked_for(held_out, monkeypatch, world):
    model, drawn = small_model().to(world.device).eval(), []
    monkeypatch.setattr(
        model, "draw_noise", lambda n, g: drawn.append(n) or torch.zeros(n, model.latent_dim, device=world.device)
    )
    given = evaluate_importance_weighted(model, held_out, num_samples=5, seed=0, world=world, batch_size=100)
    assert drawn == [100] * 15
    assert (given.num_samples, given.num_images) == (5, 300)
    with pytest.raises(ValueError, match="num_samples=0"):
        evaluate_importance_weighted(model, held_out, num_samples=0, seed=0, world=world)


def test_without_latents_the_bound_is_exact_and_one_sample_enough(held_out, world):
    model = without_latents(world)
    given = evaluate_importance_weighted(model, held_out, num_samples=50, seed=0, world=world)
    assert given.num_samples == 1
    assert given.log_px == pytest.approx(evaluate_bound(model, held_out, seed=0, world=world).elbo, abs=1e-6)
    x, y = first(len(held_out), held_out, world)
    spread = model.log_px(x, None, y).double().std().item() / math.sqrt(300)
    assert given.stderr == pytest.approx(spread, rel=1e-4)


def test_bits_per_dim_of_a_uniform_model_is_log2_of_the_levels():
    assert bits_per_dim(-3072 * math.log(256), 3072) == pytest.approx(8.0)


def test_bits_are_divided_by_the_samples_that_are_there(world):
    """A uniform model of three levels costs log2(3) bits for every sample of sound, and padding costs nothing."""
    spec = DataSpec((1, 10), 3)
    recordings = [Recording(torch.randint(3, (size,), dtype=torch.uint8), ()) for size in (3, 10, 25, 1, 6)]
    split = AudioSplit("test", recordings, spec, seed=0)
    model = AutoregressiveModel(spec, likelihood=Categorical, decoder=uniform_wavenet, context=VectorContext)
    model = model.to(world.device)
    for batch_size in (None, 2):
        bounds = evaluate_bound(model, split, seed=0, world=world, batch_size=batch_size)
        assert bounds.num_dims == pytest.approx((3 + 10 + 10 + 1 + 6) / 5)
        assert bits_per_dim(bounds.elbo, bounds.num_dims) == pytest.approx(math.log2(3))


def uniform_wavenet(spec, num_params, context_dim):
    decoder = WaveNet(spec, num_params, context_dim, num_layers_per_stack=2, channels=2)
    torch.nn.init.zeros_(decoder.head.weight)
    torch.nn.init.zeros_(decoder.head.bias)
    return decoder


def test_every_value_of_an_image_is_counted(held_out, world):
    assert evaluate_bound(without_latents(world), held_out, seed=0, world=world).num_dims == 64
