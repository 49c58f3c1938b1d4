"""Probes find what is there, miss what is not, and stand beside the same on pixels."""

import numpy as np
import pytest
import torch

import pixelvae as pv
from pixelvae.data import BatchKey, spread
from pixelvae.evaluation import probes
from pixelvae.evaluation.probes import choose_penalty, labels, pixels, probe, probe_latents, probe_pixels
from small_runs import CONFIG, small_data, small_model


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def features(rng, y, noise, dim=4):
    """The class at one coordinate, beneath noise at all."""
    return (np.eye(dim)[y % dim] + noise * rng.standard_normal((len(y), dim))).astype(np.float32)


def test_a_class_that_is_written_plainly_is_found(rng):
    y, y_test = rng.integers(0, 4, 300), rng.integers(0, 4, 200)
    found = probe(features(rng, y, 0.05), y, features(rng, y_test, 0.05), y_test)
    assert found.linear_accuracy == found.knn_accuracy == 1.0


def test_a_class_that_is_not_there_is_found_by_chance_alone(rng):
    y, y_test = rng.integers(0, 2, 1000), rng.integers(0, 2, 1000)
    noise = rng.standard_normal((2000, 4)).astype(np.float32)
    found = probe(noise[:1000], y, noise[1000:], y_test)
    assert abs(found.linear_accuracy - 0.5) < 0.06
    assert abs(found.knn_accuracy - 0.5) < 0.06


def test_neighbours_see_what_no_line_can(rng):
    """The class is whether a point lies in the ring: linear probes are blind to it."""
    points = rng.standard_normal((3000, 2)).astype(np.float32)
    y = (np.abs(np.linalg.norm(points, axis=1) - 1.18) < 0.5).astype(np.int64)
    found = probe(points[:2000], y[:2000], points[2000:], y[2000:])
    assert found.knn_accuracy > 0.95
    assert found.linear_accuracy < 0.65


def test_only_the_linear_probe_is_blind_to_units(rng):
    """It standardises its features; distances do not, so that latents which stand still do not count."""
    y, y_test = rng.integers(0, 4, 300), rng.integers(0, 4, 200)
    train, test = features(rng, y, 0.3), features(rng, y_test, 0.3)
    units = np.array([1000, 1, 1e-3, 1], dtype=np.float32)
    plain, scaled = probe(train, y, test, y_test), probe(train * units, y, test * units, y_test)
    assert scaled.linear_accuracy == pytest.approx(plain.linear_accuracy, abs=0.01)
    assert scaled.knn_accuracy < plain.knn_accuracy - 0.1


def test_whitened_neighbours_do_not_depend_on_units_or_mixing(rng):
    """Raw distances see the large coordinate alone; whitened ones are the same for every linear map of the features."""
    y, y_test = rng.integers(0, 4, 300), rng.integers(0, 4, 200)
    train, test = features(rng, y, 0.3), features(rng, y_test, 0.3)
    mixing = (rng.standard_normal((4, 4)) * [30, 1, 0.1, 1]).astype(np.float32)
    plain, mixed = probe(train, y, test, y_test), probe(train @ mixing, y, test @ mixing, y_test)
    assert mixed.whitened_knn_accuracy == pytest.approx(plain.whitened_knn_accuracy, abs=0.01)
    assert mixed.knn_accuracy < mixed.whitened_knn_accuracy - 0.1


def test_constant_features_do_not_matter(rng):
    """A unit that the encoder ignores has no variance to divide by."""
    y, y_test = rng.integers(0, 4, 300), rng.integers(0, 4, 200)
    train, test = features(rng, y, 0.3), features(rng, y_test, 0.3)
    wider = [np.concatenate([part, np.full((len(part), 3), 5, np.float32)], 1) for part in (train, test)]
    expected = probe(train, y, test, y_test).whitened_knn_accuracy
    assert probe(wider[0], y, wider[1], y_test).whitened_knn_accuracy == expected
    nothing = probe(np.ones((300, 2), np.float32), y, np.ones((200, 2), np.float32), y_test)
    assert 0 <= nothing.whitened_knn_accuracy <= 0.5


def test_features_that_repeat_others_do_not_matter(rng):
    """Sums of features add no information; whitening their rounding errors would add noise."""
    y, y_test = rng.integers(0, 4, 300), rng.integers(0, 4, 200)
    train, test = features(rng, y, 0.3), features(rng, y_test, 0.3)
    sums = rng.standard_normal((4, 40)).astype(np.float32)
    wider = [np.concatenate([part, part @ sums], 1) for part in (train, test)]
    expected = probe(train, y, test, y_test).whitened_knn_accuracy
    assert probe(wider[0], y, wider[1], y_test).whitened_knn_accuracy == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("best", "expected"),
    [(1, (1.0, False)), (10, (10.0, False)), (1e3, (1e3, False)), (1e-5, (1e-5, False)), (1e-3, (1e-3, False)),
     (1e9, (1e4, True)), (1e-9, (1e-6, True))],
)  # fmt: skip
def test_the_penalty_is_not_at_the_edge_of_its_grid(best, expected):
    """The grid grows until the score no longer improves, or reports its edge."""
    tried = []
    found = choose_penalty(lambda c: tried.append(c) or -abs(np.log10(c) - np.log10(best)))
    assert found == expected
    assert found[1] or min(tried) < found[0] < max(tried)


def test_equal_scores_do_not_widen_the_grid_further():
    tried = []
    assert choose_penalty(lambda c: tried.append(c) or 0.5) == (10.0, False)
    assert max(tried) == 100


def test_what_is_chosen_is_chosen_without_the_test_set(rng):
    y = rng.integers(0, 4, 300)
    train = features(rng, y, 1.0)
    found = [probe(train, y, train[order], y[order]) for order in (slice(50), slice(50, 300))]
    assert found[0].c == found[1].c
    assert found[0].k == found[1].k > 1  # an example is its own nearest neighbour: choosing on test would take 1


def test_neighbours_agree_with_scikit_learn(rng):
    from sklearn.neighbors import KNeighborsClassifier

    y, y_test = rng.integers(0, 4, 300), rng.integers(0, 4, 200)
    train, test = features(rng, y, 0.5), features(rng, y_test, 0.5)
    found = probe(train, y, test, y_test)
    assert found.knn_accuracy == KNeighborsClassifier(found.k).fit(train, y).score(test, y_test)


def test_sizes_that_do_not_agree_are_named(rng):
    y = rng.integers(0, 4, 30)
    train = features(rng, y, 0.1)
    with pytest.raises(ValueError, match=r"wanted \(N, F\) with \(N,\)"):
        probe(train, y[:20], train, y)
    with pytest.raises(ValueError, match=r"wanted \(N, F\) with \(N,\)"):
        probe(train, y, train[:, :2], y)
    with pytest.raises(ValueError, match="wanted at least 10"):
        probe(train[:5], y[:5], train, y)


def test_pixels_and_labels_belong_together_and_keep_their_order():
    data = small_data()
    x, y = data.train[BatchKey(torch.tensor([0, 1296]), 0)]
    np.testing.assert_array_equal(pixels(data.train)[[0, -1]], x.flatten(1).numpy())
    np.testing.assert_array_equal(labels(data.train)[[0, -1]], y[:, 0])
    some = labels(data.train, 400)
    assert len(some) == len(pixels(data.train, 400)) == 400
    np.testing.assert_array_equal(some, labels(data.train)[spread(1297, 400)])


def test_digits_are_told_apart_by_pixels_and_less_by_a_few_components():
    found = probe_pixels(small_data(), small_data().test, latent_dim=3, max_images=1000)
    assert found["pixels"].linear_accuracy > 0.75 < found["pixels"].knn_accuracy
    assert 0.3 < found["pca"].linear_accuracy < found["pixels"].linear_accuracy
    more = probe_pixels(small_data(), small_data().test, latent_dim=1000, max_images=1000)
    assert more["pca"].knn_accuracy > 0.75  # no more components than pixels


def test_the_means_of_a_model_are_probed_on_the_same_examples():
    model = small_model(CONFIG | {"class_conditional": False}).eval()
    data = small_data()
    found = probe_latents(model, data, data.test, device=torch.device("cpu"), max_images=500)
    x, _ = data.train[BatchKey(spread(1297, 500), 0)]
    x_test, _ = data.test[BatchKey(torch.arange(300), 0)]
    with torch.inference_mode():
        means = model.encoder(x).mean.numpy(), model.encoder(x_test).mean.numpy()
    assert found.linear_accuracy == pytest.approx(
        probe(means[0], labels(data.train, 500), means[1], labels(data.test)).linear_accuracy, abs=0.01
    )
    assert found.linear_accuracy > 0.2


def test_data_without_labels_are_refused():
    data = small_data()
    data.test.spec = data.test.spec._replace(num_classes=())
    with pytest.raises(ValueError, match="no labels"):
        labels(data.test)


def test_all_draws_of_an_example_are_held_out_together(rng, monkeypatch):
    """Otherwise C and k would be chosen on other draws of the examples that were fitted."""
    seen = []
    monkeypatch.setattr(probes, "_nearest", lambda *given: seen.append(given[4]) or (0.0, 1))
    y = np.tile(rng.integers(0, 2, 33), 3)  # 33 is no multiple of ten
    probe(features(rng, y, 0.1), y, features(rng, y, 0.1), y, draws=3)
    (held_out, _) = seen
    assert held_out.reshape(3, 33).sum(1).tolist() == [3, 3, 3]
    assert (held_out.reshape(3, 33) == held_out[:33]).all()
    with pytest.raises(ValueError, match="99 training examples are not 2 draws of each"):
        probe(features(rng, y, 0.1), y, features(rng, y, 0.1), y, draws=2)


def test_several_draws_are_other_pixels_of_the_same_examples(monkeypatch):
    given = []
    monkeypatch.setattr(probes, "probe", lambda *arguments: given.append(arguments))
    data, model = small_data(), small_model(CONFIG | {"class_conditional": False})
    probe_latents(model, data, data.test, device=torch.device("cpu"), max_images=120, draws=2)
    probe_pixels(data, data.test, latent_dim=3, max_images=120, draws=2)
    for train, y_train, _, _, draws in given:
        assert (len(train), draws) == (240, 2)
        assert (y_train[:120] == y_train[120:]).all()
        assert not np.array_equal(train[:120], train[120:])
    assert np.array_equal(given[1][0][120:], pixels(data.train, 120, epoch=1))
    same = pv.Digits(levels=17)
    with pytest.raises(ValueError, match="probe_draws=2, but the training data are the same in every epoch; wanted 1"):
        probe_pixels(same, same.test, latent_dim=3, max_images=120, draws=2)
