"""Nothing is fitted on what it is scored on: other test examples change no choice and no fit."""

import json

import numpy as np
import pytest
import torch

from load_script import load_script
from pixelvae import DataSpec, Digits, TensorData
from pixelvae.data import ABSENT
from pixelvae.distributed import World
from pixelvae.evaluation import metrics, probes
from pixelvae.evaluation.agreement import Agreement
from pixelvae.evaluation.probes import pixels, probe, probe_latents, probe_pixels
from small_runs import small_model

CPU = torch.device("cpu")
DATA = Digits(levels=17)


@pytest.fixture
def fits(monkeypatch):
    """The features on which every estimator of scikit-learn is fitted."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    seen = []
    for cls in (PCA, LogisticRegression, NearestNeighbors, StandardScaler):

        def fit(self, x, *rest, _fit=cls.fit, **options):
            seen.append(np.array(x))
            return _fit(self, x, *rest, **options)

        monkeypatch.setattr(cls, "fit", fit)
    return seen


def test_a_probe_is_fitted_and_chosen_without_the_test_set(fits):
    """A test set that is far from train: no fit holds a row of it, and no choice and no standardisation changes."""
    rng = np.random.default_rng(0)
    train, y = rng.normal(size=(300, 5)).astype(np.float32), np.arange(300) % 3
    train[:, 0] += y
    first = probe(train, y, train + 1, y)
    number = len(fits)
    second = probe(train, y, 100 * train - 50, (y + 1) % 3)
    assert (first.c, first.k, first.whitened_k) == (second.c, second.k, second.whitened_k)
    assert len(fits) == 2 * number
    for a, b in zip(fits[:number], fits[number:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_held_out_training_examples_choose_and_do_not_fit(monkeypatch):
    """Every tenth example is scored and left out of the first fits; then all fit."""
    scored = []
    neighbours = probes._neighbours

    def seen(features, y, features_test, y_test):
        scored.append((len(features), len(features_test)))
        return neighbours(features, y, features_test, y_test)

    monkeypatch.setattr(probes, "_neighbours", seen)
    rng = np.random.default_rng(0)
    features, y = rng.normal(size=(200, 3)).astype(np.float32), np.arange(200) % 2
    probe(features, y, features[:50], y[:50])
    assert scored == [(180, 20), (200, 50)] * 2


def test_the_penalty_is_chosen_on_examples_that_do_not_fit_it(monkeypatch):
    from sklearn.pipeline import Pipeline

    scored, score = [], Pipeline.score

    def seen(self, x, y):
        scored.append(len(x))
        return score(self, x, y)

    monkeypatch.setattr(Pipeline, "score", seen)
    rng = np.random.default_rng(0)
    features, y = rng.normal(size=(200, 3)).astype(np.float32), np.arange(200) % 2
    probe(features, y, features[:50], y[:50])
    assert set(scored[:-1]) == {20}
    assert scored[-1] == 50


def test_whitening_takes_mean_and_covariance_of_train():
    rng = np.random.default_rng(0)
    train = rng.normal(3, 2, size=(500, 4)).astype(np.float32)
    test = rng.normal(-1, 5, size=(100, 4)).astype(np.float32)
    white, _, of_test = probes._whitened(train, np.zeros(500, np.int64), test)
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(4), atol=1e-4)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-5)
    together, _, _ = probes._whitened(train, np.zeros(500, np.int64), np.concatenate([test, test * 9]))
    np.testing.assert_array_equal(white, together)
    assert abs(of_test.mean(0)).max() > 0.5


def test_principal_components_are_of_train_alone(fits):
    found = probe_pixels(DATA, DATA.test, latent_dim=3, max_images=200)
    assert set(found) == {"pixels", "pca"}
    np.testing.assert_array_equal(fits[0], pixels(DATA.train, 200))  # the PCA is the first fit
    own = {row.tobytes() for row in pixels(DATA.test)}
    assert all(row.tobytes() not in own for part in fits if part.shape[1:] == fits[0].shape[1:] for row in part)


def test_latents_are_probed_on_train_and_scored_on_the_split(monkeypatch):
    sizes = []
    monkeypatch.setattr(probes, "probe", lambda *parts: sizes.append([len(part) for part in parts[:4]]))
    model = small_model().eval()
    data = Digits(levels=2)
    probe_latents(model, data, data.validation, device=CPU, max_images=150)
    assert sizes == [[150, 150, len(data.validation), len(data.validation)]]


def test_the_classifier_of_the_agreement_is_trained_on_train(monkeypatch):
    trained = []
    monkeypatch.setattr(metrics, "train_classifier", lambda split, **_: trained.append(split))
    monkeypatch.setattr(metrics, "reconstruction_agreement", lambda *_, **__: Agreement(0.5, 0.5, 1))
    monkeypatch.setattr(metrics, "accuracy", lambda *_, **__: 0.5)
    metrics.agreement_metrics(None, DATA, DATA.test, max_images=1, seed=0, world=World(CPU))
    assert trained == [DATA.train]


def test_the_histogram_counts_train_and_is_scored_on_test(tmp_path):
    """Test pictures that train never shows cost what one count in so many does, by hand."""
    x = torch.zeros(60, 1, 2, 2, dtype=torch.long)
    x[40:] = 1
    y = torch.arange(60) % 2
    parts = [slice(0, 40), slice(40, 50), slice(50, 60)]
    data = TensorData([x[part] for part in parts], [y[part] for part in parts], levels=2)
    baselines = load_script("baselines")
    baselines.histogram(data, tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text())
    shown = baselines.HISTOGRAM_EPOCHS * 20  # of each class in train, all of them zeros
    assert found["elbo_nats"] == pytest.approx(4 * np.log(1 / (shown + 2)), rel=1e-6)
    assert found["num_test_images"] == 10


def test_the_histogram_is_of_each_class():
    """Classes that differ in train have other probabilities."""
    x = torch.arange(60)[:, None, None, None].expand(-1, 1, 2, 2) % 2  # the class is the level
    parts = [slice(0, 40), slice(40, 50), slice(50, 60)]
    data = TensorData([x[part] for part in parts], [x[part, 0, 0, 0] for part in parts], levels=2)
    baselines = load_script("baselines")
    shown = baselines.HISTOGRAM_EPOCHS * 20
    written = []
    baselines.write_json = lambda path, content: written.append(content)
    baselines.write_atomically = lambda path, content: None
    baselines.histogram(data, None or __import__("pathlib").Path("nowhere"))
    assert written[0]["elbo_nats"] == pytest.approx(4 * np.log((shown + 1) / (shown + 2)), rel=1e-4)


def test_absent_samples_are_silence_to_a_probe():
    x = torch.tensor([[[0, 4, ABSENT]], [[2, ABSENT, ABSENT]], [[1, 2, 3]]] * 4)
    data = TensorData([x, x, x], levels=5)
    assert data.spec == DataSpec((1, 3), 5)
    np.testing.assert_allclose(pixels(data.train)[:3], [[0, 1, 0.5], [0.5, 0.5, 0.5], [0.25, 0.5, 0.75]])
