"""The batches of a training run, from the current step on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from pixelvae.data.splits import Batches, Split
from pixelvae.training.signals import ignore_signals
from pixelvae.training.trainer import Trainer


@contextmanager
def training_batches(split: Split, trainer: Trainer) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """Yield the endless batches of this rank, loaded by ``num_workers`` processes that ignore signals."""
    training, world = trainer.training, trainer.world
    sampler = Batches(
        len(split),
        training.examples_per_update,
        seed=trainer.seed,
        start=trainer.step,
        rank=world.rank,
        world_size=world.size,
    )
    loader = DataLoader(
        split, sampler=sampler, batch_size=None, num_workers=training.num_workers, worker_init_fn=ignore_signals
    )
    batches = iter(loader)
    try:
        yield batches
    finally:
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            batches._shutdown_workers()  # the workers ignore the signal by which Python would end them
