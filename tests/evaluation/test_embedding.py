"""Where the latents lie, held against the definitions."""

import pytest
import torch

from pixelvae.data import BatchKey, spread
from pixelvae.evaluation import embedding as geometry
from pixelvae.evaluation.embedding import nearest_neighbours, one_per_class, pca, posteriors, same_class_share, tsne
from small_runs import CONFIG, small_data, small_model

CPU = torch.device("cpu")
FLOW = CONFIG | {"prior": {"class_path": "FlowPrior", "init_args": {"num_transforms": 1, "hidden_channels": [8]}}}


@pytest.fixture(scope="module")
def held_out():
    return small_data().test


@pytest.mark.parametrize("shape", [(40, 3), (40, 1, 4, 4)])
def test_nearest_neighbours_are_those_of_brute_force(shape):
    points = torch.randint(0, 3, shape) if len(shape) == 4 else torch.randn(shape)
    found = nearest_neighbours(points, k=7)
    for i, point in enumerate(points):
        distances = [(float((point - other).double().square().sum()), j) for j, other in enumerate(points) if j != i]
        assert found[i].tolist() == [j for _, j in sorted(distances)[:7]]


def test_an_image_is_not_its_own_neighbour_even_where_there_are_copies():
    assert nearest_neighbours(torch.zeros(4, 2), k=3).tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


@pytest.mark.parametrize("k", [0, 4])
def test_there_must_be_so_many_neighbours(k):
    with pytest.raises(ValueError, match=f"k={k}; wanted 1 .. 3"):
        nearest_neighbours(torch.zeros(4, 2), k)


def test_all_neighbours_are_of_the_same_class_within_clusters():
    y = torch.arange(60) % 3
    points = torch.randn(60, 2) + 100.0 * y[:, None]
    assert same_class_share(nearest_neighbours(points, 5), y) == 1.0


def test_principal_components_keep_the_variance_that_they_name():
    means = torch.randn(500, 4) * torch.tensor([0.1, 3.0, 0.2, 1.0]) + 5
    points, shares = pca(means)
    torch.testing.assert_close(points.var(0).double(), shares * means.double().var(0).sum(), rtol=1e-4, atol=0)
    assert abs(torch.corrcoef(torch.stack([points[:, 0], means[:, 1]]))[0, 1]) > 0.99
    torch.testing.assert_close(points.mean(0), torch.zeros(2), rtol=0, atol=1e-4)
    again, _ = pca(-means)  # the sign of a component is no matter of chance
    assert (points.gather(0, points.abs().argmax(0)[None]) > 0).all()
    assert (again.gather(0, again.abs().argmax(0)[None]) > 0).all()


def test_one_latent_or_a_dead_one_has_a_plane_too():
    points, shares = pca(torch.randn(20, 1))
    assert points.shape == (20, 2)
    assert shares.tolist() == pytest.approx([1, 0])
    assert tsne(torch.randn(20, 1), seed=0).shape == (20, 2)
    assert not tsne(torch.ones(20, 3), seed=0).any()
    assert pca(torch.ones(20, 3))[1].tolist() == [0, 0]


def test_tsne_keeps_neighbours_and_depends_on_its_seed_alone():
    y = torch.arange(60) % 3
    means = torch.randn(60, 5) + 20.0 * y[:, None]
    points = tsne(means, seed=1)
    assert same_class_share(nearest_neighbours(points, 5), y) == 1.0
    assert points.equal(tsne(means, seed=1))


def test_posteriors_come_in_order_whatever_the_batches(held_out, monkeypatch):
    model = small_model().eval()
    whole = posteriors(model, held_out, 40, seed=0, device=CPU)
    monkeypatch.setattr(geometry, "default_batch_size", lambda _: 7)
    parts = posteriors(model, held_out, 40, seed=0, device=CPU)
    x, y = held_out[BatchKey(spread(300, 40), 0)]
    for points in (whole, parts):
        assert points.x.equal(x)
        assert points.y.equal(y)
        torch.testing.assert_close(points.means, model.encoder(x, y).mean.detach())


def test_kl_and_scale_are_those_of_the_posteriors(held_out):
    """The analytic KL of a normal prior; the scale of many draws from the aggregate posterior."""
    model = small_model().eval()
    points = posteriors(model, held_out, 300, seed=0, device=CPU)
    q = model.encoder(points.x, points.y)
    torch.testing.assert_close(points.kl, model.prior.kl(q, q.mean).sum(1).detach())
    draws = torch.cat([q.rsample(torch.randn(300, 3)) for _ in range(200)]).detach()
    torch.testing.assert_close(points.scale, draws.std(0), rtol=0.05, atol=0)


def test_the_estimated_kl_of_a_flow_prior_is_near_its_mean(held_out):
    model = small_model(FLOW).eval()
    points = posteriors(model, held_out, 20, seed=0, device=CPU)
    assert points.kl.equal(posteriors(model, held_out, 20, seed=0, device=CPU).kl)
    q = model.encoder(points.x, points.y)
    draws = torch.stack([model.prior.kl(q, q.rsample(torch.randn(20, 3))).sum(1) for _ in range(400)]).detach()
    error = draws.std(0) * (1 / geometry.KL_DRAWS + 1 / 400) ** 0.5
    assert ((points.kl - draws.mean(0)).abs() < 5 * error).all()


@pytest.mark.parametrize("number", [9, 301, 3001])
def test_too_many_or_too_few_images_are_refused(held_out, number):
    with pytest.raises(ValueError, match=rf"num_images={number}; .*3,000.*change num_images"):
        posteriors(small_model(), held_out, number, seed=0, device=CPU)


def test_tsne_refuses_more_points_than_it_bears():
    with pytest.raises(ValueError, match="change num_images"):
        tsne(torch.zeros(3001, 2), seed=0)


def test_without_labels_the_first_images_are_taken():
    assert one_per_class(torch.zeros(9, 0), n=3).tolist() == [0, 1, 2]
