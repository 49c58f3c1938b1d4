"""Quantisation: grey values and waves to integer levels."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from pixelvae.data.draws import uniform
from pixelvae.data.spec import ABSENT, levels_to_signal

Binarisation = Literal["dynamic", "threshold"]


def requantise(grey: Tensor, levels: int, source_levels: int = 256) -> Tensor:
    r"""Reduce the number of levels; the numbers of grey values per level differ by at most one.

    .. math:: x = \lfloor v K / S \rfloor

    Args:
        grey: v, integers in ``0 .. S-1``.
        levels: K, at most S.
        source_levels: S.

    Shape:
        grey: (*,) of any integer type.  Returns (*,) int64 in ``0 .. K-1``.

    Example:
        >>> requantise(torch.tensor([0, 127, 128, 255]), levels=2)
        tensor([0, 0, 1, 1])
    """
    return grey.long() * levels // source_levels


def mu_law_encode(wave: Tensor, levels: int) -> Tensor:
    r"""Quantise a wave to the nearest of K values that are evenly spaced after μ-law companding.

    .. math:: F(v) = \mathrm{sign}(v)\,\frac{\ln(1 + \mu |v|)}{\ln(1 + \mu)}, \quad \mu = K - 1, \qquad
              x = \Big\lfloor \mu\,\frac{F(v) + 1}{2} + \frac12 \Big\rfloor

    Reference:
        WaveNet: A Generative Model for Raw Audio (van den Oord et al., 2016), section 2.2.
        https://arxiv.org/abs/1609.03499

    Args:
        wave: v, clipped to [−1, 1].
        levels: K, from 2 to 256.

    Shape:
        wave: (*,) floats.  Returns (*,) int64 in ``0 .. K-1``.

    Raises:
        ValueError: If `levels` is out of range.

    Example:
        >>> mu_law_encode(torch.tensor([-1.0, -0.01, 0.0, 0.01, 1.0]), levels=256)
        tensor([  0,  98, 128, 157, 255])
    """
    mu = _mu(levels)
    v = wave.double().clamp(-1, 1)
    companded = v.sign() * (mu * v.abs()).log1p() / math.log1p(mu)
    return (mu * (companded + 1) / 2 + 0.5).floor().long()


def mu_law_decode(x: Tensor, levels: int) -> Tensor:
    r"""Convert levels to a wave, the inverse of ``mu_law_encode`` on levels.

    .. math:: v = \mathrm{sign}(F)\,\frac{(1 + \mu)^{|F|} - 1}{\mu}, \qquad F = \frac{2x}{\mu} - 1, \quad \mu = K - 1

    Args:
        x: Integers in ``0 .. K-1``; ``ABSENT`` is silence.
        levels: K, from 2 to 256.

    Shape:
        x: (*,) integers.  Returns (*,) float64 in [−1, 1].

    Raises:
        ValueError: If `levels` is out of range.

    Example:
        >>> mu_law_decode(torch.tensor([0, 1, 2, 4]), levels=5)
        tensor([-1.0000, -0.3090,  0.0000,  1.0000], dtype=torch.float64)
    """
    mu = _mu(levels)
    companded = levels_to_signal(x, levels, torch.float64)
    wave = companded.sign() * torch.expm1(companded.abs() * math.log1p(mu)) / mu
    return wave.where(x != ABSENT, 0.0)


def check_levels(levels: int) -> None:
    """Check the number of levels of a sound.

    Raises:
        ValueError: If it is not in 2 .. 256.
    """
    if not 2 <= levels <= 256:
        raise ValueError(f"levels={levels} must lie in 2 .. 256")


def _mu(levels: int) -> int:
    check_levels(levels)
    return levels - 1


class Quantiser:
    r"""Convert grey values to levels.

    By default, binary pixels are drawn with the grey value as their probability, again in every epoch. The draws are a
    function of (seed, stream, index of the example).

    .. math:: x \sim \mathrm{Bernoulli}(v / (S - 1)) \text{ if dynamic, else } x = \lfloor v K / S \rfloor

    Reference:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov, Murray, 2008).
        https://doi.org/10.1145/1390156.1390266

    Args:
        levels: K, from 2 to S.
        binarisation: With two levels only: ``dynamic`` (the default) draws every pixel, ``threshold`` sets a pixel
            whose grey value is in the upper half.
        source_levels: S, the number of grey values.
        seed: Seed of all draws.

    Shape:
        Called with grey: (B, C, H, W) integers in [0, S) and indices: (B,).  Returns (B, C, H, W) int64 in [0, K).

    Raises:
        ValueError: If `levels` is out of range, or `binarisation` is given with more than two levels.

    Example:
        >>> grey = torch.tensor([0, 127, 255]).reshape(1, 1, 1, 3)
        >>> Quantiser(levels=4)(grey, torch.tensor([0]), stream=(0,)).flatten()
        tensor([0, 1, 3])
    """

    def __init__(
        self,
        levels: int,
        binarisation: Binarisation | None = None,
        *,
        source_levels: int = 256,
        seed: int = 0,
    ) -> None:
        if not 2 <= levels <= source_levels:
            raise ValueError(f"levels={levels} must lie in 2 .. {source_levels}, the grey values there are")
        if binarisation not in (None, "dynamic", "threshold"):
            raise ValueError(f"binarisation={binarisation!r} must be 'dynamic' or 'threshold'")
        if binarisation is not None and levels != 2:
            raise ValueError(
                f"binarisation={binarisation!r} makes two levels, but levels={levels}: set levels to 2 or leave "
                "binarisation out"
            )
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative")
        self.levels = levels
        self.source_levels = source_levels
        self.seed = seed
        self._draws = levels == 2 and binarisation != "threshold"

    def __call__(self, grey: Tensor, indices: Tensor, stream: tuple[int, ...]) -> Tensor:
        """Levels of a batch; `stream` identifies the draw, such as ``(split, epoch)``."""
        if not self._draws:
            return requantise(grey, self.levels, self.source_levels)
        draws = uniform(indices.numpy(), grey[0].numel(), self.seed, *stream)  # (B, C·H·W) in [0, 1)
        # u(S-1) < v: never at v = 0 and always at v = S-1, for u lies in [0, 1).
        return (torch.from_numpy(draws).view(grey.shape) * (self.source_levels - 1) < grey).long()
