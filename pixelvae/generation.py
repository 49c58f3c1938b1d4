"""Functions sample, reconstruct, interpolate, complete, score; models have them as methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from pixelvae.boundary import (
    Labels,
    require_batch,
    require_ends,
    require_known,
    require_labels,
    require_labels_along,
    require_latents,
    require_seed,
    require_sources,
    require_temperature,
)
from pixelvae.context import Context, of_batch
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.decoders.base import Decoder, StepperKind
from pixelvae.devices import send
from pixelvae.latents.distributions import Distribution
from pixelvae.latents.paths import spherical_path
from pixelvae.likelihoods import Likelihood
from pixelvae.ranges import require_count
from pixelvae.walk import fill, log_probs


class Generative(Protocol):
    """The interface of a model that these functions use."""

    spec: DataSpec
    latent_dim: int
    decoder: Decoder
    likelihood: Likelihood
    context: Context

    @property
    def device(self) -> torch.device:
        """The device of the weights."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""

    @property
    def has_latents(self) -> bool:
        """Whether the model has latents h."""

    def posterior(self, x: Tensor, y: Tensor | None) -> Distribution:
        """q(h|x, y) over (B, D), for checked arguments. Raises ValueError without latents."""

    def draw_latents(self, sources: Sequence[torch.Generator]) -> Tensor | None:
        """h ~ p(h), one draw from each generator, (B, D); None without latents."""


def generators(seed: int, n: int) -> list[torch.Generator]:
    """One generator per sample: sample i depends on seed + i alone, not on the batch or the device.

    Raises:
        ValueError: If ``seed`` is not an integer from 0 to 2^63 - n.
    """
    seed = require_seed(seed, n)
    return [torch.Generator().manual_seed(seed + i) for i in range(n)]


def uniforms(model: Generative, sources: Sequence[torch.Generator]) -> Tensor:
    """Uniform numbers for a whole walk, (B, C, *S): one row from each generator, on the model's device."""
    drawn = [torch.rand(model.spec.shape, generator=g, device="cpu") for g in sources]
    return send(torch.stack(drawn), model.device)


def decode(
    model: Generative,
    h: Tensor | None,
    y: Labels | None,
    sources: Sequence[torch.Generator],
    *,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """x ~ p(x | h, y), one draw for each generator. h: (B, D) or None, y: labels or None -> (B, C, *S).

    Raises:
        ValueError: If h, y, sources or temperature does not match the model.
    """
    sources, temperature = require_sources(sources), require_temperature(temperature)
    n = len(sources)
    h = require_latents(h, model.latent_dim, n, model.device, model.dtype)
    y = require_labels(y, model.spec.num_classes, n, model.device)
    return _decode(model, h, y, sources, temperature, stepper, progress)


def _decode(
    model: Generative,
    h: Tensor | None,
    y: Tensor | None,
    sources: Sequence[torch.Generator],
    temperature: float,
    stepper: StepperKind,
    progress: bool,
) -> Tensor:
    """:func:`decode` for checked arguments."""
    u = uniforms(model, sources)
    with torch.inference_mode():
        context = of_batch(model.context(h, y), len(u))
    decoder, likelihood = model.decoder, model.likelihood
    return fill(decoder, likelihood, context, u, temperature=temperature, stepper=stepper, progress=progress).x


def sample(
    model: Generative,
    n: int,
    *,
    seed: int,
    y: Labels | None = None,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """Draw x ~ p(x | y): h from the prior, then every site in raster order.

    Args:
        model: A trained model.
        n: Number of samples.
        seed: Sample i depends on seed + i (and its label) alone.
        y: (n, L) labels of a class-conditional model; with one kind of label also (n,), a list, or one for all.
        temperature: Divides the log probabilities of each value: 1 samples the model, 0 takes the most probable level.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (n, C, *S) integer levels.

    Raises:
        ValueError: If an argument does not match the model, or labels are given to a model without them.
    """
    n, temperature = require_count("n", n), require_temperature(temperature)
    y = require_labels(y, model.spec.num_classes, n, model.device, asked_for=True)
    sources = generators(seed, n)
    with torch.inference_mode():
        h = model.draw_latents(sources)
    return _decode(model, h, y, sources, temperature, stepper, progress)


def reconstruct(
    model: Generative,
    x: Tensor,
    *,
    seed: int,
    y: Labels | None = None,
    num_draws: int = 1,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """Draw x' ~ p(x' | h) with h = E[q(h|x)]. All draws of an image share h.

    Args:
        model: A trained PixelVAE.
        x: (B, C, *S) integer levels.
        seed: Draw d of image b depends on seed + d·B + b.
        y: (B, L) labels of a class-conditional model; with one kind of label also (B,), a list, or one for all.
        num_draws: Number of draws for each image.
        temperature: Divides the log probabilities of each value: 1 samples the model, 0 takes the most probable level.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (num_draws, B, C, *S) integer levels.

    Raises:
        ValueError: If the model has no latents, or an argument does not match the model.
    """
    x, labels = require_batch(x, y, model.spec, model.device)
    num_draws, temperature = require_count("num_draws", num_draws), require_temperature(temperature)
    sources = generators(seed, num_draws * len(x))
    with torch.inference_mode():
        h = model.posterior(x, labels).mean.repeat(num_draws, 1)
    labels = None if labels is None else labels.repeat(num_draws, 1)
    draws = _decode(model, h, labels, sources, temperature, stepper, progress)
    return draws.unflatten(0, (num_draws, len(x)))


def complete(
    model: Generative,
    x: Tensor,
    known: Tensor,
    *,
    seed: int,
    h: Tensor | None = None,
    y: Labels | None = None,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """Keep x where ``known``; draw every other value from p(x_t | x_<t, h, y).

    Args:
        model: A trained model.
        x: (B, C, *S) integer levels.
        known: Broadcastable to x, true where x is kept. Absent values are drawn.
        seed: Image b depends on seed + b.
        h: (B, D) latents of a PixelVAE; by default the posterior mean E[q(h|x)].
        y: (B, L) labels of a class-conditional model; with one kind of label also (B,), a list, or one for all.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (B, C, *S) integer levels, equal to x where ``known``.

    Raises:
        ValueError: If an argument does not match the model.
    """
    x, labels = require_batch(x, y, model.spec, model.device)
    known = require_known(known, x) & (x != ABSENT)
    if h is not None:
        h = require_latents(h, model.latent_dim, len(x), model.device, model.dtype)
    u = uniforms(model, generators(seed, len(x)))
    with torch.inference_mode():
        if h is None and model.has_latents:
            h = model.posterior(x, labels).mean
        context = of_batch(model.context(h, labels), len(u))
    decoder, likelihood = model.decoder, model.likelihood
    return fill(decoder, likelihood, context, u, x=x, known=known, stepper=stepper, progress=progress).x


def score(
    model: Generative,
    x: Tensor,
    *,
    h: Tensor | None = None,
    y: Labels | None = None,
    stepper: StepperKind = "auto",
) -> Tensor:
    """log p(x | h, y) in nats, (B,), one site after the other, as an entropy coder does. Equals ``model.log_px``.

    Raises:
        ValueError: If x, h or y does not match the model.
    """
    x, labels = require_batch(x, y, model.spec, model.device)
    h = require_latents(h, model.latent_dim, len(x), model.device, model.dtype)
    with torch.inference_mode():
        context = of_batch(model.context(h, labels), len(x))
    return log_probs(model.decoder, model.likelihood, context, x, stepper=stepper).flatten(1).sum(1)


def interpolate(
    model: Generative,
    start: Tensor,
    end: Tensor,
    *,
    steps: int,
    seed: int,
    path: Callable[[Tensor, Tensor, int], Tensor] = spherical_path,
    y: Labels | None = None,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """Decode latents on paths from ``start`` to ``end``. All steps of a row use the same uniform numbers.

    Args:
        model: A trained PixelVAE.
        start: (B, D) latents, such as posterior means or draws of the prior.
        end: (B, D) latents.
        steps: Number of points, including both ends: at least 2.
        seed: Row b depends on seed + b. Along a row only h changes.
        path: ``linear_path`` or ``spherical_path``.
        y: Labels of a class-conditional model: (steps, B, L), or the labels of the B rows for all steps.
        temperature: Divides the log probabilities of each value: 1 samples the model, 0 takes the most probable level.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (steps, B, C, *S) integer levels.

    Raises:
        ValueError: If the model has no latents, or an argument does not match the model.
    """
    start, end = require_ends(start, end, model.latent_dim, model.device, model.dtype)
    steps, temperature = require_count("steps", steps, least=2), require_temperature(temperature)
    labels = require_labels_along(y, model.spec.num_classes, steps, len(start), model.device)
    sources = [g for _ in range(steps) for g in generators(seed, len(start))]
    points = path(start, end, steps)
    if points.shape != (steps, *start.shape):
        raise ValueError(f"path gives points of shape {tuple(points.shape)}; wanted {(steps, *start.shape)}")
    drawn = _decode(model, points.flatten(0, 1), labels, sources, temperature, stepper, progress)
    return drawn.unflatten(0, (steps, -1))
