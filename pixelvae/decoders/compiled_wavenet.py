"""WaveNet one sample at a time in compiled code on the CPU, drawing whole sounds in it. Needs numba."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from pixelvae.decoders import wavenet_kernels as kernels
from pixelvae.decoders.base import SamplingStepper
from pixelvae.decoders.compiled import LANES, in_panels, panels, whole, widened
from pixelvae.decoders.wavenet_stepper import Matrices, matrices

if TYPE_CHECKING:
    from pixelvae.decoders.wavenet import WaveNet

T = TypeVar("T")
BIAS_SIZE = 2**20  # numbers of Vᵀ c that are computed at once


class Weights(NamedTuple):
    """What all blocks share, for L layers of p channels, P in whole panels; N stands for a number of panels."""

    embedding: np.ndarray  # (K, P)
    dilation: np.ndarray  # (L,)
    offset: np.ndarray  # (L,) where each layer's ring begins
    taps: np.ndarray  # (L, N, 2P, LANES) for [h_{t−d}, h_t]
    out: np.ndarray  # (L − 1, N, p, LANES)
    skips: np.ndarray  # (N, L·p, LANES)
    skips_bias: np.ndarray  # (1, head_channels in whole panels)
    hidden: np.ndarray  # (N, head_channels, LANES)
    hidden_bias: np.ndarray  # (1, head_channels in whole panels)
    head: np.ndarray  # (N, head_channels, LANES)
    head_bias: np.ndarray  # (1, num_params in whole panels)


class State(NamedTuple):
    """What a walk remembers of n examples, as many numbers as the receptive field is long, and room to compute in."""

    rings: np.ndarray  # (sum of dilations, n, P) the last h of every layer
    h: np.ndarray  # (L, n, 2P) h_{t−d} beside h_t
    sums: np.ndarray  # (n, G) gates before their activation, 2p in whole panels
    ys: np.ndarray  # (n, L·p) gates after it
    skips: np.ndarray  # (n, head_channels in whole panels)
    hidden: np.ndarray  # (n, head_channels in whole panels)
    params: np.ndarray  # (n, num_params in whole panels)


def pack(m: Matrices, dilations: list[int]) -> Weights:
    """The one layout that all blocks of a walk read."""
    padded = [in_panels(w.mT, [len(w) // 2] * 2).mT for w in m.taps]  # both halves in whole panels

    def row(bias: Tensor) -> np.ndarray:
        return widened(bias, whole(len(bias)))[None].numpy()

    return Weights(
        embedding=widened(m.embedding, whole(m.embedding.shape[1])).numpy(),
        dilation=np.array(dilations),
        offset=np.array([0, *accumulate(dilations[:-1])]),
        taps=panels(padded),
        out=panels(m.out),
        skips=panels([m.skips])[0],
        skips_bias=row(m.skips_bias),
        hidden=panels([m.hidden])[0],
        hidden_bias=row(m.hidden_bias),
        head=panels([m.head])[0],
        head_bias=row(m.head_bias),
    )


class Block:
    """Some examples of a batch, which walk together on one core."""

    def __init__(self, weights: Weights, n: int) -> None:
        num_layers, gates, width, _ = weights.taps.shape
        shapes = {
            "rings": (int(weights.dilation.sum()), n, width // 2),
            "h": (num_layers, n, width),
            "sums": (n, gates * LANES),
            "ys": (n, weights.skips.shape[1]),
            "skips": (n, len(weights.skips) * LANES),
            "hidden": (n, len(weights.hidden) * LANES),
            "params": (n, len(weights.head) * LANES),
        }
        self.weights = weights
        self.state = State(**{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})

    def params(self, bias: np.ndarray, time: int) -> np.ndarray:
        """Params of one time in whole panels, overwritten by the next call. bias: (n or 1, L·G)."""
        kernels.conditionals(self.weights, self.state, bias, time)
        return self.state.params

    def advance(self, levels: np.ndarray, time: int) -> None:
        """Commit the levels of one time, (n,)."""
        kernels.advance(self.weights, self.state, time, levels)

    def sample(self, bias: np.ndarray, u: np.ndarray, time: int, temperature: float) -> np.ndarray:
        """Draw from ``time`` on. u: (n, m), bias: (m or 1, n or 1, L·G) -> (n, m) levels."""
        x = np.empty(u.shape, np.int64)
        kernels.sample(self.weights, self.state, bias, u, x, time, np.float32(temperature))
        return x


class CompiledStepper(SamplingStepper):
    """The same rings as :class:`EagerStepper`'s, in compiled code: float32 on the CPU.

    The batch is split among the threads that ``torch.get_num_threads`` grants, a :class:`Block` for each.

    Args:
        decoder: Its weights are packed as they are now.
        context: (B, D), (B, D, T) or None.
        batch_size: B.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, decoder: WaveNet, context: Tensor | None, batch_size: int) -> None:
        m = matrices(decoder)
        widths = [2 * decoder.channels] * len(m.taps)
        self.bias = in_panels(m.bias, widths)[None, None]  # (1, 1, L·G): of all times and examples
        self.projection = None if m.context is None else in_panels(m.context, widths)  # (D, L·G)
        self.map: Tensor | None = None
        if self.projection is not None and context is not None:
            if context.ndim == 2:
                self.bias = self.bias + context.detach() @ self.projection  # (1, B, L·G): of all times
            else:
                self.map = context.detach().permute(2, 0, 1)  # (T, B, D)
        self.num_params, self.time = decoder.num_params, 0
        self.chunk = max(1, BIAS_SIZE // (batch_size * self.bias.shape[2]))  # times whose Vᵀ c is computed at once
        size = -(-batch_size // torch.get_num_threads())
        self.parts = [slice(i, min(i + size, batch_size)) for i in range(0, batch_size, size)]
        weights = pack(m, decoder.dilations)
        self.blocks = [Block(weights, part.stop - part.start) for part in self.parts]
        self.pool = ThreadPoolExecutor(len(self.blocks))
        self.biases, self.begin = self._biases(0), 0

    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, of which no channel matters. (B, 1) levels -> (B, P)."""
        if self.map is not None and self.time >= self.begin + len(self.biases):
            self.biases, self.begin = self._biases(self.time), self.time
        bias = self.biases[0 if self.map is None else self.time - self.begin]
        drawn = self._each(lambda block, part: block.params(_of(bias, part), self.time))
        return torch.from_numpy(np.concatenate(drawn)[:, : self.num_params])

    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, 1) levels and move on to the next."""
        levels = x_site[:, 0].numpy()
        for block, part in zip(self.blocks, self.parts, strict=True):
            block.advance(levels[part], self.time)
        self.time += 1

    def sample(self, u: Tensor, temperature: float) -> Tensor:
        """Draw and commit the next sites. u: (B, 1, m) uniform numbers -> (B, 1, m) levels."""
        drawn = []
        for now in u[:, 0].split(self.chunk, dim=1):
            drawn.append(self._sample(now.numpy(), self._biases(self.time)[: now.shape[1]], temperature))
            self.time += now.shape[1]
        return torch.from_numpy(np.concatenate(drawn, axis=1))[:, None]

    def _sample(self, u: np.ndarray, biases: np.ndarray, temperature: float) -> np.ndarray:
        """u: (B, m), biases: (m or 1, B or 1, L·G) -> (B, m) levels."""

        def work(block: Block, part: slice) -> np.ndarray:
            return block.sample(_of(biases, part), np.ascontiguousarray(u[part]), self.time, temperature)

        return np.concatenate(self._each(work))

    @torch.no_grad()
    def _biases(self, time: int) -> np.ndarray:
        """Bias + Vᵀ c from a time on: (1, B or 1, L·G) for all times, or (some times, B, L·G)."""
        if self.map is None or self.projection is None:
            return self.bias.numpy()
        return (self.bias + self.map[time : time + self.chunk] @ self.projection).numpy()

    def _each(self, work: Callable[[Block, slice], T]) -> list[T]:
        """The work of every block, all at once."""
        if len(self.blocks) == 1:
            return [work(self.blocks[0], self.parts[0])]
        return list(self.pool.map(work, self.blocks, self.parts))


def _of(bias: np.ndarray, part: slice) -> np.ndarray:
    """The examples of one block. (..., B or 1, L·G) -> (..., n or 1, L·G)."""
    return np.ascontiguousarray(bias[..., part, :]) if bias.shape[-2] > 1 else bias
