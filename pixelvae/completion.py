"""Completion by a model with latents, which belong to the whole image: h and the hidden pixels drawn in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pixelvae.decoders.base import StepperKind
from pixelvae.generation import complete, generators
from pixelvae.models.base import GenerativeModel


def upper_rows(shape: Sequence[int], num_rows: int, device: torch.device | str = "cpu") -> Tensor:
    """A mask of images, true in their first rows. shape: (C, H, W) -> (C, H, W).

    Example:
        >>> upper_rows((1, 3, 2), 1).tolist()
        [[[True, True], [False, False], [False, False]]]
    """
    return (torch.arange(shape[1], device=device) < num_rows)[:, None].expand(*shape)


def complete_in_rounds(
    model: GenerativeModel,
    x: Tensor,
    known: Tensor,
    y: Tensor,
    *,
    rounds: int,
    seed: int,
    stepper: StepperKind = "auto",
    progress: bool = False,
) -> Tensor:
    r"""Draw the pixels that are not known without looking at them.

    .. math:: h \sim q(h|x), \qquad x_\mathrm{hidden} \sim p(x_\mathrm{hidden} | x_\mathrm{known}, h)

    Hidden pixels are 0 in the first round, and in each further round what the round before drew. Without latents a
    round is exact and does not depend on the one before.

    Reference:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende et al., 2014),
        appendix F. https://arxiv.org/abs/1401.4082

    Args:
        model: A trained model.
        x: (B, C, H, W) integer levels; those that are not known have no effect.
        known: Broadcastable to x, true where x is kept.
        y: (B, L) labels.
        rounds: Number of rounds.
        seed: Round i draws the latents of image b from seed + 2·i·B + b, its pixels from seed + (2·i + 1)·B + b.
        stepper: See :meth:`Decoder.stepper`.
        progress: Whether to show a progress bar.

    Returns:
        (B, C, H, W) integer levels, equal to x where ``known``.
    """
    x, h = x.where(known, 0), None
    for i in range(rounds):
        if model.has_latents:
            sources = generators(seed + 2 * i * len(x), len(x))
            h = model.encode(x, y).rsample(torch.cat([model.draw_noise(1, g) for g in sources]))
        x = complete(model, x, known, h=h, y=y, seed=seed + (2 * i + 1) * len(x), progress=progress, stepper=stepper)
    return x
