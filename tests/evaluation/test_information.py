"""What the latents are worth, measured where the answer is known."""

import itertools
import math

import pytest
import torch

from opaque import Opaque
from pixelvae import FlowPrior, StandardNormal
from pixelvae.data import BatchKey
from pixelvae.evaluation import information as latents
from pixelvae.evaluation.information import (
    active_units,
    aggregate_log_prob,
    effective_rank,
    encode_split,
    latent_health,
    latent_information,
    mutual_information,
    posterior_means,
)
from pixelvae.latents.distributions import DiagonalNormal
from small_runs import small_data, small_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def held_out():
    return small_data().test


def random_posterior(n, dim, spread=1.0, dtype=torch.float64):
    return DiagonalNormal(spread * torch.randn(n, dim, dtype=dtype), torch.rand(n, dim, dtype=dtype) + 0.2)


def test_active_units_are_those_that_move_with_x():
    means = torch.randn(10_000, 3) * torch.tensor([0.05, 0.2, 1.0])
    assert active_units(means).tolist() == [False, True, True]


def test_posterior_means_come_in_order(held_out):
    model = small_model().eval()
    means = posterior_means(model, held_out, batch_size=7, device=CPU)
    x, y = held_out[BatchKey(torch.tensor([299]), 0)]
    torch.testing.assert_close(means[299:], model.encoder(x, y).mean.detach())


@pytest.mark.parametrize("max_images", [1, 7, 10, 299, 300, 1000, None])
def test_as_many_posteriors_as_asked_for(held_out, max_images):
    batches = encode_split(small_model().eval(), held_out, device=CPU, batch_size=7, max_images=max_images)
    assert sum(len(q.mean) for q in batches) == min(max_images or 300, 300)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 30.0])
def test_a_posterior_that_does_not_move_holds_no_information_however_large_its_kl(scale):
    q = DiagonalNormal(torch.full((100, 4), 7.0), torch.full((100, 4), scale))
    assert StandardNormal(4).kl(q, q.loc).sum(1).mean() > 20
    assert mutual_information([q], seed=0).nats == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(latent_information([q]), torch.zeros(4, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [DiagonalNormal, lambda *q: Opaque(DiagonalNormal(*q))])
def test_posteriors_far_apart_hold_the_cap_exactly(kind):
    q = kind(1000 * torch.arange(50.0, dtype=torch.float64)[:, None].expand(-1, 3), torch.ones(50, 3).double())
    found = mutual_information([q], seed=0)
    assert found.nats == pytest.approx(math.log(50), abs=1e-6)
    assert found.cap_nats == math.log(50)
    assert found.num_images == 50


def test_pairs_of_equal_posteriors_far_apart_hold_half_the_number():
    q = DiagonalNormal(1000.0 * (torch.arange(40) // 2)[:, None], torch.ones(40, 1))
    assert mutual_information([q], seed=0).nats == pytest.approx(math.log(20), abs=1e-6)


def test_a_gaussian_channel_holds_half_the_log_of_its_signal_to_noise():
    """h = μ + σε with normal μ: I = ½ log(1 + Var μ / σ²) for each dimension, and the bound by dimension is tight."""
    torch.manual_seed(1)
    q = DiagonalNormal(torch.randn(4000, 2) * torch.tensor([1.0, 2.0]), torch.ones(4000, 2))
    expected = 0.5 * torch.tensor([2.0, 5.0]).log()
    assert mutual_information([q], seed=0).nats == pytest.approx(float(expected.sum()), abs=0.05)
    torch.testing.assert_close(latent_information([q]).float(), expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("pairs", [1, 100, 10_000])
def test_the_aggregate_equals_brute_force(monkeypatch, pairs):
    """The written-out square, chunk by chunk, against log_prob of every pair; and every other posterior likewise."""
    monkeypatch.setattr(latents, "PAIRS", pairs)
    q, h = random_posterior(30, 5, spread=3), torch.randn(20, 5, dtype=torch.float64)
    brute = torch.stack([q.log_prob(one.expand(30, 5)).exp().mean().log() for one in h])
    torch.testing.assert_close(aggregate_log_prob([q], h), brute)
    parts = [DiagonalNormal(*half) for half in zip(q.loc.split(17), q.scale.split(17), strict=True)]
    torch.testing.assert_close(aggregate_log_prob(parts, h), brute)
    torch.testing.assert_close(aggregate_log_prob([Opaque(part) for part in parts], h), brute)


def test_narrow_posteriors_far_from_the_origin_keep_their_digits():
    """Where float32 would lose all of them: h²/σ² is 10⁸ times what is left."""
    q = DiagonalNormal(10 + 1e-3 * torch.randn(200, 4), torch.full((200, 4), 1e-3))
    centred = DiagonalNormal((q.loc.double() - 10) * 1e3, q.scale.double() * 1e3)
    assert mutual_information([q], seed=0).nats == pytest.approx(mutual_information([centred], seed=0).nats, abs=1e-4)


def test_posteriors_of_another_kind_measure_the_same():
    q = random_posterior(50, 3)
    assert mutual_information([Opaque(q)], seed=3).nats == pytest.approx(mutual_information([q], seed=3).nats)
    assert latent_information([Opaque(q)]).shape == (0,)


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("prior", [StandardNormal(4), FlowPrior(4, num_transforms=2, hidden_channels=(8,))])
def test_the_rate_of_any_prior_and_log_n_bound_the_information(float64, prior, spread):
    q = random_posterior(2000, 4, spread)
    rate = prior.double().kl(q, q.rsample(torch.randn(2000, 4))).sum(1).detach()
    noise = float(rate.std()) / math.sqrt(2000)
    found = mutual_information([q], seed=1)  # seed 0 would be the noise that q was made of
    assert found.nats <= rate.mean() + 4 * noise + 0.05
    assert -0.05 <= found.nats <= math.log(2000) + 1e-9
    assert found.nats <= latent_information([q]).sum() + 0.05


def test_it_depends_on_the_seed_alone():
    q = random_posterior(50, 3)
    first = mutual_information([q], seed=0)
    torch.manual_seed(5)
    assert mutual_information([q], seed=0) == first != mutual_information([q], seed=1)


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="no posteriors"):
        mutual_information([], seed=0)


@pytest.mark.parametrize(("factor", "dead"), [(0.0, True), (30.0, False)])
def test_health_tells_a_posterior_that_stands_still_from_one_that_moves(held_out, factor, dead):
    model = small_model().eval()
    with torch.no_grad():
        model.encoder.linear.weight.mul_(factor)
        model.encoder.linear.bias.fill_(-4)  # narrow, far from the prior: a large KL either way
    health = latent_health(model, held_out, seed=0, device=CPU, max_images=200)
    assert health.is_dead is dead
    assert health.num_active == (0 if dead else 3)
    assert health.information.shape == (3,)
    assert health.mutual_information.cap_nats == math.log(200)


def test_units_at_rest_or_no_information_are_each_enough_to_be_dead():
    health = latent_health(small_model().eval(), small_data().test, seed=0, device=CPU)
    moving, still = torch.tensor([True, False, False]), torch.zeros(3, dtype=torch.bool)
    for active, nats, dead in [(moving, 3.0, False), (moving, 0.09, True), (still, 3.0, True)]:
        information = health.mutual_information._replace(nats=nats)
        assert health._replace(active=active, mutual_information=information).is_dead is dead


def test_the_effective_rank_counts_equal_axes():
    """Three axes of one variance are 3, whatever the rotation; shares of 1/2, 1/4 and 1/4 are 2^1.5."""
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.double))[0]
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.double)
    for scale, rank in (((1, 1, 1), 3.0), ((2**0.5, 1, 1), 2**1.5)):
        means = (corners * torch.tensor(scale, dtype=torch.double)) @ rotation[:3]
        assert effective_rank(means) == pytest.approx(rank, rel=1e-6)
