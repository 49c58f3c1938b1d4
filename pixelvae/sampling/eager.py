"""Execute a plan in PyTorch, on any device and in any precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pixelvae.sampling.plan import Map, Plan, Product, Ref, Source, merged
from pixelvae.sampling.stepper import Stepper

Call = Callable[[], object]


class Operation(NamedTuple):
    """A product with its own copy of the weights: the concatenated matrices of its sources, (K, N)."""

    product: Product
    sources: list[Source]
    weight: Tensor | None
    bias: Tensor | None
    context: Tensor | None
    with_context: Tensor | None  # the weight with V below

    @property
    def depth(self) -> int:
        """Number of inputs, including those of a context map."""
        return sum(0 if matrix is None else len(matrix) for matrix in (self.weight, self.context))


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


class _Task(NamedTuple):
    """An operation of one walk; its calls are indexed by (column, row modulo period)."""

    op: Operation
    bias: Tensor | None  # (N,), or (B, 1, N) with the V^T c of a vector
    period: int
    calls: dict[tuple[int, int], list[Call]]


class EagerPlan:
    """Compute the products of a plan with calls of PyTorch that write into views of the maps.

    A map is stored as (rows, B, columns, stride). The calls of a product for a position in a ring are prepared once
    and repeated in every period of the ring. They access only this memory, so a device can record them.

    Memory is O(B · columns · rows of every ring), independent of the number of sites.

    Args:
        weights: The plan.
        context: (B, D), (B, D, *S) or None.
        batch_size: B.

    Attributes:
        period: Number of rows after which the calls repeat.
    """

    @torch.inference_mode(False)  # so that the maps can be written in any mode
    @torch.no_grad()
    def __init__(self, weights: EagerWeights, context: Tensor | None, batch_size: int) -> None:
        self.weights, self.plan, self.batch_size = weights, weights.plan, batch_size
        new, columns = weights.levels.new_zeros, self.plan.columns
        # A power of two rows: the common period of rings of different lengths is then short.
        self.layout = [m._replace(rows=1 << (m.rows - 1).bit_length()) for m in self.plan.maps]
        self.maps = [new(m.rows, batch_size, m.left + columns + m.right, m.stride) for m in self.layout]
        self.period = max(m.rows for m in self.layout)
        self.context = self._laid_out(context)
        if self.context is not None:  # the current row of the context is one more map
            self.layout.append(Map(self.plan.context_dim, self.plan.context_dim, 1, 0, 0))
            self.maps.append(torch.empty_like(self.context[:1]))
        vector = context.detach() if context is not None and context.ndim == 2 else None
        self.tasks_of_row, self.tasks_of_sweep, self.tasks_of_site = (
            [self._task(op, vector) for op in phase] for phase in (weights.row, weights.sweep, weights.site)
        )
        operations = [*weights.row, *weights.sweep, *weights.site]
        self.inputs = new(batch_size * columns * max(op.depth for op in operations))
        self.sums = new(batch_size * columns * max(op.product.size for op in operations))
        self.minus_two = weights.levels.new_tensor(-2)  # a number in its place would be converted at every call
        self.views: dict[tuple[Ref, int, int], Tensor] = {}
        self.enter(0)

    def _task(self, op: Operation, vector: Tensor | None) -> _Task:
        refs = [ref for ref, _ in (*op.product.reads(), *op.product.writes())]
        bias = op.bias
        if vector is not None and op.context is not None:
            own = (vector @ op.context)[:, None]
            bias = own if bias is None else own + bias
        return _Task(op, bias, max(self.layout[ref.map].rows for ref in refs), {})

    def _laid_out(self, context: Tensor | None) -> Tensor | None:
        """A map of context as (H, B, columns, D) with the last column repeated beyond the image, else None."""
        if context is None or context.ndim == 2:
            return None
        context = context.detach()
        context = context.unflatten(2, (self.plan.height, -1)) if context.ndim == 3 else context
        beyond = self.plan.columns - self.plan.width
        return F.pad(context, (0, beyond, 0, 0), mode="replicate").permute(2, 0, 3, 1).contiguous()

    def enter(self, row: int) -> None:
        """Go to a row; everything else repeats after ``period`` rows."""
        self.row = row
        if self.context is not None:
            self.maps[-1][0].copy_(self.context[row])

    def begin_row(self) -> None:
        """Compute the terms of a row that depend on the rows above."""
        self._run(self.tasks_of_row, 0, self.plan.columns)

    def show(self, x_site: Tensor, column: int) -> None:
        """Write the levels of a site into the input map. x_site: (B, C)."""
        features = self.weights.levels.index_select(0, x_site.flatten())
        size = features.shape[1] * self.plan.channels
        self._view(Ref(0), size, column).copy_(features.view(self.batch_size, size))

    def site(self, column: int) -> Tensor:
        """Params of a site, (B, P): a view that is overwritten in the next row."""
        self._run(self.tasks_of_site, column)
        return self._view(self.plan.params, self.plan.num_params, column)

    def end_row(self) -> None:
        """Compute the columns beyond the image, and the right-to-left direction of a finished row."""
        for column in range(self.plan.width, self.plan.columns):
            self._run(self.tasks_of_site, column)
        if self.tasks_of_sweep:
            for column in reversed(range(self.plan.columns)):
                self._run(self.tasks_of_sweep, column)

    def _run(self, tasks: Iterable[_Task], column: int, columns: int = 1) -> None:
        for task in tasks:
            place = (column, self.row % task.period)
            if place not in task.calls:
                task.calls[place] = self._bind(task, column, columns)
            for call in task.calls[place]:
                call()

    def _view(self, ref: Ref, size: int, column: int) -> Tensor:
        """Features of one column, (B, size)."""
        key = (ref, column, self.row % self.layout[ref.map].rows)
        if key not in self.views:
            self.views[key] = self._at(ref, size, column, 1)[:, 0]
        return self.views[key]

    def _at(self, ref: Ref, size: int, column: int, columns: int) -> Tensor:
        """Features of some columns, (B, columns, size), in the memory of their map."""
        layout = self.layout[ref.map]
        m, first = self.maps[ref.map][(self.row - ref.dy) % layout.rows], layout.left + column + ref.dx
        # A merged source reads neighbouring columns: windows that overlap.
        shape, strides = (len(m), columns, size), (m.stride(0), m.stride(1), 1)
        return m.as_strided(shape, strides, m.storage_offset() + first * m.stride(1) + ref.start)

    def _bind(self, task: _Task, column: int, columns: int) -> list[Call]:
        """The calls that compute a product at some columns of the current row."""
        op, product = task.op, task.op.product
        is_mapped = op.context is not None and self.context is not None

        def at(ref: Ref, size: int) -> Tensor:
            return self._at(ref, size, column, columns)

        out = at(product.out, product.results)
        weight = op.with_context if is_mapped else op.weight
        terms = [] if task.bias is None else [task.bias]
        terms += [] if product.add is None else [at(product.add, product.size)]
        in_place = product.act in ("none", "relu", "silu") and (weight is None or _flat(out) is not None)
        sums = out if in_place else self._scratch(self.sums, columns, product.size)
        calls = _add(terms, sums)
        if weight is not None:
            inputs = [at(source.at, len(source.weight)) for source in op.sources]
            inputs += [at(Ref(len(self.maps) - 1), self.plan.context_dim)] if is_mapped else []
            flat = _flat(inputs[0]) if len(inputs) == 1 else None
            if flat is None:
                gathered = self._scratch(self.inputs, columns, len(weight))
                calls.append(partial(torch.cat, inputs, 2, out=gathered))
                flat = gathered.flatten(0, 1)
            total = sums.flatten(0, 1)
            # With beta = 1 and the sums as their own first term, addmm copies nothing.
            calls.append(partial(torch.addmm, total, flat, weight, beta=1 if terms else 0, out=total))
        if product.act == "gate":
            return calls + _gate(sums, out, self.minus_two)
        if product.act == "lstm":
            cell, cell_out = (at(ref, product.results) for ref in (product.cell, product.cell_out) if ref is not None)
            return calls + _lstm(sums, out, cell, cell_out, self.minus_two)
        calls += [] if in_place else [partial(out.copy_, sums)]
        activations = {"none": [], "relu": [partial(torch.relu_, out)], "silu": [partial(F.silu, out, inplace=True)]}
        return calls + activations[product.act]

    def _scratch(self, memory: Tensor, columns: int, size: int) -> Tensor:
        return memory[: self.batch_size * columns * size].view(self.batch_size, columns, size)


class EagerStepper(Stepper):
    """A plan in plain PyTorch, one site at a time.

    Args:
        weights: The plan.
        context: (B, D), (B, D, *S) or None.
        batch_size: B.
    """

    @torch.no_grad()
    def __init__(self, weights: EagerWeights, context: Tensor | None, batch_size: int) -> None:
        self.rows, self.column = EagerPlan(weights, context, batch_size), 0
        self.rows.begin_row()

    @torch.no_grad()
    def params(self, x_site: Tensor) -> Tensor:
        """Params of the current site, given its previous channels. (B, C) levels -> (B, P)."""
        if self.rows.plan.channel_masked:
            self.rows.show(x_site, self.column)
        return self.rows.site(self.column).clone()

    @torch.no_grad()
    def push(self, x_site: Tensor) -> None:
        """Commit the current site's (B, C) levels and advance to the next site."""
        rows = self.rows
        rows.show(x_site, self.column)
        self.column = (self.column + 1) % rows.plan.width
        if self.column == 0:
            rows.end_row()
        if self.column == 0 and rows.row + 1 < rows.plan.height:
            rows.enter(rows.row + 1)
            rows.begin_row()


def _flat(features: Tensor) -> Tensor | None:
    """(B, columns, size) as (B * columns, size), if that is a view."""
    batch, columns, _ = features.shape
    if columns == 1 or batch == 1 or features.stride(0) == columns * features.stride(1):
        return features.flatten(0, 1)
    return None


def _add(terms: list[Tensor], out: Tensor) -> list[Call]:
    """Calls that write the sum of up to two terms."""
    if len(terms) == 2:
        return [partial(torch.add, *terms, out=out)]
    return [partial(out.copy_, term) for term in terms]


def _gate(sums: Tensor, out: Tensor, minus_two: Tensor) -> list[Call]:
    r"""The calls of out = tanh(f) σ(g), which overwrite the sums.

    tanh(f) is :math:`1 - 2 \sigma(-2f)`: equal to rounding, and several times faster on a CPU.
    """
    f, g = sums.chunk(2, dim=2)
    return [
        partial(f.mul_, minus_two),
        sums.sigmoid_,
        partial(torch.addcmul, g, f, g, value=-2, out=out),
    ]


def _lstm(sums: Tensor, out: Tensor, cell: Tensor, cell_out: Tensor, minus_two: Tensor) -> list[Call]:
    """The calls of one step of an LSTM, gates in the order o, f, i, g; tanh as in :func:`_gate`."""
    o, f, i, g = sums.chunk(4, dim=2)
    return [
        partial(g.mul_, minus_two),
        sums.sigmoid_,
        partial(torch.mul, f, cell, out=cell_out),
        partial(torch.addcmul, i, i, g, value=-2, out=i),
        partial(cell_out.add_, i),
        partial(torch.tanh, cell_out, out=g),
        partial(torch.mul, o, g, out=out),
    ]
