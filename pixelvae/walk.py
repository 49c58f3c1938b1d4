"""The loop over sites, shared by sampling, completion, scoring and coding."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pixelvae.data.spec import ABSENT
from pixelvae.decoders.base import Decoder, Stepper, StepperKind
from pixelvae.likelihoods import Likelihood
from pixelvae.progress import tqdm
from pixelvae.ranges import require_count
from pixelvae.sampling import engine, rows
from pixelvae.sampling.eager import EagerPlan
from pixelvae.sampling.stepper import Walked

Site = tuple[Any, ...]  # of int; Any permits its use as an index
Choose = Callable[[Site, int, Tensor], Tensor]


@torch.inference_mode()
def walk(
    decoder: Decoder,
    likelihood: Likelihood,
    context: Tensor | None,
    batch_size: int,
    choose: Choose,
    *,
    stepper: StepperKind | Stepper = "auto",
    progress: bool = False,
) -> Tensor:
    """Visit the sites in raster order, and the channels of each in order; ``choose`` determines every value.

    Sampling, completion, scoring and coding differ only in ``choose``.

    Args:
        decoder: Computes the params of every site through its stepper.
        likelihood: Maps params to probabilities of the levels.
        context: (B, D), (B, D, *S) or None.
        batch_size: Batch size B.
        choose: (site, channel, pmf (B, K)) -> (B,) integer levels.
        stepper: Kind of the decoder's stepper, see :meth:`Decoder.stepper`, or a stepper at the first site.
        progress: Whether to show a progress bar with the remaining time.

    Returns:
        x, (B, C, *S) integer levels.

    Raises:
        ValueError: If ``batch_size`` < 1, or the context does not match the decoder.
    """
    require_count("batch_size", batch_size)
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


def draw(pmf: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
    """Invert the cumulative distribution: the first level whose cumulative probability exceeds u.

    Args:
        pmf: (B, K).
        u: (B,) uniform in [0, 1).
        temperature: Draw from pmf^(1/temperature), normalised; 0 takes the most probable level.
    """
    if temperature < 1e-30:  # a smaller temperature is equal to 0 in floats
        return pmf.argmax(1)
    if temperature != 1:
        pmf = ((pmf / pmf.amax(1, keepdim=True)).log() / temperature).softmax(1)
    cumulative = pmf.cumsum(1)[:, :-1]  # the last level takes the remainder due to rounding
    return (u.to(pmf.dtype)[:, None] >= cumulative).sum(1)


@torch.inference_mode()
def fill(
    decoder: Decoder,
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
    """One walk for sampling, completion and scoring: every value is x where ``known``, else drawn by u.

    The walk is one call of the compiled engine if the decoder has a plan and the engine implements the likelihood;
    otherwise :func:`walk`.

    Args:
        decoder: Computes the params of every site.
        likelihood: Maps params to probabilities of the levels.
        context: (B, D), (B, D, *S) or None.
        u: (B, C, *S) uniform numbers in [0, 1).
        x: (B, C, *S) integer levels; required if ``known`` is given.
        known: (B, C, *S), true where x is kept; by default nowhere.
        temperature: Divides the log probabilities of drawn values; 0 takes the most probable level.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        The levels, and log p of each in nats at temperature 1, both (B, C, *S).
    """
    prepared = decoder.choose(stepper)
    if prepared is not None:
        decoder.check_context(context)
        context = decoder.plan_context(context, len(u))
    if prepared is not None and likelihood.native is not None and prepared.runs_in_engine(stepper):
        return engine.run(
            prepared.packed, likelihood.native, context, u, x=x, known=known, temperature=temperature, progress=progress
        )
    if prepared is not None and not prepared.runs_in_engine(stepper):

        def of_row(params: Tensor, x_site: Tensor, channel: int, u: Tensor) -> tuple[Tensor, Tensor]:
            pmf = likelihood.pmf(params, x_site, channel)
            return pmf, draw(pmf, u, temperature)

        # Graphs need a real device; a FakeTensorMode has none.
        record = rows.cuda_graph if u.device.type == "cuda" and torch.cuda.is_available() else None
        plan = EagerPlan(prepared.eager, context, len(u))
        return rows.fill(plan, of_row, u, x=x, known=known, record=record, progress=progress)
    log_p = torch.zeros_like(u)

    def choose(site: Site, channel: int, pmf: Tensor) -> Tensor:
        here = (slice(None), channel, *site)
        value = draw(pmf, u[here], temperature)
        if known is not None and x is not None:
            value = torch.where(known[here], x[here], value)
        log_p[here] = pmf.gather(1, value[:, None])[:, 0].log()
        return value

    return Walked(walk(decoder, likelihood, context, len(u), choose, stepper=stepper, progress=progress), log_p)


def log_probs(
    decoder: Decoder, likelihood: Likelihood, context: Tensor | None, x: Tensor, *, stepper: StepperKind = "auto"
) -> Tensor:
    """log p of every value of x, given the values before, in nats; 0 where x is absent. (B, C, *S) -> (B, C, *S)."""
    present = x != ABSENT
    u = torch.zeros(x.shape, dtype=next(decoder.parameters()).dtype, device=x.device)
    known = torch.ones_like(present)
    return fill(decoder, likelihood, context, u, x=x.clamp(min=0), known=known, stepper=stepper).log_p.where(present, 0)
