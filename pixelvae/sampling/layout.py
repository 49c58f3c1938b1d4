"""A plan in the layout of engine.cpp: the same structures, and weights padded to whole vectors."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelvae.sampling.plan import LANES, Plan, Product, Ref, merged, whole

ACTIVATIONS = ("none", "relu", "silu", "gate", "lstm")


class _Map(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_int32) for name in ("stride", "rows", "left", "columns")), ("offset", ctypes.c_int64)]


class _Ref(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("map", "dy", "dx", "start")]


class _Source(ctypes.Structure):
    _fields_ = [("at", _Ref), ("size", ctypes.c_int32), ("unused", ctypes.c_int32)]


class _Operation(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in ("size", "activation", "first_source", "num_sources", "depth", "has_context")
        ),
        *((name, _Ref) for name in ("out", "add", "cell", "cell_out")),
        *((name, ctypes.c_int64) for name in ("weight", "bias", "context_bias")),
    ]


class _Plan(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("maps", "sources", "operations", "weights", "biases", "levels")),
        *(
            (name, ctypes.c_int32)
            for name in ("num_maps", "row_end", "sweep_end", "site_end", "channels", "num_levels")
        ),
        *(
            (name, ctypes.c_int32)
            for name in ("features", "height", "width", "columns", "channel_masked", "context_dim")
        ),
        *((name, ctypes.c_int32) for name in ("context_size", "max_sources", "max_size", "num_params")),
        ("params", _Ref),
        ("state_size", ctypes.c_int64),
    ]


class Packed:
    """A plan in the engine's layout, with its own copy of all weights."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        products = [*plan.row, *plan.sweep, *plan.site]
        self.weights: list[Tensor] = []
        self.biases = [plan.levels.new_zeros(max(whole(p.size) for p in products))]  # for products without a bias
        self.sources: list[_Source] = []
        self.context_size = 0
        operations = (_Operation * len(products))(*map(self._operation, products))
        maps, state_size = self._maps()
        self.kept = (
            maps,
            (_Source * max(1, len(self.sources)))(*self.sources),
            operations,
            torch.cat([*self.weights, plan.levels.new_zeros(LANES)]),  # torch aligns memory to cache lines
            torch.cat(self.biases),
            plan.levels.clone(memory_format=torch.contiguous_format),
        )
        ends = (len(plan.row), len(plan.row) + len(plan.sweep), len(products))
        self.structure = _Plan(
            *(a.data_ptr() if isinstance(a, Tensor) else ctypes.addressof(a) for a in self.kept),
            *(len(plan.maps), *ends, plan.channels, *plan.levels.shape),
            *(plan.height, plan.width, plan.columns, plan.channel_masked, plan.context_dim),
            self.context_size,
            max((o.num_sources for o in operations), default=0),
            max(whole(p.size) for p in products),
            plan.num_params,
            _reference(plan.params),
            state_size,
        )
        self.address = ctypes.addressof(self.structure)

    def _maps(self) -> tuple[Any, int]:
        """The maps of one example in memory, and their size. It is no multiple of a page, to avoid cache collisions."""
        plan, offset, maps = self.plan, 0, []
        for m in plan.maps:
            columns = m.left + plan.columns + m.right
            maps.append(_Map(m.stride, m.rows, m.left, columns, offset))
            offset += whole(m.rows * columns * m.stride)
        return (_Map * len(maps))(*maps), offset + LANES + (LANES if offset // LANES % 2 else 0)

    def _operation(self, product: Product) -> _Operation:
        sources = merged(self.plan, product.sources)
        first = len(self.sources)
        self.sources += [_Source(_reference(source.at), len(source.weight)) for source in sources]
        matrices = [source.weight for source in sources] + [v for v in (product.context,) if v is not None]
        weight, bias = sum(map(len, self.weights)), 0
        if matrices:
            self.weights.append(_in_vectors(torch.cat(matrices)))
        if product.bias is not None:
            bias = sum(map(len, self.biases))
            self.biases.append(F.pad(product.bias, (0, whole(product.size) - product.size)))
        context_bias = self.context_size
        self.context_size += 0 if product.context is None else whole(product.size)
        return _Operation(
            product.size,
            ACTIVATIONS.index(product.act),
            first,
            len(sources),
            sum(len(source.weight) for source in sources),
            product.context is not None,
            *(_reference(ref) for ref in (product.out, product.add, product.cell, product.cell_out)),
            weight,
            bias,
            context_bias,
        )


def _reference(ref: Ref | None) -> _Ref:
    return _Ref(-1) if ref is None else _Ref(*ref)


def _in_vectors(weight: Tensor) -> Tensor:
    """(K, N) -> (N / LANES, K, LANES), padded with zeros, flat."""
    filled = F.pad(weight, (0, whole(weight.shape[1]) - weight.shape[1]))
    return filled.unflatten(1, (-1, LANES)).transpose(0, 1).flatten()
