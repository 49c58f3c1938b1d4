"""Runs a plan in compiled code on the CPU (engine.cpp): whole walks in one call, or one site at a time."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from pixelvae.sampling.build import NATIVE, BuildError, build
from pixelvae.sampling.plan import LANES, Native, Plan, Product, Ref, merged, whole
from pixelvae.sampling.stepper import Stepper

SOURCES = [Path(__file__).with_name(name) for name in ("engine.cpp", "levels.h", "numbers.h")]
ACTIVATIONS = ("none", "relu", "silu", "gate", "lstm")
LAWS = ("softmax", "logistic_mixture")
BLOCK = 16  # examples that one thread walks with at once: enough to reuse a weight, few enough to stay in its cache
NOTHING, VECTOR, MAP = range(3)


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


class _Walk(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("plan", "context", "u", "x", "known", "log_p", "progress")),
        *((name, ctypes.c_int32) for name in ("batch", "threads", "context_kind", "block", "law", "components")),
        ("temperature", ctypes.c_float),
    ]


class Walked(NamedTuple):
    """What one walk gives.

    Shape:
        x: (B, C, *S) levels.  log_p: (B, C, *S), nats of each, by the model itself (temperature 1).
    """

    x: Tensor
    log_p: Tensor


@lru_cache
def library(target: tuple[str, ...] = NATIVE) -> ctypes.CDLL:
    """The compiled engine.

    Raises:
        BuildError: If it cannot be built here.
    """
    path = build(SOURCES, target)
    try:
        engine = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path} cannot be loaded ({error})") from error
    engine.open_block.restype = ctypes.c_void_p
    return engine


@lru_cache
def why_not() -> str:
    """Why the engine cannot be built on this machine, said once in the log; empty if it can."""
    try:
        library()
    except BuildError as error:
        logging.getLogger("pixelvae").warning("sampling in plain PyTorch, which is slower: %s", error)
        return str(error)
    return ""


def reason_against(plan: Plan) -> str:
    """Why a plan cannot run in the engine; empty if it can."""
    if plan.levels.device.type != "cpu" or plan.levels.dtype != torch.float32:
        return f"is for float32 on the CPU, the decoder is {plan.levels.dtype} on {plan.levels.device}"
    reason = why_not()
    return f"cannot be built: {reason}" if reason else ""


class Packed:
    """A plan in the engine's layout. Holds its own copy of all weights."""

    def __init__(self, plan: Plan, target: tuple[str, ...] = NATIVE) -> None:
        self.plan, self.library = plan, library(target)
        products = [*plan.row, *plan.sweep, *plan.site]
        self.weights: list[Tensor] = []
        self.biases = [plan.levels.new_zeros(max(whole(p.size) for p in products))]  # of those without
        self.sources: list[_Source] = []
        self.context_size = 0
        operations = (_Operation * len(products))(*map(self._operation, products))
        maps, state_size = self._maps()
        self.kept = (
            maps,
            (_Source * max(1, len(self.sources)))(*self.sources),
            operations,
            torch.cat(
                [*self.weights, plan.levels.new_zeros(LANES)]
            ),  # torch aligns to whole cache lines, numpy does not
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
        """All maps of one example one after the other; its size is no multiple of a page."""
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
    """(K, N) -> (N / LANES, K, LANES), filled up with zeros, flat."""
    filled = F.pad(weight, (0, whole(weight.shape[1]) - weight.shape[1]))
    return filled.unflatten(1, (-1, LANES)).transpose(0, 1).flatten()


def _laid_out(plan: Plan, context: Tensor | None) -> tuple[int, Tensor | None]:
    """A context as the engine reads it: (B, D), or (B, H, columns, D), its last column repeated beyond the image."""
    if context is None:
        return NOTHING, None
    if context.ndim == 2:
        return VECTOR, context.detach().float().contiguous()
    context = (
        context.detach().float().unflatten(2, (plan.height, -1)) if context.ndim == 3 else context.detach().float()
    )
    context = F.pad(context, (0, plan.columns - plan.width, 0, 0), mode="replicate")
    return MAP, context.permute(0, 2, 3, 1).contiguous()


def run(
    packed: Packed,
    native: Native,
    context: Tensor | None,
    u: Tensor,
    *,
    x: Tensor | None = None,
    known: Tensor | None = None,
    temperature: float = 1.0,
    threads: int | None = None,
    progress: bool = False,
) -> Walked:
    """A whole walk: every level is x where ``known``, else decided by u.

    Args:
        packed: The plan.
        native: What turns params into probabilities.
        context: (B, D), (B, D, *S) or None.
        u: (B, C, *S) uniform in [0, 1).
        x: (B, C, *S) integer levels, needed where known.
        known: (B, C, *S) true where x is kept.
        temperature: Draws from pmf^(1/temperature); 0 takes the most probable level.
        threads: Number of threads; torch.get_num_threads() by default.
        progress: Whether to show a progress bar with the time left.
    """
    plan, batch = packed.plan, len(u)
    kind, context = _laid_out(plan, context)
    x = (
        torch.zeros(u.shape, dtype=torch.long)
        if x is None
        else x.to(torch.long).clone(memory_format=torch.contiguous_format)
    )
    u = u.to(torch.float32).contiguous()
    kept = None if known is None else known.to(torch.uint8).contiguous()
    log_p, done = torch.zeros(u.shape, dtype=torch.float32), torch.zeros(2, dtype=torch.long)
    threads = threads or torch.get_num_threads()
    tensors = (context, u, x, kept, log_p, done)
    walk = _Walk(
        packed.address,
        *(None if tensor is None else tensor.data_ptr() for tensor in tensors),
        *(batch, threads, kind, min(BLOCK, -(-batch // threads)), LAWS.index(native.law), native.components),
        temperature,
    )
    if batch:
        _watch(packed, walk, done, batch * plan.height * plan.width, progress)
    return Walked(x, log_p)


def _watch(packed: Packed, walk: _Walk, done: Tensor, total: int, progress: bool) -> None:
    """Run a walk in a thread of its own, so that it can be watched and interrupted."""
    if not progress:
        packed.library.walk(ctypes.byref(walk))
        return
    with ThreadPoolExecutor(1) as pool, tqdm(total=total, desc="walk", unit="site", leave=False) as bar:
        future = pool.submit(packed.library.walk, ctypes.byref(walk))
        try:
            while not future.done():
                try:
                    future.result(timeout=0.1)
                except TimeoutError:
                    bar.update(int(done[0]) - bar.n)
            bar.update(total - bar.n)
        except BaseException:
            done[1] = 1  # the walk stops at its next site
            raise


class EngineStepper(Stepper):
    """A plan one site at a time, for whoever chooses the levels outside."""

    def __init__(self, packed: Packed, context: Tensor | None, batch_size: int) -> None:
        self.packed, self.batch_size = packed, batch_size
        kind, self.context = _laid_out(packed.plan, context)
        address = None if self.context is None else self.context.data_ptr()
        self.block = packed.library.open_block(
            ctypes.c_void_p(packed.address), ctypes.c_void_p(address), kind, batch_size
        )

    def __del__(self) -> None:
        """Free the engine's memory."""
        self.packed.library.close_block(ctypes.c_void_p(self.block))

    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its channels known so far. (B, C) levels -> (B, P)."""
        self._show(x_site)
        params = torch.empty(self.batch_size, self.packed.plan.num_params, dtype=torch.float32)
        self._call("params", ctypes.c_void_p(params.data_ptr()))
        return params

    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and move on to the next."""
        self._show(x_site)
        self.packed.library.push(ctypes.c_void_p(self.block))

    def _show(self, x_site: Tensor) -> None:
        levels = x_site.to(torch.long).contiguous()
        self._call("show", ctypes.c_void_p(levels.data_ptr()))

    def _call(self, name: str, argument: ctypes.c_void_p) -> None:
        plan = ctypes.c_void_p(self.packed.address)
        getattr(self.packed.library, name)(ctypes.c_void_p(self.block), plan, argument, self.batch_size)


__all__: Sequence[str] = ("EngineStepper", "Packed", "Walked", "library", "reason_against", "run")
