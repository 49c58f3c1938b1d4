"""Execute a plan in compiled code on the CPU (engine.cpp): whole walks in one call, or one site at a time."""

from __future__ import annotations

import ctypes
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelvae.native import BuildError, build
from pixelvae.progress import tqdm
from pixelvae.sampling.layout import Packed
from pixelvae.sampling.plan import Native, Plan
from pixelvae.sampling.stepper import Stepper, Walked

SOURCE = Path(__file__).with_name("engine.cpp")
FLAGS = ("-ffp-contract=fast", "-pthread")
NATIVE = ("-march=native",)
LAWS = ("softmax", "logistic_mixture")
BLOCK = 16  # examples of one thread: enough to reuse each weight, few enough for its cache
NOTHING, VECTOR, MAP = range(3)


class _Walk(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("plan", "context", "u", "x", "known", "log_p", "progress")),
        *((name, ctypes.c_int32) for name in ("batch", "threads", "context_kind", "block", "law", "components")),
        ("temperature", ctypes.c_float),
    ]


@lru_cache
def library(target: tuple[str, ...] = NATIVE) -> ctypes.CDLL:
    """The compiled engine.

    Raises:
        BuildError: If it cannot be built here.
    """
    path = build(SOURCE, [*FLAGS, *target])
    try:
        engine = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path} cannot be loaded ({error})") from error
    engine.open_block.restype = ctypes.c_void_p
    return engine


@lru_cache
def why_not() -> str:
    """The reason why the engine cannot be built here, logged once; empty if it can."""
    try:
        library()
    except BuildError as error:
        logging.getLogger("pixelvae").warning("sampling in plain PyTorch, which is slower: %s", error)
        return str(error)
    return ""


def reason_against(plan: Plan) -> str:
    """The reason why a plan cannot run in the engine; empty if it can."""
    if plan.levels.device.type != "cpu" or plan.levels.dtype != torch.float32:
        return f"is for float32 on the CPU, the decoder is {plan.levels.dtype} on {plan.levels.device}"
    reason = why_not()
    return f"cannot be built: {reason}" if reason else ""


def laid_out(plan: Plan, context: Tensor | None) -> tuple[int, Tensor | None]:
    """The context as (B, D), or as (B, H, columns, D) with its last column repeated beyond the image."""
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
    target: tuple[str, ...] = NATIVE,
    progress: bool = False,
) -> Walked:
    """A whole walk: every level is x where ``known``, else drawn by u.

    Args:
        packed: The plan.
        native: The likelihood.
        context: (B, D), (B, D, *S) or None.
        u: (B, C, *S) uniform in [0, 1).
        x: (B, C, *S) integer levels, needed where known.
        known: (B, C, *S) true where x is kept.
        temperature: Draws from pmf^(1/temperature); 0 takes the most probable level.
        threads: Number of threads; torch.get_num_threads() by default.
        target: Compiler flags that select the processor.
        progress: Whether to show a progress bar with the time left.
    """
    plan, batch = packed.plan, len(u)
    kind, context = laid_out(plan, context)
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
        _watch(library(target), walk, done, batch * plan.height * plan.width, progress)
    return Walked(x, log_p)


def _watch(engine: ctypes.CDLL, walk: _Walk, done: Tensor, total: int, progress: bool) -> None:
    """Run a walk. With a progress bar it runs in its own thread, which can be interrupted."""
    if not progress:
        engine.walk(ctypes.byref(walk))
        return
    with ThreadPoolExecutor(1) as pool, tqdm(total=total, desc="walk", unit="site", leave=False) as bar:
        future = pool.submit(engine.walk, ctypes.byref(walk))
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
    """A plan in compiled code, one site at a time; the caller chooses the levels."""

    def __init__(
        self, packed: Packed, context: Tensor | None, batch_size: int, target: tuple[str, ...] = NATIVE
    ) -> None:
        self.packed, self.batch_size, self.library = packed, batch_size, library(target)
        kind, self.context = laid_out(packed.plan, context)
        address = None if self.context is None else self.context.data_ptr()
        self.block = self.library.open_block(
            ctypes.c_void_p(packed.address), ctypes.c_void_p(address), kind, batch_size
        )

    def __del__(self) -> None:
        """Free the engine's memory."""
        self.library.close_block(ctypes.c_void_p(self.block))

    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its previous channels. (B, C) levels -> (B, P)."""
        self._show(x_site)
        params = torch.empty(self.batch_size, self.packed.plan.num_params, dtype=torch.float32)
        self._call("params", ctypes.c_void_p(params.data_ptr()))
        return params

    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and advance to the next site."""
        self._show(x_site)
        self.library.push(ctypes.c_void_p(self.block))

    def _show(self, x_site: Tensor) -> None:
        levels = x_site.to(torch.long).contiguous()
        self._call("show", ctypes.c_void_p(levels.data_ptr()))

    def _call(self, name: str, argument: ctypes.c_void_p) -> None:
        plan = ctypes.c_void_p(self.packed.address)
        getattr(self.library, name)(ctypes.c_void_p(self.block), plan, argument, self.batch_size)
