"""The gated layer in one pass over memory, for bfloat16 training on CPUs with AMX or AVX-512 BF16."""

from __future__ import annotations

import ctypes
import sys
import warnings
from ctypes import c_int, c_void_p
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelvae.native import BuildError, build

Layer = Any  # a GatedLayer, whose file imports this one
FLAGS = ("-march=native", "-fopenmp", "-mavx512bf16")
AMX = ("-mamx-tile", "-mamx-bf16", "-DAMX")
TILE = 16  # channels of a tile
MOST = 15  # largest number of rows or columns of a kernel
INPUTS = ("v", "h", "c", "wv", "wh", "wvh", "wr", "vv", "vh", "bias_v", "bias_h", "bias_r")
OUTPUTS = ("v_out", "h_out", "y")
KEPT = ("av", "ah")  # pre-activations that forward leaves for backward
SIZES = ("B", "H", "W", "in", "p", "rows", "columns", "taps", "D", "first", "last", "threads")


class Projection(NamedTuple):
    """V c of a map c, computed inside the fused layer. context: (B, D, H, W); weight: (2p, D)."""

    context: Tensor
    weight: Tensor

    def value(self) -> Tensor:
        """(B, 2p, H, W)."""
        return F.conv2d(self.context, self.weight[:, :, None, None])


LayerContext = Tensor | float | Projection


def runs(layer: Layer) -> bool:
    """Whether the layer runs fused: enabled, and training in bfloat16 autocast on the CPU."""
    autocast = layer.fused and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
    return autocast and torch.get_autocast_dtype("cpu") == torch.bfloat16


def takes(v_context: LayerContext, h_context: LayerContext) -> bool:
    """Whether the fused layer supports both contexts: projections, or vectors and numbers."""
    kinds = [isinstance(context, Projection) for context in (v_context, h_context)]
    vectors = [not isinstance(c, Tensor) or c.shape[2:] == (1, 1) for c in (v_context, h_context)]
    return all(kinds) or (not any(kinds) and all(vectors))


def gated_layer(
    layer: Layer, v: Tensor, h: Tensor, v_context: LayerContext, h_context: LayerContext
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of :class:`GatedLayer`, if :func:`takes`; v and h of the first layer get no gradient.

    Shape:
        v, h: (B, in_channels, H, W).  Returns v', h' and y, each (B, p, H, W) of bfloat16; of the last v, h, y.
    """
    vertical, horizontal, out = layer.vertical, layer.horizontal, layer.out
    none = v.new_empty(0, dtype=torch.float32)
    c, vv, vh = none, none, none
    bias_v, bias_h = (conv.bias[None] for conv in (vertical, horizontal))  # (1, 2p)
    if isinstance(v_context, Projection) and isinstance(h_context, Projection):
        more = -v_context.context.shape[1] % TILE
        c = F.pad(v_context.context, (0, 0, 0, 0, 0, more))
        vv, vh = F.pad(v_context.weight, (0, more)), F.pad(h_context.weight, (0, more))
    else:
        bias_v = bias_v + (v_context.flatten(1) if isinstance(v_context, Tensor) else v_context)
        bias_h = bias_h + (h_context.flatten(1) if isinstance(h_context, Tensor) else h_context)
    v_out, h_out, y, *_ = gated(
        v,
        h,
        c,
        vertical.causal_weight().permute(0, 2, 3, 1),
        horizontal.causal_weight().permute(0, 2, 3, 1),
        layer.vertical_to_horizontal.causal_weight()[:, :, 0, 0],
        none if out is None else out.causal_weight()[:, :, 0, 0],
        vv,
        vh,
        bias_v.expand(len(v), -1),
        bias_h.expand(len(v), -1),
        none if out is None else out.bias,
        [*vertical.kernel_size, horizontal.kernel_size[1], layer.first, out is None],
    )
    return (v, h, y) if out is None else (v_out, h_out, y)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code, or None without AVX-512 BF16 or without a C++ compiler. It uses AMX where the CPU has it."""
    return compiled(amx=torch.cpu._is_amx_tile_supported())


@cache
def compiled(amx: bool) -> ctypes.CDLL | None:
    """The code whose products run on AMX tiles, or on AVX-512 vectors."""
    if sys.platform != "linux" or not torch.cpu._is_avx512_bf16_supported():
        return None
    try:
        path = build(Path(__file__).with_suffix(".cpp"), FLAGS + AMX if amx else FLAGS)
    except BuildError as error:
        warnings.warn(f"gated layers train unfused, which is slower: {error}", stacklevel=2)
        return None
    return ctypes.CDLL(str(path))


def fits(layer: Layer) -> bool:
    """Whether the layer's sizes are multiples of tiles, and its weights float32."""
    channels, (rows, columns) = layer.vertical.in_channels, layer.vertical.kernel_size
    small = max(rows, columns, layer.horizontal.kernel_size[1]) <= MOST
    whole = layer.vertical.out_channels % (2 * TILE) == 0 and (layer.first or channels % TILE == 0)
    return small and whole and layer.vertical.weight.dtype == torch.float32


class _Sizes(ctypes.Structure):
    _fields_ = [(name, c_int) for name in SIZES]


class _Tensors(ctypes.Structure):
    _fields_ = [
        (name, c_void_p) for name in (*INPUTS, *OUTPUTS, *KEPT, *(f"d{n}" for n in OUTPUTS), *(f"d{n}" for n in INPUTS))
    ]


def _map(B: int, C: int, H: int, W: int) -> Tensor:
    """An empty (B, C, H, W) of bfloat16 in channels_last."""
    return torch.empty_strided((B, C, H, W), (C * H * W, 1, W * C, C), dtype=torch.bfloat16)


def _as_map(x: Tensor) -> Tensor:
    """In bfloat16 and channels_last, with the strides of :func:`_map`."""
    _, C, H, W = x.shape
    fits = x.dtype == torch.bfloat16 and x.stride() == (C * H * W, 1, W * C, C)
    return x if fits else _map(*x.shape).copy_(x)


def _call(function: str, inputs: list[Tensor], kernel: list[int], others: dict[str, Tensor]) -> None:
    maps = [_as_map(x) if x.numel() else x for x in inputs[:3]]
    tensors = dict(zip(INPUTS, [*maps, *(x.float().contiguous() for x in inputs[3:])], strict=True)) | others
    B, channels, H, W = inputs[0].shape
    D = inputs[2].shape[1] if inputs[2].numel() else 0
    rows, columns, taps, first, last = kernel
    sizes = _Sizes(B, H, W, channels, len(inputs[5]) // 2, rows, columns, taps, D, first, last, torch.get_num_threads())
    pointers = _Tensors(**{name: x.data_ptr() for name, x in tensors.items() if x.numel()})
    getattr(library(), function)(ctypes.byref(sizes), ctypes.byref(pointers))


def _outputs(v: Tensor, wvh: Tensor, last: bool) -> list[Tensor]:
    (B, _, H, W), P, keeps = v.shape, len(wvh), library().gated_keeps()
    maps = [_map(B, P // 2, H, W) if name == "y" or not last else v.new_empty(0) for name in OUTPUTS]
    return maps + [_map(B, P, H, W) if keeps else v.new_empty(0) for _ in KEPT]


@torch.library.custom_op("pixelvae::gated", mutates_args=())
def gated(
    v: Tensor,
    h: Tensor,
    c: Tensor,
    wv: Tensor,
    wh: Tensor,
    wvh: Tensor,
    wr: Tensor,
    vv: Tensor,
    vh: Tensor,
    bias_v: Tensor,
    bias_h: Tensor,
    bias_r: Tensor,
    kernel: list[int],
) -> list[Tensor]:
    """v', h', y of a layer, and a_v, a_h where they are kept; absent tensors have no elements.

    Shape:
        c: (B, D, H, W).  Weights: (out, rows, columns, in) or (out, in).  bias_v, bias_h: (B, 2p).  bias_r: (p,).
        kernel: rows, columns, taps, first, last.
    """
    out = _outputs(v, wvh, bool(kernel[-1]))
    inputs = [v, h, c, wv, wh, wvh, wr, vv, vh, bias_v, bias_h, bias_r]
    _call("gated_forward", inputs, kernel, dict(zip(OUTPUTS + KEPT, out, strict=True)))
    return out


@gated.register_fake
def _(v: Tensor, *rest: Any) -> list[Tensor]:
    return _outputs(v, rest[4], bool(rest[-1][-1]))


@torch.library.custom_op("pixelvae::gated_backward", mutates_args=())
def gated_backward(
    gradients: list[Tensor], inputs: list[Tensor], kept: list[Tensor], kernel: list[int]
) -> list[Tensor]:
    """The gradients of all inputs of :func:`gated`; that of bias_r is (B, p), before the sum over examples."""
    out = _gradients(inputs, bool(kernel[-2]))
    given = {f"d{name}": _as_map(x) for name, x in zip(OUTPUTS, gradients, strict=True) if x.numel()}
    given |= dict(zip(KEPT, kept, strict=True))
    _call("gated_backward", inputs, kernel, given | dict(zip((f"d{name}" for name in INPUTS), out, strict=True)))
    return out


@gated_backward.register_fake
def _(gradients: list[Tensor], inputs: list[Tensor], kept: list[Tensor], kernel: list[int]) -> list[Tensor]:
    return _gradients(inputs, bool(kernel[-2]))


def _gradients(inputs: list[Tensor], first: bool) -> list[Tensor]:
    v, h, c, *weights, bias_r = inputs
    none = [v.new_empty(0) for _ in range(3)]
    maps = [
        _map(*x.shape) if x.numel() and wanted else none.pop()
        for x, wanted in ((v, not first), (h, not first), (c, True))
    ]
    return [
        *maps,
        *(x.new_empty(x.shape, dtype=torch.float32) for x in weights),
        bias_r.new_empty(len(v), *bias_r.shape),
    ]


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.set_materialize_grads(False)  # the kept maps have no gradients
    ctx.save_for_backward(*inputs[:-1], *output[-len(KEPT) :])
    ctx.kernel, ctx.shape = inputs[-1], output[OUTPUTS.index("y")].shape


def _backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Tensor | None, ...]:
    inputs, kept, last = ctx.saved_tensors[: -len(KEPT)], ctx.saved_tensors[-len(KEPT) :], ctx.kernel[-1]
    zeros = [inputs[0].new_zeros(0 if last and name != "y" else ctx.shape) for name in OUTPUTS]
    given = [zero if x is None else x for x, zero in zip(gradients, zeros, strict=False)]
    found = gated_backward(given, list(inputs), list(kept), ctx.kernel)
    found[-1] = found[-1].sum(0)
    wanted = [x.numel() > 0 and d.numel() > 0 for x, d in zip(inputs, found, strict=True)]
    return *(d.to(x.dtype) if want else None for x, d, want in zip(inputs, found, wanted, strict=True)), None


gated.register_autograd(_backward, setup_context=_save)
