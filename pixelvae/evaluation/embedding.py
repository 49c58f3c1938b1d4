"""Posterior means of a split, their nearest neighbours, and their projections to two dimensions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pixelvae.boundary import require_seed, require_split
from pixelvae.data.splits import Split, sequential
from pixelvae.evaluation.bounds import default_batch_size
from pixelvae.models.base import GenerativeModel
from pixelvae.progress import tqdm

MIN_POINTS, MAX_POINTS = 10, 3000
"""Range of the number of points: t-SNE needs the minimum; it and TensorBoard's projector are slow above the maximum."""

KL_DRAWS = 16
"""Draws of h over which the KL of an image is averaged, where the prior's KL is an estimate."""

PERPLEXITY = 30  # scikit-learn's default, as in the paper; smaller for few points


class Posteriors(NamedTuple):
    """q(h|x) of N examples spread over a split, on the CPU.

    Shape:
        x: (N, C, *S) levels.  y: (N, L) labels.  means: (N, D), E_q[h].  kl: (N,) nats, KL(q(h|x) ‖ p(h)).
        scale: (D,), the standard deviation of the aggregate posterior q(h) = E_x[q(h|x)].
    """

    x: Tensor
    y: Tensor
    means: Tensor
    kl: Tensor
    scale: Tensor


@torch.inference_mode()
def posteriors(
    model: GenerativeModel,
    split: Split,
    num_images: int | None = None,
    *,
    seed: int,
    device: torch.device,
    progress: bool = False,
) -> Posteriors:
    r"""Encode some examples that are spread over a split.

    .. math:: \mathrm{scale}_d^2 = \mathrm{Var}_x(E_q[h_d]) + E_x E_q[(h_d - E_q[h_d])^2]

    Args:
        model: A model with latents, on ``device``.
        split: Usually test.
        num_images: N, from ``MIN_POINTS`` to ``MAX_POINTS``; by default the whole split up to the maximum.
        seed: Seed of the draws h ~ q(h|x) for ``kl`` and ``scale``; those of batch i depend on seed + i alone.
        device: The device of the model.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If ``num_images`` is out of range, the data of the split do not match the model, or the model has
            no latents.
    """
    require_split(split, model.spec)
    require_seed(seed, len(split))
    num_images = min(len(split), MAX_POINTS) if num_images is None else num_images
    if not MIN_POINTS <= num_images <= min(len(split), MAX_POINTS):
        raise ValueError(
            f"num_images={num_images}; the split has {len(split):,} images; wanted at least {MIN_POINTS}, and at most "
            f"{MAX_POINTS:,}, the limit for t-SNE and the projector; change num_images"
        )
    batch_size = default_batch_size(split)
    parts: list[tuple[Tensor, ...]] = []
    keys = list(sequential(split, batch_size, num_images))
    for i, key in enumerate(tqdm(keys, desc="encode", unit="batch", disable=not progress, leave=False)):
        x, y = split[key]
        q = model.encode(x.to(device), y.to(device))
        generator = torch.Generator().manual_seed(seed + i)
        draws = [q.rsample(model.draw_noise(len(x), generator)) for _ in range(KL_DRAWS)]
        kl = torch.stack([model.kl(q, h).sum(1) for h in draws]).mean(0)  # (B,)
        variance = torch.stack([(h - q.mean).square() for h in draws]).mean(0)  # (B, D)
        parts.append((x, y, *(tensor.cpu() for tensor in (q.mean, kl, variance))))
    x, y, means, kl, variance = (torch.cat(part) for part in zip(*parts, strict=True))
    return Posteriors(x, y, means, kl, (means.var(0, correction=0) + variance.mean(0)).sqrt())


def nearest_neighbours(points: Tensor, k: int) -> Tensor:
    """The k nearest other points of every point by Euclidean distance, nearest first; ties in order of index.

    Shape:
        points: (N, ...); all axes but the first are flattened to one vector.  Returns (N, k) indices.

    Raises:
        ValueError: If there are fewer than k other points.

    Example:
        >>> nearest_neighbours(torch.tensor([[0.0], [1.0], [5.0]]), k=2).tolist()
        [[1, 2], [0, 2], [1, 0]]
    """
    if not 1 <= k < len(points):
        raise ValueError(f"k={k}; wanted 1 .. {len(points) - 1}, for there are {len(points)} points")
    flat = points.flatten(1).double()  # levels are integers: their distances are exact
    squares = flat.square().sum(1)
    distances = squares[:, None] + squares - 2 * flat @ flat.T  # (N, N), squared
    distances.fill_diagonal_(torch.inf)
    return distances.sort(dim=1, stable=True).indices[:, :k]


def one_per_class(y: Tensor, n: int) -> Tensor:
    """The first example of each class, up to n; with fewer classes, the first other examples complete the n.

    (N, L) labels -> (n,) indices in order.

    Example:
        >>> one_per_class(torch.tensor([[7], [7], [2], [1], [2]]), n=3).tolist()
        [0, 2, 3]
        >>> one_per_class(torch.tensor([[7], [7], [2], [1], [2]]), n=4).tolist()
        [0, 1, 2, 3]
    """
    seen: dict[int, int] = {}
    for i, label in enumerate(y[:, 0].tolist() if y.shape[1] else range(len(y))):
        seen.setdefault(label, i)
    first = sorted(seen.values())[:n]
    others = [i for i in range(len(y)) if i not in first]
    return torch.tensor(sorted([*first, *others[: n - len(first)]]))


def same_class_share(neighbours: Tensor, y: Tensor) -> float:
    """The share of neighbours with the same class as their point. neighbours: (N, k) indices, y: (N,) classes.

    Example:
        >>> same_class_share(torch.tensor([[1, 2], [0, 2], [1, 0]]), torch.tensor([7, 7, 3]))  # 2 of 6
        0.3333333333333333
    """
    return float((y[neighbours] == y[:, None]).double().mean())


def pca(means: Tensor) -> tuple[Tensor, Tensor]:
    """The first two principal components. (N, D) -> (N, 2), and their shares of the variance, (2,).

    The sign of each component makes its coordinate of largest magnitude positive.
    """
    centred = means.double() - means.double().mean(0)
    left, singular, _ = torch.linalg.svd(_at_least_two(centred), full_matrices=False)
    points = left[:, :2] * singular[:2]
    furthest = points.gather(0, points.abs().argmax(0, keepdim=True))  # (1, 2)
    total = singular.square().sum()
    shares = singular[:2].square() / total if total > 0 else torch.zeros(2).double()
    return (points * torch.where(furthest < 0, -1.0, 1.0)).float(), shares


def tsne(means: Tensor, seed: int) -> Tensor:
    """t-SNE, which preserves neighbourhoods. (N, D) -> (N, 2); N is at most ``MAX_POINTS``.

    It does not preserve large distances and sizes of clusters; for those see :func:`pca`.

    Reference:
        Visualizing Data using t-SNE (van der Maaten and Hinton, 2008).
        https://www.jmlr.org/papers/v9/vandermaaten08a.html

    Raises:
        ValueError: If there are too many points.
    """
    if not MIN_POINTS <= len(means) <= MAX_POINTS:
        raise ValueError(f"t-SNE of {len(means):,} points; wanted {MIN_POINTS} .. {MAX_POINTS:,}: change num_images")
    if not means.var(0).any():  # t-SNE fails on identical points
        return torch.zeros(len(means), 2)
    from sklearn.manifold import TSNE  # imported here because it takes a second
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(means) - 1) / 3)
    with threadpool_limits(1):  # the order of sums of several threads varies, and t-SNE amplifies rounding errors
        embedding = TSNE(init="pca", perplexity=perplexity, random_state=seed)
        return torch.from_numpy(embedding.fit_transform(_at_least_two(means).numpy())).float()


def _at_least_two(points: Tensor) -> Tensor:
    """Append a zero coordinate if D = 1. (N, D) -> (N, max(D, 2))."""
    return torch.nn.functional.pad(points, (0, max(0, 2 - points.shape[1])))
