"""The one walk over sites, and what is made of it: sample, reconstruct, interpolate, complete, score."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pixelvae.data.spec import ABSENT
from pixelvae.decoders.base import AutoregressiveDecoder, Stepper, StepperKind
from pixelvae.latents.paths import spherical_path
from pixelvae.likelihoods import Likelihood
from pixelvae.models.base import GenerativeModel
from pixelvae.models.pixelvae import PixelVAE
from pixelvae.sampling import engine
from pixelvae.sampling.engine import Walked

Site = tuple[Any, ...]  # of int; Any lets the type checker see an index in it
Choose = Callable[[Site, int, Tensor], Tensor]


@torch.inference_mode()
def walk(
    decoder: AutoregressiveDecoder,
    likelihood: Likelihood,
    context: Tensor | None,
    batch_size: int,
    choose: Choose,
    *,
    stepper: StepperKind | Stepper = "auto",
    progress: bool = False,
) -> Tensor:
    """Visit the sites in raster order, the channels of each in order, and let ``choose`` fix every value.

    Sampling, completion, scoring and coding differ only in ``choose``.

    Args:
        decoder: Gives the params of every site through its stepper.
        likelihood: Turns them into probabilities of the levels.
        context: (B, D), (B, D, *S) or None.
        batch_size: B.
        choose: (site, channel, pmf (B, K)) -> (B,) integer levels.
        stepper: Kind of the decoder's stepper, see :meth:`AutoregressiveDecoder.stepper`, or one to start with.
        progress: Whether to show a progress bar with the time left.

    Returns:
        x, (B, C, *S) integer levels.
    """
    spec = decoder.spec
    conditionals = stepper if isinstance(stepper, Stepper) else decoder.stepper(context, batch_size, stepper)
    device = next(decoder.parameters()).device
    sites = list(product(*map(range, spec.sites)))
    x = torch.zeros(len(sites), batch_size, spec.channels, dtype=torch.long, device=device)
    bar = tqdm(sites, desc="walk", unit="site", disable=not progress, leave=False)
    for site, x_site in zip(bar, x, strict=True):  # x_site: (B, C), zero where not yet known
        for channel in range(spec.channels):
            if channel == 0 or decoder.channel_masked:
                params = conditionals.params(x_site)
            x_site[:, channel] = choose(site, channel, likelihood.pmf(params, x_site, channel))
        conditionals.push(x_site)
    return x.permute(1, 2, 0).reshape(batch_size, *spec.shape)


def generators(seed: int, n: int) -> list[torch.Generator]:
    """One generator per sample: sample i draws from seed + i alone, whatever the batch and the device."""
    return [torch.Generator().manual_seed(seed + i) for i in range(n)]


def uniforms(model: GenerativeModel, sources: Sequence[torch.Generator]) -> Tensor:
    """The uniform numbers that decide a whole walk, (B, C, *S): one row from each generator, on the model's device."""
    drawn = [torch.rand(model.spec.shape, generator=g) for g in sources]
    return torch.stack(drawn).to(next(model.parameters()).device)


def draw(pmf: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
    """Invert the cumulative distribution: the first level whose cumulative probability exceeds u.

    Args:
        pmf: (B, K).
        u: (B,) uniform in [0, 1).
        temperature: Draws from pmf^(1/temperature), normalised; 0 takes the most probable level.
    """
    if temperature < 1e-30:  # less than that no float can tell from 0
        return pmf.argmax(1)
    if temperature != 1:
        pmf = ((pmf / pmf.amax(1, keepdim=True)).log() / temperature).softmax(1)
    cumulative = pmf.cumsum(1)[:, :-1]  # the last level takes what rounding leaves
    return (u.to(pmf.dtype)[:, None] >= cumulative).sum(1)


@torch.inference_mode()
def fill(
    decoder: AutoregressiveDecoder,
    likelihood: Likelihood,
    context: Tensor | None,
    u: Tensor,
    *,
    x: Tensor | None = None,
    known: Tensor | None = None,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Walked:
    """One walk in which every value is x where ``known``, and else decided by u: sampling, completion and scoring.

    In one call of the compiled engine where the decoder has a plan and the likelihood is the engine's own, else by
    :func:`walk`.

    Args:
        decoder: Gives the params of every site.
        likelihood: Turns them into probabilities of the levels.
        context: (B, D), (B, D, *S) or None.
        u: (B, C, *S) uniform numbers in [0, 1).
        x: (B, C, *S) integer levels, needed where ``known``.
        known: (B, C, *S), true where x is kept; nowhere by default.
        temperature: Divides the log probabilities of what is drawn; 0 takes the most probable level.
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        The levels, and log p of each in nats at temperature 1, both (B, C, *S).
    """
    prepared = decoder.choose(stepper)
    if prepared is not None and likelihood.native is not None and prepared.runs_in_engine(stepper):
        context = decoder.plan_context(context, len(u))
        given = {"x": x, "known": known, "temperature": temperature, "progress": progress}
        return engine.run(prepared.packed, likelihood.native, context, u, **given)
    log_p = torch.zeros_like(u)

    def choose(site: Site, channel: int, pmf: Tensor) -> Tensor:
        here = (slice(None), channel, *site)
        value = draw(pmf, u[here], temperature)
        if known is not None and x is not None:
            value = torch.where(known[here], x[here], value)
        log_p[here] = pmf.gather(1, value[:, None])[:, 0].log()
        return value

    return Walked(walk(decoder, likelihood, context, len(u), choose, stepper=stepper, progress=progress), log_p)


def decode(
    model: GenerativeModel,
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
    options = {"temperature": temperature, "stepper": stepper, "progress": progress}
    return fill(model.decoder, model.likelihood, context, u, **options).x


def sample(
    model: GenerativeModel,
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
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (n, C, *S) integer levels.
    """
    sources = generators(seed, n)
    h = model.prior_draws(sources)
    return decode(model, h, y, sources, temperature=temperature, stepper=stepper, progress=progress)


def reconstruct(
    model: PixelVAE,
    x: Tensor,
    *,
    seed: int,
    y: Tensor | None = None,
    num_draws: int = 1,
    temperature: float = 1.0,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    """x' ~ p(x' | h), h = E[q(h|x)]: what the latents know stays, what the decoder invents differs by draw.

    Args:
        model: A trained PixelVAE.
        x: (B, C, *S) integer levels.
        seed: Draw d of image b depends on seed + d·B + b.
        y: (B, L) labels of a class-conditional model.
        num_draws: Draws for each image.
        temperature: 1 samples the decoder, 0 is greedy.
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (num_draws, B, C, *S) integer levels.
    """
    with torch.inference_mode():
        h = model.encoder(x, y).mean.repeat(num_draws, 1)
    labels = None if y is None else y.repeat(num_draws, 1)
    sources = generators(seed, len(h))
    draws = decode(model, h, labels, sources, temperature=temperature, stepper=stepper, progress=progress)
    return draws.unflatten(0, (num_draws, len(x)))


def complete(
    model: GenerativeModel,
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
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (B, C, *S) integer levels, equal to x where ``known``.
    """
    known = known.expand_as(x) & (x != ABSENT)
    u = uniforms(model, generators(seed, len(x)))
    with torch.inference_mode():
        if h is None and isinstance(model, PixelVAE):
            h = model.encoder(x, y).mean
        context = model.context(h, y)
    options = {"x": x, "known": known, "stepper": stepper, "progress": progress}
    return fill(model.decoder, model.likelihood, context, u, **options).x


def score(
    model: GenerativeModel,
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
    u = torch.zeros(x.shape, dtype=next(model.parameters()).dtype, device=x.device)
    known = torch.ones_like(present)
    walked = fill(model.decoder, model.likelihood, context, u, x=x.clamp(min=0), known=known, stepper=stepper)
    return walked.log_p.where(present, 0).flatten(1).sum(1)


def interpolate(
    model: PixelVAE,
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
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (steps, B, C, *S) integer levels.
    """
    h = path(start, end, steps).flatten(0, 1)
    labels = None if y is None else y.flatten(0, 1)
    sources = [g for _ in range(steps) for g in generators(seed, len(start))]
    return decode(model, h, labels, sources, temperature=temperature, stepper=stepper, progress=progress).unflatten(
        0, (steps, -1)
    )
