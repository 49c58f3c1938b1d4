"""Levels as intervals of an asymmetric numeral system, in compiled code. Integers only: bitwise equal everywhere."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pixelvae.sampling.engine import BLOCK, LAWS, NATIVE, laid_out, library
from pixelvae.sampling.layout import Packed
from pixelvae.sampling.plan import Native

SLOT_BITS = 24
"""Intervals partition the integers below 2^24."""

VERSIONS = {"softmax": 1, "logistic_mixture": 2}
"""Versions of the mapping from params to integers, for each law. A change makes older files of that law unreadable."""

Words = npt.NDArray[np.uint32]


class _Coding(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("plan", "context", "x", "lengths", "intervals", "stack")),
        *((name, ctypes.c_int32) for name in ("batch", "threads", "context_kind", "block", "law", "components")),
    ]


class _Grid(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in ("edges", "cdf", "inverses")), ("bins", ctypes.c_int64)]


class Setting(NamedTuple):
    """Settings of the engine, which do not change results.

    Attributes:
        threads: Number of threads.
        target: Compiler flags that select the processor.
        block: Number of examples for each pass over the weights.
    """

    threads: int = 1
    target: tuple[str, ...] = NATIVE
    block: int = BLOCK


class Stack:
    """A message of an asymmetric numeral system. Below its bottom lies a fixed sequence of words, SplitMix64 from 0.

    Reference:
        Asymmetric numeral systems (Duda, 2009). https://arxiv.org/abs/0902.0271

    Args:
        message: Head and words of an earlier message; empty by default.
        target: Compiler flags that select the processor.
    """

    def __init__(self, message: tuple[int, Words] | None = None, target: tuple[str, ...] = NATIVE) -> None:
        self.library = library(target)
        self.library.open_stack.restype = ctypes.c_void_p
        self.library.read_stack.restype = ctypes.c_uint64
        for name in ("stack_size", "stack_borrowed"):
            getattr(self.library, name).restype = ctypes.c_int64
        head, words = message or (self.initial_head, np.zeros(0, np.uint32))
        kept = np.ascontiguousarray(words, np.uint32)
        self.address = ctypes.c_void_p(
            self.library.open_stack(ctypes.c_uint64(head), _at(kept), ctypes.c_int64(len(kept)))
        )

    def __del__(self) -> None:
        """Free the engine's memory."""
        if "address" in self.__dict__:
            self.library.close_stack(self.address)

    @property
    def initial_head(self) -> int:
        """The head of an empty message."""
        return 1 << 32 | self._initial(0)

    @property
    def message(self) -> tuple[int, Words]:
        """Head and words."""
        words = np.zeros(self.library.stack_size(self.address), np.uint32)
        return int(self.library.read_stack(self.address, _at(words))), words

    @property
    def bits(self) -> int:
        """Length of the message."""
        head = int(self.library.read_stack(self.address, None))
        return head.bit_length() + 32 * int(self.library.stack_size(self.address))

    @property
    def is_initial(self) -> bool:
        """Whether all pushed symbols have been popped."""
        head, words = self.message
        return head == self.initial_head and words[::-1].tolist() == random_words(0, len(words)).tolist()

    def push(self, intervals: npt.NDArray[np.integer]) -> None:
        """Push (N, 2) intervals [start, size], the last one first; an interval of size 0 is skipped."""
        kept = np.ascontiguousarray(intervals, np.uint32)
        self.library.push_intervals(self.address, _at(kept), ctypes.c_int64(kept.size // 2))

    def push_uniform(self, values: npt.NDArray[np.integer], levels: int) -> None:
        """Push (N,) equally probable values 0 .. levels - 1."""
        bounds = (np.stack([values, values + 1], -1).astype(np.int64) << SLOT_BITS) // levels
        self.push(np.stack([bounds[..., 0], bounds[..., 1] - bounds[..., 0]], -1))

    def pop_uniform(self, n: int, levels: int) -> npt.NDArray[np.int64]:
        """Pop n equally probable values."""
        values = np.zeros(n, np.int64)
        self.library.pop_uniform(self.address, ctypes.c_int64(levels), _at(values), ctypes.c_int64(n))
        return values

    def _initial(self, index: int) -> int:
        return int(random_words(index, 1)[0])


def random_words(begin: int, n: int) -> npt.NDArray[np.int64]:
    """Words of the fixed sequence below every message, SplitMix64 from 0, as integers of 32 bits.

    Example:
        >>> [hex(word) for word in random_words(0, 2).tolist()]
        ['0xe220a839', '0x6e789e6a']
    """
    z = np.arange(begin + 1, begin + n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).view(np.int64) >> 32 & 0xFFFFFFFF


class NormalGrid:
    """Normal distributions on a grid of bins, in integer arithmetic.

    Args:
        edges: (N + 1,) int64, in units of 2^-16; the outer two are not read.
        cdf: (4098,) int64, of the standard normal from -8 in steps of 2^-8, in units of 2^-30.
        inverses: (S,) int64, 1 / scale in units of 2^-16; a scale is given as its index.
    """

    def __init__(
        self, edges: npt.NDArray[np.int64], cdf: npt.NDArray[np.int64], inverses: npt.NDArray[np.int64]
    ) -> None:
        self.tables = (edges, cdf, inverses)
        self.structure = _Grid(*(table.ctypes.data for table in self.tables), len(edges) - 1)

    def push(
        self, stack: Stack, locs: npt.NDArray[np.int64], scales: npt.NDArray[np.int64], bins: npt.NDArray[np.int64]
    ) -> None:
        """Push (N,) bins under normals with these locs, in units of 2^-16, and indices of scales."""
        kept = [np.ascontiguousarray(a, np.int64) for a in (locs, scales, bins)]
        stack.library.push_normal(
            stack.address, ctypes.byref(self.structure), *map(_at, kept), ctypes.c_int64(kept[0].size)
        )

    def pop(self, stack: Stack, locs: npt.NDArray[np.int64], scales: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Pop (N,) bins: draws from the normals."""
        kept = [np.ascontiguousarray(a, np.int64) for a in (locs, scales)]
        bins = np.zeros_like(kept[0])
        stack.library.pop_normal(
            stack.address, ctypes.byref(self.structure), *map(_at, [*kept, bins]), ctypes.c_int64(bins.size)
        )
        return bins


def intervals_of(
    packed: Packed, native: Native, context: Tensor | None, x: Tensor, lengths: Tensor | None, setting: Setting
) -> npt.NDArray[np.uint32]:
    """The interval of every level, (B, C, *S) int64 -> (sites, C, B, 2): the order in which they are popped.

    Args:
        packed: The plan.
        native: The likelihood.
        context: (B, D), (B, D, *S) or None.
        x: Levels.
        lengths: (B,) int64, lengths of sounds; later samples are absent and have size 0.
        setting: How the engine runs.
    """
    kept, shape = x.to(torch.long).contiguous(), x.shape[:2]
    intervals = np.zeros((*shape, kept[0, 0].numel(), 2), np.uint32)
    _code(packed, native, context, kept.clone(), lengths, setting, intervals=intervals)
    return np.ascontiguousarray(intervals.transpose(2, 1, 0, 3))


def pop_levels(
    packed: Packed,
    native: Native,
    context: Tensor | None,
    shape: Sequence[int],
    lengths: Tensor | None,
    stack: Stack,
    setting: Setting,
) -> Tensor:
    """Pop the levels of a batch, ``shape`` = (B, C, *S), whose intervals were pushed."""
    x = torch.zeros(*shape, dtype=torch.long)
    _code(packed, native, context, x, lengths, setting, stack=stack)
    return x


def _code(
    packed: Packed,
    native: Native,
    context: Tensor | None,
    x: Tensor,
    lengths: Tensor | None,
    setting: Setting,
    *,
    intervals: npt.NDArray[np.uint32] | None = None,
    stack: Stack | None = None,
) -> None:
    kind, context = laid_out(packed.plan, context)
    kept = None if lengths is None else lengths.to(torch.long).contiguous()
    coding = _Coding(
        packed.address,
        *(None if tensor is None else tensor.data_ptr() for tensor in (context, x, kept)),
        None if intervals is None else intervals.ctypes.data,
        None if stack is None else stack.address,
        *(len(x), setting.threads, kind, min(setting.block, max(1, len(x)))),
        LAWS.index(native.law),
        native.components,
    )
    if len(x):
        library(setting.target).code(ctypes.byref(coding))


def _at(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
