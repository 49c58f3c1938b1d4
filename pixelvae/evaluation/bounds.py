"""ELBO and importance-weighted bound of a trained model over a split, every example once, in nats."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pixelvae.boundary import require_seed, require_split
from pixelvae.data.spec import ABSENT
from pixelvae.data.splits import Split, sequential, spread
from pixelvae.distributed import World
from pixelvae.evaluation.per_image import PerImage, checksums
from pixelvae.memory import keep_freed_memory
from pixelvae.models.base import GenerativeModel
from pixelvae.progress import tqdm
from pixelvae.ranges import MAX_COUNT, require_count


class Bounds(NamedTuple):
    """Means over the examples of a split, in nats per example.

    Attributes:
        log_px: E_q[log p(x|h)], one draw of h for each example.
        kl_groups: (G,) KL of every group of latents.
        num_images: Number of examples.
        num_dims: Dimensions of an example, for bits/dim; absent values are not counted.
        stderr: Standard error of the mean ELBO over the examples.
        per_image: The ELBO of every example.
    """

    log_px: float
    kl_groups: Tensor
    num_images: int
    num_dims: float
    stderr: float = math.nan
    per_image: PerImage | None = None

    @property
    def kl(self) -> float:
        """KL(q(h|x) ‖ p(h)), nats per example."""
        return float(self.kl_groups.sum())

    @property
    def elbo(self) -> float:
        """log_px − kl, nats per example."""
        return self.log_px - self.kl


class ImportanceWeighted(NamedTuple):
    """The importance-weighted bound, in nats per example, with the standard error of its mean over examples."""

    log_px: float
    stderr: float
    num_samples: int
    num_images: int
    per_image: PerImage | None = None


class _Rows:
    """Collect the bound of every example from all ranks, in the order of the split."""

    def __init__(self, split: Split, max_images: int | None, batch_size: int) -> None:
        self.indices = spread(len(split), max_images)
        self.batch_size = batch_size
        self.rows = torch.zeros(2, len(self.indices), dtype=torch.double, device="cpu")  # nats, checksums

    def add(self, batch: int, nats: Tensor, x: Tensor) -> None:
        """Add the bound (B,) of the examples of a batch."""
        start = batch * self.batch_size
        self.rows[:, start : start + len(nats)] = torch.stack([nats, checksums(x).double()])  # exact: 32 bits

    def gather(self, world: World) -> PerImage:
        """All rows, on every rank."""
        nats, found = world.sum(self.rows)
        found = found.round().long()  # a sum over ranks is computed as a rounded mean times their number
        return PerImage(nats, self.indices, found)


def bits_per_dim(elbo_nats: float, num_dims: float) -> float:
    """−elbo / (ln 2 · number of dimensions).

    Example:
        >>> round(bits_per_dim(-784 * math.log(2), 784), 6)
        1.0
    """
    return -elbo_nats / (math.log(2) * num_dims)


@torch.inference_mode()
def evaluate_bound(
    model: GenerativeModel,
    split: Split,
    *,
    seed: int,
    world: World,
    batch_size: int | None = None,
    max_images: int | None = None,
    progress: bool = False,
) -> Bounds:
    """The ELBO and its terms over a split, in order, every example once. The ranks share the batches.

    Args:
        model: A model on the world's device.
        split: Usually validation or test.
        seed: Seed of the noise; that of batch i depends on seed and i alone.
        world: Rank, number of ranks and device.
        batch_size: Examples per batch; by default 250, fewer for examples with more sites than a 32x32 image.
        max_images: Maximum number of examples, spread over the split; None for all.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If the data of the split do not match the model, or an argument is out of range.
    """
    batch_size = _checked_batch_size(model, split, batch_size, max_images, seed)
    keep_freed_memory()
    total: Tensor | None = None  # log_px, kl of every group, elbo, elbo², values, examples
    keys = list(sequential(split, batch_size, max_images))
    rows = _Rows(split, max_images, batch_size)
    for i in tqdm(
        range(world.rank, len(keys), world.size), desc="ELBO", unit="batch", disable=not progress, leave=False
    ):
        x, y = split[keys[i]]  # checked on the CPU, before the model moves them
        bound = model(x, y, noise=torch.Generator().manual_seed(seed + i))
        log_px, kl_groups = bound.log_px.cpu().double(), bound.kl_groups.cpu().double()  # not every device has float64
        elbo = log_px - kl_groups.sum(1)
        rows.add(i, elbo, x)
        counts = torch.stack([(x != ABSENT).sum(), torch.tensor(len(x))]).double()
        moments = torch.stack([elbo.sum(), elbo.square().sum()])
        sums = torch.cat([log_px.sum()[None], kl_groups.sum(0), moments, counts])
        total = sums if total is None else total + sums
    if total is None:  # more ranks than batches
        total = torch.zeros(5 + _num_groups(model), dtype=torch.double)
    total = world.sum(total)
    means = total[:-1] / total[-1]
    count, (mean, mean_square) = int(total[-1]), means[-3:-1].tolist()
    stderr = _stderr(mean, mean_square, count)
    return Bounds(float(means[0]), means[1:-3], count, float(means[-1]), stderr, rows.gather(world))


def _stderr(mean: float, mean_square: float, count: int) -> float:
    """Standard error of a mean over ``count`` examples; NaN for a single one."""
    return math.sqrt(max(mean_square - mean**2, 0.0) / (count - 1)) if count > 1 else math.nan


def _checked_batch_size(
    model: GenerativeModel, split: Split, batch_size: int | None, max_images: int | None, seed: int
) -> int:
    """Check the arguments that both bounds share; return the batch size."""
    require_split(split, model.spec)
    require_seed(seed, len(split))
    if max_images is not None:
        require_count("max_images", max_images, most=MAX_COUNT)
    return default_batch_size(split) if batch_size is None else require_count("batch_size", batch_size)


def default_batch_size(split: Split) -> int:
    """250, or fewer where a batch would need more memory than 250 images of 32x32."""
    return min(250, max(1, 250 * 32**2 // math.prod(split.spec.sites)))


def _num_groups(model: GenerativeModel) -> int:
    x = torch.zeros(1, *model.spec.shape, dtype=torch.long, device=next(model.parameters()).device)
    y = x.new_zeros(1, len(model.spec.num_classes))
    return model(x, y, noise=torch.zeros(1, model.latent_dim, device=x.device)).kl_groups.shape[1]


@torch.inference_mode()
def evaluate_importance_weighted(
    model: GenerativeModel,
    split: Split,
    *,
    num_samples: int,
    seed: int,
    world: World,
    batch_size: int | None = None,
    max_images: int | None = None,
    progress: bool = False,
) -> ImportanceWeighted:
    r"""The importance-weighted bound, whose expectation increases with ``num_samples`` towards log p(x).

    .. math:: \log p(x) \ge E\,\log \frac1S \sum_{s=1}^{S} \frac{p(x, h_s)}{q(h_s|x)}

    Reference:
        Importance Weighted Autoencoders (Burda et al., 2015), eq. 8. https://arxiv.org/abs/1509.00519

    Args:
        model: A model on the world's device.
        split: Usually test.
        num_samples: Number S of draws of h per example; 1 is used for a model without latents.
        seed: Seed of the noise; that of batch i depends on seed and i alone.
        world: Rank, number of ranks and device.
        batch_size: Examples per batch, by default as for the ELBO. The S draws are sequential, so memory does not
            depend on S.
        max_images: Maximum number of examples, spread over the split; None for all.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If ``num_samples`` < 1, the data of the split do not match the model, or an argument is out of
            range.
    """
    num_samples = require_count("num_samples", num_samples)
    batch_size = _checked_batch_size(model, split, batch_size, max_images, seed)
    keep_freed_memory()
    if not model.has_latents:
        num_samples = 1
    keys = list(sequential(split, batch_size, max_images))
    rows = _Rows(split, max_images, batch_size)
    sums = torch.zeros(3, dtype=torch.double, device="cpu")  # Σ log p, Σ (log p)², count
    for i in tqdm(
        range(world.rank, len(keys), world.size), desc="IWAE", unit="batch", disable=not progress, leave=False
    ):
        x, y = split[keys[i]]
        generator = torch.Generator().manual_seed(seed + i)
        log_weights = model.log_weights(x, y, num_samples=num_samples, generator=generator).cpu().double()  # (S, B)
        log_px = log_weights.logsumexp(0) - math.log(num_samples)
        rows.add(i, log_px, x)
        sums += torch.stack([log_px.sum(), log_px.square().sum(), log_px.new_tensor(float(len(x)))])
    total, squares, count = world.sum(sums).tolist()
    mean = total / count
    variance = max(squares / count - mean**2, 0.0) * count / max(count - 1, 1)
    return ImportanceWeighted(mean, math.sqrt(variance / count), num_samples, int(count), rows.gather(world))
