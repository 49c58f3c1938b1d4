"""Runs a plan in plain PyTorch, on any device and in any precision."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelvae.sampling.plan import Plan, Product, Ref, Source, merged
from pixelvae.sampling.stepper import Stepper

MOST_PERIOD = 64  # rows whose views are kept


class Operation(NamedTuple):
    """A product with its own copy of the weights: the sources' matrices below each other, (K, N)."""

    product: Product
    sources: list[Source]
    weight: Tensor | None
    bias: Tensor | None
    context: Tensor | None
    with_context: Tensor | None  # the same with V below

    def is_mapped(self, context: Tensor | None) -> bool:
        """Whether a map of context enters, which is one more source."""
        return self.context is not None and context is not None and context.ndim > 2


class Views(NamedTuple):
    """What an operation reads, each (B * columns, size), and what it writes, (B, columns, size)."""

    inputs: list[Tensor]
    add: Tensor | None
    out: Tensor
    cell: Tensor | None
    cell_out: Tensor | None


class EagerWeights:
    """A plan with its own copy of all weights."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.levels = plan, plan.levels.clone()
        self.row, self.sweep, self.site = (
            [self._operation(product) for product in phase] for phase in (plan.row, plan.sweep, plan.site)
        )

    def _operation(self, product: Product) -> Operation:
        sources = merged(self.plan, product.sources)
        weight = torch.cat([source.weight for source in sources]) if sources else None
        bias, context = (None if t is None else t.clone() for t in (product.bias, product.context))
        matrices = [matrix for matrix in (weight, context) if matrix is not None]
        with_context = torch.cat(matrices) if context is not None else None
        return Operation(product, sources, weight, bias, context, with_context)


class EagerStepper(Stepper):
    """Keeps the maps of a plan as (rows, B, columns, stride) and computes its products by ``addmm``.

    Memory is O(B · columns · rows of every ring), whatever the number of sites.

    Args:
        weights: The plan.
        context: (B, D), (B, D, *S) or None.
        batch_size: B.
    """

    @torch.inference_mode(False)  # so that the maps can be written in any mode
    @torch.no_grad()
    def __init__(self, weights: EagerWeights, context: Tensor | None, batch_size: int) -> None:
        self.weights, self.plan, self.batch_size = weights, weights.plan, batch_size
        self.maps = [
            weights.levels.new_zeros(m.rows, batch_size, m.left + self.plan.columns + m.right, m.stride)
            for m in self.plan.maps
        ]
        self.views: dict[tuple[int, ...], Tensor] = {}
        self.of_operations: dict[tuple[int, ...], Views] = {}
        self.period = math.lcm(*(m.rows for m in self.plan.maps))  # rows after which all rings are as they were
        self.context = None if context is None else self._laid_out(context.detach())
        self.own_bias = {id(op): self._own_bias(op) for op in [*weights.row, *weights.sweep, *weights.site]}
        self.row = self.column = 0
        self._begin_row()

    def _laid_out(self, context: Tensor) -> Tensor:
        """(B, D), or (H, B, columns, D) with the last column repeated beyond the image."""
        if context.ndim == 2:
            return context.clone()
        context = context.unflatten(2, (self.plan.height, -1)) if context.ndim == 3 else context
        beyond = self.plan.columns - self.plan.width
        return F.pad(context, (0, beyond, 0, 0), mode="replicate").permute(2, 0, 3, 1).contiguous()

    def _own_bias(self, op: Operation) -> Tensor | None:
        """Bias + V^T c of a vector context, (B, N); the bias alone where there is none, (N,)."""
        if op.context is None or self.context is None or self.context.ndim > 2:
            return op.bias
        own = self.context @ op.context
        return own if op.bias is None else own + op.bias

    @torch.no_grad()
    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its channels known so far. (B, C) levels -> (B, P)."""
        if self.plan.channel_masked:
            self._show(x_site)
        self._site(self.column)
        return self._at(self.plan.params, self.plan.num_params, self.column, 1)[:, 0].clone()

    @torch.no_grad()
    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and move on to the next."""
        self._show(x_site)
        self.column += 1
        if self.column == self.plan.width:
            self._end_row()

    def _show(self, x_site: Tensor) -> None:
        features = F.embedding(x_site, self.weights.levels).flatten(1)
        self._at(Ref(0), features.shape[1], self.column, 1)[:, 0] = features

    def _site(self, column: int) -> None:
        for op in self.weights.site:
            self._compute(op, column, 1)

    def _end_row(self) -> None:
        for column in range(self.plan.width, self.plan.columns):
            self._site(column)
        for column in reversed(range(self.plan.columns)):
            for op in self.weights.sweep:
                self._compute(op, column, 1)
        self.column = 0
        if self.row + 1 < self.plan.height:
            self.row += 1
            self._begin_row()

    def _begin_row(self) -> None:
        for op in self.weights.row:
            self._compute(op, 0, self.plan.columns)

    def _at(self, ref: Ref, size: int, column: int, columns: int) -> Tensor:
        """Features of some columns, (B, columns, size): a view, made once."""
        slot = (self.row - ref.dy) % self.plan.maps[ref.map].rows
        key = (ref.map, slot, column + ref.dx, ref.start, size, columns)
        if key not in self.views:
            m, first = self.maps[ref.map][slot], self.plan.maps[ref.map].left + column + ref.dx
            taps = max(1, -(-(ref.start + size) // m.shape[2]))  # neighbours that were merged into one source
            if taps > 1:
                strides = (m.stride(0), m.stride(1), 1)
                windows = m.as_strided((m.shape[0], m.shape[1] - taps + 1, size), strides, m.storage_offset())
                self.views[key] = windows[:, first : first + columns]
            else:
                self.views[key] = m[:, first : first + columns, ref.start : ref.start + size]
        return self.views[key]

    def _compute(self, op: Operation, column: int, columns: int) -> None:
        views = self._views(op, column, columns)
        inputs = views.inputs
        if op.is_mapped(self.context):
            assert self.context is not None
            inputs = [*inputs, self.context[self.row][:, column : column + columns].reshape(-1, self.plan.context_dim)]
        weight = op.with_context if op.is_mapped(self.context) else op.weight
        if weight is None:
            assert views.add is not None
            _activate(op.product.act, views.add.clone(), views)
            return
        flat = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=1)  # (B * columns, K)
        bias = self.own_bias[id(op)]
        if bias is not None and bias.ndim == 2 and columns > 1:
            bias = bias.repeat_interleave(columns, 0)
        base = bias if views.add is None else views.add
        sums = flat @ weight if base is None else torch.addmm(base, flat, weight)
        if views.add is not None and bias is not None:
            sums += bias
        _activate(op.product.act, sums, views)

    def _views(self, op: Operation, column: int, columns: int) -> Views:
        """What an operation reads and writes, as (B * columns, size): views of one column, copies of several."""
        key = (id(op), column, columns, self.row % self.period)
        if key not in self.of_operations:
            product, shape = op.product, (self.batch_size * columns, -1)

            def at(ref: Ref | None, size: int) -> Tensor | None:
                return None if ref is None else self._at(ref, size, column, columns)

            def flat(part: Tensor | None) -> Tensor | None:
                return None if part is None else part[:, 0] if columns == 1 else part.reshape(shape)

            results = product.results
            views = Views(
                [flat(at(source.at, len(source.weight))) for source in op.sources],  # type: ignore[misc]
                flat(at(product.add, product.size)),
                at(product.out, results),  # type: ignore[arg-type]
                flat(at(product.cell, results)),
                at(product.cell_out, results),
            )
            if columns > 1 or self.period > MOST_PERIOD:
                return views  # copies are of this row; and what would never come again is not kept
            self.of_operations[key] = views
        return self.of_operations[key]


def _activate(act: str, sums: Tensor, views: Views) -> None:
    """Write the results of sums (B * columns, N), which are overwritten."""
    out = views.out
    if act == "none":
        out.copy_(sums.view(*out.shape))
    elif act == "relu":
        out.copy_(sums.relu_().view(*out.shape))
    elif act == "silu":
        out.copy_(F.silu(sums, inplace=True).view(*out.shape))
    elif act == "gate":
        f, g = sums.chunk(2, dim=1)
        out.copy_((f.tanh_() * g.sigmoid_()).view(*out.shape))
    else:
        assert views.cell is not None
        assert views.cell_out is not None
        o, f, i, g = sums.chunk(4, dim=1)
        cell = f.sigmoid_() * views.cell + i.sigmoid_() * g.tanh_()
        views.cell_out.copy_(cell.view(*out.shape))
        out.copy_((o.sigmoid_() * cell.tanh()).view(*out.shape))
