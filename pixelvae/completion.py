"""Completion by a model with latents: alternate draws of h and of the hidden pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pixelvae.boundary import Labels, require_batch, require_known, require_seed
from pixelvae.context import of_batch
from pixelvae.data.spec import ABSENT
from pixelvae.decoders.base import StepperKind
from pixelvae.generation import generators, uniforms
from pixelvae.models.base import GenerativeModel
from pixelvae.ranges import require_count
from pixelvae.walk import fill


def upper_rows(shape: Sequence[int], num_rows: int, device: torch.device | str = "cpu") -> Tensor:
    """A mask of images that is true in the first rows. shape: (C, H, W) -> (C, H, W).

    Raises:
        ValueError: If the shape is not that of an image, or ``num_rows`` is not in 0 .. H.

    Example:
        >>> upper_rows((1, 3, 2), 1).tolist()
        [[[True, True], [False, False], [False, False]]]
    """
    if len(shape) != 3 or not 0 <= num_rows <= shape[1]:
        raise ValueError(f"the first {num_rows} rows of shape {tuple(shape)}; wanted 0 .. H of images (C, H, W)")
    return (torch.arange(shape[1], device=device) < num_rows)[:, None].expand(*shape)


def complete_in_rounds(
    model: GenerativeModel,
    x: Tensor,
    known: Tensor,
    y: Labels | None,
    *,
    rounds: int,
    seed: int,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    r"""Draw the hidden pixels by alternating draws of the latents and the pixels.

    .. math:: h \sim q(h|x), \qquad x_\mathrm{hidden} \sim p(x_\mathrm{hidden} | x_\mathrm{known}, h)

    The encoder's x has hidden pixels 0 in the first round, and those of the previous round afterwards. Without latents
    one round is exact, and further rounds are independent draws.

    Reference:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende et al., 2014),
        appendix F. https://arxiv.org/abs/1401.4082

    Args:
        model: A trained model.
        x: (B, C, H, W) integer levels. Hidden pixels have no effect.
        known: Broadcastable to x, true where x is kept.
        y: (B, L) labels of a class-conditional model; with one kind of label also (B,), a list, or one for all.
        rounds: Number of rounds.
        seed: Round i draws the latents of image b from seed + 2·i·B + b, its pixels from seed + (2·i + 1)·B + b.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (B, C, H, W) integer levels, equal to x where ``known``.

    Raises:
        ValueError: If an argument does not match the model.
    """
    x, labels = require_batch(x, y, model.spec, model.device)
    known = require_known(known, x) & (x != ABSENT)
    rounds, seed = require_count("rounds", rounds), require_seed(seed)
    x, h = x.where(known, 0), None
    for i in range(rounds):
        with torch.inference_mode():
            if model.has_latents:
                sources = generators(seed + 2 * i * len(x), len(x))
                h = model.posterior(x, labels).rsample(torch.cat([model.draw_noise(1, g) for g in sources]))
            context = of_batch(model.context(h, labels), len(x))
        u = uniforms(model, generators(seed + (2 * i + 1) * len(x), len(x)))
        parts = model.decoder, model.likelihood, context, u
        x = fill(*parts, x=x, known=known, stepper=stepper, progress=progress).x
    return x
