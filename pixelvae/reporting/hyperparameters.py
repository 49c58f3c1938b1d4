"""A run's row in TensorBoard's table of hyperparameters, from the first step on, and its final metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from pixelvae.checkpoint import flatten
from pixelvae.reporting.page import formatted

TABLE_METRICS = ("validation/elbo_nats", "validation/bits_per_dim", "validation/kl_nats")
"""Curves whose last points are columns of the table of hyperparameters."""

TABLE_SUFFIX = ".hparams"
"""Ending of the event file with a run's row in the table of hyperparameters, which a newer one replaces."""


def write_metrics(folder: Path, config: Mapping[str, Any], metrics: Mapping[str, Any], step: int) -> None:
    """Add final metrics to a run: as columns of its row in the table of hyperparameters, and as a table of text.

    They are not scalars, because each would be a chart of a single point among the training curves.

    Args:
        folder: The folder of the run.
        config: The resolved configuration; every option is a column too.
        metrics: The final metrics, of the test split unless ``split`` names another; only numbers are columns.
        step: The step of the measured weights.
    """
    split = metrics.get("split", "test")
    numbers = {f"{split}/{name}": value for name, value in metrics.items() if type(value) in (int, float)}
    write_hyperparameters(folder, config, numbers, step=step, finished=True)
    rows = [f"| {name} | {formatted(value)} |" for name, value in metrics.items()]
    with SummaryWriter(folder) as writer:
        writer.add_text(f"metrics/{split}", "\n".join(["| metric | value |", "|---|---:|", *rows]), step)


def write_hyperparameters(
    folder: Path, config: Mapping[str, Any], metrics: Mapping[str, float] | None = None, *, step: int,
    finished: bool = False,
) -> None:  # fmt: skip
    """Write a run's row of the table of hyperparameters, in an event file of its own, and remove an older one.

    TensorBoard uses the first row of a run, so a second event would be ignored.

    Args:
        folder: The folder of the run.
        config: The resolved configuration; every option is a column.
        metrics: Further columns. The last points of the curves ``TABLE_METRICS`` are columns always.
        step: The step of the weights.
        finished: Whether the run has ended.
    """
    columns = flatten(config) | dict(metrics or {})
    experiment, start, end = hparams(columns, dict.fromkeys(TABLE_METRICS, 0.0))
    older = list(folder.glob(f"events.out.tfevents.*{TABLE_SUFFIX}"))
    with SummaryWriter(folder, filename_suffix=TABLE_SUFFIX) as writer:
        for summary in (experiment, start, end) if finished else (experiment, start):
            writer.file_writer.add_summary(summary, step)
    for file in older:
        file.unlink(missing_ok=True)
