"""Probes: simple classifiers on posterior means, and on pixels for comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pixelvae.boundary import require_split
from pixelvae.data.spec import ABSENT
from pixelvae.data.splits import BatchKey, DataSet, Split, spread
from pixelvae.evaluation.information import encode_split, means_of
from pixelvae.models.base import GenerativeModel
from pixelvae.ranges import MAX_COUNT, require_count

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline  # sklearn is imported where it is used: it takes 0.8 s

Features = npt.NDArray[np.float32]  # (N, F)
Labels = npt.NDArray[np.int64]  # (N,)

EXPONENTS = (1, 0, -1, -2, -3)
"""Initial grid of the linear probe: exponents of ten for scikit-learn's C, the inverse weight of the squared norm."""

LIMITS = (-6, 4)
"""Limits of that grid, which is extended while its best value is at an edge."""

MIN_VARIANCE = 1e-6
"""Whitening drops components whose variance is a smaller share of the largest: they are rounding errors."""

NEIGHBOURS = (1, 3, 5, 10, 20)
"""Candidates for the number of neighbours k."""

HELD_OUT = 10
"""One in so many training examples is held out, to choose C and k."""


class Probe(NamedTuple):
    """Accuracies on test, and the chosen hyperparameters."""

    linear_accuracy: float
    knn_accuracy: float
    whitened_knn_accuracy: float
    c: float
    c_at_edge: bool
    k: int
    whitened_k: int

    def metrics(self, suffix: str = "") -> dict[str, float]:
        """The results by their names in metrics.json, which end in ``suffix``."""
        return {
            f"linear_probe_accuracy{suffix}": self.linear_accuracy,
            f"knn_accuracy{suffix}": self.knn_accuracy,
            f"knn_accuracy_whitened{suffix}": self.whitened_knn_accuracy,
            f"linear_probe_c{suffix}": self.c,
            f"linear_probe_c_at_edge{suffix}": self.c_at_edge,
            f"knn_k{suffix}": self.k,
            f"knn_k_whitened{suffix}": self.whitened_k,
        }


def probe(features_train: Features, y_train: Labels, features_test: Features, y_test: Labels, draws: int = 1) -> Probe:
    """Fit a linear and nearest-neighbour classifiers on train, and measure their accuracy on test.

    The linear classifier is a logistic regression on standardised features. The neighbours are nearest by Euclidean
    distance, once of the raw features and once of whitened ones (Mahalanobis distance). C and k maximise the accuracy
    on every tenth training example after a fit to the others; the final fit uses all. The grid of C is extended up to
    ``LIMITS`` while its best value is at an edge. The result is deterministic.

    Args:
        features_train: Features of the training examples; of all of them once for each draw, if there are several.
        y_train: Their classes.
        features_test: Features of the test examples.
        y_test: Their classes.
        draws: Number of draws of every training example, such as binarisations; all draws of one are held out together.

    Shape:
        features: (N, F), y: (N,).

    Raises:
        ValueError: If numbers of examples or features differ, or there are too few examples.

    Example:
        >>> y = np.arange(200) % 2
        >>> features = np.stack([y, np.zeros(200)], 1).astype(np.float32)
        >>> probe(features[:100], y[:100], features[100:], y[100:]).linear_accuracy
        1.0
    """
    same = len(features_train) == len(y_train) and len(features_test) == len(y_test)
    if not same or features_train.shape[1:] != features_test.shape[1:]:
        raise ValueError(
            f"features {features_train.shape} and {features_test.shape} with labels {y_train.shape} and "
            f"{y_test.shape}; wanted (N, F) with (N,) and (M, F) with (M,)"
        )
    if len(y_train) % draws:
        raise ValueError(f"{len(y_train)} training examples are not {draws} draws of each")
    held_out = np.tile(np.arange(len(y_train) // draws) % HELD_OUT == HELD_OUT - 1, draws)
    fitted = features_train[~held_out], y_train[~held_out]
    chosen_on = features_train[held_out], y_train[held_out]
    if not held_out.any() or len(np.unique(fitted[1])) < 2:
        raise ValueError(f"{len(y_train)} training examples; wanted at least {HELD_OUT}, of two classes or more")
    c, at_edge = choose_penalty(lambda c: _linear(c, *fitted).score(*chosen_on))
    linear = float(_linear(c, features_train, y_train).score(features_test, y_test))
    raw, k = _nearest(features_train, y_train, features_test, y_test, held_out)
    whitened, whitened_k = _nearest(*_whitened(features_train, y_train, features_test), y_test, held_out)
    return Probe(linear, raw, whitened, c, at_edge, k, whitened_k)


def choose_penalty(score: Callable[[float], float]) -> tuple[float, bool]:
    """The C of the best score, and whether it is at an edge of the allowed range.

    Of equal scores the larger C wins. The grid is extended by a factor of ten until the score no longer improves.

    Example:
        >>> choose_penalty(lambda c: -abs(c - 100)), choose_penalty(lambda c: c)
        ((100.0, False), (10000.0, True))
    """
    scores = {exponent: score(10.0**exponent) for exponent in EXPONENTS}
    best = max(scores, key=scores.__getitem__)
    while best in (min(scores), max(scores)):
        beyond = best + 1 if best == max(scores) else best - 1
        if not LIMITS[0] <= beyond <= LIMITS[1]:
            return 10.0**best, True
        scores[beyond] = score(10.0**beyond)
        best = beyond if scores[beyond] > scores[best] else best
    return 10.0**best, False


def probe_latents(
    model: GenerativeModel, data: DataSet, split: Split, *, device: torch.device, max_images: int, draws: int = 1
) -> Probe:
    """Probes of posterior means, fitted to at most ``max_images`` of train and tested on ``split``.

    They predict the first kind of label. With several ``draws``, they are fitted to that many binarisations of every
    training image (:func:`require_draws`), and tested on the one of ``split``.

    Raises:
        ValueError: If the data do not match the model, or have no labels.
    """
    require_split(data.train, model.spec)
    require_split(split, model.spec)
    require_draws(data.train, draws)

    def means(part: Split, most: int | None, epoch: int) -> Features:
        batches = encode_split(model, part, device=device, max_images=most, epoch=epoch)
        return means_of(batches).float().cpu().numpy()

    train = np.concatenate([means(data.train, max_images, epoch) for epoch in range(draws)])
    y_train = np.tile(labels(data.train, max_images), draws)
    return probe(train, y_train, means(split, None, 0), labels(split), draws)


def require_draws(split: Split, draws: int) -> None:
    """Check that there are as many different draws of the pixels of an example.

    Raises:
        ValueError: If ``draws`` is not positive, or more than one of pixels that are not drawn at random.
    """
    require_count("probe_draws", draws, most=MAX_COUNT)
    first = torch.arange(min(len(split), 16))
    if draws > 1 and torch.equal(*(split[BatchKey(first, epoch)][0] for epoch in (0, 1))):
        raise ValueError(
            f"probe_draws={draws}, but the training data are the same in every epoch; wanted 1, or data that are "
            "binarised dynamically"
        )


def probe_pixels(data: DataSet, split: Split, *, latent_dim: int, max_images: int, draws: int = 1) -> dict[str, Probe]:
    """Probes of raw pixels, and of as many of their principal components as there are latents, for comparison.

    They use the same examples as :func:`probe_latents`.
    """
    from sklearn.decomposition import PCA

    require_draws(data.train, draws)
    y_train, y_test = np.tile(labels(data.train, max_images), draws), labels(split)
    train, test = np.concatenate([pixels(data.train, max_images, epoch) for epoch in range(draws)]), pixels(split)
    components = PCA(min(latent_dim, *train.shape), svd_solver="covariance_eigh").fit(train)
    return {
        "pixels": probe(train, y_train, test, y_test, draws),
        "pca": probe(components.transform(train), y_train, components.transform(test), y_test, draws),
    }


def pixels(split: Split, max_images: int | None = None, epoch: int = 0) -> Features:
    """Levels of a split's examples, or of some spread over it, from 0 to 1; absent values are ½. Returns (N, F)."""
    x, _ = split[BatchKey(spread(len(split), max_images), epoch)]
    scaled = x.float().flatten(1) / (split.spec.levels - 1)
    return scaled.where(x.flatten(1) != ABSENT, 0.5).numpy()


def labels(split: Split, max_images: int | None = None) -> Labels:
    """Labels of the first kind of a split's examples, or of some spread over it. Returns (N,).

    Raises:
        ValueError: If the data set has no labels.
    """
    if not split.spec.num_classes:
        raise ValueError("the data set has no labels; probes need them")
    return split.labels(spread(len(split), max_images))[:, 0].numpy()


def _linear(c: float, features: Features, y: Labels) -> Pipeline:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-3, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # last digits do not matter
        return regression.fit(features, y)


def _nearest(
    features: Features, y: Labels, features_test: Features, y_test: Labels, held_out: npt.NDArray[np.bool_]
) -> tuple[float, int]:
    """The accuracy on test with the k that is best on the held-out training examples, and that k."""
    on_held_out = _neighbours(features[~held_out], y[~held_out], features[held_out], y[held_out])
    k = max(NEIGHBOURS, key=on_held_out.__getitem__)
    return _neighbours(features, y, features_test, y_test)[k], k


def _whitened(features: Features, y: Labels, features_test: Features) -> tuple[Features, Labels, Features]:
    """Whiten the features with the covariance of train; return the labels unchanged."""
    mean = features.mean(0, dtype=np.float64)
    variances, axes = np.linalg.eigh(np.cov(features, rowvar=False, dtype=np.float64).reshape(len(mean), -1))
    kept = variances > MIN_VARIANCE * max(variances.max(), np.finfo(np.float64).tiny)
    scaled = axes[:, kept] / np.sqrt(variances[kept]) if kept.any() else axes * 0  # all features constant
    return ((features - mean) @ scaled).astype(np.float32), y, ((features_test - mean) @ scaled).astype(np.float32)


def _neighbours(features: Features, y: Labels, features_test: Features, y_test: Labels) -> dict[int, float]:
    """The accuracy of a vote of the k nearest neighbours, for every k; ties go to the lower class."""
    from sklearn.neighbors import NearestNeighbors

    most = min(max(NEIGHBOURS), len(features))
    nearest = NearestNeighbors(n_neighbors=most, algorithm="brute").fit(features)
    found = y[nearest.kneighbors(features_test, return_distance=False)]  # (M, most)
    votes = torch.nn.functional.one_hot(torch.from_numpy(found)).cumsum(1)  # (M, most, classes)
    predicted: Tensor = votes.argmax(2)  # (M, most)
    right = (predicted == torch.from_numpy(y_test)[:, None]).double().mean(0)
    return {k: float(right[min(k, most) - 1]) for k in NEIGHBOURS}
