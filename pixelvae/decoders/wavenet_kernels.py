"""The walk of :class:`WaveNet` in compiled code, for one block of examples on one core. Needs numba.

Products, gates and draws are those of gated_kernels.py. Numba's cache on disk does not notice when that file changes:
change this one too then, or remove ``__pycache__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from pixelvae.decoders.gated_kernels import FAST, affine, draw, gate, silu

if TYPE_CHECKING:
    from pixelvae.decoders.compiled_wavenet import State, Weights


@njit(**FAST)
def conditionals(weights: Weights, state: State, bias: np.ndarray, time: int) -> None:
    """The params of all examples at one time, from their rings and h of the first layer. bias: (n or 1, L·G)."""
    num_layers, _, width = state.h.shape
    half, gates, p = width // 2, state.sums.shape[1], state.ys.shape[1] // num_layers
    ys = state.ys.reshape(-1)
    for i in range(num_layers):
        place = weights.offset[i] + time % weights.dilation[i]
        state.h[i, :, :half] = state.rings[place]
        affine(state.h[i], weights.taps[i], bias[:, i * gates : (i + 1) * gates], state.sums)
        gate(state.sums, p, ys, i * p, num_layers * p)
        if i + 1 < num_layers:
            affine(state.ys[:, i * p :], weights.out[i], state.h[i, :, half:], state.h[i + 1, :, half:])
    affine(state.ys, weights.skips, weights.skips_bias, state.skips)
    silu(state.skips)
    affine(state.skips, weights.hidden, weights.hidden_bias, state.hidden)
    silu(state.hidden)
    affine(state.hidden, weights.head, weights.head_bias, state.params)


@njit(**FAST)
def advance(weights: Weights, state: State, time: int, levels: np.ndarray) -> None:
    """Put h of every layer into its ring, and show the first layer what was committed. levels: (n,)."""
    num_layers, n, width = state.h.shape
    half = width // 2
    for i in range(num_layers):
        state.rings[weights.offset[i] + time % weights.dilation[i]] = state.h[i, :, half:]
    for b in range(n):
        state.h[0, b, half:] = weights.embedding[levels[b]]


@njit(**FAST)
def sample(
    weights: Weights, state: State, bias: np.ndarray, u: np.ndarray, x: np.ndarray, time: int, temperature: float
) -> None:
    """Draw samples from ``time`` on. u, x: (n, any number m); bias: (m or 1, n or 1, L·G)."""
    n, m = u.shape
    levels = len(weights.embedding)
    mass, size = np.empty(levels, np.float32), 1 if levels == 2 else levels
    for t in range(m):
        conditionals(weights, state, bias[t if len(bias) > 1 else 0], time + t)
        for b in range(n):
            x[b, t] = draw(state.params[b, :size], u[b, t], temperature, mass)
        advance(weights, state, time + t, x[:, t])
