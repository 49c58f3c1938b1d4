"""Information in the latents of a trained model: mutual information with x, active units, effective rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pixelvae.boundary import require_seed, require_split
from pixelvae.data.splits import Split, sequential
from pixelvae.evaluation.bounds import default_batch_size
from pixelvae.latents.distributions import DiagonalNormal, Distribution, standard_normal_noise
from pixelvae.latents.information import pair_log_prob
from pixelvae.models.base import GenerativeModel
from pixelvae.ranges import MAX_COUNT, require_count

ACTIVE_VARIANCE = 0.01  # Burda et al. 2015, section 5.2
DEAD_NATS = 0.1
"""Nats. With less mutual information, the latents are dead: the decoder ignores them."""

PAIRS = 4_000_000
"""Pairs of draws and posteriors in memory at a time: 32 MB."""


class MutualInformation(NamedTuple):
    """An estimate of I_q(x; h) in nats, and its upper limit log N for N examples."""

    nats: float
    cap_nats: float
    num_images: int


class Health(NamedTuple):
    """How much the latents depend on x.

    Attributes:
        mutual_information: Mutual information of x and h under q, in nats.
        active: (D,) booleans, the active units.
        information: (D,) upper bound of each latent's information about x, in nats; (0,) if q is not a diagonal
            normal.
        effective_rank: Effective number of dimensions of the posterior means.
    """

    mutual_information: MutualInformation
    active: Tensor
    information: Tensor
    effective_rank: float

    @property
    def num_active(self) -> int:
        """Number of active units."""
        return int(self.active.sum())

    @property
    def is_dead(self) -> bool:
        """Whether no unit is active, or the mutual information is below ``DEAD``, however large the KL."""
        return self.num_active == 0 or self.mutual_information.nats < DEAD_NATS


@torch.inference_mode()
def encode_split(
    model: GenerativeModel,
    split: Split,
    *,
    device: torch.device,
    batch_size: int | None = None,
    max_images: int | None = None,
    epoch: int = 0,
) -> list[Distribution]:
    """Yield q(h|x) of the examples of a split, or of ``max_images`` spread over it, in order, batch by batch.

    The pixels of dynamically binarised examples are those of ``epoch``.

    Raises:
        ValueError: If the data of the split do not match the model, the model has no latents, or an argument is out
            of range.
    """
    require_split(split, model.spec)
    if max_images is not None:
        require_count("max_images", max_images, most=MAX_COUNT)
    batch_size = default_batch_size(split) if batch_size is None else require_count("batch_size", batch_size)
    batches: list[Distribution] = []
    for key in sequential(split, batch_size, max_images):
        x, y = (tensor.to(device) for tensor in split[key._replace(epoch=epoch)])
        batches.append(model.encode(x, y))
    return batches


def posterior_means(
    model: GenerativeModel, split: Split, *, batch_size: int | None = None, device: torch.device
) -> Tensor:
    """E_q[h] of every example of a split, in order. -> (N, D) on the CPU."""
    return means_of(encode_split(model, split, batch_size=batch_size, device=device)).cpu()


def means_of(batches: Sequence[Distribution]) -> Tensor:
    """E_q[h] of every example. -> (N, D)."""
    return torch.cat([q.mean for q in batches])


def active_units(means: Tensor) -> Tensor:
    """Active units: Var_x(E_q[h_u]) > 0.01. (N, D) posterior means -> (D,) booleans.

    Reference:
        Importance Weighted Autoencoders (Burda et al., 2015), section 5.2. https://arxiv.org/abs/1509.00519
    """
    return means.var(0) > ACTIVE_VARIANCE


def effective_rank(means: Tensor) -> float:
    r"""Effective number of dimensions of the means: the exponential of the entropy of their normalised variances.

    .. math:: \exp\Big(-\sum_d p_d \log p_d\Big), \qquad p_d = \lambda_d / \sum_e \lambda_e

    λ are the eigenvalues of the covariance. The result is 1 if all latents are copies of one number, and D if they are
    uncorrelated with equal variances.

    Reference:
        The effective rank: a measure of effective dimensionality (Roy and Vetterli, 2007).

    Args:
        means: (N, D) posterior means.

    Example:
        >>> line = torch.linspace(-1, 1, 50)[:, None]
        >>> round(effective_rank(line.repeat(1, 8)), 3)
        1.0
    """
    variances = torch.linalg.eigvalsh(torch.cov(means.double().T).reshape(means.shape[1], -1)).clamp(min=0)
    shares = variances / variances.sum().clamp(min=torch.finfo(torch.double).tiny)
    return math.exp(float(torch.special.entr(shares).sum()))


def mutual_information(batches: Sequence[Distribution], *, seed: int) -> MutualInformation:
    r"""Estimate of the mutual information of x and h under q, in nats; with N examples it is at most log N.

    .. math:: I_q(x; h) = \frac1N \sum_i E_{q(h|x_i)}\Big[\log q(h|x_i) - \log \frac1N \sum_j q(h|x_j)\Big] \le \log N

    It uses one draw of h for each example; the noise of these draws can make an estimate near 0 negative. For every
    prior, the mutual information is one of two parts of the rate:

    .. math:: E_x\,\mathrm{KL}(q(h|x) \,\|\, p(h)) = I_q(x; h) + \mathrm{KL}(q(h) \,\|\, p(h))

    Reference:
        ELBO surgery (Hoffman and Johnson, 2016), eq. 10-12. http://approximateinference.org/accepted/HoffmanJohnson2016.pdf

    Args:
        batches: q(h|x) of all N examples, see :func:`encode_split`.
        seed: Seed of the draws.

    Raises:
        ValueError: If there are no examples.

    Example:
        >>> far_apart = DiagonalNormal(torch.arange(8.0)[:, None] * 1000, torch.ones(8, 1))
        >>> round(mutual_information([far_apart], seed=0).nats, 4)  # log 8: h says which of the eight it is
        2.0794
    """
    require_seed(seed)
    if not batches:
        raise ValueError("no posteriors; wanted those of at least one example")
    generator = torch.Generator().manual_seed(seed)
    batches = _joined(batches)
    h = [q.rsample(standard_normal_noise(len(q.mean), q.mean.shape[1], generator).to(q.mean)) for q in batches]
    log_qh_x = torch.cat([q.log_prob(draw) for q, draw in zip(batches, h, strict=True)])  # (N,)
    nats = float((log_qh_x.cpu().double() - aggregate_log_prob(batches, torch.cat(h))).mean())
    return MutualInformation(nats, math.log(len(log_qh_x)), len(log_qh_x))


def aggregate_log_prob(batches: Sequence[Distribution], h: Tensor) -> Tensor:
    r"""Log density of the aggregate posterior, in nats and float64, on the CPU. h: (M, D) -> (M,).

    .. math:: \log q(h) = \log \frac1N \sum_j q(h|x_j)

    Diagonal normals cost one matrix product, any other posterior a loop over the draws.
    """
    batches = _joined(batches)
    num_images = sum(len(q.mean) for q in batches)
    if isinstance(batches[0], DiagonalNormal) and len(batches) == 1:
        rows = h.cpu().double().split(max(1, PAIRS // num_images))
        total = torch.cat([pair_log_prob(batches[0], part).logsumexp(1) for part in rows])
    else:
        total = torch.stack(
            [torch.cat([q.log_prob(one.expand_as(q.mean)) for q in batches]).cpu().double().logsumexp(0) for one in h]
        )
    return total - math.log(num_images)


def latent_information(batches: Sequence[Distribution]) -> Tensor:
    """Upper bound of each latent's information about x, in nats. Returns (D,), or (0,) if q is not a diagonal normal.

    This is :meth:`DiagonalNormal.information` over all examples, which does not depend on the prior. It replaces the
    KL per dimension for priors whose KL is a single group, such as FlowPrior.
    """
    batches = _joined(batches)
    if not isinstance(batches[0], DiagonalNormal) or len(batches) > 1:
        return torch.empty(0, dtype=torch.double)
    return batches[0].information().cpu()


def latent_health(
    model: GenerativeModel, split: Split, *, seed: int, device: torch.device, max_images: int | None = None
) -> Health:
    """Measure how much the latents depend on x, on ``max_images`` evenly spaced examples. Costs one encoder pass."""
    require_seed(seed)
    batches = encode_split(model, split, device=device, max_images=max_images)
    means = means_of(batches).cpu()
    return Health(
        mutual_information(batches, seed=seed), active_units(means), latent_information(batches), effective_rank(means)
    )


def _joined(batches: Sequence[Distribution]) -> Sequence[Distribution]:
    """Concatenate diagonal normals, in float64 on the CPU (not every device has float64); keep other types."""
    normals = [q for q in batches if isinstance(q, DiagonalNormal)]
    if len(normals) < len(batches):
        return batches
    loc, scale = (torch.cat([part.cpu().double() for part in parts]) for parts in zip(*normals, strict=True))
    return [DiagonalNormal(loc, scale)]
