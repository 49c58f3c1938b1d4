"""The computation of a decoder at one site, as data: maps of features, and products between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partialmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Activation = Literal["none", "relu", "silu", "gate", "lstm"]
Phase = Literal["row", "sweep", "site"]
LANES = 16  # maps hold multiples of this many channels, whatever the vector width of the processor


class Ref(NamedTuple):
    """Features at a place relative to the current site: ``map[row - dy, column + dx][start:]``."""

    map: int
    dy: int = 0
    dx: int = 0
    start: int = 0

    def at(self, dy: int = 0, dx: int = 0) -> Ref:
        """The same features, dy rows further up and dx columns further to the right."""
        return self._replace(dy=self.dy + dy, dx=self.dx + dx)

    def channel(self, start: int) -> Ref:
        """The same place, with another first channel."""
        return self._replace(start=self.start + start)


class Source(NamedTuple):
    """A term of a product: features at a place, times a (size, outputs) matrix."""

    at: Ref
    weight: Tensor


class Product(NamedTuple):
    r"""One operation of a plan, on row vectors of features.

    .. math:: \mathrm{out} \leftarrow \mathrm{act}\big(\mathrm{bias} + \mathrm{add} + c\,V +
              \textstyle\sum_s \mathrm{map}_s[\mathrm{row} - dy_s, \mathrm{column} + dx_s]\, W_s\big)

    Args:
        out: Place of the result, dy = dx = 0.
        size: Number N of sums before the activation.
        sources: The terms of the sum; none for an activation of ``add`` alone.
        bias: (N,), or None for zero.
        context: V, (D, N), or None without a context.
        add: Features to add: a residual connection, or sums from the row phase.
        act: none, relu, silu, gate (N = 2p: tanh of the first p times sigmoid of the others; p results) or lstm
            (N = 4h: the gates o, f, i, g; h results).
        cell, cell_out: Places of the cell of an lstm and of its new cell.
    """

    out: Ref
    size: int
    sources: tuple[Source, ...] = ()
    bias: Tensor | None = None
    context: Tensor | None = None
    add: Ref | None = None
    act: Activation = "none"
    cell: Ref | None = None
    cell_out: Ref | None = None

    def reads(self) -> Iterable[tuple[Ref, int]]:
        """The places that the product reads, with their numbers of channels."""
        yield from ((source.at, len(source.weight)) for source in self.sources)
        if self.add is not None:
            yield self.add, self.size
        if self.cell is not None:
            yield self.cell, self.size // 4

    @property
    def results(self) -> int:
        """Number of channels after the activation."""
        return self.size // {"gate": 2, "lstm": 4}.get(self.act, 1)

    def writes(self) -> Iterable[tuple[Ref, int]]:
        """The places that the product writes, with their numbers of channels."""
        yield self.out, self.results
        if self.cell_out is not None:
            yield self.cell_out, self.results


class Map(NamedTuple):
    """Features of the last ``rows`` rows, between ``left`` and ``right`` columns of zeros.

    The rows are a ring: a row is stored at ``row % rows``. ``stride`` is the number of channels in memory.
    """

    channels: int
    stride: int
    rows: int
    left: int
    right: int


class Plan(NamedTuple):
    """The computation of a decoder, one site at a time. A sound is an image of one column, whose rows are samples.

    ``row`` runs once for each row, for all columns, before its sites. ``site`` runs once for each site, or for each
    channel if ``channel_masked``. ``sweep`` runs from right to left after the sites of a row.

    Attributes:
        maps: Map 0 holds the features ``levels[x]`` of each channel.
        row, sweep, site: The products of each phase, in order.
        levels: (K, F), the features of each level.
        params: Place of the likelihood's params.
        num_params: Likelihood parameters P per site.
        channels, height, width: Shape of the data.
        columns: The width, plus the columns to its right that the network needs.
        context_dim: D, 0 for none.
        channel_masked: Whether params of a channel depend on the channels before it at the same site.
    """

    maps: tuple[Map, ...]
    row: tuple[Product, ...]
    sweep: tuple[Product, ...]
    site: tuple[Product, ...]
    levels: Tensor
    params: Ref
    num_params: int
    channels: int
    height: int
    width: int
    columns: int
    context_dim: int
    channel_masked: bool


class Native(NamedTuple):
    """A likelihood that the engine implements.

    Args:
        law: softmax (K logits for each channel, levels fastest; one where K = 2) or logistic_mixture.
        components: M of a mixture.
    """

    law: Literal["softmax", "logistic_mixture"]
    components: int = 0


class Draft:
    """Builder of a plan. Rings and margins of the maps follow from the places that products read.

    Args:
        shape: (C, H, W) or (C, T) of the data.
        levels: (K, F), the features of each level of a channel.
        context_dim: Width D of the context, 0 for none.
        channel_masked: See :class:`Plan`.
        columns_beyond: Columns to the right of the image that the network needs.

    Example:
        >>> draft = Draft((1, 28, 28), levels=torch.tensor([[-1.0], [1.0]]))
        >>> above = Source(draft.x.at(dy=1), torch.ones(1, 1))
        >>> plan = draft.finish(draft.site([above], act="relu"), num_params=1)
        >>> plan.maps[0]
        Map(channels=1, stride=1, rows=2, left=0, right=0)
    """

    x = Ref(0)

    def __init__(
        self,
        shape: Sequence[int],
        levels: Tensor,
        *,
        context_dim: int = 0,
        channel_masked: bool = False,
        columns_beyond: int = 0,
    ) -> None:
        self.channels, self.height, self.width = (*shape, 1) if len(shape) == 2 else shape
        self.levels, self.context_dim, self.channel_masked = levels.detach(), context_dim, channel_masked
        self.columns = self.width + columns_beyond
        self.widths = [self.channels * levels.shape[1]]
        self.phases: dict[Phase, list[Product]] = {"row": [], "sweep": [], "site": []}

    def map(self, channels: int) -> Ref:
        """Add a map."""
        self.widths.append(channels)
        return Ref(len(self.widths) - 1)

    def product(
        self,
        phase: Phase,
        sources: Sequence[Source] = (),
        *,
        size: int = 0,
        bias: Tensor | None = None,
        context: Tensor | None = None,
        add: Ref | None = None,
        act: Activation = "none",
        out: Ref | None = None,
        cell: Ref | None = None,
        cell_out: Ref | None = None,
    ) -> Ref:
        """Append a :class:`Product`, by default into a new map, and return the place of its result.

        Products without sources need ``size``.
        """
        parts = [Source(source.at, source.weight.detach()) for source in sources]
        size = parts[0].weight.shape[1] if parts else size
        bias, context = (None if tensor is None else tensor.detach() for tensor in (bias, context))
        product = Product(out or Ref(-1), size, tuple(parts), bias, context, add, act, cell, cell_out)
        if out is None:
            product = product._replace(out=self.map(product.results))
        self.phases[phase].append(product)
        return product.out

    row = partialmethod(product, "row")
    sweep = partialmethod(product, "sweep")
    site = partialmethod(product, "site")

    def finish(self, params: Ref, num_params: int) -> Plan:
        """Return the plan, with maps of the smallest sufficient size."""
        products = [product for phase in self.phases.values() for product in phase]
        reads = [(Ref(i), width) for i, width in enumerate(self.widths)]
        reads += [read for product in products for read in product.reads()]
        writes = [write for product in products for write in product.writes()]
        maps = []
        for i, width in enumerate(self.widths):
            of_map = [(at, size) for at, size in reads if at.map == i]
            written = [at.start + whole(size) for at, size in writes if at.map == i]
            maps.append(
                Map(
                    channels=width,
                    stride=max([whole(width), *written]) if written else width,
                    rows=1 + max(at.dy for at, _ in of_map),
                    left=max(0, *(-at.dx for at, _ in of_map), 0),
                    right=max(0, *(at.dx for at, _ in of_map), 0),
                )
            )
        return Plan(
            maps=tuple(maps),
            **{name: tuple(phase) for name, phase in self.phases.items()},
            levels=self.levels,
            params=params,
            num_params=num_params,
            channels=self.channels,
            height=self.height,
            width=self.width,
            columns=self.columns,
            context_dim=self.context_dim,
            channel_masked=self.channel_masked,
        )


def whole(channels: int) -> int:
    """Round the number of channels up to a multiple of ``LANES``."""
    return -(-channels // LANES) * LANES


def taps(of: Ref, weight: Tensor) -> list[Source]:
    """The sources of a causal convolution whose last row is the row of ``of`` and whose last column is its column.

    Args:
        of: Place of the kernel's last tap.
        weight: (out, in, rows, columns) of a convolution.

    Returns:
        One source for each tap, in raster order.
    """
    rows, columns = weight.shape[2:]
    return [
        Source(of.at(dy=rows - 1 - i, dx=j - columns + 1), weight[:, :, i, j].mT)
        for i in range(rows)
        for j in range(columns)
    ]


def merged(plan: Plan, sources: Sequence[Source]) -> list[Source]:
    """Merge sources that are adjacent in memory: the columns of a kernel's row, in maps without padding channels."""
    result: list[Source] = []
    for source in sources:
        if result:
            at, weight = result[-1]
            channels = plan.maps[at.map].channels
            dense = channels == plan.maps[at.map].stride and len(source.weight) == channels
            if dense and len(weight) % channels == 0 and source.at == at.at(dx=len(weight) // channels):
                result[-1] = Source(at, torch.cat([weight, source.weight]))
                continue
        result.append(source)
    return result
