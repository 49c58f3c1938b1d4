"""The one walk over sites, and what is made of it: sample, reconstruct, interpolate, complete, score.

Every model has the verbs as methods too: ``model.sample(10, seed=0)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from pixelvae.context import Context
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.decoders.base import AutoregressiveDecoder, SamplingStepper, Stepper, StepperKind
from pixelvae.latents.distributions import Distribution
from pixelvae.latents.paths import spherical_path
from pixelvae.likelihoods import Categorical, Likelihood

Site = tuple[Any, ...]  # of int; Any lets the type checker see an index in it
Choose = Callable[[Site, int, Tensor], Tensor]


class Generative(Protocol):
    """What the verbs use of a model: its parts, and its latents if it has any."""

    spec: DataSpec
    decoder: AutoregressiveDecoder
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
    """One CPU generator per sample: sample i draws from seed + i alone, whatever the batch and the device."""
    return [torch.Generator().manual_seed(seed + i) for i in range(n)]


def uniforms(model: Generative, sources: Sequence[torch.Generator]) -> Tensor:
    """The uniform numbers that decide a whole walk, (B, C, *S), one row from each CPU generator.

    Drawn on the CPU and copied to the model's device: the numbers are the same on every device.
    """
    return torch.stack([torch.rand(model.spec.shape, generator=source) for source in sources]).to(model.device)


def draw(pmf: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
    """Invert the cumulative distribution: the first level whose cumulative probability exceeds u.

    Args:
        pmf: (B, K).
        u: (B,) uniform in [0, 1).
        temperature: Draws from pmf^(1/temperature), normalised; 0 takes the most probable level.
    """
    if temperature == 0:
        return pmf.argmax(1)
    if temperature != 1:
        pmf = (pmf.log() / temperature).softmax(1)
    cumulative = pmf.cumsum(1)[:, :-1]  # the last level takes what rounding leaves
    return (u.to(pmf.dtype)[:, None] >= cumulative).sum(1)


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
    if temperature < 0:
        raise ValueError(f"temperature={temperature}; wanted 0 (most probable) or more")
    u = uniforms(model, sources)
    with torch.inference_mode():
        context = model.context(h, y)
    conditionals = model.decoder.stepper(context, len(sources), stepper)
    if isinstance(conditionals, SamplingStepper) and isinstance(model.likelihood, Categorical):
        return sample_rows(conditionals, u, temperature, progress=progress)

    in_order = iter(u.flatten(2).permute(2, 1, 0).flatten(0, 1).unbind())  # (B,) for each visit of the walk

    def choose(site: Site, channel: int, pmf: Tensor) -> Tensor:
        return draw(pmf, next(in_order), temperature)

    decoder, likelihood = model.decoder, model.likelihood
    return walk(decoder, likelihood, context, len(sources), choose, stepper=conditionals, progress=progress)


def sample_rows(stepper: SamplingStepper, u: Tensor, temperature: float, *, progress: bool = False) -> Tensor:
    """The same draws as the walk's, made by the stepper itself, a row of sites at a time. u: (B, C, *S) -> levels."""
    rows = u.flatten(2).split(u.shape[-1], dim=2)
    bar = tqdm(rows, desc="sample", unit="row", disable=not progress, leave=False)
    return torch.cat([stepper.sample(row, temperature) for row in bar], dim=2).view(u.shape)


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
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
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
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
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
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (B, C, *S) integer levels, equal to x where ``known``.
    """
    known = known.expand_as(x) & (x != ABSENT)
    u = uniforms(model, generators(seed, len(x)))

    def choose(site: Site, channel: int, pmf: Tensor) -> Tensor:
        return torch.where(known[:, channel, *site], x[:, channel, *site], draw(pmf, u[:, channel, *site]))

    with torch.inference_mode():
        if h is None and model.has_latents:
            h = model.encode(x, y).mean
        context = model.context(h, y)
    return walk(model.decoder, model.likelihood, context, len(x), choose, stepper=stepper, progress=progress)


def score(
    model: Generative,
    x: Tensor,
    *,
    h: Tensor | None = None,
    y: Tensor | None = None,
    stepper: StepperKind = "auto",
) -> Tensor:
    """log p(x | h, y) in nats by the walk, site after site: what a coder pays. Equals ``model.log_px``. -> (B,)."""
    log_px = torch.zeros(len(x), device=x.device, dtype=next(model.decoder.parameters()).dtype)

    def choose(site: Site, channel: int, pmf: Tensor) -> Tensor:
        value = x[:, channel, *site].clamp(min=0)
        log_p = pmf.gather(1, value[:, None])[:, 0].log()
        log_px.add_(log_p.where(x[:, channel, *site] != ABSENT, 0))
        return value

    with torch.inference_mode():
        context = model.context(h, y)
    walk(model.decoder, model.likelihood, context, len(x), choose, stepper=stepper)
    return log_px


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
        stepper: See :meth:`AutoregressiveDecoder.stepper`.
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
