"""Nats, bits/dim, KL and latents of files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pixelvae.data.given import GivenFiles, content_key, list_files
from pixelvae.data.spec import ABSENT
from pixelvae.data.splits import Split, sequential
from pixelvae.evaluation.bounds import default_batch_size
from pixelvae.evaluation.encodings import Encodings
from pixelvae.latents.distributions import standard_normal_rows
from pixelvae.memory import keep_freed_memory
from pixelvae.models.base import GenerativeModel
from pixelvae.models.pixelvae import PixelVAE


class _Rows(NamedTuple):
    """nats, kl, num_dims (values that are not absent): (B,).  y: (B, L).  means, variance, of q(h|x): (B, D)."""

    nats: Tensor
    kl: Tensor
    num_dims: Tensor
    y: Tensor
    means: Tensor
    variance: Tensor


@torch.inference_mode()
def encode_files(
    model: GenerativeModel,
    files: Split | str | Path | Iterable[str | Path],
    *,
    options: Mapping[str, Any] | None = None,
    labels: Tensor | None = None,
    num_samples: int = 0,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Encodings:
    r"""Nats and latents of every file.

    .. math:: \mathrm{nats} = \mathrm{KL}(q(h|x) \| p(h)) - \log p(x|h), \quad h \sim q(h|x), \qquad
              \text{or} \quad -\log \frac1S \sum_{s=1}^{S} \frac{p(x, h_s)}{q(h_s|x)}

    Up to rounding, a row depends only on the content of its file, its labels and the seed: not on its name, its
    position, or the other files.

    Args:
        model: A model on any device.
        files: A split of a data set, or pictures (or sounds) and folders of them, which are converted to the shape
            and levels of the model's data.
        options: How files are read, as in the configuration of a data set, see `GivenFiles`; sounds need ``rate``.
        labels: (N, L) labels of the files, for a class-conditional model.
        num_samples: Number S of draws of h for the importance-weighted bound; 0 for the ELBO.
        seed: Seed of the draws of h.
        batch_size: Files per batch; by default 250, fewer for files with more sites than a 32x32 image.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If a file cannot be read, the shape of the data does not match the model, labels are missing, or
            ``num_samples`` is negative.

    Example:
        >>> from functools import partial
        >>> from pixelvae import Categorical, ConvEncoder, Digits, GatedPixelCNN, StandardNormal, VectorContext
        >>> data = Digits()
        >>> model = PixelVAE(
        ...     data.spec._replace(num_classes=()), likelihood=Categorical, encoder=ConvEncoder, prior=StandardNormal,
        ...     decoder=partial(GatedPixelCNN, num_layers=2), context=VectorContext, latent_dim=4)
        >>> table = encode_files(model, data.test)
        >>> len(table), table.h.shape, [str(name) for name in table.label[:2]]
        (300, (300, 4), ['2', '3'])
    """
    if num_samples < 0:
        raise ValueError(f"num_samples={num_samples}; wanted 0 (the ELBO) or more")
    keep_freed_memory()
    examples = files if isinstance(files, Split) else _given(model, files, options, labels)
    if examples.spec[:2] != model.spec[:2]:
        raise ValueError(
            f"the files have shape {examples.spec.shape} and {examples.spec.levels} levels; the model wants "
            f"{model.spec.shape} and {model.spec.levels}"
        )
    size = default_batch_size(examples) if batch_size is None else batch_size
    parts: list[_Rows] = []
    with tqdm(total=len(examples), desc="encode", unit="file", disable=not progress, dynamic_ncols=True) as bar:
        for key in sequential(examples, size):
            x, y = (tensor.to(model.device) for tensor in examples[key])
            parts.append(_encode(model, x, y, num_samples, seed))
            bar.update(len(x))
    rows = _Rows(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))
    variance = rows.means.double().numpy().var(0) + rows.variance.double().numpy().mean(0)  # of the aggregate posterior
    paths, names = _names(examples, rows.y)
    return Encodings(
        path=np.array(paths),
        split=np.full(len(paths), ""),
        label=np.array(names),
        nats=rows.nats.numpy(),
        bits_per_dim=(rows.nats / (math.log(2) * rows.num_dims)).numpy(),
        kl=rows.kl.numpy(),
        h=rows.means.numpy(),
        scale=np.sqrt(variance).clip(1e-12),
    )


def _given(
    model: GenerativeModel,
    files: str | Path | Iterable[str | Path],
    options: Mapping[str, Any] | None,
    labels: Tensor | None,
) -> GivenFiles:
    """The given files, with their labels."""
    named = [files] if isinstance(files, str | Path) else list(files)
    if model.spec.num_classes and labels is None:
        raise ValueError(f"the model is class-conditional: give labels (N, {len(model.spec.num_classes)}) of the files")
    return GivenFiles(list_files([Path(path) for path in named], model.spec), model.spec, options, labels=labels)


def _names(examples: Split, y: Tensor) -> tuple[list[str], list[str]]:
    """The path (or number) and the class names of each example."""
    names = examples.class_names
    labels = [", ".join(of[label] for of, label in zip(names, row, strict=True)) for row in y.tolist()]
    return examples.files(torch.arange(len(y))) or [str(i) for i in range(len(y))], labels


def _encode(model: GenerativeModel, x: Tensor, y: Tensor, num_samples: int, seed: int) -> _Rows:
    """Encode one batch. Row i of the noise comes from its own generator, seeded with its content."""
    num_dims = (x != ABSENT).flatten(1).sum(1)
    if not isinstance(model, PixelVAE):
        nats, none = -model.log_px(x, None, y).double(), torch.zeros(len(x), 0)
        return _Rows(nats, torch.zeros_like(nats), num_dims, y, none, none)
    sources = [torch.Generator().manual_seed(content_key(row, seed)) for row in x.cpu()]
    q = model.encode(x, y)
    log_weights, kls, squares = [], [], []
    for _ in range(max(num_samples, 1)):
        h = q.rsample(_noise(model, sources))
        log_px = model.log_px(x, h, y)
        kl = model.kl(q, h).sum(1)
        log_weights.append(log_px + model.prior.log_prob(h) - q.log_prob(h) if num_samples else log_px - kl)
        kls.append(kl)
        squares.append((h - q.mean).square())
    nats = math.log(len(log_weights)) - torch.stack(log_weights).double().logsumexp(0)
    return _Rows(nats, torch.stack(kls).double().mean(0), num_dims, y, q.mean, torch.stack(squares).mean(0))


def _noise(model: GenerativeModel, sources: Sequence[torch.Generator]) -> Tensor:
    """(B, D) standard normal draws, one row from each generator."""
    return standard_normal_rows(model.latent_dim, sources).to(model.device)
