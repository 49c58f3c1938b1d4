"""What people do with a model: sample, reconstruct, interpolate, complete, score.

Every model has the verbs as methods too: ``model.sample(10, seed=0)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from pixelvae.context import Context
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.decoders.base import Decoder, StepperKind
from pixelvae.devices import send
from pixelvae.latents.distributions import Distribution
from pixelvae.latents.paths import spherical_path
from pixelvae.likelihoods import Likelihood
from pixelvae.walk import fill


class Generative(Protocol):
    """What the verbs use of a model: its parts, and its latents if it has any."""

    spec: DataSpec
    decoder: Decoder
    likelihood: Likelihood
    context: Context

    @property
    def device(self) -> torch.device:
        """The device of the weights."""

    @property
    def has_latents(self) -> bool:
        """Whether there is an h."""

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """q(h|x, y) over (B, D). Raises ValueError without latents."""

    def draw_latents(self, sources: Sequence[torch.Generator]) -> Tensor | None:
        """h ~ p(h), one draw from each generator, (B, D); None without latents."""


def generators(seed: int, n: int) -> list[torch.Generator]:
    """One generator per sample: sample i draws from seed + i alone, whatever the batch and the device."""
    return [torch.Generator().manual_seed(seed + i) for i in range(n)]


def uniforms(model: Generative, sources: Sequence[torch.Generator]) -> Tensor:
    """The uniform numbers that decide a whole walk, (B, C, *S): one row from each generator, on the model's device."""
    drawn = [torch.rand(model.spec.shape, generator=g, device="cpu") for g in sources]
    return send(torch.stack(drawn), model.device)


def decode(
    model: Generative,
    h: Tensor | None,
    y: Tensor | None,
    sources: Sequence[torch.Generator],
    *,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """x ~ p(x | h, y), one draw for each generator. h: (B, D) or None, y: (B, L) or None -> (B, C, *S)."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature}; wanted 0 (most probable) or more")
    u = uniforms(model, sources)
    with torch.inference_mode():
        context = model.context(h, y)
    decoder, likelihood = model.decoder, model.likelihood
    return fill(decoder, likelihood, context, u, temperature=temperature, stepper=stepper, progress=progress).x


def sample(
    model: Generative,
    n: int,
    *,
    seed: int,
    y: Tensor | None = None,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """x ~ p(x | y): h from the prior, then every site in turn.

    Args:
        model: A trained model.
        n: Number of samples.
        seed: Sample i depends on seed + i (and on its label) alone.
        y: (n, L) labels of a class-conditional model.
        temperature: 1 samples the model, less is more probable, 0 is greedy.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (n, C, *S) integer levels.
    """
    sources = generators(seed, n)
    with torch.inference_mode():
        h = model.draw_latents(sources)
    return decode(model, h, y, sources, temperature=temperature, stepper=stepper, progress=progress)


def reconstruct(
    model: Generative,
    x: Tensor,
    *,
    seed: int,
    y: Tensor | None = None,
    num_draws: int = 1,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """x' ~ p(x' | h), h = E[q(h|x)]: draws of an image share h, and differ in what h does not determine.

    Args:
        model: A trained PixelVAE.
        x: (B, C, *S) integer levels.
        seed: Draw d of image b depends on seed + d·B + b.
        y: (B, L) labels of a class-conditional model.
        num_draws: Draws for each image.
        temperature: 1 samples the decoder, 0 is greedy.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (num_draws, B, C, *S) integer levels.

    Raises:
        ValueError: If the model has no latents.
    """
    with torch.inference_mode():
        h = model.encode(x, y).mean.repeat(num_draws, 1)
    labels = None if y is None else y.repeat(num_draws, 1)
    sources = generators(seed, len(h))
    draws = decode(model, h, labels, sources, temperature=temperature, stepper=stepper, progress=progress)
    return draws.unflatten(0, (num_draws, len(x)))


def complete(
    model: Generative,
    x: Tensor,
    known: Tensor,
    *,
    seed: int,
    h: Tensor | None = None,
    y: Tensor | None = None,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """Keep x where ``known``, draw the rest site by site given h, y and all before.

    Args:
        model: A trained model.
        x: (B, C, *S) integer levels.
        known: Broadcastable to x, true where x is kept; what is absent is drawn.
        seed: Image b depends on seed + b.
        h: (B, D) latents of a PixelVAE; the encoder's mean of x where not given.
        y: (B, L) labels of a class-conditional model.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (B, C, *S) integer levels, equal to x where ``known``.
    """
    known = known.expand_as(x) & (x != ABSENT)
    u = uniforms(model, generators(seed, len(x)))
    with torch.inference_mode():
        if h is None and model.has_latents:
            h = model.encode(x, y).mean
        context = model.context(h, y)
    decoder, likelihood = model.decoder, model.likelihood
    return fill(decoder, likelihood, context, u, x=x, known=known, stepper=stepper, progress=progress).x


def score(
    model: Generative,
    x: Tensor,
    *,
    h: Tensor | None = None,
    y: Tensor | None = None,
    stepper: StepperKind = "auto",
) -> Tensor:
    """log p(x | h, y) in nats by the walk, site after site: what a coder pays. Equals ``model.log_px``. -> (B,)."""
    present = x != ABSENT
    with torch.inference_mode():
        context = model.context(h, y)
    u = torch.zeros(x.shape, dtype=next(model.decoder.parameters()).dtype, device=x.device)
    known = torch.ones_like(present)
    walked = fill(model.decoder, model.likelihood, context, u, x=x.clamp(min=0), known=known, stepper=stepper)
    return walked.log_p.where(present, 0).flatten(1).sum(1)


def interpolate(
    model: Generative,
    start: Tensor,
    end: Tensor,
    *,
    steps: int,
    seed: int,
    path: Callable[[Tensor, Tensor, int], Tensor] = spherical_path,
    y: Tensor | None = None,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """Decode the latents between h = start and h = end. Every step of a row has the same uniform numbers.

    Args:
        model: A trained PixelVAE.
        start: (B, D) latents: an encoder's means, or draws of the prior.
        end: (B, D) latents.
        steps: Number of points, both ends included.
        seed: Row b depends on seed + b; equal numbers along a row, so that only h changes.
        path: ``linear_path`` or ``spherical_path``.
        y: (steps, B, L) labels along the way, of a class-conditional model.
        temperature: 1 samples the decoder, 0 is greedy.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (steps, B, C, *S) integer levels.

    Raises:
        ValueError: If the model has no latents.
    """
    h = path(start, end, steps).flatten(0, 1)
    labels = None if y is None else y.flatten(0, 1)
    sources = [g for _ in range(steps) for g in generators(seed, len(start))]
    return decode(model, h, labels, sources, temperature=temperature, stepper=stepper, progress=progress).unflatten(
        0, (steps, -1)
    )
