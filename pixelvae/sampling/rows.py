"""Whole walks of the eager executor, a row of sites at a time. On CUDA a row, with its draws, is one graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from pixelvae.sampling.eager import EagerPlan
from pixelvae.sampling.plan import Plan
from pixelvae.sampling.stepper import Walked

Choose = Callable[[Tensor, Tensor, int, Tensor], tuple[Tensor, Tensor]]
Record = Callable[[Callable[[], None]], Callable[[], None]]
MOST_GRAPHS = 8  # one for each position of the rings


def cuda_graph(work: Callable[[], None]) -> Callable[[], None]:
    """Record the kernels of ``work`` without running them; return a function that replays them on the same memory."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


class RowWalk:
    """The draws of one row, in memory that all rows reuse.

    :meth:`draw` accesses only this memory and the plan's maps, and does not wait for the device. So it can be recorded
    once for each position of the rings and replayed for the other rows.

    Args:
        rows: The plan, at its first row.
        choose: (params (B, P), x_site (B, C), channel, u (B,)) -> the pmf (B, K) of the channel, and its level (B,).
        u: Uniform numbers, for their dtype and device.
        keeps: Whether some levels are known.

    Attributes:
        u, x, given, known, log_p: (columns, B, C): uniform numbers, levels, given levels, true where those are kept,
            and nats of each level.
    """

    def __init__(self, rows: EagerPlan, choose: Choose, u: Tensor, *, keeps: bool) -> None:
        plan = rows.plan
        self.rows, self.choose, self.keeps = rows, choose, keeps
        shape, device = (plan.width, rows.batch_size, plan.channels), u.device
        self.u, self.log_p = (torch.empty(shape, dtype=u.dtype, device=device) for _ in range(2))
        self.x, self.given = (torch.empty(shape, dtype=torch.long, device=device) for _ in range(2))
        self.known = torch.empty(shape, dtype=torch.bool, device=device)
        parts = [tensor.unbind() for tensor in (self.u, self.given, self.known, self.x, self.log_p)]
        self.sites = [[site.unbind(1) for site in sites] for sites in zip(*parts, strict=True)]

    def draw(self) -> None:
        """Draw every level of the row, or copy known ones."""
        rows, masked = self.rows, self.rows.plan.channel_masked
        self.x.zero_()
        rows.begin_row()
        for column, (x_site, site) in enumerate(zip(self.x.unbind(), self.sites, strict=True)):
            for channel, (u, given, known, x, log_p) in enumerate(zip(*site, strict=True)):
                if masked:
                    rows.show(x_site, column)
                if masked or channel == 0:
                    params = rows.site(column)
                pmf, level = self.choose(params, x_site, channel, u)
                x.copy_(torch.where(known, given, level) if self.keeps else level)
                log_p.copy_(pmf.gather(1, x[:, None])[:, 0].log_())
            rows.show(x_site, column)
        rows.end_row()


def fill(
    rows: EagerPlan,
    choose: Choose,
    u: Tensor,
    *,
    x: Tensor | None = None,
    known: Tensor | None = None,
    record: Record | None = None,
    progress: bool = False,
) -> Walked:
    """A whole walk: every level is x where ``known``, else ``choose`` determines it from u.

    Args:
        rows: The plan, at its first row.
        choose: See :class:`RowWalk`.
        u: (B, C, *S) uniform in [0, 1).
        x: (B, C, *S) integer levels, needed where known.
        known: (B, C, *S) true where x is kept.
        record: Records the work of a row for replays, such as :func:`cuda_graph`; None to run it for every row.
        progress: Whether to show a progress bar with the time left.
    """
    plan, here = rows.plan, RowWalk(rows, choose, u, keeps=known is not None)
    given = [(here.u, _rows(u, plan))]
    given += [] if x is None or known is None else [(here.given, _rows(x, plan)), (here.known, _rows(known, plan))]
    drawn, log_p = (torch.empty_like(given[0][1], dtype=part.dtype) for part in (here.x, here.log_p))
    replays: dict[int, Callable[[], None]] = {}
    for row in tqdm(range(plan.height), desc="walk", unit="row", disable=not progress, leave=False):
        rows.enter(row)
        for to, values in given:
            to.copy_(values[row])
        if record is None or row == 0 or rows.period > MOST_GRAPHS:  # the first row also loads kernels
            here.draw()
        else:
            place = row % rows.period
            if place not in replays:
                replays[place] = record(here.draw)
            replays[place]()
        drawn[row], log_p[row] = here.x, here.log_p
    return Walked(*(a.permute(2, 3, 0, 1).reshape(u.shape) for a in (drawn, log_p)))


def _rows(values: Tensor, plan: Plan) -> Tensor:
    """(B, C, *S) -> (H, W, B, C)."""
    return values.reshape(*values.shape[:2], plan.height, plan.width).permute(2, 3, 0, 1)
