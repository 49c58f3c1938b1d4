"""GatedPixelCNN one pixel at a time in compiled code on the CPU, drawing whole rows in it. Needs numba."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pixelvae.decoders import gated_kernels as kernels
from pixelvae.decoders.base import SamplingStepper
from pixelvae.decoders.gated_stepper import Matrices, matrices

if TYPE_CHECKING:
    from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN

LANES = kernels.LANES
T = TypeVar("T")


class Weights(NamedTuple):
    """What all blocks share, for L layers of p channels; G stands for 2p in whole panels, N for a number of panels."""

    signal: np.ndarray  # (K,) what the network sees of each level
    geometry: np.ndarray  # (L, 4) rows, columns, taps and channels of what each layer sees
    vertical: np.ndarray  # (L, N, K, LANES), K as large as the largest layer needs
    to_horizontal: np.ndarray  # (L, N, 2p, LANES)
    horizontal: np.ndarray  # (L, N, K, LANES)
    out: np.ndarray  # (L - 1, N, p, LANES)
    no_stream: np.ndarray  # (1, p) zeros
    skips: np.ndarray  # (N, L·p, LANES)
    head: np.ndarray  # (N, head_channels, LANES)
    head_bias: np.ndarray  # (1, P)


class State(NamedTuple):
    """What a walk remembers of n examples, O(width · layers) floats for each, and room to compute in."""

    v: np.ndarray  # (L, n, ·) the last rows: pixels from left to right with margins, in each its rows, its channels
    h: np.ndarray  # (L, n, ·) this row so far: padding and pixels from left to right, in each its channels
    base: np.ndarray  # (L, W, n, G) what the vertical stack and the context say to the horizontal gates
    sums: np.ndarray  # (max(W, n), G) gates before their activation
    ys: np.ndarray  # (n, L·p) the horizontal gates after it
    hidden: np.ndarray  # (n, head_channels)
    params: np.ndarray  # (n, P)
    mass: np.ndarray  # (K,) of the levels in one draw


def whole(width: int) -> int:
    """The width in whole panels."""
    return -(-width // LANES) * LANES


def widened(tensor: Tensor, width: int) -> Tensor:
    """(..., N) -> (..., width), filled up with zeros."""
    return F.pad(tensor, (0, width - tensor.shape[-1]))


def in_panels(tensor: Tensor, widths: list[int]) -> Tensor:
    """Parts side by side, (..., sum of widths), each filled up with zeros to whole panels."""
    return torch.cat([widened(part, whole(part.shape[-1])) for part in tensor.split(widths, dim=-1)], dim=-1)


def panels(weights: list[Tensor]) -> np.ndarray:
    """L matrices (K, N), each filled up with zeros to the largest K and to whole panels. -> (L, N, K, LANES)."""
    depth, width = (max((w.shape[i] for w in weights), default=1) for i in (0, 1))
    filled = [F.pad(widened(w, whole(width)), (0, 0, 0, depth - len(w))) for w in weights]
    packed = [w.unflatten(1, (-1, LANES)).transpose(0, 1) for w in filled]  # (N, K, LANES)
    return np.array([w.numpy() for w in packed], np.float32).reshape(-1, whole(width) // LANES, depth, LANES)


def pack(m: Matrices, signal: Tensor) -> Weights:
    """The one layout that all blocks of a walk read."""
    c = [len(padding) for padding in m.padding]
    geometry = [
        (vertical.shape[1] // c, len(vertical), len(horizontal) // c, c)
        for vertical, horizontal, c in zip(m.vertical, m.horizontal, c, strict=True)
    ]
    return Weights(
        signal=signal.numpy(),
        geometry=np.array(geometry),
        vertical=panels([w.flatten(0, 1) for w in m.vertical]),
        to_horizontal=panels(m.to_horizontal),
        horizontal=panels(m.horizontal),
        out=panels(m.out),
        no_stream=np.zeros((1, whole(max(c))), np.float32),
        skips=panels([m.skips])[0],
        head=panels([m.head])[0],
        head_bias=widened(m.head_bias, whole(len(m.head_bias)))[None].numpy(),
    )


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Room for float32 numbers."""
    return np.zeros(shape, np.float32)


class Block:
    """Some examples of a batch, which walk together on one core."""

    def __init__(self, weights: Weights, paddings: list[Tensor], width: int, n: int) -> None:
        rows, columns, taps, c = weights.geometry.T
        layers, gates = weights.to_horizontal.shape[:2]
        self.weights = weights
        self.state = State(
            v=zeros((layers, n, max((width + columns - 1) * rows * c))),
            h=zeros((layers, n, max((width + taps - 1) * c) + LANES)),  # a product writes whole panels
            base=zeros((layers, width, n, gates * LANES)),
            sums=zeros((max(width, n), gates * LANES)),
            ys=zeros((n, weights.skips.shape[1])),
            hidden=zeros((n, len(weights.skips) * LANES)),
            params=zeros((n, len(weights.head) * LANES)),
            mass=zeros(weights.signal.shape),
        )
        for h, padding, t in zip(self.state.h, paddings, taps, strict=True):
            h[:, : (t - 1) * len(padding)] = np.tile(padding, t - 1)

    def begin_row(self, bias: np.ndarray) -> None:
        """The vertical stack of a new row. bias: (n or 1, W or 1, S)."""
        self.bias = bias
        kernels.begin_row(self.weights, self.state, bias)

    def show(self, x_site: np.ndarray, column: int) -> None:
        """Let the first layer see the current pixel, (n, C) levels."""
        start = (column + self.weights.geometry[0, 2] - 1) * x_site.shape[1]
        self.state.h[0, :, start : start + x_site.shape[1]] = self.weights.signal[x_site]

    def params(self, column: int) -> np.ndarray:
        """Params of the current pixel in whole panels, overwritten by the next call. -> (n, at least P)."""
        kernels.horizontal(self.weights, self.state, self.bias, column)
        return self.state.params

    def commit(self, column: int) -> None:
        """Keep the current pixel as it was shown."""
        kernels.commit(self.weights, self.state, column)

    def sample(self, u: np.ndarray, column: int, temperature: float, channel_masked: bool) -> np.ndarray:
        """Draw pixels of the current row, from ``column`` on. (n, C, any number) -> same, levels."""
        x = np.empty(u.shape, np.int64)
        kernels.sample(self.weights, self.state, self.bias, u, x, column, temperature, channel_masked)
        return x


class CompiledStepper(SamplingStepper):
    """The same caches as :class:`EagerStepper`'s, in compiled code: float32 on the CPU.

    The batch is split among the threads that ``torch.get_num_threads`` grants, a :class:`Block` for each.

    Args:
        decoder: Its weights are packed as they are now.
        context: (B, D), (B, D, H, W) or None.
        batch_size: B.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, decoder: GatedPixelCNN, context: Tensor | None, batch_size: int) -> None:
        m = matrices(decoder)
        widths = [2 * decoder.channels] * (2 * len(m.vertical)) + [len(m.head)]
        self.matrices = m._replace(
            bias=in_panels(m.bias, widths), context=None if m.context is None else in_panels(m.context, widths)
        )
        self.context = None if context is None else context.detach()
        self.channel_masked, self.num_params = decoder.channel_masked, decoder.num_params
        self.height, self.width = decoder.spec.sites
        self.row, self.column = 0, 0
        size = -(-batch_size // torch.get_num_threads())
        self.parts = [slice(i, min(i + size, batch_size)) for i in range(0, batch_size, size)]
        weights = pack(m, decoder.signal(torch.arange(decoder.spec.levels)))
        self.blocks = [Block(weights, m.padding, self.width, part.stop - part.start) for part in self.parts]
        self.pool = ThreadPoolExecutor(len(self.blocks))
        self._begin_row()

    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its channels known so far. (B, C) levels -> (B, P)."""
        levels = x_site.numpy()

        def work(block: Block, part: slice) -> np.ndarray:
            if self.channel_masked:
                block.show(levels[part], self.column)
            return block.params(self.column)

        return torch.from_numpy(np.concatenate(self._each(work))[:, : self.num_params])

    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and move on to the next."""
        for block, part in zip(self.blocks, self.parts, strict=True):
            block.show(x_site.numpy()[part], self.column)
            block.commit(self.column)
        self._move(1)

    def _sampling(self, u: np.ndarray, temperature: float) -> Callable[[Block, slice], np.ndarray]:
        def work(block: Block, part: slice) -> np.ndarray:
            return block.sample(np.ascontiguousarray(u[part]), self.column, temperature, self.channel_masked)

        return work

    def sample(self, u: Tensor, temperature: float) -> Tensor:
        """Draw and commit the next sites. u: (B, C, n) uniform numbers -> (B, C, n) levels."""
        drawn = []
        while u.shape[2]:
            now, u = u[:, :, : self.width - self.column], u[:, :, self.width - self.column :]
            drawn.append(np.concatenate(self._each(self._sampling(now.numpy(), temperature))))
            self._move(now.shape[2])
        return torch.from_numpy(np.concatenate(drawn, axis=2))

    def _move(self, columns: int) -> None:
        self.column += columns
        if self.column == self.width and self.row + 1 < self.height:
            self.row, self.column = self.row + 1, 0
            self._begin_row()

    @torch.no_grad()
    def _begin_row(self) -> None:
        bias = self.matrices.row_bias(self.context, self.row).numpy()
        self._each(lambda block, part: block.begin_row(bias[part] if len(bias) > 1 else bias))

    def _each(self, work: Callable[[Block, slice], T]) -> list[T]:
        """The work of every block, all at once."""
        if len(self.blocks) == 1:
            return [work(self.blocks[0], self.parts[0])]
        return list(self.pool.map(work, self.blocks, self.parts))
