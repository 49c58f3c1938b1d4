r"""The walk of :class:`GatedPixelCNN` in compiled code, for one block of examples on one core. Needs numba.

A weight matrix (K, N) is packed into *panels* of ``LANES`` columns, (⌈N / LANES⌉, K, LANES), the last one filled
up with zeros: a product then reads its weights from one end to the other, and writes rows of whole panels.

All compiled code of the walk stands in this file, because numba's cache on disk notices a change of the file
that a function stands in, and of no other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from pixelvae.decoders.compiled import State, Weights

LANES = 8  # floats in a vector register of AVX2; LLVM splits or joins them where the machine has others
BYTES = 4  # of a float
f32 = np.float32
ONE = f32(1)
# All that fast arithmetic may assume, but not reassociation, which would undo the rounding in exp.
FAST = {"fastmath": {"contract", "nnan", "ninf", "nsz"}, "error_model": "numpy", "nogil": True, "cache": True}


def _fused(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a·b + c with one rounding."""
    return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])


def _tile(rows: int, columns: int) -> Callable[[int, int, tuple[int, ...]], None]:
    r"""The rows m .. and panels n .. of a product, ``rows`` x ``columns`` of them, with all sums in registers.

    .. math:: \mathrm{out}_{mn} = \mathrm{bias}_{mn} + \sum_k x_{mk} w_{kn}

    Written in LLVM's own terms, because a loop over arrays would load and store every sum for every k, and
    reach half the speed. Its third argument are the operands that :func:`affine` describes.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        m, n, operands = args
        depth, x, x_stride, w, panel, bias, bias_stride, out, out_stride = cgutils.unpack_tuple(builder, operands)
        integer, number = ir.IntType(64), ir.FloatType()
        vector, broadcast = ir.VectorType(number, LANES), ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
        lanes = integer(LANES * BYTES)
        grid = [(i, j) for i in range(rows) for j in range(columns)]

        def offset(start: ir.Value, index: int, stride: ir.Value) -> ir.Value:
            return builder.mul(builder.add(start, integer(index)), stride)

        def pointer(kind: ir.Type, base: ir.Value, *offsets: ir.Value) -> ir.Value:
            return builder.inttoptr(reduce(builder.add, offsets, base), kind.as_pointer())

        def corner(base: ir.Value, stride: ir.Value, i: int, j: int) -> ir.Value:
            return pointer(vector, base, offset(m, i, stride), offset(n, j, lanes))

        load = partial(builder.load, align=BYTES)

        def spread(single: ir.Value) -> ir.Value:
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), single, integer(0))
            return builder.shuffle_vector(first, first, broadcast)

        xs = [pointer(number, x, offset(m, i, x_stride)) for i in range(rows)]
        ws = [pointer(vector, w, offset(n, j, panel)) for j in range(columns)]
        initial = [load(corner(bias, bias_stride, i, j)) for i, j in grid]
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        k, sums = builder.phi(integer), [builder.phi(vector) for _ in grid]
        features = [spread(load(builder.gep(address, [k]))) for address in xs]
        weights = [load(builder.gep(address, [k])) for address in ws]
        updated = [_fused(builder, features[i], weights[j], total) for (i, j), total in zip(grid, sums, strict=True)]
        following = builder.add(k, integer(1))
        for phi, first, later in zip([k, *sums], [integer(0), *initial], [following, *updated], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
        builder.position_at_end(after)
        for (i, j), total in zip(grid, updated, strict=True):
            builder.store(total, corner(out, out_stride, i, j), align=BYTES)
        return context.get_dummy_value()

    @intrinsic
    def tile(typing: Any, m: Any, n: Any, operands: Any) -> Any:
        return types.void(m, n, operands), emit

    return tile


_tile_4x2, _tile_4x1, _tile_1x8, _tile_1x1 = _tile(4, 2), _tile(4, 1), _tile(1, 8), _tile(1, 1)


@njit(inline="always", **FAST)
def affine(x: np.ndarray, w: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """out = bias + x w. x: (M, ≥ K), w: (N, K, LANES), bias: (M or 1, N·LANES), out: (M, N·LANES), not the bias."""
    bias_stride = 0 if len(bias) == 1 else bias.strides[0]
    frm, by = (x.ctypes.data, x.strides[0]), (w.ctypes.data, w.strides[0])
    plus, to = (bias.ctypes.data, bias_stride), (out.ctypes.data, out.strides[0])
    _product(len(out), len(w), (w.shape[1], *frm, *by, *plus, *to))


@njit(**FAST)
def _product(num_rows: int, num_panels: int, operands: tuple[int, ...]) -> None:
    if num_rows < 4:
        for m in range(num_rows):
            for n in range(0, num_panels - 7, 8):
                _tile_1x8(m, n, operands)
            for n in range(num_panels - num_panels % 8, num_panels):
                _tile_1x1(m, n, operands)
        return
    for n in range(0, num_panels, 2):
        for start in range(0, num_rows, 4):
            m = min(start, num_rows - 4)  # the last rows are computed twice rather than one by one
            if n + 1 < num_panels:
                _tile_4x2(m, n, operands)
            else:
                _tile_4x1(m, n, operands)


@intrinsic
def _times_power(typing: Any, mantissa: Any, shifted: Any) -> Any:
    """Mantissa times 2^n, where adding ROUND has put the integer n into the last bits of ``shifted``."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, args: tuple) -> Any:
        bits, n = (builder.bitcast(arg, ir.IntType(32)) for arg in args)
        return builder.bitcast(builder.add(bits, builder.shl(n, ir.IntType(32)(23))), ir.FloatType())

    return types.float32(types.float32, types.float32), emit


LOG2_E, ROUND, LIMIT = f32(np.log2(np.e)), f32(1.5 * 2**23), f32(60)
# 2^r on [-1/2, 1/2] with the least largest relative error, 9e-8, among polynomials that are 1 at 0.
C1, C2, C3, C4, C5 = map(f32, (0.69314700, 0.24022242, 0.055507336, 0.0096715130, 0.0013264727))


@njit(**FAST)
def exp2(t: float) -> float:
    """2^t for |t| ≤ 60, the nearest such t beyond, to 1e-7: a loop over it runs on whole vectors."""
    t = -LIMIT if t < -LIMIT else t
    t = LIMIT if t > LIMIT else t
    shifted = t + ROUND
    r = t - (shifted - ROUND)
    return _times_power(((((C5 * r + C4) * r + C3) * r + C2) * r + C1) * r + ONE, shifted)


@njit(**FAST)
def gate(a: np.ndarray, p: int, y: np.ndarray, start: int, stride: int) -> None:
    r"""y_m = tanh(f_m) σ(g_m) for the rows (f, g) of a: two exponentials and one division.

    .. math:: \tanh(f)\,\sigma(g) = \frac{1 - e^{-2f}}{(1 + e^{-2f})(1 + e^{-g})}

    a: (M, at least 2p).  y: flat, its rows of p numbers ``stride`` apart.
    """
    for m in range(len(a)):
        for k in range(p):
            f, g = exp2(f32(-2) * LOG2_E * a[m, k]), exp2(-LOG2_E * a[m, p + k])
            y[start + m * stride + k] = (ONE - f) / ((ONE + f) * (ONE + g))


@njit(**FAST)
def silu(a: np.ndarray) -> None:
    """A σ(a), in place. a: (M, N)."""
    for m in range(a.shape[0]):
        for n in range(a.shape[1]):
            a[m, n] /= ONE + exp2(-LOG2_E * a[m, n])


@njit(**FAST)
def forget(a: np.ndarray, start: int, stride: int, count: int, length: int, c: int) -> None:
    """Move ``length`` numbers down by c, in ``count`` places ``stride`` apart: the oldest c are lost. a: flat."""
    for m in range(count):
        for k in range(start + m * stride, start + m * stride + length):
            a[k] = a[k + c]


@njit(fastmath=True, nogil=True, cache=True)
def total(a: np.ndarray) -> float:
    """The sum in float64."""
    result = 0.0
    for i in range(len(a)):
        result += a[i]
    return result


@njit(**FAST)
def draw(logits: np.ndarray, u: float, temperature: float, mass: np.ndarray) -> int:
    """The first level whose cumulative probability exceeds u. logits: (K,), or (1,) where K = 2; mass: (K,) room."""
    K = len(mass)
    mass[0] = 0
    for k in range(len(logits)):
        mass[K - len(logits) + k] = logits[k]
    largest = mass[0]
    for k in range(1, K):
        largest = mass[k] if mass[k] > largest else largest
    if temperature == 0:
        for k in range(K - 1):
            if mass[k] == largest:
                return k
        return K - 1
    by = LOG2_E / f32(temperature)
    for k in range(K):
        less = mass[k] - largest
        mass[k] = exp2(less * by) if less > f32(-103) else f32(0)  # e^-103 is 0 in float32
    bound, cumulative = u * total(mass), 0.0
    for k in range(K - 1):
        cumulative += mass[k]
        if cumulative > bound:
            return k
    return K - 1  # takes what rounding leaves


@njit(**FAST)
def begin_row(weights: Weights, state: State, bias: np.ndarray) -> None:
    """The vertical stack of a new row, and what it says to h. bias: (n or 1, W or 1, S) with S in whole panels."""
    num_layers, width, n, gates = state.base.shape
    p = state.ys.shape[1] // num_layers
    sums = state.sums[:width]
    for i in range(num_layers):
        rows, columns, _, c = weights.geometry[i]
        pixel, v_bias, h_bias, end = rows * c, 2 * i * gates, (2 * i + 1) * gates, (2 * i + 2) * gates
        for b in range(n):
            own = bias[b if len(bias) > 1 else 0]
            # A window of K runs on into the next.
            seen = state.v[i, b, : (width + columns - 1) * pixel].reshape(-1, pixel)
            affine(seen, weights.vertical[i, :, : columns * pixel], own[:, v_bias:h_bias], sums)
            affine(sums, weights.to_horizontal[i], own[:, h_bias:end], state.base[i, :, b])
            if i + 1 < num_layers:
                rows_next, columns_next, _, _ = weights.geometry[i + 1]
                start, older = columns_next // 2 * rows_next * p, (rows_next - 1) * p
                forget(state.v[i + 1, b], start, rows_next * p, width, older, p)
                gate(sums, p, state.v[i + 1, b], start + older, rows_next * p)


@njit(**FAST)
def horizontal(weights: Weights, state: State, bias: np.ndarray, column: int) -> None:
    """The params of all examples at one pixel, from the last pixels of h and what stands in base."""
    num_layers, _, n, gates = state.base.shape
    p = state.ys.shape[1] // num_layers
    sums, stream = state.sums[:n], weights.no_stream  # the image is not added to the first h
    for i in range(num_layers):
        _, _, taps, c = weights.geometry[i]
        affine(state.h[i, :, column * c :], weights.horizontal[i, :, : taps * c], state.base[i, column], sums)
        gate(sums, p, state.ys.reshape(-1), i * p, num_layers * p)
        if i + 1 < num_layers:
            following = state.h[i + 1, :, (column + weights.geometry[i + 1, 2] - 1) * p :]
            affine(state.ys[:, i * p :], weights.out[i], stream, following)
            stream = following
    last = bias[:, column if bias.shape[1] > 1 else 0, 2 * num_layers * gates :]
    affine(state.ys, weights.skips, last, state.hidden)
    silu(state.hidden)
    affine(state.hidden, weights.head, weights.head_bias, state.params)


@njit(**FAST)
def show(weights: Weights, state: State, column: int, b: int, channel: int, level: int) -> None:
    """Let the first layer see one channel of the current pixel."""
    _, _, taps, c = weights.geometry[0]
    state.h[0, b, (column + taps - 1) * c + channel] = weights.signal[level]


@njit(**FAST)
def commit(weights: Weights, state: State, column: int) -> None:
    """Keep a pixel of which all channels have been shown, for the rows below."""
    rows, columns, taps, c = weights.geometry[0]
    start, older, frm = (column + columns // 2) * rows * c, (rows - 1) * c, (column + taps - 1) * c
    for b in range(len(state.ys)):
        forget(state.v[0, b], start, rows * c, 1, older, c)
        for k in range(c):
            state.v[0, b, start + older + k] = state.h[0, b, frm + k]


@njit(**FAST)
def sample(
    weights: Weights,
    state: State,
    bias: np.ndarray,
    u: np.ndarray,
    x: np.ndarray,
    column: int,
    temperature: float,
    channel_masked: bool,
) -> None:
    """Draw pixels of one row, from ``column`` on. u, x: (n, C, any number)."""
    n, channels, width = u.shape
    size = 1 if len(weights.signal) == 2 else len(weights.signal)
    for j in range(width):
        for c in range(channels):
            if c == 0 or channel_masked:
                horizontal(weights, state, bias, column + j)
            for b in range(n):
                x[b, c, j] = draw(state.params[b, c * size : (c + 1) * size], u[b, c, j], temperature, state.mass)
                show(weights, state, column + j, b, c, x[b, c, j])
        commit(weights, state, column + j)
